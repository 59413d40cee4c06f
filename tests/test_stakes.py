"""From a threshold to odds to a stake (protocol, "Stake")."""

import itertools
import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import (
    CentreRule,
    Finding,
    ImageScore,
    InvalidInputError,
    Member,
    collusion_probability,
    expected_gain,
    false_accept_rate,
    judge,
    required_stake,
)
from crynux_validate.stakes import MEASURED, SOURCES, VIEWS

POOLS = [(90, 10, 0.1), (80, 20, 0.01), (2, 3, 0.01)]
"""Honest and dishonest nodes and the sampling rate of the protocol's three examples."""


@pytest.mark.parametrize(
    ("pool", "p", "s"),
    list(zip(POOLS, (0.025788, 0.101051, 0.7), (9.2647, 110.2411, 332.3333), strict=True)),
)
def test_the_live_networks_examples(pool: tuple[int, int, float], p: float, s: float) -> None:
    honest, dishonest, rate = pool
    found = required_stake(honest, dishonest, sampling_rate=rate, threshold=None, view="network")
    assert found.p == pytest.approx(p, abs=5e-7)
    assert found.s == pytest.approx(s, abs=5e-5)
    assert found.p == collusion_probability(honest, dishonest, view="network")
    assert (found.f, found.e) == (0, found.p)


@pytest.mark.parametrize(
    ("pool", "p", "s"),
    list(zip(POOLS, (0.1744, 0.3486, 0.8333), (11.11, 152.5, 599), strict=True)),
)
def test_the_examples_of_a_node_that_is_drawn(pool: tuple[int, int, float], p: float, s: float) -> None:
    honest, dishonest, rate = pool
    found = required_stake(honest, dishonest, sampling_rate=rate, threshold=None)
    assert found.p == pytest.approx(p, abs=5e-5)
    assert found.s == pytest.approx(s, rel=5e-4)
    assert found.p == collusion_probability(honest, dishonest)


def test_the_example_with_a_chance_of_agreement() -> None:
    found = required_stake(90, 10, sampling_rate=0.1, threshold=24)
    assert found.f == 0.0176
    assert found.e == pytest.approx(found.p + (1 - found.p) * 0.0176)
    assert found.x == pytest.approx(1 - found.e)
    assert found.s == pytest.approx(11.33, abs=5e-3)


def test_the_measured_rates() -> None:
    table = {5: 0, 8: 0, 10: 6e-8, 12: 2.8e-7, 16: 2.2e-5, 20: 9.5e-4, 24: 1.76e-2}
    assert {at: false_accept_rate(at) for at in table} == table
    assert false_accept_rate(23) == false_accept_rate(24), "distances are even"
    assert false_accept_rate(13) == false_accept_rate(14) == false_accept_rate(16), "an upper bound"
    assert false_accept_rate(1) == false_accept_rate(6) == 0
    assert false_accept_rate(16, images=3) == pytest.approx(2.2e-5**3)


def test_the_binomial_rates() -> None:
    rates = [(5, 4e-14), (8, 4e-11), (10, 2e-9), (12, 5e-8), (16, 1.2e-5), (20, 7.8e-4), (24, 1.6e-2)]
    for at, about in rates:
        assert false_accept_rate(at, source="binomial") == pytest.approx(about, rel=0.3)
    assert false_accept_rate(1, source="binomial") == 2**-64
    assert false_accept_rate(64, source="binomial") == 1, "1 - 2^-64 as a float"
    assert false_accept_rate(32, source="binomial") < 0.5 < false_accept_rate(33, source="binomial")
    below = [false_accept_rate(at, source="binomial") for at in range(1, 50)]
    above = [1 - false_accept_rate(65 - at, source="binomial") for at in range(1, 50)]
    assert below == pytest.approx(above, abs=1e-15), "a fair coin is symmetric"


def test_pictures_agree_more_often_than_coins() -> None:
    for at in (10, 12, 16, 20, 24):
        assert false_accept_rate(at) > false_accept_rate(at, source="binomial")


@given(st.integers(0, 6), st.integers(0, 6))
def test_collusion_by_counting_groups(honest: int, dishonest: int) -> None:
    nodes = ["honest"] * honest + ["colluder"] * dishonest
    groups = [group.count("colluder") for group in itertools.combinations(nodes, 3)]
    if not groups:
        with pytest.raises(InvalidInputError, match="a group needs 3"):
            collusion_probability(honest, dishonest)
        return
    many = Fraction(sum(colluders >= 2 for colluders in groups), len(groups))
    assert collusion_probability(honest, dishonest, view="network") == float(many)
    if dishonest:
        others = [group.count("colluder") for group in itertools.combinations(nodes[:-1], 2)]
        helped = Fraction(sum(colluders >= 1 for colluders in others), len(others))
        assert collusion_probability(honest, dishonest) == float(helped)


def test_the_odds_are_those_of_the_verdict() -> None:
    """Every group of a small pool, judged: colluders hand in one counterfeit, and nothing agrees by chance."""
    honest, dishonest = 5, 3
    picture, counterfeit = ImageScore.from_hex("f0f0f0f00f0f0f0f"), ImageScore.from_hex("0f0f0f0ff0f0f0f0")
    pool: dict[str, Member] = {f"h{at}": picture for at in range(honest)}
    pool |= {f"d{at}": counterfeit for at in range(dishonest)}
    findings = []
    for others in itertools.combinations([node for node in pool if node != "d0"], 2):
        verdict = judge({node: pool[node] for node in ("d0", *others)}, CentreRule())
        findings.append(verdict.findings["d0"])
    found = required_stake(honest, dishonest, threshold=None)
    assert found.e == findings.count(Finding.VALID) / len(findings)
    assert found.x == pytest.approx(findings.count(Finding.INVALID) / len(findings))


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 16))
def test_what_is_neither_paid_nor_slashed_is_borderline(low: int, high: int, images: int) -> None:
    low, high = sorted((low, high))
    found = required_stake(9, 3, threshold=low, slash_threshold=high, images=images, source="binomial")
    near, far = (false_accept_rate(at, images=images, source="binomial") for at in (low, high))
    assert found.x == pytest.approx((1 - found.p) * (1 - far), abs=1e-12)
    assert 1 - found.e - found.x == pytest.approx((1 - found.p) * (far - near), abs=1e-12)


honest_counts, dishonest_counts = st.integers(2, 500), st.integers(1, 500)
rates = st.floats(1e-4, 1)
prices = st.floats(1e-3, 1e9)
sources = st.sampled_from(SOURCES)
views = st.sampled_from(VIEWS)


@given(honest_counts, dishonest_counts, rates, prices, st.integers(1, 63), st.integers(1, 16), views)
def test_stake_rises_with_the_threshold(
    honest: int, dishonest: int, rate: float, price: float, threshold: int, images: int, view: Any
) -> None:
    pool: dict[str, Any] = {"sampling_rate": rate, "price": price, "images": images, "view": view}
    lower, higher = (
        required_stake(honest, dishonest, threshold=at, source="binomial", **pool) for at in (threshold, threshold + 1)
    )
    assert lower.s <= higher.s
    if threshold >= 24 and images == 1:
        assert lower.s < higher.s
    if threshold < 24:
        lower, higher = (
            required_stake(honest, dishonest, threshold=at, source="measured", **pool)
            for at in (threshold, threshold + 1)
        )
        assert lower.s <= higher.s


@given(honest_counts, dishonest_counts, rates, rates, st.integers(1, 24), sources, views)
def test_stake_rises_with_dishonest_nodes_and_falls_with_the_rate(
    honest: int, dishonest: int, one: float, other: float, threshold: int, source: Any, view: Any
) -> None:
    given_: dict[str, Any] = {"threshold": threshold, "source": source, "view": view}
    low, high = sorted((one, other))
    often = required_stake(honest, dishonest, sampling_rate=high, **given_)
    seldom = required_stake(honest, dishonest, sampling_rate=low, **given_)
    assert often.s <= seldom.s
    assert (often.s < seldom.s) or high - low < 1e-9
    assert often.s < required_stake(honest, dishonest + 1, sampling_rate=high, **given_).s
    assert often.s >= required_stake(honest + 1, dishonest, sampling_rate=high, **given_).s


@given(honest_counts, dishonest_counts, rates, prices, st.integers(1, 24), st.integers(1, 3), sources, views)
def test_the_gain_is_zero_at_the_required_stake(
    honest: int, dishonest: int, rate: float, price: float, threshold: int, images: int, source: Any, view: Any
) -> None:
    given_: dict[str, Any] = {
        "threshold": threshold, "images": images, "sampling_rate": rate, "price": price, "source": source, "view": view,
    }  # fmt: skip
    required = required_stake(honest, dishonest, **given_)
    at = expected_gain(required.s, honest, dishonest, **given_)
    assert at.gain == pytest.approx(0, abs=1e-12 * price)
    assert at.s == required.s
    if required.s:  # not where a lone colluder of the live network's formula never escapes
        assert expected_gain(required.s * 1.01, honest, dishonest, **given_).gain < 0
        assert expected_gain(required.s * 0.99, honest, dishonest, **given_).gain > 0
    assert required.s == pytest.approx(price * required_stake(honest, dishonest, **given_ | {"price": 1}).s)


def test_the_gain_is_exact() -> None:
    assert expected_gain(Fraction(1), 2, 3, threshold=None).gain == pytest.approx(5 / 6 - 1 / 6)
    assert expected_gain(5, 2, 3, threshold=None).gain == 0
    assert expected_gain(599, 2, 3, threshold=None, sampling_rate=0.01).gain == 0, "0.01 is a hundredth"
    assert float(expected_gain(0, 2, 3, sampling_rate=0.5, price=10, threshold=None)) == pytest.approx(5 + 25 / 6)


@pytest.mark.parametrize("honest", [0, 1])
def test_infinity_where_no_stake_helps(honest: int) -> None:
    found = required_stake(honest, 5)
    assert found.s == math.inf == float(found)
    assert (found.p, found.e, found.x) == (1, 1, 0)
    assert "infinite" in str(found)
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written["s"] == "infinity"
    assert expected_gain(10**9, honest, 5).gain == 1, "the stake is never taken"
    assert required_stake(honest, 5, price=0).s == 0, "nothing is gained either"


def test_at_the_highest_threshold_the_stake_is_a_number() -> None:
    found = required_stake(90, 10, threshold=64, source="binomial")
    assert 1e19 < found.s < math.inf


def test_a_sampling_rate_below_one_says_what_it_presupposes() -> None:
    found = required_stake(90, 10, sampling_rate=0.1)
    assert found.presupposes is not None
    assert "S1" in found.presupposes
    assert found.presupposes in str(found)
    assert found.to_dict()["presupposes"] == found.presupposes
    assert found.presupposes in str(expected_gain(1, 90, 10, sampling_rate=0.1))
    always = required_stake(90, 10)
    assert always.presupposes is None
    assert "S1" not in str(always)


def test_results_read_well() -> None:
    text = str(required_stake(90, 10, threshold=24, sampling_rate=0.1))
    assert text.splitlines()[0] == "required stake 11.3294"
    for part in ("p  0.1744", "f  0.0176", "e  0.18893", "x  0.81107", "r  0.1", "90 honest and 10", "measured"):
        assert part in text
    assert "binomial" in str(required_stake(90, 10, source="binomial", images=2))
    assert "text" in str(required_stake(90, 10, threshold=None))
    assert "two or three" in str(required_stake(90, 10, view="network"))
    assert str(expected_gain(1, 90, 10)).startswith("expected gain -0.6")


def test_slash_threshold() -> None:
    assert required_stake(90, 10).slash_threshold == 24
    assert required_stake(90, 10, threshold=20, slash_threshold=20).slash_threshold == 20
    strict, lenient = (required_stake(90, 10, threshold=16, slash_threshold=at).s for at in (16, 24))
    assert strict < lenient, "what is not slashed does not deter"


POOL: dict[str, Any] = {"honest": 90, "dishonest": 10}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"threshold": 0}, "1 to 64"),
        ({"threshold": 65, "source": "binomial"}, "1 to 64"),
        ({"threshold": 16.0}, "16.0"),
        ({"threshold": 25}, "source='binomial'"),
        ({"threshold": 16, "slash_threshold": 12}, "below the threshold"),
        ({"threshold": 16, "slash_threshold": 30}, "measured at 30"),
        ({"threshold": None, "slash_threshold": 30}, "without a threshold"),
        ({"images": 0}, "1 to 16"),
        ({"images": 17}, "1 to 16"),
        ({"images": True}, "True"),
        ({"threshold": None, "images": 0}, "1 to 16"),
        ({"sampling_rate": 0}, "above 0, at most 1"),
        ({"sampling_rate": 1.01}, "1.01"),
        ({"sampling_rate": -0.1}, "-0.1"),
        ({"sampling_rate": math.nan}, "nan"),
        ({"sampling_rate": True}, "True"),
        ({"price": -1}, "price is -1"),
        ({"price": math.inf}, "inf"),
        ({"price": "1"}, "'1'"),
        ({"price": 10**400}, "float64"),
        ({"honest": -1}, "honest is -1"),
        ({"dishonest": -1}, "dishonest is -1"),
        ({"dishonest": 2.0}, "2.0"),
        ({"dishonest": 0}, "at least 1"),
        ({"honest": 1, "dishonest": 1}, "2 nodes together; a group needs 3"),
        ({"source": "guess"}, "measured, binomial"),
        ({"source": ["measured"]}, "measured, binomial"),
        ({"view": "mine"}, "drawn, network"),
    ],
)
def test_bad_input(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        required_stake(**POOL | changes)
    with pytest.raises(InvalidInputError, match=word):
        expected_gain(10**300, **POOL | changes)


def test_a_stake_beyond_all_numbers() -> None:
    with pytest.raises(InvalidInputError, match="the required stake is beyond"):
        required_stake(90, 10, price=1e308, sampling_rate=1e-9)
    with pytest.raises(InvalidInputError, match="the stake is beyond"):
        expected_gain(10**400, 90, 10)


@pytest.mark.parametrize("stake", [-1, math.inf, math.nan, None, True])
def test_bad_stakes(stake: Any) -> None:
    with pytest.raises(InvalidInputError, match="stake is"):
        expected_gain(stake, 90, 10)


def test_no_dishonest_node_in_the_network() -> None:
    assert collusion_probability(90, 0, view="network") == 0


def test_the_table_ends_where_it_was_measured() -> None:
    assert max(MEASURED) == 24
    with pytest.raises(InvalidInputError, match="up to 24"):
        false_accept_rate(26)
