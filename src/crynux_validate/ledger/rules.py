"""The protocol as pure transitions: state + action + time -> what changes (protocol C2-C5, P2-P7, L1-L8).

`apply` reads a `State` and returns a `Change`: the records that are new, and what came of the action. It writes
nothing, so that an error changes nothing (L1). A ledger stores the change and its event in one transaction, or neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from crynux_validate.commitment import Opening
from crynux_validate.encoding import DIGEST_BYTES, check_id, parse_hex, shorten
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InsufficientFundsError,
    InvalidAnswerError,
    InvalidInputError,
    InvalidTaskError,
    NodeStateError,
    NotAMemberError,
    NotEnoughNodes,
    SignatureError,
    StakeTooLowError,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
)
from crynux_validate.frozen import FrozenMapping, replace
from crynux_validate.judging import Finding
from crynux_validate.ledger.actions import (
    Action,
    AttestCommit,
    AttestReveal,
    Commit,
    Deposit,
    DrawGroup,
    Join,
    Leave,
    OpenGroup,
    Reveal,
    Settle,
    TopUp,
    Withdraw,
)
from crynux_validate.ledger.interface import MAX_MONEY, Epoch, Group, Policy, Round, Signature, Status
from crynux_validate.ledger.pools import choose_pool, slashable_stake_needed
from crynux_validate.ledger.settlement import settle_group
from crynux_validate.machines.classes import Attestation, check_digest
from crynux_validate.machines.gpu import MAX_MEMORY_GIB, GpuModel
from crynux_validate.machines.pairing import draw, is_available
from crynux_validate.machines.roster import Node
from crynux_validate.signatures import check_public_key, is_signed
from crynux_validate.tasks import Task, TextTask


class State(Protocol):
    """What the rules read."""

    id: str
    policy: Policy

    def balance(self, account: str) -> int:
        """Return an account's balance, 0 for one that was never used."""

    def find_node(self, node: str) -> Node | None:
        """Return a node, also one that has left."""

    def joined_nodes(self) -> Iterable[Node]:
        """Return all nodes that have joined."""

    def find_group(self, group: str) -> Group | None:
        """Return a group."""

    def waiting_group_of(self, node: str) -> str | None:
        """Return a group that is open and not drawn and has a node in its pool; None where there is none."""

    def changed_nodes(self, group: str) -> Iterable[Node]:
        """Return the nodes whose record changed since a waiting group opened; more of them do no harm."""

    def group_count(self) -> int:
        """Return how many groups there have ever been."""


@dataclass
class Change:
    """What an action changes: new records by id, money that came or went, and what to tell the caller.

    Parameters
    ----------
    accounts, nodes, groups
        The new balances and records.
    deposited, withdrawn, burnt
        Money that entered or left (L2).
    result
        What came of the action, as JSON values; part of its event.
    """

    accounts: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    deposited: int = 0
    withdrawn: int = 0
    burnt: int = 0
    result: dict[str, Any] = field(default_factory=dict)


def apply(state: State, action: Action, now: int) -> Change | None:
    """Return what an action changes, or None where it is already done and nothing changes (L6).

    Raises
    ------
    LedgerError, InvalidInputError
        Where the rules refuse it; nothing has changed.
    """
    change = Change()
    match action:
        case Deposit():
            _deposit(state, change, action)
        case Withdraw():
            _withdraw(state, change, action)
        case Join():
            _join(state, change, action)
        case Leave():
            _leave(state, change, action)
        case TopUp():
            _top_up(state, change, action)
        case AttestCommit():
            _attest_commit(state, change, action, now)
        case AttestReveal():
            _attest_reveal(state, change, action, now)
        case OpenGroup():
            _open_group(state, change, action, now)
        case DrawGroup():
            _draw(state, change, action, now)
        case Commit():
            _commit(state, change, action, now)
        case Reveal():
            _reveal(state, change, action, now)
        case Settle():
            return _settle(state, change, action, now)
    return change


def _deposit(state: State, change: Change, action: Deposit) -> None:
    _check_money(action.amount, "amount", 1)
    _pay(state, change, check_id(action.account, "the account"), action.amount)
    change.deposited = action.amount


def _withdraw(state: State, change: Change, action: Withdraw) -> None:
    _check_money(action.amount, "amount", 1)
    _charge(state, change, action.account, action.amount, "this withdrawal")
    change.withdrawn = action.amount


def _join(state: State, change: Change, action: Join) -> None:
    check_id(action.node, "the node id")
    check_id(action.owner, "the owner")
    _check_money(action.stake, "stake", 0)
    if not isinstance(action.gpu, GpuModel):
        raise InvalidInputError(f"gpu is a {type(action.gpu).__name__}; expected a GpuModel")
    if action.public_key is not None:
        check_public_key(action.public_key)
    known = state.find_node(action.node)
    if known is not None and known.joined:
        raise AlreadyDoneError(f"node {action.node} has joined; leave first to join again, or top up its stake")
    if known is not None and known.owner != action.owner:
        raise NodeStateError(f"the id {action.node} belongs to {known.owner}; choose another node id")
    if action.stake < state.policy.min_stake:
        raise StakeTooLowError(
            f"the stake of {action.node} is {action.stake}; the policy asks for at least {state.policy.min_stake}"
        )
    _charge(state, change, action.owner, action.stake, f"the stake of {action.node}")
    change.nodes[action.node] = Node(action.node, action.owner, action.gpu, action.stake, public_key=action.public_key)


def _leave(state: State, change: Change, action: Leave) -> None:
    node = _joined(state, action.node)
    _check_not_waiting(state, node, "leave")
    if node.group is not None:
        raise NodeStateError(f"node {node.id} is in group {node.group}; it can leave when that is settled (L4)")
    _pay(state, change, node.owner, node.stake)
    change.nodes[node.id] = replace(
        node, joined=False, stake=0, suspended=False, absences=0, attest_commitment=None, attestations=()
    )
    change.result = {"returned": str(node.stake)}


def _top_up(state: State, change: Change, action: TopUp) -> None:
    _check_money(action.amount, "amount", 1)
    node = _joined(state, action.node)
    _check_not_waiting(state, node, "change its weight")
    _charge(state, change, node.owner, action.amount, f"this top-up of {node.id}")
    change.nodes[node.id] = replace(node, stake=node.stake + action.amount)


def _attest_commit(state: State, change: Change, action: AttestCommit, now: int) -> None:
    node = _joined(state, action.node)
    epoch = _present_epoch(state, action.epoch, now)
    check_digest(action.commitment, "a commitment to an attestation")
    if node.attest_commitment is not None and node.attest_commitment[0] == epoch.number:
        raise AlreadyDoneError(f"node {node.id} has committed in epoch {epoch.number}; that is never replaced (P6)")
    if now >= epoch.commit_deadline:
        raise TooLateError(
            f"epoch {epoch.number} took commitments until {epoch.commit_deadline}; it is {now}: attest in the next one"
        )
    if action.challenge is None:
        raise TooEarlyError(f"the challenge of epoch {epoch.number} is not public yet; commit later")
    change.nodes[node.id] = replace(node, attest_commitment=(epoch.number, action.commitment))


def _attest_reveal(state: State, change: Change, action: AttestReveal, now: int) -> None:
    node = _joined(state, action.node)
    attestation = action.attestation
    if not isinstance(attestation, Attestation):
        raise InvalidInputError(f"the attestation is {shorten(attestation)}; expected an Attestation")
    epoch = _present_epoch(state, attestation.epoch, now)
    opens = attestation.commitment(ledger=state.id, node=node.id, nonce=action.nonce)
    if now < epoch.commit_deadline:
        raise TooEarlyError(
            f"epoch {epoch.number} takes commitments until {epoch.commit_deadline}; it is {now}: reveal then"
        )
    if any(attested.epoch == epoch.number for attested in node.attestations):
        raise AlreadyDoneError(f"node {node.id} has revealed in epoch {epoch.number}")
    if now >= epoch.reveal_deadline:
        raise TooLateError(f"epoch {epoch.number} took reveals until {epoch.reveal_deadline}; it is {now}")
    if node.attest_commitment is None or node.attest_commitment[0] != epoch.number:
        raise CommitmentMismatchError(f"node {node.id} has not committed in epoch {epoch.number}: nothing to open")
    if node.attest_commitment[1] != opens:
        raise CommitmentMismatchError(
            f"this attestation does not open the commitment of {node.id} in epoch {epoch.number}: another attestation "
            "or nonce, or a commitment that was made for another node or ledger"
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


def _open_group(state: State, change: Change, action: OpenGroup, now: int) -> None:
    policy = state.policy
    if not isinstance(action.task, Task):
        raise InvalidInputError(f"the task is {shorten(action.task)}; expected an ImageTask or a TextTask")
    if not action.task.model.pinned:
        raise InvalidTaskError("model.revision", "can move: a ledger takes only tasks whose model is pinned (T1)")
    check_id(action.creator, "the creator")
    _check_money(action.fee, "fee", policy.group_size, "one unit for each member (L3)")
    if type(action.min_memory_gib) is not int or not 0 <= action.min_memory_gib <= MAX_MEMORY_GIB:
        raise InvalidInputError(
            f"min_memory_gib is {shorten(action.min_memory_gib)}; expected an integer from 0 to {MAX_MEMORY_GIB}"
        )
    if action.gpu_class is not None:
        parse_hex(action.gpu_class, "gpu_class", DIGEST_BYTES)
        if not isinstance(action.task, TextTask):
            raise InvalidInputError("gpu_class is given for an image task, which any GPU model may take; leave it out")
    if policy.second_algorithm is not None and not isinstance(action.task, TextTask):
        raise InvalidInputError(
            f"the policy's second answers ({policy.second_algorithm}) compare results bit for bit, and the images of "
            "honest nodes differ: give the ledger text tasks, or a policy without second_algorithm"
        )
    _charge(state, change, action.creator, action.fee, "the fee")
    node_class, pool = choose_pool(state.joined_nodes(), action, policy, now)
    group = Group(
        id=group_id(state.group_count() + 1),
        task=action.task,
        creator=action.creator,
        fee=action.fee,
        min_memory_gib=action.min_memory_gib,
        policy=policy,
        pool=pool,
        beacon_round=action.beacon_round,
        opened=now,
        draw_deadline=now + policy.draw_seconds,
        gpu_class=node_class,
    )
    change.groups[group.id] = group
    change.result = {
        "group": group.id,
        "task_digest": action.task.digest.hex(),
        "pool_size": len(pool),
        "pool_digest": pool.digest.hex(),
        "gpu_class": None if node_class is None else node_class.to_dict(),
    }


def _draw(state: State, change: Change, action: DrawGroup, now: int) -> None:
    group = _group(state, action.group)
    if group.status is not Status.OPEN:
        raise AlreadyDoneError(f"group {group.id} is {group.status}: its members cannot be drawn again")
    if action.beacon is None:
        if now < group.draw_deadline:
            raise TooEarlyError(f"beacon round {group.beacon_round} of group {group.id} is not public yet; draw later")
        _close(state, change, group, f"beacon round {group.beacon_round} was not public by the draw deadline")
        return
    least = slashable_stake_needed(group.policy, group.fee)
    # Who has not changed since the pool was fixed can still serve: only the others are looked at.
    changed = (node for node in state.changed_nodes(group.id) if not is_available(node, least))
    unavailable = {node.id for node in changed if group.pool.position(node.id) is not None}
    try:
        chosen = draw(
            group.pool,
            group.policy.group_size,
            ledger=state.id,
            group=group.id,
            beacon=action.beacon,
            unavailable=unavailable,
        )
    except NotEnoughNodes as error:
        _close(state, change, group, str(error))
        return
    change.groups[group.id] = replace(group, status=Status.DRAWN, draw=chosen, rounds=_rounds_from(group.policy, now))
    for member in chosen.members:
        change.nodes[member] = replace(_joined(state, member), group=group.id)
    change.result = {"members": list(chosen.members), "unavailable": sorted(chosen.unavailable)}


def _rounds_from(policy: Policy, now: int) -> tuple[Round, ...]:
    """All deadlines are fixed by the draw; the second round follows the first (C2, C5)."""
    length = policy.commit_seconds + policy.reveal_seconds
    starts = [now + at * length for at in range(policy.rounds)]
    return tuple(Round(start + policy.commit_seconds, start + length) for start in starts)


def group_id(number: int) -> str:
    """Return the id of the group that opens as the first, second, ... of its ledger."""
    return f"group-{number}"


def _close(state: State, change: Change, group: Group, reason: str) -> None:
    change.groups[group.id] = replace(group, status=Status.CLOSED)
    _pay(state, change, group.creator, group.fee)
    change.result = {"closed": reason, "refund": str(group.fee)}


def _commit(state: State, change: Change, action: Commit, now: int) -> None:
    group, answering = _answering(state, action, now)
    if not isinstance(action.commitment, bytes) or len(action.commitment) != DIGEST_BYTES:
        raise InvalidAnswerError("a commitment has 32 bytes; make it with Opening.commitment (C1)")
    if action.node in answering.commitments:
        raise AlreadyDoneError(f"node {action.node} has committed in group {group.id}; that is never replaced (C2)")
    if now >= answering.commit_deadline:
        raise TooLateError(f"group {group.id} took commitments until {answering.commit_deadline}; it is {now}")
    changes: dict[str, Any] = {"commitments": FrozenMapping({**answering.commitments, action.node: action.commitment})}
    signature = _checked_signature(state, group, action)
    if signature is not None:
        changes["signatures"] = FrozenMapping({**answering.signatures, action.node: signature})
    change.groups[group.id] = group.with_round(action.round, **changes)


def _checked_signature(state: State, group: Group, action: Commit) -> Signature | None:
    """A node that joined with a key signs its commitments, and no other does (L8)."""
    key = _joined(state, action.node).public_key
    if key is None:
        if action.signature is not None:
            raise SignatureError(f"node {action.node} joined without a key: leave the signature out")
        return None
    if action.signature is None:
        raise SignatureError(
            f"node {action.node} joined with a key: give the signature that SigningKey.sign makes (L8)"
        )
    ids = {"ledger": state.id, "group": group.id, "node": action.node}
    if not is_signed(action.signature, key, action.commitment, **ids, round=action.round):
        raise SignatureError(
            f"this is no signature of {action.node} on this commitment for round {action.round} of {group.id}: another "
            "key, commitment, node, round, group or ledger"
        )
    return Signature(key, action.signature)


def _reveal(state: State, change: Change, action: Reveal, now: int) -> None:
    group, answering = _answering(state, action, now)
    opening = Opening.from_bytes(action.opening)
    if not group.reveals_open(now, action.round):
        missing = len(group.asked(action.round)) - len(answering.commitments)
        raise TooEarlyError(
            f"group {group.id} waits for {missing} commitments until {answering.commit_deadline}; it is {now}: "
            "reveal then"
        )
    if action.node not in answering.commitments:
        raise CommitmentMismatchError(f"node {action.node} has not committed in group {group.id}: nothing to open")
    if action.node in answering.openings:
        raise AlreadyDoneError(f"node {action.node} has revealed in group {group.id}")
    if now >= answering.reveal_deadline:
        raise TooLateError(f"group {group.id} took reveals until {answering.reveal_deadline}; it is {now}")
    bound = opening.commitment(ledger=state.id, group=group.id, node=action.node, round=action.round)
    if bound != answering.commitments[action.node]:
        raise CommitmentMismatchError(
            f"this opening does not open the commitment of {action.node} in group {group.id}: another answer or nonce, "
            "or a commitment that was made for another node, round, group or ledger"
        )
    openings = FrozenMapping({**answering.openings, action.node: opening})
    change.groups[group.id] = group.with_round(action.round, openings=openings)


def _settle(state: State, change: Change, action: Settle, now: int) -> Change | None:
    group = _group(state, action.group)
    if group.status in (Status.SETTLED, Status.CLOSED):
        return None
    if group.status is Status.OPEN:
        raise TooEarlyError(
            f"group {group.id} has not been drawn; draw it first, which closes it if it cannot be drawn"
        )
    if not group.can_settle(now):
        number = next(at for at in range(1, len(group.rounds) + 1) if not group.is_over(now, at))
        answering = group.rounds[number - 1]
        waiting = [node for node in group.asked(number) if node not in answering.openings]
        until = answering.reveal_deadline if group.reveals_open(now, number) else answering.commit_deadline
        raise TooEarlyError(f"group {group.id} waits for {', '.join(waiting)} until {until}; it is {now}")
    nodes = {member: _joined(state, member) for member in group.members}
    settlement = settle_group(group, nodes)
    slashed: dict[str, int] = {}
    for transfer in settlement.transfers:
        if transfer.target is None:
            change.burnt += transfer.amount
        else:
            _pay(state, change, transfer.target, transfer.amount)
        if transfer.why == "slash":
            slashed[transfer.source] = transfer.amount
    for member, node in nodes.items():
        absent = settlement.verdict.findings[member] is Finding.ABSENT
        absences = node.absences + 1 if absent else 0
        change.nodes[member] = replace(
            node,
            group=None,
            stake=node.stake - slashed.get(member, 0),
            absences=absences,
            suspended=node.suspended or absences >= group.policy.suspend_after,
        )
    change.groups[group.id] = replace(
        group,
        status=Status.SETTLED,
        verdict=settlement.verdict,
        delivered_by=settlement.delivered_by,
        transfers=settlement.transfers,
    )
    moves = [{"from": t.source, "to": t.target, "amount": str(t.amount), "why": t.why} for t in settlement.transfers]
    suspended = [member for member in nodes if change.nodes[member].suspended]
    change.result = {
        **settlement.verdict.to_dict(),
        "delivered_by": settlement.delivered_by,
        "transfers": moves,
        "suspended": suspended,
    }
    return change


def _joined(state: State, node: str) -> Node:
    found = state.find_node(node)
    if found is None or not found.joined:
        raise UnknownIdError(f"no node {node!r} has joined this ledger")
    return found


def _group(state: State, group: str) -> Group:
    found = state.find_group(group)
    if found is None:
        raise UnknownIdError(f"this ledger has no group {group!r}")
    return found


def _answering(state: State, action: Commit | Reveal, now: int) -> tuple[Group, Round]:
    """The group and the round that a member acts in (C2, C5)."""
    group, node, number = _group(state, action.group), action.node, action.round
    if group.status is Status.OPEN:
        raise TooEarlyError(f"group {group.id} has not been drawn")
    if group.status is not Status.DRAWN:
        raise TooLateError(f"group {group.id} is {group.status}")
    if node not in group.members:
        raise NotAMemberError(f"node {node!r} is not a member of group {group.id} ({', '.join(group.members)})")
    if type(number) is not int or not 1 <= number <= len(group.rounds):
        known = "one round, number 1" if len(group.rounds) == 1 else "the rounds 1 and 2"
        raise InvalidInputError(f"the round is {shorten(number)}; this policy has {known}")
    if number == 2:
        if not group.is_over(now):
            raise TooEarlyError(f"the first round of group {group.id} is not over: answer in the second one then (C5)")
        if node not in group.asked(2):
            raise NotAMemberError(f"node {node} revealed no score in the first round of {group.id}: none is asked now")
    return group, group.rounds[number - 1]


def _check_not_waiting(state: State, node: Node, what: str) -> None:
    """A node of a pool that is not drawn yet can neither leave nor change its weight (P4)."""
    group = state.waiting_group_of(node.id)
    if group is not None:
        raise NodeStateError(f"node {node.id} is in the pool of {group}; it can {what} when that is drawn (P4)")


def _check_money(value: object, what: str, least: int, why: str = "") -> None:
    if type(value) is not int or not least <= value <= MAX_MONEY:
        because = f": {why}" if why else ""
        raise InvalidInputError(f"{what} is {shorten(value)}; expected an integer from {least} to 2^256-1{because}")


def _balance(state: State, change: Change, account: str) -> int:
    return change.accounts.get(account, state.balance(account))


def _pay(state: State, change: Change, account: str, amount: int) -> None:
    change.accounts[account] = _balance(state, change, account) + amount


def _charge(state: State, change: Change, account: str, amount: int, what: str) -> None:
    balance = _balance(state, change, check_id(account, "the account"))
    if balance < amount:
        raise InsufficientFundsError(f"account {account} has {balance}; {what} takes {amount}: deposit more first")
    change.accounts[account] = balance - amount


__all__ = ["Change", "State", "apply", "group_id", "slashable_stake_needed"]
