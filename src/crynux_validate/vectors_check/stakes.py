"""Vectors of stakes: what makes a cheat a loss (``docs/stakes.md``, ``docs/audit-or-group.md``)."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

from crynux_validate.stakes import AuditTerms, expected_gain, required_stake
from crynux_validate.vectors_check.files import Vector

DECIMALS: Final = ("sampling_rate", "price", "dishonest_weight", "absent")
"""What is given as a decimal string."""

CHANCES: Final = ("detection", "cheated", "false_alarms", "cost", "confirms", "confirms_falsely", "saves")
"""What is given of audits as a decimal string, or null."""

PARTS: Final = ("p", "b", "c", "f", "e", "x", "s", "slash")
AUDITED_PARTS: Final = ("d", "a", "e", "x", "y", "v", "s", "slash", "fee", "cost")
"""The numbers of a required stake."""


def stake(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The required stake with its parts, and what a counterfeit gains with other stakes."""
    return _numbers(vector, {}, PARTS)


def audited(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The same of one node that is audited."""
    terms = dict(vector.content["given"]["audits"])
    terms |= {name: Fraction(terms[name]) for name in CHANCES if terms[name] is not None}
    return _numbers(vector, {"audits": AuditTerms(**terms)}, AUDITED_PARTS)


def _numbers(vector: Vector, audits: dict[str, AuditTerms], parts: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    said = vector.content
    given = said["given"] | {name: Fraction(said["given"][name]) for name in DECIMALS} | audits
    tolerance = Fraction(said["tolerance"])
    required = required_stake(**given)
    for name in parts:
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
