"""Accounts and nodes: money in and out, joining, leaving, topping up, attesting (protocol L2, L4, P4, P6)."""

from crynux_validate.encoding import check_id, shorten
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InvalidInputError,
    NodeStateError,
    StakeTooLowError,
    TooEarlyError,
    TooLateError,
)
from crynux_validate.frozen import replace
from crynux_validate.ledger.actions import AttestCommit, AttestReveal, Deposit, Join, Leave, TopUp, Withdraw
from crynux_validate.ledger.interface import MAX_MONEY, Epoch
from crynux_validate.ledger.rules.money import charge, check_money, pay
from crynux_validate.ledger.rules.signed import check_signature
from crynux_validate.ledger.rules.state import Change, State, check_value, joined_node
from crynux_validate.machines.classes import Attestation, check_digest
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Node
from crynux_validate.signatures import attestation_bytes, check_public_key


def deposit(state: State, change: Change, action: Deposit) -> None:
    """Bring money in."""
    check_money(action.amount, "amount", 1)
    room = MAX_MONEY - state.held()
    if action.amount > room:
        raise InvalidInputError(
            f"amount is {shorten(action.amount)}; a ledger holds at most 2^256-1 in all (L2), and has room for {room}"
        )
    pay(state, change, check_id(action.account, "the account"), action.amount)
    change.deposited = action.amount


def withdraw(state: State, change: Change, action: Withdraw) -> None:
    """Take money out."""
    check_money(action.amount, "amount", 1)
    charge(state, change, action.account, action.amount, "this withdrawal")
    change.withdrawn = action.amount


def join(state: State, change: Change, action: Join) -> None:
    """Join with a stake from the owner's account."""
    check_id(action.node, "the node id")
    check_id(action.owner, "the owner")
    check_money(action.stake, "stake", 0)
    if not isinstance(action.gpu, GpuModel):
        raise InvalidInputError(f"gpu is a {type(action.gpu).__name__}; expected a GpuModel")
    if action.public_key is not None:
        check_public_key(action.public_key)
    known = state.find_node(action.node)
    if known is not None and known.joined:
        raise AlreadyDoneError(
            f"node {action.node} has already joined; top up its stake, or leave before you join again"
        )
    if known is not None and known.owner != action.owner:
        raise NodeStateError(f"the id {action.node} belongs to {known.owner}; choose another node id")
    if action.stake < state.policy.min_stake:
        raise StakeTooLowError(
            f"the stake of {action.node} is {action.stake}; the policy needs at least {state.policy.min_stake}",
            stake=action.stake,
            least=state.policy.min_stake,
        )
    charge(state, change, action.owner, action.stake, f"the stake of {action.node}")
    change.nodes[action.node] = Node(action.node, action.owner, action.gpu, action.stake, public_key=action.public_key)


def leave(state: State, change: Change, action: Leave) -> Change | None:
    """Ask to leave, and get the stake back once no group can need it any more; None where nothing changes (P4e)."""
    node = joined_node(state, action.node)
    leaving = state.group_count() if node.leaving is None else node.leaving
    if node.group is None and state.handled_count() >= leaving:  # no group that waits was opened before
        pay(state, change, node.owner, node.stake)
        change.nodes[node.id] = replace(
            node, joined=False, stake=0, suspended=False, absences=0, leaving=None, drawn=None,
            attest_commitment=None, attestations=(),
        )  # fmt: skip
        change.result = {"returned": str(node.stake)}
        return change
    if node.leaving is not None:
        return None
    change.nodes[node.id] = replace(node, leaving=leaving)
    change.result = {"leaving": leaving}
    return change


def top_up(state: State, change: Change, action: TopUp) -> None:
    """Add to a stake from the owner's account; it counts in pools that open later (P4e)."""
    check_money(action.amount, "amount", 1)
    node = _staying_node(state, action.node, "top up its stake")
    charge(state, change, node.owner, action.amount, f"this top-up of {node.id}")
    change.nodes[node.id] = replace(node, stake=node.stake + action.amount)


def _staying_node(state: State, name: str, what: str) -> Node:
    """A node that has joined and has not asked to leave (P4e)."""
    node = joined_node(state, name)
    if node.leaving is not None:
        raise NodeStateError(
            f"node {node.id} is leaving and cannot {what}: leave again after its groups are over, then join (P4e)"
        )
    return node


def attest_commit(state: State, change: Change, action: AttestCommit, now: int) -> None:
    """Bind a node to its attestation for the present epoch (P6)."""
    node = _staying_node(state, action.node, "attest")
    epoch = _present_epoch(state, action.epoch, now)
    check_digest(action.commitment, "a commitment to an attestation")
    if node.attest_commitment is not None and node.attest_commitment[0] == epoch.number:
        raise AlreadyDoneError(
            f"node {node.id} has already committed in epoch {epoch.number}; a commitment is never replaced (P6)"
        )
    if now >= epoch.commit_deadline:
        raise TooLateError(
            f"epoch {epoch.number} took commitments until {epoch.commit_deadline}; it is now {now}: attest in the next "
            "epoch",
            deadline=epoch.commit_deadline,
        )
    if action.challenge is None:
        raise TooEarlyError(f"the challenge of epoch {epoch.number} is not public yet; commit later")
    check_value(action.challenge, f"the challenge of epoch {epoch.number}")
    check_signature(
        node,
        action.signature,
        lambda: attestation_bytes(action.commitment, ledger=state.id, epoch=epoch.number, node=node.id),
        f"this commitment to an attestation in epoch {epoch.number} of ledger {state.id}",
    )
    change.nodes[node.id] = replace(node, attest_commitment=(epoch.number, action.commitment))


def attest_reveal(state: State, change: Change, action: AttestReveal, now: int) -> None:
    """Open a node's commitment to its attestation (P6)."""
    node = _staying_node(state, action.node, "attest")
    attestation = action.attestation
    if not isinstance(attestation, Attestation):
        raise InvalidInputError(f"the attestation is {shorten(attestation)}; expected an Attestation")
    epoch = _present_epoch(state, attestation.epoch, now)
    opens = attestation.commitment(ledger=state.id, node=node.id, nonce=action.nonce)
    if now < epoch.commit_deadline:
        raise TooEarlyError(
            f"epoch {epoch.number} takes commitments until {epoch.commit_deadline}; it is now {now}: reveal then",
            moment=epoch.commit_deadline,
        )
    if any(attested.epoch == epoch.number for attested in node.attestations):
        raise AlreadyDoneError(f"node {node.id} has already revealed in epoch {epoch.number}")
    if now >= epoch.reveal_deadline:
        raise TooLateError(
            f"epoch {epoch.number} took reveals until {epoch.reveal_deadline}; it is now {now}",
            deadline=epoch.reveal_deadline,
        )
    if node.attest_commitment is None or node.attest_commitment[0] != epoch.number:
        raise CommitmentMismatchError(f"node {node.id} has not committed in epoch {epoch.number}, so it cannot reveal")
    if node.attest_commitment[1] != opens:
        raise CommitmentMismatchError(
            f"the attestation does not fit the commitment of {node.id} in epoch {epoch.number}: one of them is for "
            "another attestation, nonce, node or ledger"
        )
    change.nodes[node.id] = replace(node, attestations=(*node.attestations[-1:], attestation))


def _present_epoch(state: State, number: object, now: int) -> Epoch:
    epoch = state.policy.epoch_at(now)
    if type(number) is not int:
        raise InvalidInputError(f"the epoch is {shorten(number)}; expected an integer, now {epoch.number}")
    if number != epoch.number:
        error = TooEarlyError if number > epoch.number else TooLateError
        wanted = f"there is no attesting in epoch {shorten(number)}"
        raise error(f"it is epoch {epoch.number}, from {epoch.starts} on; {wanted}")
    return epoch
