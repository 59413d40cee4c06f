"""A Merkle tree: one digest binds a list of leaves, and some of them can be shown without the others (protocol U2).

A node is the digest (``tree-node``) of its two children. Where a level has an odd number of nodes, the last goes up as
it is. Leaves are digests with tags of their own, so that no leaf is a node.
"""

from collections.abc import Iterable, Mapping, Sequence

from crynux_validate.encoding import digest
from crynux_validate.errors import InvalidInputError


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a list of leaves, 32 bytes each; at least one."""
    level = list(leaves)
    while len(level) > 1:
        pairs = [digest("tree-node", *level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def siblings_of(leaves: Sequence[bytes], shown: Iterable[int]) -> list[bytes]:
    """Return what `root_from` needs besides the leaves that are shown: level by level, from left to right."""
    level, known, found = list(leaves), sorted(set(shown)), []
    while len(level) > 1:
        inside = set(known)
        for parent in sorted({at // 2 for at in known}):
            found += [level[at] for at in (2 * parent, 2 * parent + 1) if at < len(level) and at not in inside]
        known = sorted({at // 2 for at in known})
        pairs = [digest("tree-node", *level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return found


def root_from(count: int, shown: Mapping[int, bytes], siblings: Sequence[bytes]) -> bytes:
    """Return the root that some leaves and their siblings give.

    Parameters
    ----------
    count
        How many leaves the tree has.
    shown
        Leaves by their places, counted from 0; at least one.
    siblings
        As `siblings_of` returns them.

    Raises
    ------
    InvalidInputError
        For another number of siblings than these leaves need.
    """
    needed = count_of_siblings(count, shown)
    if len(siblings) != needed:
        raise InvalidInputError(f"the proof has {len(siblings)} siblings; these leaves need {needed}")
    level, rest = dict(shown), iter(siblings)
    while count > 1:
        above: dict[int, bytes] = {}
        for parent in sorted({at // 2 for at in level}):
            children = [at for at in (2 * parent, 2 * parent + 1) if at < count]
            nodes = [level[at] if at in level else next(rest) for at in children]
            above[parent] = nodes[0] if len(nodes) == 1 else digest("tree-node", *nodes)
        level, count = above, (count + 1) // 2
    return level[0]


def count_of_siblings(count: int, shown: Iterable[int]) -> int:
    """Return how many siblings `root_from` needs."""
    known, found = set(shown), 0
    while count > 1:
        parents = {at // 2 for at in known}
        children = {at for parent in parents for at in (2 * parent, 2 * parent + 1) if at < count}
        found += len(children - known)
        known, count = parents, (count + 1) // 2
    return found
