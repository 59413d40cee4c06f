"""From a threshold to odds to a stake (protocol, "Stake")."""

import itertools
import json
import math
from fractions import Fraction
from typing import Any

import pytest
from benchmarks.stakes import GROUPS, SETTINGS, compare
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import CentreRule, Finding, ImageScore, Policy, expected_gain, judge, required_stake
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import Absent, Member
from crynux_validate.ledger.pools import slashable_stake_needed
from crynux_validate.ledger.settlement import slash_of
from crynux_validate.machines import Candidate, Pool
from crynux_validate.machines.pairing import choose_members
from crynux_validate.stakes import (
    MOST_PER_FEE,
    PPM,
    SOURCES,
    VIEWS,
    View,
    colluder_chances,
    collusion_probability,
    false_accept_rate,
)

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
    assert found.f == 0.02503
    assert found.e == pytest.approx(found.p + (1 - found.p) * 0.02503)
    assert found.x == pytest.approx(1 - found.e)
    assert found.s == pytest.approx(11.42, abs=5e-3)


def test_the_rates_of_photographs() -> None:
    """tests/test_photographs.py computes them from the raw hashes."""
    rates = [false_accept_rate(at) for at in range(1, 65)]
    assert rates[0] > 0, "0 of n is never 0"
    assert rates == sorted(rates)
    assert rates[0::2] == rates[1::2], "distances are even"
    assert (rates[15], rates[23], rates[63]) == (0.00238, 0.02503, 1)
    assert false_accept_rate(16, images=3) == pytest.approx(0.00238**3)


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
    for at in range(1, 65):
        assert false_accept_rate(at) >= false_accept_rate(at, source="binomial")


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


SMALL_POOLS = [(5, 3, 3, Fraction(1)), (2, 3, 3, Fraction(4)), (4, 2, 5, Fraction("2.5")), (3, 4, 5, Fraction(1, 3))]
"""Honest and dishonest nodes, group size, and the weight of a dishonest node."""


def every_group(honest: int, dishonest: int, size: int, weight: Fraction) -> dict[tuple[str, ...], Fraction]:
    """The chance of every group of a small pool: all orders in which its members can be drawn, one by one."""
    pool = {f"h{at}": Fraction(1) for at in range(honest)} | {f"d{at}": weight for at in range(dishonest)}
    found: dict[tuple[str, ...], Fraction] = {}
    for order in itertools.permutations(pool, size):
        chance, total = Fraction(1), sum(pool.values())
        for node in order:
            chance *= pool[node] / total
            total -= pool[node]
        group = tuple(sorted(order))
        found[group] = found.get(group, Fraction(0)) + chance
    return found


@pytest.mark.parametrize("pool", SMALL_POOLS)
def test_colluders_by_drawing_every_group(pool: tuple[int, int, int, Fraction]) -> None:
    honest, dishonest, size, weight = pool
    groups = every_group(*pool)
    given_: dict[str, Any] = {"group_size": size, "dishonest_weight": weight}
    for view, counted in (("network", groups), ("drawn", {at: p for at, p in groups.items() if "d0" in at})):
        chances = [Fraction(0)] * (size + 1)
        for group, chance in counted.items():
            chances[sum(node[0] == "d" for node in group)] += chance / sum(counted.values())
        assert list(colluder_chances(honest, dishonest, view=view, **given_)) == chances  # type: ignore[arg-type]
        quorum = float(sum(chances[size // 2 + 1 :]))
        assert collusion_probability(honest, dishonest, view=view, **given_) == quorum  # type: ignore[arg-type]


COUNTERFEITS = {"far": "0f0f0f0ff0f0f0f0", "near": "f0f0f0f00f0f0f0f", "between": "f0f0f0f00f0ff0f0"}
"""64, 0 and 16 bits away from the honest picture."""


@pytest.mark.parametrize("counterfeit", COUNTERFEITS)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("pool", SMALL_POOLS)
def test_the_odds_are_those_of_the_verdict(pool: tuple[int, int, int, Fraction], view: View, counterfeit: str) -> None:
    """Every group of a small pool, with every part of its honest members absent, judged: colluders hand in the same."""
    honest, dishonest, size, weight = pool
    absent = Fraction(1, 10)
    hands_in = {
        "h": ImageScore.from_hex("f0f0f0f00f0f0f0f"),
        "d": ImageScore.from_hex(COUNTERFEITS[counterfeit]),
    }
    groups = every_group(*pool)
    if view == "drawn":
        groups = {group: chance for group, chance in groups.items() if "d0" in group}
    chances = dict.fromkeys(Finding, Fraction(0))
    for group, drawn in groups.items():
        cheat = next((node for node in group if node[0] == "d"), group[0])  # of the honest alone, one cheats
        there = [node for node in group if node[0] == "h" and node != cheat]
        for present in itertools.product((True, False), repeat=len(there)):
            away = {node for node, here in zip(there, present, strict=True) if not here}
            members: dict[str, Member] = {node: Absent() if node in away else hands_in[node[0]] for node in group}
            finding = judge(members | {cheat: hands_in["d"]}, CentreRule()).findings[cheat]
            chance = drawn * absent ** len(away) * (1 - absent) ** (len(there) - len(away))
            chances[finding] += chance / sum(groups.values())
    setting: dict[str, Any] = {"group_size": size, "dishonest_weight": weight, "absent": absent, "view": view}
    never = required_stake(honest, dishonest, threshold=None, **setting)
    always = required_stake(honest, dishonest, threshold=64, source="binomial", **setting)
    paid = always.e if counterfeit == "near" else never.e
    assert float(chances[Finding.VALID]) == pytest.approx(paid, abs=1e-15)
    assert float(chances[Finding.INVALID]) == pytest.approx(never.x * (counterfeit == "far"), abs=1e-15)
    assert float(chances[Finding.BORDERLINE]) == pytest.approx(never.c * (counterfeit == "between"), abs=1e-15)


def test_a_coalition_with_larger_stakes_needs_more() -> None:
    """Four times the stake of others is 4.3 times what equal nodes need, at the live network's threshold."""
    for honest, dishonest in ((90, 10), (900, 100), (900_000, 100_000)):
        equal, larger = (required_stake(honest, dishonest, threshold=24, dishonest_weight=at).s for at in (1, 4))
        assert round(larger / equal, 1) == 4.3
    equal, larger = (required_stake(90, 10, threshold=None, dishonest_weight=at).s for at in (1, 4))
    assert round(larger / equal, 1) == 4.6, "without luck"


@pytest.mark.parametrize("weight", [1, 4, 0.1])
@pytest.mark.parametrize("rate", [1, 0.1])
def test_a_tenth_absent_raises_the_stake_by_a_quarter(weight: float, rate: float) -> None:
    """In a group of three both others must be there: 1 / 0.81. In larger ones fewer must."""
    given_: dict[str, Any] = {"dishonest_weight": weight, "sampling_rate": rate}
    for threshold in (None, 8, 16):
        there, away = (required_stake(90, 10, absent=at, threshold=threshold, **given_).s for at in (0, 0.1))
        assert away / there == pytest.approx(1 / 0.81, rel=1e-2)
        assert int(100 * (away / there - 1)) == 23
    there, away = (required_stake(90, 10, absent=at, group_size=9, threshold=None).s for at in (0, 0.1))
    assert 1 < away / there < 1.23


def test_one_node_of_any_weight_is_alone() -> None:
    for weight in (Fraction(1, 10**9), 1, 10**9, 1e300, 5e-324):
        found = required_stake(9, 1, dishonest_weight=weight, group_size=5, threshold=None)
        assert (found.p, found.e, found.c, found.s) == (0, 0, 1, 0)


def test_a_heavy_coalition_is_the_whole_group() -> None:
    assert colluder_chances(90, 3, dishonest_weight=10**300)[3] > 1 - Fraction(1, 10**290)
    assert colluder_chances(2, 2, dishonest_weight=Fraction(1, 10**9))[1] > 1 - Fraction(1, 10**8)
    assert list(colluder_chances(0, 5)) == [0, 0, 0, 1]
    assert list(colluder_chances(5, 0)) == [1, 0, 0, 0]


def test_of_a_large_pool_only_weights_matter() -> None:
    """Of nodes without number each member is dishonest with the coalition's share of the weight."""
    share, size = Fraction(4 * 10, 90 + 4 * 10), 7
    found = colluder_chances(9 * 10**14, 10**14, dishonest_weight=4, group_size=size)
    limit = [math.comb(size, at) * share**at * (1 - share) ** (size - at) for at in range(size + 1)]
    assert [float(chance) for chance in found] == pytest.approx([float(chance) for chance in limit], rel=1e-9)


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


@given(honest_counts, dishonest_counts, rates, prices, st.integers(1, 63), st.integers(1, 16), sources, views)
def test_stake_rises_with_the_threshold(
    honest: int, dishonest: int, rate: float, price: float, threshold: int, images: int, source: Any, view: Any
) -> None:
    pool: dict[str, Any] = {"sampling_rate": rate, "price": price, "images": images, "view": view}
    lower, higher = (
        required_stake(honest, dishonest, threshold=at, source=source, **pool) for at in (threshold, threshold + 1)
    )
    assert lower.s <= higher.s
    if threshold >= 24 and images == 1 and source == "binomial":
        assert lower.s < higher.s


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


sizes = st.sampled_from((3, 5, 7, 9))
weights = st.fractions(Fraction(1, 100), 100, max_denominator=1_000)
shares = st.fractions(0, Fraction(9, 10), max_denominator=1_000)
pools = st.fixed_dictionaries(
    {
        "honest": st.integers(5, 200),
        "dishonest": st.integers(4, 200),
        "group_size": sizes,
        "dishonest_weight": weights,
        "absent": shares,
        "sampling_rate": rates,
        "threshold": st.integers(1, 63),
        "source": sources,
        "view": views,
    }
)


@given(pools, st.integers(0, 30))
def test_what_makes_a_counterfeit_likelier_raises_the_stake(pool: dict[str, Any], bound: int) -> None:
    found = required_stake(**pool)
    assert 0 <= found.e <= 1
    assert found.e + found.x <= 1 + 1e-12
    assert found.p + found.b <= 1 + 1e-12
    more: dict[str, Any] = {
        "threshold": pool["threshold"] + 1,
        "dishonest_weight": pool["dishonest_weight"] * 2,
        "dishonest": pool["dishonest"] + 1,
        "absent": (1 + pool["absent"]) / 2,
    }
    for name, value in more.items():
        worse = required_stake(**pool | {name: value})
        assert worse.s >= found.s, name
        assert worse.stake_per_fee >= found.stake_per_fee, name
    assert required_stake(**pool, slash_per_fee=bound).s >= found.s, "a bound can only take from what a slash takes"
    stake = found.s if found.s < math.inf else 1
    assert expected_gain(stake, **pool, slash_per_fee=bound).gain >= expected_gain(stake, **pool).gain


@given(pools, st.fractions(Fraction(1, 1000), 1000, max_denominator=1_000), st.integers(1, 10**6))
def test_the_policy_that_is_named_deters_and_the_next_smaller_does_not(
    pool: dict[str, Any], price: Fraction, ppm: int
) -> None:
    """By P7 a slash can take `stake_per_fee` times the price of whoever has the least."""
    pool |= {"price": price, "slash_ppm": ppm}
    found = required_stake(**pool)
    needed = found.stake_per_fee
    assert needed == found.slash_per_fee
    if needed == math.inf:
        assert found.slash > float(MOST_PER_FEE * price) * (1 - 1e-12)
        return
    assert isinstance(needed, int), "as a policy takes it"
    for per_fee, deters in ((needed, True), (needed - 1, False)):
        if per_fee >= 0:
            least = Fraction(per_fee) * price * 10**6 / ppm
            gains = [
                expected_gain(stake, **pool, slash_per_fee=bound).gain
                for stake, bound in ((least, None), (10**9 * least, per_fee), (least, per_fee + 10))
            ]
            assert {gain <= 0 for gain in gains} == {deters}
    assert required_stake(**pool, slash_per_fee=needed).s == found.s
    if needed:
        assert required_stake(**pool, slash_per_fee=needed - 1).s == math.inf


@given(pools, st.integers(0, PPM), st.integers(1, PPM), st.integers(1, PPM), st.integers(1, 10**24))
def test_a_ledger_takes_what_the_named_policy_promises(
    pool: dict[str, Any], extra: int, slash_ppm: int, withheld_ppm: int, fee: int
) -> None:
    """Of the least stake that P7 lets into a group, and of any larger one, in integers as a ledger settles."""
    required = required_stake(**pool, price=(share := fee // pool["group_size"]))
    if not isinstance(required.stake_per_fee, int):
        return
    policy = Policy(
        group_size=pool["group_size"],
        stake_per_fee=required.stake_per_fee,
        slash_per_fee=int(required.slash_per_fee),
        slash_ppm=slash_ppm,
        withheld_ppm=withheld_ppm,
    )
    stake = slashable_stake_needed(policy, fee) + extra
    for ppm in (slash_ppm, withheld_ppm):
        assert slash_of(stake, ppm, policy, fee) >= required.stake_per_fee * share
    assert expected_gain(slash_of(stake, slash_ppm, policy, fee), **pool, price=share).gain <= 0


@pytest.mark.parametrize(("size", "weight"), [(3, 4), (5, 0.25), (9, 4)])
def test_the_ledgers_own_draw(size: int, weight: float) -> None:
    honest, dishonest, groups = 30, 12, 3_000
    nodes = [("h", at, 1_000) for at in range(honest)] + [("d", at, int(1_000 * weight)) for at in range(dishonest)]
    pool = Pool([Candidate(f"{kind}{at}", f"owner-{kind}{at}", heavy) for kind, at, heavy in nodes])
    found = [0] * (size + 1)
    for at in range(groups):
        members = choose_members(pool, size, ledger="ledger-1", group=f"group-{at}", beacon=b"value").members
        found[sum(node[0] == "d" for node in members)] += 1
    for seen, chance in zip(
        found, colluder_chances(honest, dishonest, group_size=size, dishonest_weight=weight), strict=True
    ):
        assert abs(seen - groups * chance) <= 3.5 * math.sqrt(groups * chance * (1 - chance)) + 1


def test_a_bound_of_the_slash() -> None:
    free = required_stake(80, 20, sampling_rate=0.1)
    assert 10 < free.s < 20
    assert (free.bound, free.slash, free.stake_per_fee) == (None, free.s, math.ceil(free.s))
    high, low = (required_stake(80, 20, sampling_rate=0.1, slash_per_fee=at) for at in (20, 10))
    assert (high.s, high.bound) == (free.s, 20)
    assert (low.s, low.bound) == (math.inf, 10)
    assert (low.slash, low.stake_per_fee, low.slash_per_fee) == (free.slash, free.stake_per_fee, free.stake_per_fee)
    dear = required_stake(80, 20, sampling_rate=0.1, slash_per_fee=20, price=3, slash_ppm=250_000)
    assert dear.bound == 60
    assert dear.s == pytest.approx(4 * 3 * free.s)
    assert dear.stake_per_fee == free.stake_per_fee, "P7 counts what a slash can take"
    found = expected_gain(1000, 80, 20, slash_per_fee=20, price=3, slash_ppm=250_000)
    assert found.slash == 60
    assert found.gain == expected_gain(60, 80, 20, price=3).gain
    assert expected_gain(100, 80, 20, slash_per_fee=20, price=3, slash_ppm=250_000).slash == 25


def test_where_no_slash_deters() -> None:
    assert required_stake(90, 10, slash_ppm=0).s == math.inf
    assert required_stake(90, 10, slash_per_fee=0).s == math.inf
    assert required_stake(90, 10, absent=1).slash == math.inf, "nobody is there to disagree"
    assert required_stake(4, 3, group_size=7, threshold=None).s < math.inf
    assert required_stake(3, 4, group_size=7).s == math.inf, "the honest are never a quorum"
    free = required_stake(1, 5, price=0, slash_ppm=0, slash_per_fee=0)
    assert (free.s, free.slash, free.stake_per_fee) == (0, 0, 0), "nothing is gained either"
    written = json.loads(json.dumps(required_stake(1, 5, slash_per_fee=3).to_dict(), allow_nan=False))
    assert {written[name] for name in ("s", "slash", "stake_per_fee", "slash_per_fee")} == {"infinity"}
    assert written["bound"] == 3
    high = required_stake(90, 10, threshold=64, source="binomial")
    assert high.s < math.inf == high.stake_per_fee


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
    assert text.splitlines()[0].startswith(
        "required stake 11.4233 times the price of a task, which is a member's share"
    )
    for part in ("p  0.1744", "f  0.02503", "e  0.19506", "x  0.80494", "r  0.1", "90 honest and 10", "photographs"):
        assert part in text
    assert "binomial" in str(required_stake(90, 10, source="binomial", images=2))
    assert "text" in str(required_stake(90, 10, threshold=None))
    assert "2 or more, of all groups" in str(required_stake(90, 10, view="network"))
    assert str(expected_gain(1, 90, 10)).startswith("expected gain -0.6")
    text = str(
        required_stake(
            90, 10, group_size=5, dishonest_weight=4, absent=0.1, sampling_rate=0.1, slash_ppm=500_000, slash_per_fee=15
        )
    )
    for part in (
        "groups of 5",
        "nodes of weight 4",
        "10% of the honest absent",
        "takes 50%",
        "at most 15",
        "3 or more",
    ):
        assert part in text
    assert text.splitlines()[0].endswith("infinite: a slash takes at most 15, and must take 17.1131")
    assert "stake_per_fee 18, slash_per_fee 18 or more" in text
    assert "a slash takes nothing" in str(required_stake(90, 10, slash_ppm=0))
    assert "no policy" in str(required_stake(1, 5))
    assert "which is the most" in str(required_stake(90, 10, threshold=64, source="binomial"))
    assert "of which a slash takes 20" in str(expected_gain(100, 90, 10, slash_per_fee=20))


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
        ({"threshold": 16, "slash_threshold": 12}, "expected at least the threshold"),
        ({"threshold": None, "slash_threshold": 30}, "there is no threshold"),
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
        ({"source": "guess"}, "photographs, binomial"),
        ({"source": ["photographs"]}, "photographs, binomial"),
        ({"view": "mine"}, "drawn, network"),
        ({"honest": 2**53}, r"from 0 to 2\^53-1"),
        ({"honest": 10**9999}, "bits; expected an integer"),
        ({"group_size": 4}, r"group_size is 4; expected one of \(3, 5, 7, 9\)"),
        ({"group_size": 1}, "group_size is 1;"),
        ({"group_size": 11}, "group_size is 11;"),
        ({"group_size": 3.0}, "group_size is 3.0;"),
        ({"group_size": True}, "group_size is True;"),
        ({"group_size": 9, "honest": 4, "dishonest": 4}, "8 nodes together; a group needs 9"),
        ({"dishonest_weight": 0}, "dishonest_weight is 0; expected more than 0"),
        ({"dishonest_weight": -1}, "dishonest_weight is -1"),
        ({"dishonest_weight": math.inf}, "dishonest_weight is inf"),
        ({"dishonest_weight": "4"}, "dishonest_weight is '4'"),
        ({"dishonest_weight": None}, "dishonest_weight is None"),
        ({"dishonest_weight": 10**400}, "dishonest_weight is beyond the range of a float64"),
        ({"absent": -0.1}, "absent is -0.1"),
        ({"absent": 1.01}, "absent is 1.01; expected a chance from 0 to 1"),
        ({"absent": math.nan}, "absent is nan"),
        ({"absent": False}, "absent is False"),
        ({"slash_ppm": -1}, "slash_ppm is -1; expected an integer from 0 to 1000000"),
        ({"slash_ppm": 10**6 + 1}, "slash_ppm is 1000001"),
        ({"slash_ppm": 0.5}, "slash_ppm is 0.5"),
        ({"slash_ppm": True}, "slash_ppm is True"),
        ({"slash_per_fee": -1}, r"slash_per_fee is -1; expected an integer from 0 to 2\^31"),
        ({"slash_per_fee": 2**31 + 1}, "slash_per_fee is 2147483649"),
        ({"slash_per_fee": 20.0}, "slash_per_fee is 20.0"),
        ({"slash_per_fee": math.inf}, "slash_per_fee is inf"),
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


def test_where_photographs_do_not_say_that_anything_is_slashed() -> None:
    assert required_stake(90, 10, threshold=44).s < math.inf
    found = required_stake(90, 10, threshold=45)
    assert (found.f, found.x, found.s) == (1, 0, math.inf)
    assert required_stake(90, 10, slash_threshold=46).s == math.inf


@pytest.mark.parametrize("changes", [SETTINGS[at] for at in (3, 8)])
def test_the_formulas_beside_simulated_groups(changes: dict[str, Any]) -> None:
    """A hundredth of what the benchmark simulates for each setting; the numbers are the same each time."""
    for seen in compare(changes, groups=GROUPS // 100, seed=1):
        assert seen.sigma < 3, seen
        assert seen.error < 0.1, seen
