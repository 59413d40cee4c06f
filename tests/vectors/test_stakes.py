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


@each("audited-stakes")
def test_audited_stake(vector: Vector) -> None:
    """By what becomes of a node in each case; fee and stake are the solution of two equations, gains that of one."""
    given, terms = vector["given"], vector["given"]["audits"]
    k, r = Fraction(given["price"]), Fraction(given["sampling_rate"])
    d = Fraction(terms["detection"]) if terms["detection"] else 1 - (1 - Fraction(terms["cheated"])) ** terms["steps"]
    a, m = Fraction(terms["false_alarms"]), Fraction(terms["saves"])
    e, x, y, v = after_an_accusation(given, d)
    for name, value in {"d": d, "a": a, "e": e, "x": x, "y": y, "v": v}.items():
        assert float(vector[name]) == float(value), name
    cheat, honest = (1 - r * d * (1 - e), r * d * x), (1 - r * a * (1 - v), r * a * y)
    part, bound = Fraction(given["slash_ppm"], 10**6), given["slash_per_fee"]
    w: Fraction | float
    slash: Fraction | float
    w, slash = fee_and_slash(cheat, honest, k, (1 - m) * k)
    assert (float(vector["fee"]), float(vector["slash"])) == (float(w), float(slash))
    enough = bound is None or slash <= bound * w
    assert float(vector["s"]) == float(slash / part if enough else math.inf)
    assert (vector["s"] == "infinity") == ("infinite" in vector["flags"])
    assert float(vector["per_fee"]) == (math.ceil(slash / w) if slash and w < math.inf else slash)
    groups = a * given["group_size"] if terms["then"] == "group" else 0
    assert float(vector["cost"]) == float(w + r * k * (Fraction(terms["cost"]) + groups))
    for stake, gain in vector["gains"].items():
        taken = Fraction(stake) * part
        if not honest[0]:
            assert gain == "infinity"
            continue
        fee = (k + honest[1] * taken) / honest[0]
        if bound is not None and taken > bound * fee:
            fee = k / (honest[0] - honest[1] * bound)
            taken = bound * fee
        assert honest[0] * fee - honest[1] * taken == k
        assert float(gain) == float(cheat[0] * fee - cheat[1] * taken - (1 - m) * k)


def after_an_accusation(given: Vector, d: Fraction) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """That a cheat is paid after all, and slashed; that an honest node is slashed, and paid after all."""
    terms = given["audits"]
    if terms["then"] == "slash":
        return Fraction(0), Fraction(1), Fraction(1), Fraction(0)
    g = d if terms["confirms"] is None else Fraction(terms["confirms"])
    h = Fraction(1) if terms["confirms_falsely"] is None else Fraction(terms["confirms_falsely"])
    p, b, c = quorums(given | {"view": "drawn"})
    others = quorums(given | {"view": "network", "honest": given["honest"] - 1}, cheats=0)
    return p + b * (1 - g), c * g, others[0] + others[1] * h, others[2] * (1 - h)


def fee_and_slash(
    cheat: tuple[Fraction, Fraction], honest: tuple[Fraction, Fraction], k: Fraction, work: Fraction
) -> tuple[Fraction | float, Fraction | float]:
    """Solve: an honest node keeps k, a cheat what its work is worth; each is paid and slashed so often."""
    if not k:
        return k, k
    if honest[0] and cheat[0] * k <= work * honest[0]:  # by its pay alone it keeps no more
        return k / honest[0], Fraction(0)
    # Of w and l: honest[0] w - honest[1] l = k, cheat[0] w - cheat[1] l = work; by Cramer's rule.
    determinant = honest[1] * cheat[0] - honest[0] * cheat[1]
    if determinant >= 0:
        return math.inf, math.inf
    w, slash = (honest[1] * work - cheat[1] * k) / determinant, (honest[0] * work - cheat[0] * k) / determinant
    return w, slash


def quorums(given: Vector, cheats: int = 1) -> tuple[Fraction, Fraction, Fraction]:
    """That colluders are a quorum; that they are none, but with the honest who are there; that the honest are one.

    A group has at least so many cheats. Every order in which honest and dishonest members can be drawn, and every
    honest member there or not.
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
        together = max(colluders, cheats)
        for there in range(size - together + 1):
            away = size - together - there
            this = chance * comb(size - together, there) * (1 - absent) ** there * absent**away
            b += this if together + there >= quorum else 0
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
