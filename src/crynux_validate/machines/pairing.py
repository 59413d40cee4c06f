"""The nodes that can serve a task, and a draw that anybody can repeat (protocol P2, P4, P5, P7).

All functions depend on their arguments only and compute with integers, so every machine draws the same members.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crynux_validate.encoding import check_id, check_integer, check_type, digest, length_prefixed, shorten
from crynux_validate.errors import InvalidInputError, NotEnoughNodes
from crynux_validate.machines.pool import MAX_WEIGHT, Pool
from crynux_validate.machines.roster import Draw, Node, check_value

if TYPE_CHECKING:
    from crynux_validate.ledger.policy import Policy
    from crynux_validate.tasks import Task

MAX_WORDS: Final = 1_024
"""The number of words after which a draw ends without enough members."""


def weight_of(stake: int, weight_unit: int) -> int:
    """Return the weight of a stake in the draw: min(2^32-1, max(1, floor(stake / weight_unit)))."""
    return min(MAX_WEIGHT, max(1, stake // weight_unit))


def can_serve(node: Node, min_stake: int) -> bool:
    """Whether a node can serve when it is free: joined, not suspended, not leaving, and with `min_stake` (P2)."""
    return node.joined and not node.suspended and node.leaving is None and node.stake >= min_stake


def is_available(node: Node, min_stake: int) -> bool:
    """Whether a node can serve now: `can_serve`, and not in an unsettled group (P2)."""
    return can_serve(node, min_stake) and node.group is None


@dataclass(frozen=True)
class Supply:
    """The candidates of a draw, and the *base*: all nodes that could serve if none were in a group (protocol P4d).

    Parameters
    ----------
    pool
        The candidates.
    base
        The sum of the weights of all nodes that could serve, free or in a group.
    base_owners
        The number of distinct owners of these nodes.
    """

    pool: Pool
    base: int
    base_owners: int


def supply_of(nodes: Iterable[Node], *, creator: str, min_stake: int, min_memory_gib: int, weight_unit: int) -> Supply:
    """Return the candidates: all available nodes with enough memory (protocol P2, P4d, P5).

    Parameters
    ----------
    nodes
        All nodes for an image task, the nodes of one class (`classes_of`) for a text task.
    creator
        The account that asked for the task; its own nodes are left out.
    min_stake
        The least stake of a member.
    min_memory_gib
        The memory of one card that the task needs, in GiB; 0 for any.
    weight_unit
        The stake that gives a weight of 1 in the draw.
    """
    global _last_supply
    nodes, asked = tuple(nodes), (creator, min_stake, min_memory_gib, weight_unit)
    last = _last_supply
    if last is None or last[1] != asked or last[0] != nodes:
        able = [
            node
            for node in nodes
            if can_serve(node, min_stake) and node.owner != creator and node.gpu.memory_gib >= min_memory_gib
        ]
        weights = {stake: weight_of(stake, weight_unit) for stake in {node.stake for node in able}}
        free = [node for node in able if node.group is None]
        pool = Pool.from_columns(
            [node.id for node in free], [node.owner for node in free], [weights[node.stake] for node in free]
        )
        base = sum([weights[node.stake] for node in able])
        last = nodes, asked, Supply(pool, base, len({node.owner for node in able}))
    _last_supply = nodes, asked, last[2]
    return last[2]


_last_supply: tuple[tuple[Node, ...], tuple[object, ...], Supply] | None = None
"""The last arguments and result of `supply_of`: groups that open while no node changes share a pool."""


def is_large_enough(weight: int, base: int, min_pool_ppm: int) -> bool:
    """Whether enough of the base is free: weight * 10^6 >= `min_pool_ppm` * base (protocol P4d)."""
    return weight * 1_000_000 >= min_pool_ppm * base


@dataclass(frozen=True)
class Chosen:
    """The result of `choose_members`.

    Parameters
    ----------
    members
        The node ids of the members, in the order of the draw.
    hit
        The unavailable candidates that a word of the draw hit, in this order.
    """

    members: tuple[str, ...]
    hit: tuple[str, ...]


def choose_members(
    pool: Pool, size: int, *, ledger: str, group: str, beacon: bytes, unavailable: Collection[str] = ()
) -> Chosen:
    """Draw the members of a group by weight, without replacement, from different owners (protocol, "The draw").

    Word i is SHA-256 over the draw seed and i as a u32, big-endian, i from 0, as an unsigned big-endian number, modulo
    the sum of all weights of the pool. The first candidate, in the order of ids, whose running sum exceeds it is hit. A
    hit that is unavailable, or of an owner that was taken already, is skipped.

    Parameters
    ----------
    pool
        The candidates when the group opened.
    size
        The number of members, 1 or more.
    ledger, group
        The ids of the ledger and of the group.
    beacon
        The value of the beacon, at least one byte.
    unavailable
        The ids of candidates that cannot be drawn any more.

    Raises
    ------
    NotEnoughNodes
        If 1,024 words hit fewer than `size` owners.
    InvalidInputError
        For a size below 1, and an empty beacon value.
    """
    check_integer(size, "size", 1, None)
    check_type(pool, Pool, "the pool", "a Pool")
    check_type(unavailable, Collection, "unavailable", "a collection of node ids")
    seed = digest(
        "draw",
        length_prefixed(check_id(ledger, "the ledger id")),
        length_prefixed(check_id(group, "the group id")),
        length_prefixed(check_value(beacon)),
    )
    members: dict[str, str] = {}
    hit: dict[str, None] = {}
    sums = pool.running_sums
    total = pool.total_weight
    for number in range(MAX_WORDS if total else 0):
        word = hashlib.sha256(seed + number.to_bytes(4, "big")).digest()
        at = int(sums.searchsorted(sums.dtype.type(int.from_bytes(word, "big") % total), "right"))
        node, owner = pool.ids[at], pool.owners[at]
        if node in unavailable:
            hit[node] = None
        elif owner not in members:
            members[owner] = node
            if len(members) == size:
                return Chosen(tuple(members.values()), tuple(hit))
    raise NotEnoughNodes(
        f"{MAX_WORDS} words of the draw found {len(members)} owners; the group needs {size}",
        available=len(members),
        needed=size,
    )


def verify_draw(
    draw: Draw, *, task: "Task | None" = None, policy: "Policy | None" = None, beacon: bytes | None = None
) -> bool:
    """Whether the repetition of a draw gives its members.

    This does not show which candidates were unavailable, nor that the pool has all nodes that could serve: only the
    ledger's log shows that.

    Parameters
    ----------
    draw
        `Group.draw`.
    task, policy, beacon
        The task and the policy that the draw should be for, and the known value of the beacon. Those that are left out
        are not compared.

    Raises
    ------
    InvalidInputError
        For arguments of another type. For a draw with invalid parts the result is False.
    """
    check_type(draw, Draw, "the draw", "a Draw (Group.draw)")
    for given, what, expected in ((task, "the task", "an ImageTask or a TextTask"), (policy, "the policy", "a Policy")):
        if given is not None and not isinstance(getattr(given, "digest", None), str):
            raise InvalidInputError(f"{what} is {shorten(given)}; expected {expected}")
    # The base is not known here, only that it is no less than the pool (P4d).
    least_pool = 0 if policy is None else getattr(policy, "min_pool_ppm", None)
    if least_pool is None:
        raise InvalidInputError(f"the policy is {shorten(policy)}; expected a Policy")
    if beacon is not None:
        check_type(beacon, bytes, "the beacon's value", "bytes")
    try:
        _ = draw.digest
        check_type(draw.unavailable, Mapping, "who was unavailable", "a mapping of node ids to group ids")
        check_integer(draw.unavailable_weight, "the weight of those that were unavailable", 0, 2**64 - 1)
        pool = draw.pool if isinstance(draw.pool, Pool) else Pool(draw.pool)
        again = choose_members(
            pool,
            len(draw.members),
            ledger=draw.ledger,
            group=draw.group,
            beacon=draw.beacon,
            unavailable=draw.unavailable,
        )
    except (NotEnoughNodes, InvalidInputError, TypeError):
        return False
    said = (
        (None if task is None else task.digest, draw.task),
        (None if policy is None else policy.digest, draw.policy),
        (None if policy is None else policy.group_size, len(draw.members)),
        (beacon, draw.beacon),
    )
    return (
        all(expected in (None, found) for expected, found in said)
        and again.members == draw.members
        and set(again.hit) == set(draw.unavailable)
        and draw.group not in draw.unavailable.values()
        and weight_among(pool, draw.unavailable) <= draw.unavailable_weight < pool.total_weight
        and is_large_enough(pool.total_weight - draw.unavailable_weight, pool.total_weight, least_pool)
    )


def weight_among(pool: Pool, nodes: Collection[str]) -> int:
    """Return the sum of the weights of the nodes that are in the pool."""
    find = pool.position if len(nodes) < _MANY else pool.places.get
    places = [at for at in map(find, nodes) if at is not None]
    return int(pool.weights[places].sum()) if places else 0


_MANY: Final = 64
"""From how many nodes on it is worth while to have the place of every candidate in a dictionary."""
