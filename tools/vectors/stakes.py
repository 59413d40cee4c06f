"""Vectors of stakes, of groups and of audited nodes."""

import math
from fractions import Fraction
from typing import Any

from tools.vectors.common import Vector, vector

import crynux_validate as cv
from crynux_validate.vectors_check.stakes import AUDITED_PARTS, CHANCES, DECIMALS


def stake_vectors() -> list[Vector]:
    """Required stakes with their parts, and what a counterfeit gains with other stakes; decimal strings."""
    live: dict[str, Any] = {"threshold": None, "view": "network"}
    drawn: dict[str, Any] = {"threshold": None}
    cases: list[tuple[str, str, int, int, dict[str, Any]]] = [
        ("live-1", "the live network's first example: s = 9.2647", 90, 10, live | {"sampling_rate": "0.1"}),
        ("live-2", "its second: s = 110.2411", 80, 20, live | {"sampling_rate": "0.01"}),
        ("live-3", "its third: s = 332.3333", 2, 3, live | {"sampling_rate": "0.01"}),
        ("drawn-1", "the first as a node sees it that is drawn: s = 11.11", 90, 10, drawn | {"sampling_rate": "0.1"}),
        ("drawn-2", "the second: s = 152.5", 80, 20, drawn | {"sampling_rate": "0.01"}),
        ("drawn-3", "the third: s = 599 exactly", 2, 3, drawn | {"sampling_rate": "0.01"}),
        ("photographs-24", "a counterfeit that agrees by chance: s = 11.42", 90, 10,
         {"threshold": 24, "sampling_rate": "0.1"}),
        ("photographs-1", "no pair of photographs had one hash, and the chance is above 0", 90, 10, {"threshold": 1}),
        ("photographs-32", "a counterfeit agrees about every second time", 90, 10, {"threshold": 32}),
        ("photographs-46", "photographs do not say that a counterfeit is ever slashed: no stake helps", 90, 10,
         {"threshold": 46}),
        ("defaults", "threshold 16, slashed from 24 on, every task validated", 90, 10, {}),
        ("slash-threshold", "slashed from the threshold on", 90, 10, {"threshold": 20, "slash_threshold": 20}),
        ("between", "13 counts as 14: distances are even", 90, 10, {"threshold": 13}),
        ("images", "three independent pictures", 90, 10, {"threshold": 24, "images": 3}),
        ("binomial", "64 tosses of a fair coin", 90, 10, {"threshold": 32, "source": "binomial"}),
        ("binomial-64", "almost anything agrees: large, not infinite", 90, 10,
         {"threshold": 64, "source": "binomial"}),
        ("price", "the stake has the unit of the price", 50, 5, {"price": "12.5", "sampling_rate": "0.25"}),
        ("no-honest", "nobody can disagree: no stake helps", 0, 5, {}),
        ("one-honest", "two colluders are in every group: no stake helps", 1, 5, {}),
        ("free", "nothing is gained, no stake is needed", 1, 5, {"price": "0"}),
        ("no-collusion", "one dishonest node in the live network's count", 9, 1, live),
        ("weight", "a coalition with four times the stake of others: 4.3 times the stake", 90, 10,
         {"threshold": 24, "dishonest_weight": "4"}),
        ("light", "dishonest nodes of a fifth of the weight", 60, 30, {"dishonest_weight": "0.2", "group_size": 7}),
        ("absent", "a tenth of the honest absent: 23% more", 90, 10, {"absent": "0.1"}),
        ("size-5", "three of five are a quorum", 80, 20, {"group_size": 5}),
        ("size-9", "five of nine, where absence and weight matter as well", 80, 20,
         {"group_size": 9, "dishonest_weight": "2.5", "absent": "0.25", "threshold": 28, "source": "binomial"}),
        ("network-5", "the share of all groups of five with three colluders", 80, 20,
         {"group_size": 5, "dishonest_weight": "4", "absent": "0.1", "view": "network"}),
        ("one-honest-of-five", "the honest are never a quorum", 2, 5, {"group_size": 5}),
        ("nobody-there", "all of the honest are absent", 90, 10, {"absent": "1"}),
        ("ppm", "a slash takes a quarter of the stake", 80, 20, {"slash_ppm": 250_000, "price": "3"}),
        ("bound", "a slash may take enough", 80, 20, {"slash_per_fee": 20, "sampling_rate": "0.1", "price": "3"}),
        ("bound-low", "a slash may not take enough, though a policy can ask for it", 80, 20,
         {"slash_per_fee": 10, "sampling_rate": "0.1", "price": "3"}),
        ("bound-zero", "a slash takes nothing", 80, 20, {"slash_per_fee": 0}),
    ]  # fmt: skip
    vectors = []
    for name, why, honest, dishonest, changes in cases:
        given = {
            "honest": honest, "dishonest": dishonest, "threshold": 16, "slash_threshold": None, "images": 1,
            "sampling_rate": "1", "price": "1", "source": "photographs", "view": "drawn", "group_size": 3,
            "dishonest_weight": "1", "absent": "0", "slash_ppm": 1_000_000, "slash_per_fee": None,
        } | changes  # fmt: skip
        exact = given | {name: Fraction(given[name]) for name in DECIMALS}
        required = cv.required_stake(**exact)
        gains = {stake: cv.expected_gain(Fraction(stake), **exact).gain for stake in ("0", "1", "1000")}
        vectors.append(
            vector(
                f"stake/{name}",
                why,
                ["infinite"] if math.isinf(required.s) else [],
                given=given,
                tolerance="1e-12",
                **{part: decimal(getattr(required, part)) for part in ("p", "b", "c", "f", "e", "x", "s", "slash")},
                per_fee="infinity" if math.isinf(required.slash_per_fee) else required.slash_per_fee,
                gains={stake: decimal(gain) for stake, gain in gains.items()},
            )
        )
    return vectors


def audited_stake_vectors() -> list[Vector]:
    """Stakes of one node that is audited, with their parts, and what a cheat gains with other stakes."""
    alone: dict[str, Any] = {"detection": "0.9"}
    group: dict[str, Any] = alone | {"then": "group"}
    cases: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("alone", "the auditor decides, and accuses nobody honest: l = k (1 - r d) / (r d)", {}, alone),
        ("steps", "five drawn steps, half of them cheated, an audit costs three tenths", {},
         {"steps": 5, "cheated": "0.5", "false_alarms": "0.0003", "cost": "0.3"}),
        ("one-step", "one false step of 25: copied from another run of the prompt", {},
         {"steps": 5, "cheated": "0.04", "false_alarms": "0.0003"}),
        ("false-alarms", "w = k d / (d - a), l = k (1 - r d) / (r (d - a))", {}, alone | {"false_alarms": "0.05"}),
        ("no-better", "an honest node fares no better: no stake helps", {}, alone | {"false_alarms": "0.9"}),
        ("never-found", "no stake helps, and none is lost", {}, {"detection": "0", "false_alarms": "0"}),
        ("every-task", "a cheat that is always found is never paid: no stake is needed", {"sampling_rate": "1"},
         {"detection": "1", "false_alarms": "0.25"}),
        ("all-accused", "no fee leaves an honest node anything", {"sampling_rate": "1"},
         {"detection": "1", "false_alarms": "1"}),
        ("saves", "the cheat does four fifths of the work", {},
         alone | {"false_alarms": "0.02", "saves": "0.2"}),
        ("saves-little", "what it is not paid deters it", {"sampling_rate": "0.5"}, alone | {"saves": "0.01"}),
        ("free", "nothing is gained, no stake is needed", {"price": "0"}, alone),
        ("price", "the stake has the unit of the price", {"price": "12.5"}, alone | {"false_alarms": "0.01"}),
        ("ppm", "a slash takes a quarter of the stake", {"slash_ppm": 250_000}, alone),
        ("bound", "a slash may take enough", {"slash_per_fee": 20}, alone | {"false_alarms": "0.05"}),
        ("bound-low", "a slash may not take enough, and honest nodes lose less by it", {"slash_per_fee": 5},
         alone | {"false_alarms": "0.05"}),
        ("bound-zero", "a slash takes nothing", {"slash_per_fee": 0}, alone),
        ("group", "a group decides, with nothing known of it", {}, group | {"false_alarms": "0.05"}),
        ("group-measured", "honest members acquit the honest, and find most cheats again", {"sampling_rate": "1"},
         group | {"false_alarms": "0.2", "confirms": "0.8", "confirms_falsely": "0.1"}),
        ("group-never", "honest members find the cheat never: no stake helps", {}, group | {"confirms": "0"}),
        ("group-5", "five members, some heavy colluders, some of the honest absent",
         {"honest": 70, "dishonest": 30, "group_size": 5, "dishonest_weight": "2.5", "absent": "0.2",
          "sampling_rate": "0.5"},
         {"steps": 10, "cheated": "0.3", "false_alarms": "0.1", "cost": "0.5", "then": "group",
          "confirms_falsely": "0.25", "saves": "0.6"}),
        ("group-nobody-there", "all of the honest are absent, and colluders acquit their own", {"absent": "1"}, group),
    ]  # fmt: skip
    return [_audited(f"audited-stake/{name}", why, pool, terms) for name, why, pool, terms in cases]


def _audited(name: str, why: str, pool: dict[str, Any], terms: dict[str, Any]) -> Vector:
    audits: dict[str, Any] = {
        "detection": None, "steps": None, "cheated": None, "false_alarms": "0", "cost": "1", "then": "slash",
        "confirms": None, "confirms_falsely": None, "saves": "1",
    } | terms  # fmt: skip
    given: dict[str, Any] = {
        "honest": 90, "dishonest": 10, "group_size": 3, "dishonest_weight": "1", "absent": "0", "sampling_rate": "0.1",
        "price": "1", "slash_ppm": 1_000_000, "slash_per_fee": None,
    } | pool  # fmt: skip
    exact = given | {part: Fraction(given[part]) for part in DECIMALS}
    exact["audits"] = cv.stakes.AuditTerms(
        **audits | {part: Fraction(audits[part]) for part in CHANCES if audits[part] is not None}
    )
    required = cv.required_stake(**exact)
    gains = {stake: cv.expected_gain(Fraction(stake), **exact).gain for stake in ("0", "1", "1000")}
    return vector(
        name,
        why,
        ["infinite"] if math.isinf(required.s) else [],
        given=given | {"audits": audits},
        tolerance="1e-12",
        **{part: decimal(getattr(required, part)) for part in AUDITED_PARTS},
        per_fee="infinity" if math.isinf(required.slash_per_fee) else required.slash_per_fee,
        gains={stake: decimal(gain) for stake, gain in gains.items()},
    )


def decimal(value: float) -> str:
    """The shortest decimal that is read back as this float64."""
    return "infinity" if math.isinf(value) else repr(float(value))
