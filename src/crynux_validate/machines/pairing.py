"""Who is eligible for a group, and a draw that anyone can repeat (protocol P2, P4, P5, P7).

Everything here is a pure function of its arguments, in integers only, so that every platform finds the same members.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence

from crynux_validate.encoding import check_id, check_type, length_prefixed, shorten, tag
from crynux_validate.errors import InvalidInputError, NotEnoughNodes
from crynux_validate.machines.pool import MAX_WEIGHT, Candidate, Pool
from crynux_validate.machines.roster import Draw, Node


def weight_of(stake: int, weight_unit: int) -> int:
    """Return the weight of a stake in the draw: min(2^32-1, max(1, floor(stake / weight_unit)))."""
    return min(MAX_WEIGHT, max(1, stake // weight_unit))


def is_available(node: Node, min_stake: int) -> bool:
    """Whether a node can serve: joined, not suspended, with at least `min_stake`, in no unsettled group (P2)."""
    return node.joined and not node.suspended and node.stake >= min_stake and node.group is None


def pool_of(nodes: Iterable[Node], *, creator: str, min_stake: int, min_memory_gib: int, weight_unit: int) -> Pool:
    """Return who could be drawn: any available node of these with enough memory (P2, P5).

    Parameters
    ----------
    nodes
        For an image task everybody, for a text task the nodes of one class (`classes_of`).
    creator
        Who asked for the task; its own nodes are left out.
    min_stake
        What a member must have at stake.
    min_memory_gib
        The memory of one card that the task needs; 0 for any.
    weight_unit
        How much stake counts as one in the draw.
    """
    global _last_pool
    asked = (tuple(nodes), creator, min_stake, min_memory_gib, weight_unit)
    last = _last_pool
    if last is None or last[0] != asked:
        found = [
            node
            for node in asked[0]
            if is_available(node, min_stake) and node.owner != creator and node.gpu.memory_gib >= min_memory_gib
        ]
        stakes = [node.stake for node in found]
        weights = {stake: weight_of(stake, weight_unit) for stake in set(stakes)}
        ids, owners = [node.id for node in found], [node.owner for node in found]
        last = asked, Pool.from_columns(ids, owners, [weights[stake] for stake in stakes])
    _last_pool = asked, last[1]
    return last[1]


_last_pool: tuple[tuple[object, ...], Pool] | None = None
"""What `pool_of` was asked last, and its answer: groups that open while no node changes share a pool."""


def draw(
    pool: Sequence[Candidate],
    size: int,
    *,
    ledger: str,
    group: str,
    beacon: bytes,
    unavailable: Collection[str] = (),
) -> Draw:
    """Draw the members of a group, weighted, without replacement, of different owners (P4, P5).

    Candidates are sorted by node id. Words come from SHAKE-256 over the length-prefixed tag, ledger id, group id and
    beacon value, each a u64 big-endian. Of the weights that remain let `total` be the sum: a word at or above
    floor(2^64 / total) * total is rejected, any other is taken modulo `total`, and the first candidate whose running
    sum exceeds it is a member; it and all of its owner's nodes are removed.

    Parameters
    ----------
    pool
        Who could be drawn; a `Pool`, or any candidates that make one.
    size
        How many members.
    ledger, group
        Ids.
    beacon
        The value of the public randomness, at least one byte.
    unavailable
        Ids to leave out.

    Raises
    ------
    NotEnoughNodes
        Where fewer than `size` owners have an available node.
    InvalidInputError
        For a size below 1, an empty beacon value, or candidates that make no pool.
    """
    import numpy as np

    if type(size) is not int or size < 1:
        raise InvalidInputError(f"size is {shorten(size)}; expected an integer from 1")
    if not isinstance(beacon, bytes) or not beacon:
        raise InvalidInputError(f"a beacon value is at least one byte, not {shorten(beacon)}")
    pool = pool if isinstance(pool, Pool) else Pool(pool)
    places = {node: pool.position(node) for node in unavailable}
    gone = {node: at for node, at in places.items() if at is not None}
    weights, sums, owners = pool.weights, pool.running_sums, pool.owner_count
    if gone:
        # A weight of zero is never drawn, as no running sum begins to exceed a number there.
        weights = weights.copy()
        weights[list(gone.values())] = 0
        sums = np.cumsum(weights)
        owners = int(np.count_nonzero(np.bincount(pool.owner_numbers[weights > 0])))
    if owners < size:
        raise NotEnoughNodes(
            f"{owners} owners have a node that can be drawn; a group needs {size}", available=owners, needed=size
        )
    words = _words(
        tag("draw")
        + length_prefixed(check_id(ledger, "the ledger id"))
        + length_prefixed(check_id(group, "the group id"))
        + length_prefixed(beacon)
    )
    members: list[str] = []
    removed: list[tuple[int, int]] = []  # where each begins in the running sums, and its weight, in order
    total = int(sums[-1])
    while True:
        target = _below(total, words)
        # The running sums still count those who were removed: step over all that begin before the target.
        for begin, weight in removed:
            if begin > target:
                break
            target += weight
        taken = int(sums.searchsorted(np.uint64(target), "right"))
        members.append(pool.ids[taken])
        if len(members) == size:
            return Draw(ledger, group, beacon, pool, frozenset(gone), tuple(members))
        owned = np.flatnonzero(pool.owner_numbers == pool.owner_numbers[taken])
        freed = weights[owned]
        removed = sorted([*removed, *zip((sums[owned] - freed).tolist(), freed.tolist(), strict=True)])
        total -= int(freed.sum())


def verify_draw(claim: Draw) -> bool:
    """Whether repeating a draw gives the members that it claims.

    Raises
    ------
    InvalidInputError
        For what is no `Draw`; a draw of what makes none is not verified.
    """
    check_type(claim, Draw, "the claim", "a Draw, as of Group.draw")
    try:
        again = draw(
            claim.pool,
            len(claim.members),
            ledger=claim.ledger,
            group=claim.group,
            beacon=claim.beacon,
            unavailable=claim.unavailable,
        )
    except (NotEnoughNodes, InvalidInputError):
        return False
    return again.members == claim.members


def _words(seed: bytes) -> Iterator[int]:
    """The u64 words of SHAKE-256(seed), without end; a longer digest of it begins with the shorter one."""
    state = hashlib.shake_256(seed)
    length, start = 128, 0
    while True:
        block = state.digest(length)
        for at in range(start, length, 8):
            yield int.from_bytes(block[at : at + 8], "big")
        start, length = length, 2 * length


def _below(total: int, words: Iterator[int]) -> int:
    """A uniform number below `total`."""
    limit = 2**64 // total * total
    return next(word for word in words if word < limit) % total
