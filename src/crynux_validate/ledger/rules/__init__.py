"""The protocol as pure transitions: state + action + time -> what changes (protocol C2-C5, P2-P7, L1-L8).

`apply` reads a `State` and returns a `Change`: the records that are new, and what came of the action. It writes
nothing, so that an error changes nothing (L1). A ledger stores the change and its event in one transaction, or neither.
"""

from crynux_validate.ledger import actions
from crynux_validate.ledger.rules import answers, groups, nodes
from crynux_validate.ledger.rules.groups import check_can_handle
from crynux_validate.ledger.rules.state import Change, State, group_id, group_number


def apply(state: State, action: actions.Action, now: int) -> Change | None:
    """Return what an action changes, or None where it is already done and nothing changes (L6).

    Raises
    ------
    LedgerError, InvalidInputError
        Where the rules refuse it; nothing has changed.
    """
    change = Change()
    match action:
        case actions.Deposit():
            nodes.deposit(state, change, action)
        case actions.Withdraw():
            nodes.withdraw(state, change, action)
        case actions.Join():
            nodes.join(state, change, action)
        case actions.Leave():
            return nodes.leave(state, change, action)
        case actions.TopUp():
            nodes.top_up(state, change, action)
        case actions.AttestCommit():
            nodes.attest_commit(state, change, action, now)
        case actions.AttestReveal():
            nodes.attest_reveal(state, change, action, now)
        case actions.OpenGroup():
            groups.open_group(state, change, action, now)
        case actions.DrawGroup():
            groups.draw_group(state, change, action, now)
        case actions.Commit():
            answers.commit(state, change, action, now)
        case actions.Reveal():
            answers.reveal(state, change, action, now)
        case actions.Settle():
            return groups.settle(state, change, action, now)
    return change


__all__ = ["Change", "State", "apply", "check_can_handle", "group_id", "group_number"]
