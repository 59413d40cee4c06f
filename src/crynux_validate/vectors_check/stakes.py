"""Vectors of stakes: what makes a counterfeit a loss (``docs/stakes.md``)."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from crynux_validate.stakes import expected_gain, required_stake
from crynux_validate.vectors_check.files import Vector


def stake(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The required stake with its parts, and what a counterfeit gains with other stakes."""
    said = vector.content
    decimals = ("sampling_rate", "price", "dishonest_weight", "absent")
    given = said["given"] | {name: Fraction(said["given"][name]) for name in decimals}
    tolerance = Fraction(said["tolerance"])
    required = required_stake(**given)
    for name in ("p", "b", "c", "f", "e", "x", "s", "slash"):
        yield name, _near(said[name], getattr(required, name), tolerance)
    yield "per_fee", "infinity" if required.slash_per_fee == math.inf else required.slash_per_fee
    gains = {stake: expected_gain(Fraction(stake), **given).gain for stake in said["gains"]}
    yield "gains", {stake: _near(said["gains"][stake], gain, tolerance) for stake, gain in gains.items()}


def _near(said: str, computed: float, tolerance: Fraction) -> str:
    """What the vector says, where the computed number is near enough; otherwise the computed number."""
    if said == "infinity" or computed == float("inf"):
        return "infinity" if computed == float("inf") else repr(computed)
    number = Fraction(said)
    return said if abs(Fraction(computed) - number) <= tolerance * abs(number) else repr(computed)
