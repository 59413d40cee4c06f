"""The inequality, for a pool of very many nodes: every member is the coalition's with its share of the weight."""

from fractions import Fraction
from math import comb


def members(size: int, share: Fraction) -> list[Fraction]:
    """The chance of 0, 1, ... `size` members of the coalition."""
    return [comb(size, m) * share**m * (1 - share) ** (size - m) for m in range(size + 1)]


def outvoted(size: int, share: Fraction) -> Fraction:
    """How many honest members of a group are outvoted, on average."""
    chance = members(size, share)
    return sum((chance[m] * (size - m) for m in range(size // 2 + 1, size + 1)), Fraction(0))


def without_quorum(size: int, share: Fraction) -> Fraction:
    """The chance that the coalition has no quorum."""
    return sum(members(size, share)[: size // 2 + 1], Fraction(0))


def cheapest_cost(size: int, share: Fraction, no_quorum: Fraction) -> Fraction:
    """What a group costs the coalition at least, on average, in shares of the fee.

    Where it has no quorum it loses `no_quorum` of the fee, if honest nodes cannot agree on the task; if they can, each
    of them gets a share.
    """
    chance = members(size, share)
    agree = sum((chance[m] * (size - m) for m in range(size // 2 + 1)), Fraction(0))
    return min(no_quorum * size * without_quorum(size, share), agree)


def largest_slash(size: int, share: Fraction, no_quorum: Fraction) -> Fraction:
    """The `slash_per_fee` at which burning costs as much as it burns; above it, it costs less."""
    return cheapest_cost(size, share, no_quorum) / outvoted(size, share)
