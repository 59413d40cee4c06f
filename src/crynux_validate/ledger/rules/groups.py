"""A group from its task to its money: opened, drawn, settled or closed (protocol P2-P5, P7, C2, L3, L4, L6)."""

from typing import get_args

from crynux_validate.encoding import DIGEST_BYTES, check_id, check_integer, parse_hex, shorten
from crynux_validate.errors import (
    AlreadyDoneError,
    InvalidInputError,
    InvalidTaskError,
    NotEnoughNodes,
    TooEarlyError,
)
from crynux_validate.frozen import FrozenMapping, replace
from crynux_validate.judging import Finding, Outcome
from crynux_validate.ledger.actions import DrawGroup, OpenGroup, Settle
from crynux_validate.ledger.interface import Group, Policy, Round, Status
from crynux_validate.ledger.life import Act, check_act
from crynux_validate.ledger.pools import choose_supply
from crynux_validate.ledger.rules.money import charge, check_money, pay
from crynux_validate.ledger.rules.state import (
    Change,
    State,
    check_value,
    group_id,
    group_number,
    joined_node,
    known_group,
)
from crynux_validate.ledger.settlement import settle_group
from crynux_validate.machines.gpu import MAX_MEMORY_GIB
from crynux_validate.machines.pairing import choose_members, is_large_enough, weight_among
from crynux_validate.machines.roster import Draw
from crynux_validate.tasks import Task, TextTask


def open_group(state: State, change: Change, action: OpenGroup, now: int) -> None:
    """Escrow the fee and fix the pool (P2-P4, P7)."""
    policy = state.policy
    # Not a subclass: whoever reads the log does not have it.
    if type(action.task) not in get_args(Task):
        raise InvalidInputError(f"the task is {shorten(action.task)}; expected an ImageTask or a TextTask")
    check_integer(action.beacon_round, "the beacon's next round")
    for name, model in action.task.references().items():
        if not model.pinned:
            raise InvalidTaskError(
                f"{name}.revision",
                "is not a commit, so it can change; a ledger takes tasks with pinned models only (T1)",
            )
    check_id(action.creator, "the creator")
    check_money(action.fee, "fee", policy.least_fee, "the policy's min_fee (L3)")
    check_integer(action.min_memory_gib, "min_memory_gib", 0, MAX_MEMORY_GIB)
    if action.gpu_class is not None:
        parse_hex(action.gpu_class, "gpu_class", DIGEST_BYTES)
        if not isinstance(action.task, TextTask):
            raise InvalidInputError("gpu_class is given for an image task, which has no class; leave it out")
    policy.keyed_limits(action.task)  # refuses a task that the second round is not for
    _check_new(state, action.task)
    charge(state, change, action.creator, action.fee, "the fee")
    nodes = tuple(state.joined_nodes())
    node_class, supply = choose_supply(nodes, action, policy, now)
    _check_queue(state, len(nodes), action.beacon_round)
    pool = supply.pool
    group = Group(
        id=group_id(state.group_count() + 1),
        task=action.task,
        creator=action.creator,
        fee=action.fee,
        min_memory_gib=action.min_memory_gib,
        policy=policy,
        pool=pool,
        base=supply.base,
        beacon_round=action.beacon_round,
        opened=now,
        draw_deadline=now + policy.draw_seconds,
        gpu_class=node_class,
    )
    change.groups[group.id] = group
    change.result = {
        "group": group.id,
        "task_digest": action.task.digest,
        "pool_size": len(pool),
        "pool_digest": pool.digest,
        "base": str(supply.base),
        "gpu_class": None if node_class is None else node_class.to_dict(),
    }


def _check_new(state: State, task: Task) -> None:
    """Refuse a task whose answer somebody could copy from an earlier group (L9)."""
    group = state.group_with(task.digest)
    if group is not None:
        raise AlreadyDoneError(
            f"{group} had this task ({task.digest}), so answers could be copied (L9): give the task another seed"
        )


def _check_queue(state: State, joined: int, beacon_round: int) -> None:
    """Refuse more waiting groups than the nodes could serve, and a beacon round before that of the last group (P4a)."""
    waiting, most = state.group_count() - state.handled_count(), joined // state.policy.group_size
    if waiting >= most:
        raise NotEnoughNodes(
            f"{waiting} groups wait for their draw; expected at most {most}, with {joined} joined nodes and groups of "
            f"{state.policy.group_size} (P4a): draw them first",
            available=most,
            needed=waiting + 1,
        )
    if beacon_round < state.last_beacon_round():
        raise InvalidInputError(
            f"the beacon's next round is {beacon_round}; expected at least {state.last_beacon_round()}, the round of "
            "the previous group (P4a)"
        )


def check_can_handle(group: Group, beacon: bytes | None, now: int) -> None:
    """Refuse a group that can be neither drawn nor closed yet: its value is not public, nor is it late (P4b)."""
    check_act(group, Act.DRAW_WITHOUT if beacon is None else Act.DRAW, now)
    if beacon is not None:
        check_value(beacon, f"the beacon's value of round {group.beacon_round}")


def draw_group(state: State, change: Change, action: DrawGroup, now: int) -> None:
    """Draw the members of the group that waits longest, or close it where it cannot be drawn (P4b-P4d, P5)."""
    group = known_group(state, action.group)
    number, first = group_number(group.id), state.handled_count() + 1
    if number > first:
        raise TooEarlyError(f"group {group.id} waits for {group_id(first)}: groups are drawn in order (P4b)")
    check_can_handle(group, action.beacon, now)
    change.handled = 1
    if action.beacon is None:
        _close(state, change, group, "no-beacon")
        return
    taken = state.drawn_since(number)
    unavailable_weight = weight_among(group.pool, taken)
    if not is_large_enough(group.pool.total_weight - unavailable_weight, group.base, group.policy.min_pool_ppm):
        _close(state, change, group, "small-pool")
        return
    try:
        chosen = choose_members(
            group.pool,
            group.policy.group_size,
            ledger=state.id,
            group=group.id,
            beacon=action.beacon,
            unavailable=taken,
        )
    except NotEnoughNodes:
        _close(state, change, group, "no-members")
        return
    drawn = Draw(
        ledger=state.id,
        group=group.id,
        task=group.task.digest,
        policy=group.policy.digest,
        fee=group.fee,
        beacon_round=group.beacon_round,
        beacon=action.beacon,
        pool=group.pool,
        unavailable=FrozenMapping({node: taken[node] for node in sorted(chosen.hit)}),
        unavailable_weight=unavailable_weight,
        members=chosen.members,
    )
    change.groups[group.id] = replace(group, status=Status.DRAWN, draw=drawn, rounds=_rounds_from(group.policy, now))
    for member in chosen.members:
        drawn_by = (state.group_count(), group.id)
        change.nodes[member] = replace(joined_node(state, member), group=group.id, drawn=drawn_by)
    change.result = {
        "members": list(drawn.members),
        "unavailable": drawn.unavailable,
        "unavailable_weight": str(unavailable_weight),
    }


def _rounds_from(policy: Policy, now: int) -> tuple[Round, ...]:
    """All deadlines are fixed by the draw; the second round follows the first (C2, C5)."""
    length = policy.commit_seconds + policy.reveal_seconds
    starts = [now + at * length for at in range(policy.rounds)]
    return tuple(Round(start + policy.commit_seconds, start + length) for start in starts)


def _close(state: State, change: Change, group: Group, reason: str) -> None:
    change.groups[group.id] = replace(group, status=Status.CLOSED)
    pay(state, change, group.creator, group.fee)
    change.result = {"closed": reason, "refund": str(group.fee)}


def settle(state: State, change: Change, action: Settle, now: int) -> Change | None:
    """Judge and pay (L3, L4, L6); None where that has been done."""
    group = known_group(state, action.group)
    if group.status.is_over:
        return None
    check_act(group, Act.SETTLE, now)
    nodes = {member: joined_node(state, member) for member in group.members}
    settlement = settle_group(group, nodes)
    slashed: dict[str, int] = {}
    for transfer in settlement.transfers:
        if transfer.target is None:
            change.burnt += transfer.amount
        else:
            pay(state, change, transfer.target, transfer.amount)
        if transfer.why == "slash":
            slashed[transfer.source] = transfer.amount
    # Where nobody could answer, absence says nothing of a node: or tasks that nobody finishes would suspend the honest.
    absences_count = settlement.verdict.outcome is Outcome.VALIDATED
    for member, node in nodes.items():
        absences = node.absences if settlement.verdict.findings[member] is Finding.ABSENT else 0
        if absences_count and settlement.verdict.findings[member] is Finding.ABSENT:
            absences += 1
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
    said = settlement.verdict.to_dict()  # without the distances, which follow from the openings
    change.result = {
        "outcome": said["outcome"],
        "delivered_score": said["delivered_score"],
        "findings": said["findings"],
        "delivered_by": settlement.delivered_by,
        "transfers": moves,
        "suspended": suspended,
    }
    return change
