"""Stakes, in exact fractions."""

import itertools
import math
from fractions import Fraction
from math import comb

import pytest

from tests.vectors.reading import Vector, each, load


@each("stakes")
def test_stake(vector: Vector) -> None:
    given = vector["given"]
    k, r = Fraction(given["price"]), Fraction(given["sampling_rate"])
    p, b, c = quorums(given)
    f, near = chances(given)
    e, x = p + b * f, c * (1 - near)
    unpunished = k * (1 - r + r * e)
    for name, value in {"p": p, "b": b, "c": c, "f": f, "e": e, "x": x}.items():
        assert float(vector[name]) == float(value), name
    part = Fraction(given["slash_ppm"], 10**6)
    bound = math.inf if given["slash_per_fee"] is None else given["slash_per_fee"] * k
    slash: Fraction | float = unpunished / (r * x) if x else 0 if not unpunished else math.inf
    assert float(vector["slash"]) == float(slash)
    assert float(vector["s"]) == float(slash / part if slash <= bound else math.inf)
    assert (vector["s"] == "infinity") == ("infinite" in vector["flags"])
    per_fee = math.ceil(slash / k) if k and slash < math.inf else slash
    assert float(vector["per_fee"]) == (per_fee if per_fee <= 2**31 else math.inf)
    for stake, gain in vector["gains"].items():
        assert float(gain) == float((1 - r) * k + r * (e * k - x * min(Fraction(stake) * part, bound)))


def quorums(given: Vector) -> tuple[Fraction, Fraction, Fraction]:
    """That colluders are a quorum; that they are none, but with the honest who are there; that the honest are one.

    Every order in which honest and dishonest members can be drawn, and every honest member there or not.
    """
    size, quorum = given["group_size"], given["group_size"] // 2 + 1
    absent, weight = Fraction(given["absent"]), Fraction(given["dishonest_weight"])
    p = b = c = total = Fraction(0)
    for order in itertools.product("hd", repeat=size):
        weights = {"h": Fraction(given["honest"]), "d": given["dishonest"] * weight}
        chance = Fraction(1)
        for member in order:
            left = sum(weights.values())
            chance *= max(weights[member], Fraction(0)) / left if left else 0
            weights[member] -= 1 if member == "h" else weight
        colluders = order.count("d")
        chance *= colluders if given["view"] == "drawn" else 1
        total += chance
        if colluders >= quorum:
            p += chance
            continue
        cheats = max(colluders, 1)
        for there in range(size - cheats + 1):
            away = size - cheats - there
            this = chance * comb(size - cheats, there) * (1 - absent) ** there * absent**away
            b += this if cheats + there >= quorum else 0
            c += this if there >= quorum else 0
    return p / total, b / total, c / total


def chances(given: Vector) -> tuple[Fraction, Fraction]:
    """That a counterfeit agrees, and that it is not far enough to be slashed: of all of a task's pictures."""
    at = given["threshold"]
    if at is None:
        return Fraction(0), Fraction(0)
    slash = given["slash_threshold"] or max(24, at)
    if given["source"] == "binomial":
        below = [Fraction(sum(comb(64, bits) for bits in range(limit)), 2**64) for limit in (at, slash)]
    else:
        table = {2: "0.00223", 14: "0.00228", 16: "0.00238", 20: "0.00433", 24: "0.02503", 32: "0.47772", 46: "1"}
        below = [Fraction(table[limit + limit % 2]) for limit in (at, slash)]
    return below[0] ** given["images"], below[1] ** given["images"]


def test_the_protocols_worked_examples_are_vectors() -> None:
    stakes = {vector["id"]: float(vector["s"]) for vector in load("stakes")}
    for name, s in (("live-1", 9.2647), ("live-2", 110.2411), ("live-3", 332.3333)):
        assert stakes[f"stake/{name}"] == pytest.approx(s, abs=5e-5)
    for name, s in (("drawn-1", 11.11), ("drawn-2", 152.5), ("drawn-3", 599), ("photographs-24", 11.42)):
        assert stakes[f"stake/{name}"] == pytest.approx(s, rel=5e-4)
