"""From audits to odds to a stake (docs/audit-or-group.md)."""

import itertools
import json
import math
from fractions import Fraction
from math import comb
from typing import Any

import pytest
from benchmarks.audit_stakes import SETTINGS, TASKS, compare
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import expected_gain, required_stake
from crynux_validate.errors import InvalidInputError
from crynux_validate.stakes import AUDITS_PRESUPPOSE, MOST_PER_FEE, AuditedGain, AuditedStake, AuditTerms, Fates
from crynux_validate.stakes.audits import ALONE, fates
from crynux_validate.stakes.groups import quorums_beside

POOL: dict[str, Any] = {"honest": 90, "dishonest": 10, "sampling_rate": 0.1}


def audited(rules: dict[str, Any] | None = None, **terms: Any) -> AuditedStake:
    found = required_stake(**POOL | (rules or {}), audits=AuditTerms(**{"false_alarms": 0} | terms))
    assert isinstance(found, AuditedStake)
    return found


def gains(stake: float, rules: dict[str, Any] | None = None, **terms: Any) -> AuditedGain:
    found = expected_gain(stake, **POOL | (rules or {}), audits=AuditTerms(**{"false_alarms": 0} | terms))
    assert isinstance(found, AuditedGain)
    return found


chances = st.fractions(0, 1, max_denominator=1_000)
rates = st.fractions(Fraction(1, 1_000), 1, max_denominator=1_000)
few = st.fractions(0, Fraction(1, 2), max_denominator=1_000)
"""Of honest nodes that are accused; beyond a half, more audits drive honest nodes away sooner than cheats."""

pools = st.fixed_dictionaries(
    {
        "honest": st.integers(6, 60),
        "dishonest": st.integers(5, 40),
        "group_size": st.sampled_from((3, 5, 7)),
        "dishonest_weight": st.fractions(Fraction(1, 10), 10, max_denominator=20),
        "absent": st.fractions(0, Fraction(1, 2), max_denominator=20),
        "sampling_rate": rates,
    }
)
decisions = st.one_of(
    st.just({"then": "slash"}),
    st.fixed_dictionaries({"then": st.just("group"), "confirms": chances, "confirms_falsely": chances}),
    st.just({"then": "group"}),
)
found_by = st.one_of(
    st.fixed_dictionaries({"detection": chances}),
    st.fixed_dictionaries({"steps": st.integers(1, 12), "cheated": chances}),
)


@given(rates, chances, few, st.fractions(0, 100, max_denominator=100))
def test_the_auditor_alone_is_the_closed_form(r: Fraction, d: Fraction, a: Fraction, k: Fraction) -> None:
    found = audited({"sampling_rate": r, "price": k}, detection=d, false_alarms=a)
    if not k:
        assert (found.s, found.fee) == (0, 0), "nothing to gain"
    elif r * d == 1 > a:
        assert (found.s, found.fee) == (0, float(k / (1 - a))), "a cheat is never paid"
    elif d <= a:
        assert found.s == found.fee == found.cost == found.slash == math.inf
    else:
        assert found.s == float(k * (1 - r * d) / (r * (d - a)))
        assert found.fee == float(k * d / (d - a))


@given(pools, found_by, few, decisions, rates)
def test_a_cheat_keeps_no_more_than_its_work_is_worth_and_an_honest_node_the_price(
    pool: dict[str, Any], terms: dict[str, Any], a: Fraction, then: dict[str, Any], saves: Fraction
) -> None:
    """Both equations, by what becomes of a node; and one unit of stake less lets the cheat gain."""
    found = audited(pool, **terms, **then, false_alarms=a, saves=saves)
    r = float(pool["sampling_rate"])
    for chance in (found.d, found.a, found.e, found.x, found.y, found.v):
        assert 0 <= chance <= 1
    assert found.e + found.x <= 1 + 1e-12
    assert found.y + found.v <= 1 + 1e-12
    if found.s == math.inf:
        return

    def keeps(rate: float, paid: float, slashed: float, stake: float) -> float:
        return (1 - r * rate * (1 - paid)) * found.fee - r * rate * slashed * stake

    work = float(1 - saves)
    scale = 1e-9 * (1 + found.s + found.fee)
    assert keeps(found.a, found.v, found.y, found.s) == pytest.approx(1, abs=scale)
    cheat = keeps(found.d, found.e, found.x, found.s)
    if found.s:
        assert cheat == pytest.approx(work, abs=scale)
        assert keeps(found.d, found.e, found.x, 0.9 * found.s) > work - scale
    else:
        assert cheat <= work + scale


@given(pools, found_by, few, decisions, rates, st.fractions(0, 3, max_denominator=20))
def test_a_cheat_gains_nothing_at_the_required_stake_and_less_beyond_it(
    pool: dict[str, Any], terms: dict[str, Any], a: Fraction, then: dict[str, Any], saves: Fraction, times: Fraction
) -> None:
    """With any stake an honest node keeps the price; the gain is 0 at the required stake, and falls with the stake."""
    needed = audited(pool, **terms, **then, false_alarms=a, saves=saves)
    stake = float(times) * (10 if needed.s == math.inf else needed.s)
    found = gains(stake, pool, **terms, **then, false_alarms=a, saves=saves)
    r, scale = float(pool["sampling_rate"]), 1e-9 * (1 + stake + found.fee)
    assert (1 - r * found.a * (1 - found.v)) * found.fee - r * found.a * found.y * stake == pytest.approx(1, abs=scale)
    cheat = (1 - r * found.d * (1 - found.e)) * found.fee - r * found.d * found.x * stake - float(1 - saves)
    assert found.gain == pytest.approx(cheat, abs=scale)
    if needed.s == math.inf:
        assert found.gain > -scale, "no stake helps"
    elif times >= 1:
        assert found.gain <= scale
    elif needed.s:
        assert found.gain >= -scale
    if 0 < needed.s < math.inf:
        at = gains(needed.s, pool, **terms, **then, false_alarms=a, saves=saves)
        assert at.gain == pytest.approx(0, abs=1e-9 * (1 + needed.s + needed.fee))
        assert at.fee == pytest.approx(needed.fee)


def test_gains_by_hand() -> None:
    plain = gains(5, detection=0.9)
    assert (plain.gain, plain.fee, plain.slash) == (0.46, 1, 5), "0.91 - 0.09 * 5"
    assert gains(5, detection=0.9, saves=0.25).gain == pytest.approx(0.46 - 0.75), "it does the rest of the work"
    rules = {"sampling_rate": 0.5, "slash_ppm": 500_000}
    alarmed = gains(8, rules, detection=0.9, false_alarms=0.1)
    assert alarmed.fee == pytest.approx((1 + 0.05 * 4) / 0.95), "an honest node loses a slash of 4 in a twentieth"
    assert alarmed.gain == pytest.approx(0.55 * alarmed.fee - 0.45 * 4)
    bounded = gains(8, rules | {"slash_per_fee": 2}, detection=0.9, false_alarms=0.1)
    assert bounded.fee == pytest.approx(1 / (0.95 - 0.05 * 2)), "a slash takes two fees"
    assert bounded.slash == bounded.bound == pytest.approx(2 * bounded.fee)
    assert bounded.gain == pytest.approx((0.55 - 0.45 * 2) * bounded.fee)
    assert gains(8, rules | {"slash_per_fee": 9}, detection=0.9, false_alarms=0.1).gain == alarmed.gain
    assert gains(10**9, {"slash_per_fee": 0}, detection=1).gain == pytest.approx(0.9), "nothing is ever taken"


def test_where_no_fee_leaves_an_honest_node_anything() -> None:
    found = gains(1, {"sampling_rate": 1}, detection=1, false_alarms=1)
    assert (found.fee, found.gain) == (math.inf, math.inf)
    assert json.loads(json.dumps(found.to_dict()))["gain"] == "infinity"
    assert gains(0, {"sampling_rate": 1, "price": 0}, detection=1, false_alarms=1).gain == 0, "nothing to gain"


def test_a_gain_in_words() -> None:
    said = str(gains(5, detection=0.9))
    assert said.startswith("expected gain 0.46 with a stake of 5, of which a slash takes 5\n")
    assert all(each in said for each in AUDITS_PRESUPPOSE)
    assert "the fee of a task" in said


@given(pools, chances, few, decisions, rates, chances)
def test_what_helps_the_cheat_raises_the_stake(
    pool: dict[str, Any], d: Fraction, a: Fraction, then: dict[str, Any], saves: Fraction, far: Fraction
) -> None:
    terms: dict[str, Any] = {**then, "detection": d, "false_alarms": a, "saves": saves}
    found = audited(pool, **terms)
    r = pool["sampling_rate"]
    worse: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"detection": d * far}),
        ({}, {"false_alarms": a + (Fraction(1, 2) - a) * far}),
        ({}, {"saves": saves + (1 - saves) * far}),
        ({"sampling_rate": max(r * far, Fraction(1, 1_000_000))}, {}),
    ]
    if terms["then"] == "group":
        worse += [({"dishonest": 41}, {})]
    if "confirms" in then:
        falsely = then["confirms_falsely"]
        worse += [
            ({}, {"confirms": then["confirms"] * far}),
            ({}, {"confirms_falsely": falsely + (1 - falsely) * far}),
        ]
    for rules, changes in worse:
        assert audited(pool | rules, **terms | changes).s >= found.s * (1 - 1e-12), (rules, changes)
    away = {"absent": pool["absent"] + (1 - pool["absent"]) * far}
    whole = terms | {"saves": 1, "false_alarms": 0}  # else the cheat can lose more by its pay than a slash would take
    assert audited(pool | away, **whole).s >= audited(pool, **whole).s * (1 - 1e-12)
    for name in ("false_alarms", "cost"):
        dearer = audited(pool, **terms | {name: 1 if name == "cost" else a + (Fraction(1, 2) - a) * far})
        assert dearer.cost >= audited(pool, **{"cost": Fraction(1, 2)} | terms).cost * (1 - 1e-12)


@given(pools, decisions)
def test_without_a_chance_to_be_found_no_stake_helps(pool: dict[str, Any], then: dict[str, Any]) -> None:
    for terms in ({"detection": 0}, {"steps": 5, "cheated": 0}):
        found = audited(pool, **terms, **then)
        assert found.s == found.slash == found.stake_per_fee == math.inf
        assert "never slashed" in str(found)
    nearly = audited(pool | {"sampling_rate": Fraction(1, 10**9)}, detection=1, **then | {"confirms": None})
    assert nearly.s > 10**8, "without audits it is infinite"
    with pytest.raises(InvalidInputError, match="sampling_rate is 0"):
        audited(pool | {"sampling_rate": 0}, detection=1)


def test_the_limits() -> None:
    sure = audited({"sampling_rate": 1}, detection=1)
    assert (sure.s, sure.fee, sure.cost, sure.stake_per_fee) == (0, 1, 2, 0), "a cheat is never paid"
    free = audited({"sampling_rate": 0.5}, detection=1, cost=0)
    assert (free.s, free.fee, free.cost) == (1, 1, 1)
    alike = audited(detection=0.3, false_alarms=0.3)
    assert alike.s == alike.fee == alike.cost == math.inf
    assert "fares no better than the cheat" in str(alike)
    assert audited({"sampling_rate": 1}, detection=1, false_alarms=1).s == math.inf
    assert audited({"price": 0}, detection=0).s == 0, "nothing to gain"


def test_a_group_that_only_repeats_the_auditor_is_the_auditor() -> None:
    """Where all are honest and there, and find what the auditor found."""
    pool = {"honest": 60, "dishonest": 1, "sampling_rate": 0.25}
    for a in (0, 0.01, 0.2):
        alone = audited(pool, detection=0.9, false_alarms=a)
        group = audited(pool, detection=0.9, false_alarms=a, then="group", confirms=1)
        assert (group.s, group.fee) == (alone.s, alone.fee)
        assert group.cost == pytest.approx(alone.cost + 0.25 * a * 3), "it must be paid"
    trusted = audited(pool, detection=0.9, false_alarms=0.2, then="group", confirms=1, confirms_falsely=0)
    assert trusted.fee == 1, "nobody honest is slashed"


def test_by_default_a_group_is_trusted_with_nothing() -> None:
    found = audited(detection=0.9, false_alarms=0.1, then="group")
    assert found.f == pytest.approx(0.1), "its honest members find a cheat as seldom as the auditor"
    assert (found.y, found.v) == (1, 0), "what misled the auditor misleads them"
    assert found.s > audited(detection=0.9, false_alarms=0.1).s


def test_a_false_alarm_costs_an_honest_node() -> None:
    none, some = audited(detection=0.9), audited(detection=0.9, false_alarms=0.05)
    assert none.fee == 1 < some.fee
    assert none.s < some.s
    assert none.cost < some.cost
    lost = 0.1 * 0.05 * (some.fee + some.s)
    assert some.fee - lost == pytest.approx(1), "what it loses is what the fee adds"


@pytest.mark.parametrize("cheated", [1e-300, 0.1234567890123456, 0.5, Fraction(1, 10**400), 1e-3])
def test_many_steps_find_no_more_than_they_do(cheated: float | Fraction) -> None:
    """Numbers of millions of digits are rounded, so that the stake is not too small."""
    found = AuditTerms(steps=10_000, cheated=cheated, false_alarms=0).detection_rate
    assert float(found) == pytest.approx(-math.expm1(10_000 * math.log1p(-float(cheated))), rel=1e-9, abs=1e-90)
    assert found.denominator.bit_length() < 30_000
    exactly = AuditTerms(steps=1_200, cheated=0.001, false_alarms=0).detection_rate
    assert 0 <= 1 - Fraction(999, 1000) ** 1_200 - exactly < Fraction(1, 10**90)


def test_steps_that_are_drawn_find_at_least_what_the_formula_says() -> None:
    """Of N steps M are cheated, k are drawn, none twice."""
    for total, cheated, drawn in itertools.product((5, 20), (1, 2, 5), (1, 3, 5)):
        exactly = 1 - Fraction(comb(total - cheated, drawn), comb(total, drawn))
        said = AuditTerms(steps=drawn, cheated=Fraction(cheated, total), false_alarms=0).detection_rate
        assert exactly >= said
        assert exactly == said or drawn > 1
    assert AuditTerms(steps=5, cheated=0.5, false_alarms=0).detection_rate == Fraction(31, 32)


def test_of_a_cheat_that_saves_little_no_share_is_too_small() -> None:
    """Who cheats in fewer steps is found more rarely, and saves less: the stake has a limit, k / (r * steps) or so."""
    limit = (1 - 0.1 * 5) / (0.1 * 5)
    shares = [Fraction(1, at) for at in (2, 4, 10, 100, 10_000)]
    stakes = [audited(steps=5, cheated=share, saves=share).s for share in shares]
    assert stakes[-1] == pytest.approx(limit, rel=1e-3)
    assert max(stakes) < 9.4
    whole = [audited(steps=5, cheated=share).s for share in shares]
    assert whole[-1] > 10_000, "if it is said to save all, it has none"


def test_a_bound_of_the_slash_is_a_multiple_of_the_fee() -> None:
    terms = {"detection": 0.9, "false_alarms": 0.1}
    free = audited({"price": 3}, **terms)
    assert free.bound is None
    assert free.stake_per_fee == free.slash_per_fee == math.ceil(free.slash / free.fee)
    per_fee = int(free.slash_per_fee)
    enough, short = (audited({"price": 3, "slash_per_fee": at}, **terms) for at in (per_fee, per_fee - 1))
    assert (enough.s, enough.bound) == (free.s, per_fee * free.fee)
    assert (short.s, short.slash, short.stake_per_fee) == (math.inf, free.slash, per_fee)
    assert "must take" in str(short)
    half = audited({"price": 3, "slash_ppm": 500_000}, **terms)
    assert half.s == 2 * free.s
    assert audited({"slash_ppm": 0}, **terms).s == math.inf
    assert audited({"slash_per_fee": 0}, **terms).s == math.inf
    rare = audited({"sampling_rate": 1e-10}, detection=0.5)
    assert rare.slash > MOST_PER_FEE
    assert rare.stake_per_fee == math.inf > rare.s


def test_of_no_honest_quorum() -> None:
    found = audited({"honest": 1, "dishonest": 9}, detection=1, then="group")
    assert found.s == math.inf
    assert audited({"honest": 1, "dishonest": 9}, detection=1).s < math.inf, "the auditor decides"


def test_groups_beside_an_honest_node() -> None:
    """Every group of others, each member there or not, by hand."""
    honest, dishonest, size, absent = 4, 3, 3, Fraction(1, 5)
    others = "h" * (honest - 1) + "d" * dishonest
    groups = list(itertools.combinations(others, size))
    p = b = c = Fraction(0)
    for group in groups:
        colluders = group.count("d")
        for there in itertools.product((True, False), repeat=size - colluders):
            chance = (1 - absent) ** sum(there) * absent ** (len(there) - sum(there)) / len(groups)
            p += chance * (colluders >= 2)
            b += chance * (colluders < 2 <= colluders + sum(there))
            c += chance * (sum(there) >= 2)
    found = quorums_beside(honest, dishonest, size, 1, absent)
    assert (found.p, found.b, found.c) == (p, b, c)


def test_the_cost_of_a_task() -> None:
    for size in (3, 5):
        for rate in (1, 0.1):
            found = required_stake(90, 10, group_size=size, sampling_rate=rate, price=2)
            assert found.cost == pytest.approx(2 * (1 + rate * (size - 1))), "each member is paid"
    found = audited(
        {"price": 2, "group_size": 5, "sampling_rate": 0.1}, detection=0.9, false_alarms=0.01, cost=0.3, then="group"
    )
    assert found.cost == pytest.approx(found.fee + 2 * 0.1 * (0.3 + 0.01 * 5))
    assert required_stake(90, 10).cost == 3


def test_what_a_result_says() -> None:
    found = audited({"sampling_rate": 0.1}, steps=5, cheated=0.5, false_alarms=0.001, cost=0.05)
    said = str(found)
    for words in ("required stake 9.3", "1 - (1-q)^5, q = 0.5", "0.001", "auditor alone decides", "a task costs 1.0"):
        assert words in said
    for words in AUDITS_PRESUPPOSE:
        assert words in said
        assert words in (found.presupposes or "")
    group = str(audited(detection=0.9, then="group", confirms_falsely=0.25))
    for words in ("about one that is accused a group decides: groups of 3 from 90 honest", "h  0.25", "g  0.9"):
        assert words in group
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (written["audits"]["steps"], written["d"], written["fee"]) == (5, found.d, found.fee)
    written = json.loads(json.dumps(audited(detection=0).to_dict(), allow_nan=False))
    assert {written[name] for name in ("s", "slash", "fee", "cost", "stake_per_fee")} == {"infinity"}
    exact = json.dumps(audited(detection=Fraction(1, 3), false_alarms=Fraction(1, 10**6)).to_dict())
    assert json.loads(exact)["audits"]["false_alarms"] == 1e-6
    assert "inf" not in str(audited({"slash_per_fee": 3}, detection=0)).replace("infinite", "")


@pytest.mark.parametrize(
    ("terms", "word"),
    [
        ({"detection": 1.1}, "detection is 1.1; expected a chance from 0 to 1"),
        ({"detection": -0.1}, "detection is -0.1"),
        ({"detection": math.nan}, "detection is nan"),
        ({"detection": "0.9"}, "detection is '0.9'"),
        ({"detection": True}, "detection is True"),
        ({"detection": None}, "expected detection alone, or steps and cheated; found none of them"),
        ({"steps": 5}, "expected detection alone, or steps and cheated; found detection=0.9, steps=5"),
        ({"steps": 5, "cheated": 0.5}, "expected detection alone"),
        ({"cheated": 0.5}, "expected detection alone"),
        ({"detection": None, "steps": 5}, "expected detection alone"),
        ({"detection": None, "steps": 0, "cheated": 0.5}, "steps is 0; expected an integer from 1 to 10000"),
        ({"detection": None, "steps": 10_001, "cheated": 0.5}, "steps is 10001"),
        ({"detection": None, "steps": 2.0, "cheated": 0.5}, "steps is 2.0"),
        ({"detection": None, "steps": True, "cheated": 0.5}, "steps is True"),
        ({"detection": None, "steps": 5, "cheated": 2}, "cheated is 2; expected a chance"),
        ({"false_alarms": 1.5}, "false_alarms is 1.5"),
        ({"false_alarms": None}, "false_alarms is None"),
        ({"cost": -1}, "cost is -1"),
        ({"cost": math.inf}, "cost is inf"),
        ({"then": "jury"}, "then is 'jury'; expected one of slash, group"),
        ({"then": None}, "then is None"),
        ({"then": ["slash"]}, "expected one of slash, group"),
        ({"confirms": 0.5}, "confirms is 0.5, but no group decides; give then='group'"),
        ({"confirms_falsely": 0.5}, "confirms_falsely is 0.5, but no group decides"),
        ({"then": "group", "confirms": 1.5}, "confirms is 1.5"),
        ({"then": "group", "confirms_falsely": -1}, "confirms_falsely is -1"),
        ({"saves": 0}, "saves is 0; expected the share of the price"),
        ({"saves": 1.1}, "saves is 1.1"),
    ],
)
def test_bad_terms(terms: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        AuditTerms(**{"detection": 0.9, "false_alarms": 0.001} | terms)


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        ({"threshold": 24}, "threshold and audits are both given"),
        ({"slash_threshold": 30}, "slash_threshold and audits are both given"),
        ({"images": 2}, "images and audits are both given"),
        ({"source": "binomial"}, "source and audits are both given"),
        ({"view": "network"}, "view and audits are both given"),
        ({"cheats": ["half"]}, "cheats and audits are both given"),
        ({"audits": 0.1}, "audits is 0.1; expected AuditTerms"),
        ({"sampling_rate": 0}, "above 0, at most 1"),
        ({"dishonest": 0}, "dishonest is 0"),
        ({"honest": 2, "dishonest": 1}, "one node and a group need 4"),
        ({"price": 1e308, "sampling_rate": 1e-9}, "beyond the range of a float64"),
    ],
)
def test_bad_rules(rules: dict[str, Any], word: str) -> None:
    terms = AuditTerms(detection=0.9, false_alarms=0.001, then="group", confirms_falsely=0)
    with pytest.raises(InvalidInputError, match=word):
        required_stake(**POOL | {"audits": terms} | rules)
    if "price" not in rules:
        with pytest.raises(InvalidInputError, match=word):
            expected_gain(1, **POOL | {"audits": terms} | rules)


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_the_formulas_beside_simulated_audits(changes: dict[str, Any]) -> None:
    """A fiftieth of what the benchmark simulates for each setting; the numbers are the same each time."""
    for seen in compare(changes, tasks=TASKS // 50, seed=1):
        assert seen.sigma < 3, seen


@pytest.mark.parametrize("changes", [each for each in SETTINGS if each.get("then") == "group"], ids=str)
def test_groups_of_others_deter_a_cheat_more(changes: dict[str, Any]) -> None:
    slashed, paid, keeps = compare(changes, tasks=TASKS // 50, seed=1, fresh=True)[:3]
    assert slashed.seen > slashed.formula - slashed.error
    assert paid.seen < paid.formula + paid.error
    assert keeps.seen < keeps.formula + keeps.error


def test_fates_of_the_auditor_alone() -> None:
    terms = AuditTerms(detection=0.9, false_alarms=0.01)
    found = fates(terms, Fraction(1, 2), ALONE, ALONE)
    assert isinstance(found, Fates)
    assert (found.paid, found.slashed) == (Fraction(55, 100), Fraction(45, 100))
    assert (found.honest_paid, found.honest_slashed) == (Fraction(995, 1000), Fraction(5, 1000))
