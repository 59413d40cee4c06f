"""Stakes, in exact fractions."""

from fractions import Fraction
from math import comb

import pytest

from tests.vectors.reading import Vector, each, load


@each("stakes")
def test_stake(vector: Vector) -> None:
    given = vector["given"]
    h, d, k, r = given["honest"], given["dishonest"], Fraction(given["price"]), Fraction(given["sampling_rate"])
    if given["view"] == "network":
        p = Fraction(comb(d, 2) * h + comb(d, 3), comb(h + d, 3))
    else:
        p = 1 - Fraction(comb(h, 2), comb(h + d - 1, 2))
    f, near = chances(given)
    e, x = p + (1 - p) * f, (1 - p) * (1 - near)
    unpunished = k * (1 - r + r * e)
    for name, value in {"p": p, "f": f, "e": e, "x": x}.items():
        assert float(vector[name]) == float(value), name
    assert float(vector["s"]) == (float(unpunished / (r * x)) if x else 0.0 if not unpunished else float("inf"))
    assert (vector["s"] == "infinity") == ("infinite" in vector["flags"])
    for stake, gain in vector["gains"].items():
        assert float(gain) == float((1 - r) * k + r * (e * k - x * Fraction(stake)))


def chances(given: Vector) -> tuple[Fraction, Fraction]:
    """That a counterfeit agrees, and that it is not far enough to be slashed: of all of a task's pictures."""
    at = given["threshold"]
    if at is None:
        return Fraction(0), Fraction(0)
    slash = given["slash_threshold"] or max(24, at)
    if given["source"] == "binomial":
        below = [Fraction(sum(comb(64, bits) for bits in range(limit)), 2**64) for limit in (at, slash)]
    else:
        table = {10: "6e-8", 12: "2.8e-7", 16: "2.2e-5", 20: "9.5e-4", 24: "1.76e-2"}
        below = [Fraction(next(rate for measured, rate in table.items() if limit <= measured)) for limit in (at, slash)]
    return below[0] ** given["images"], below[1] ** given["images"]


def test_the_protocols_worked_examples_are_vectors() -> None:
    stakes = {vector["id"]: float(vector["s"]) for vector in load("stakes")}
    for name, s in (("live-1", 9.2647), ("live-2", 110.2411), ("live-3", 332.3333)):
        assert stakes[f"stake/{name}"] == pytest.approx(s, abs=5e-5)
    for name, s in (("drawn-1", 11.11), ("drawn-2", 152.5), ("drawn-3", 599), ("measured-24", 11.33)):
        assert stakes[f"stake/{name}"] == pytest.approx(s, rel=5e-4)
