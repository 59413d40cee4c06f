"""Who is in a group: how many colluders a draw by weight takes, and how many of the others are there to disagree."""

from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Final, Literal

from crynux_validate.encoding import check_integer, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.verdict import check_group_size
from crynux_validate.stakes.numbers import Number, exact

View = Literal["drawn", "network"]
"""The groups of a chance of collusion: ``drawn``, groups that have a given dishonest node as a member; ``network``, all
groups, as on the live network."""

MAX_NODES: Final = 2**53 - 1

VIEWS: Final[tuple[View, ...]] = ("drawn", "network")

Chances = tuple[Fraction, ...]
"""For each number from 0 on its chance; together 1."""


def colluder_chances(
    honest: int, dishonest: int, *, group_size: int = 3, dishonest_weight: Number = 1, view: View = "network"
) -> Chances:
    """Return the chances that a group has 0, 1, ... dishonest members, as exact fractions.

    Members are drawn one after the other without replacement, each with a chance in proportion to its weight (protocol,
    "draw/2"). Every node has an owner of its own, since a coalition would not give two nodes the same (P5).

    Parameters
    ----------
    honest, dishonest
        Nodes of the pool that can be drawn together, together at least as many as a group has.
    group_size
        3, 5, 7 or 9.
    dishonest_weight
        The weight of one dishonest node, above 0; an honest one has 1.
    view
        ``network``: all groups. ``drawn``: groups that have a given dishonest node as a member, which is counted.

    Returns
    -------
    tuple of Fraction
        `group_size` + 1 numbers, whose sum is 1.

    Raises
    ------
    InvalidInputError
        For arguments outside their ranges; with ``drawn`` also without a dishonest node.
    """
    weight = _checked(honest, dishonest, group_size, dishonest_weight, view)
    found = [Fraction(1)]
    for taken in range(group_size):
        after = [Fraction(0)] * (taken + 2)
        for colluders, chance in enumerate(found):
            others = honest - (taken - colluders)
            rest = weight * (dishonest - colluders)
            if chance:  # of what cannot be, numbers of nodes are negative
                after[colluders] += chance * others / (others + rest)
                after[colluders + 1] += chance * rest / (others + rest)
        found = after
    if view == "network":
        return tuple(found)
    mean = sum(colluders * chance for colluders, chance in enumerate(found))
    return tuple(colluders * chance / mean for colluders, chance in enumerate(found))


def collusion_probability(
    honest: int, dishonest: int, *, group_size: int = 3, dishonest_weight: Number = 1, view: View = "drawn"
) -> float:
    """Return the chance p that colluders are a quorum of a group.

    Parameters
    ----------
    honest, dishonest, group_size, dishonest_weight
        As for `colluder_chances`.
    view
        ``drawn``: the groups that have a given dishonest node as a member; for groups of three and equal weights
        1 - C(h,2) / C(h+d-1,2). ``network``: all groups; (C(d,2) h + C(d,3)) / C(h+d,3), as on the live network. A node
        knows that it is in a group when it decides to cheat, so ``drawn`` is the right one for a stake.

    Raises
    ------
    InvalidInputError
        For numbers of nodes that are not integers, negative, or too few for a group; with ``drawn`` also without a
        dishonest node.
    """
    chances = colluder_chances(honest, dishonest, group_size=group_size, dishonest_weight=dishonest_weight, view=view)
    return float(sum(chances[_quorum(group_size) :]))


@dataclass(frozen=True)
class Quorums:
    """The chances of quorums in a group in which a colluder cheats.

    Parameters
    ----------
    p
        The chance that the colluders are a quorum.
    b
        The chance that they are not, but are one together with the honest members that are present.
    c
        The chance that the honest members that are present are a quorum.
    """

    p: Fraction
    b: Fraction
    c: Fraction


def quorums(
    honest: int, dishonest: int, group_size: int, dishonest_weight: Number, absent: Fraction, view: View
) -> Quorums:
    """Return the chances of quorums. Each honest member is absent with the chance `absent`, independent of the others.

    Colluders are never absent. In a group without a colluder, which only ``network`` counts, one member cheats alone.
    """
    chances = colluder_chances(honest, dishonest, group_size=group_size, dishonest_weight=dishonest_weight, view=view)
    return _quorums(chances, absent, cheats=1)


def quorums_beside(honest: int, dishonest: int, group_size: int, dishonest_weight: Number, absent: Fraction) -> Quorums:
    """Return the chances of quorums in groups that are drawn from the pool without one honest node."""
    others = max(honest - 1, 0)
    if others + dishonest < group_size:
        raise InvalidInputError(
            f"honest and dishonest are {honest + dishonest} nodes together; one node and a group need {group_size + 1}"
        )
    chances = colluder_chances(others, dishonest, group_size=group_size, dishonest_weight=dishonest_weight)
    return _quorums(chances, absent, cheats=0)


def _quorums(chances: Chances, absent: Fraction, *, cheats: int) -> Quorums:
    """Return the chances of quorums from those of the number of colluders; a group has at least so many cheats."""
    size = len(chances) - 1
    quorum = _quorum(size)
    b = c = Fraction(0)
    for colluders, chance in enumerate(chances[:quorum]):
        together = max(colluders, cheats)
        present = _binomial(size - together, 1 - absent)
        b += chance * sum(present[quorum - together :])
        c += chance * sum(present[quorum:])
    return Quorums(sum(chances[quorum:], Fraction(0)), b, c)


def _binomial(trials: int, chance: Fraction) -> Chances:
    """For each number of successes its chance."""
    return tuple(comb(trials, at) * chance**at * (1 - chance) ** (trials - at) for at in range(trials + 1))


def _quorum(group_size: int) -> int:
    return (group_size + 1) // 2


def _checked(honest: int, dishonest: int, group_size: int, dishonest_weight: Number, view: View) -> Fraction:
    """Check the numbers of a pool, and return the weight of a dishonest node."""
    for name, value in (("honest", honest), ("dishonest", dishonest)):
        check_integer(value, name, 0, MAX_NODES)
    check_group_size(group_size)
    weight = exact(dishonest_weight, "dishonest_weight")
    if not weight:
        raise InvalidInputError(
            f"dishonest_weight is {shorten(dishonest_weight)}; expected more than 0: other nodes are never drawn"
        )
    if view not in VIEWS:
        raise InvalidInputError(f"view is {shorten(view)}; expected one of {', '.join(VIEWS)}")
    nodes = honest + dishonest
    if nodes < group_size:
        raise InvalidInputError(f"honest and dishonest are {nodes} nodes together; a group needs {group_size}")
    if view == "drawn" and not dishonest:
        raise InvalidInputError(
            "dishonest is 0; expected at least 1, since the cheat is one of them: or give view='network'"
        )
    return weight
