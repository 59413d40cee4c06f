"""A calibration where it is used: policies and stakes."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import Policy, expected_gain, required_stake
from crynux_validate.errors import InvalidInputError
from crynux_validate.stakes import MOST_PER_FEE
from tests.calibration.by_hand import NOT_ENOUGH, calibration

CHEATS = {"half-steps": (1.0, 0.0), "other-seed": (0.4, 0.5), "noise": (0.03, 0.97)}
MEASURED = calibration(CHEATS)
DETERRED = ["other-seed", "noise"]


def test_the_ends_of_the_intervals_count() -> None:
    found = required_stake(90, 10, calibration=MEASURED, cheats=["other-seed"])
    assert (found.cheat, found.f, found.source) == ("other-seed", 0.4, None)
    assert (found.threshold, found.slash_threshold) == (10, 20), "what was recommended"
    assert found.e == pytest.approx(found.p + found.b * 0.4)
    assert found.x == pytest.approx(found.c * 0.5)
    assert found.slash == pytest.approx(found.e / found.x)


def test_the_cheat_that_needs_the_most_counts() -> None:
    each = {name: required_stake(90, 10, calibration=MEASURED, cheats=[name]).slash for name in CHEATS}
    both = required_stake(90, 10, calibration=MEASURED, cheats=DETERRED)
    assert (both.cheat, both.slash) == ("other-seed", max(each[name] for name in DETERRED))
    assert both.cheats == {name: each[name] for name in DETERRED}
    assert not both.hopeless


def test_where_no_stake_helps_the_stake_is_infinite_and_it_is_said() -> None:
    found = required_stake(90, 10, calibration=MEASURED)
    assert (found.s, found.stake_per_fee, found.cheat) == (math.inf, math.inf, "half-steps")
    assert found.hopeless == ("half-steps",)
    text = str(found)
    assert text.startswith("required stake infinite: no stake makes a counterfeit a loss\n")
    assert "no stake helps against half-steps\n" in text
    deterred = required_stake(90, 10, calibration=MEASURED, cheats=DETERRED)
    assert f"a slash must take {deterred.slash:.6g} against other-seed, and less against noise (" in text
    assert found.to_dict()["cheats"]["half-steps"] == "infinity"
    assert expected_gain(10**9, 90, 10, calibration=MEASURED).gain > 0


def test_a_stake_that_no_policy_holds_helps_nobody() -> None:
    rare = calibration({"rare": (1.0, 1e-10)})
    found = required_stake(90, 10, calibration=rare)
    assert MOST_PER_FEE < found.slash < math.inf
    assert (found.hopeless, found.stake_per_fee) == (("rare",), math.inf)
    assert "no stake helps against rare" in str(found)
    assert not required_stake(90, 10, calibration=calibration({"rare": (1.0, 1e-6)})).hopeless


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "unrelated"]), st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1
    ),
    st.sampled_from([0.1, 1]),
)
def test_at_the_required_stake_no_cheat_gains(cheats: dict[str, tuple[float, float]], rate: float) -> None:
    given_by = calibration(cheats)
    stake = required_stake(90, 10, calibration=given_by, sampling_rate=rate)
    assert set(stake.cheats) == set(cheats)
    gains = expected_gain(stake.s, 90, 10, calibration=given_by, sampling_rate=rate)
    assert gains.gain == max(gains.cheats.values()) == pytest.approx(0, abs=1e-9)
    less = expected_gain(0.9 * stake.s, 90, 10, calibration=given_by, sampling_rate=rate)
    assert less.gain > 0
    assert all(name in str(less) for name in cheats)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0.001, 1))
def test_more_that_passes_never_needs_less(f: float, other_f: float, far: float, other_far: float) -> None:
    better, worse = (min(f, other_f), max(far, other_far)), (max(f, other_f), min(far, other_far))
    stakes = [required_stake(90, 10, calibration=calibration({"a": one})).s for one in (better, worse)]
    assert stakes[0] <= stakes[1]


def test_thresholds_can_be_chosen() -> None:
    scarce = calibration(CHEATS, recommendation=NOT_ENOUGH)
    with pytest.raises(InvalidInputError, match="recommends no thresholds: not enough data: 2938 more pictures"):
        required_stake(90, 10, calibration=scarce)
    found = required_stake(90, 10, calibration=scarce, threshold=8)
    assert (found.threshold, found.slash_threshold) == (8, 24)
    found = required_stake(90, 10, calibration=MEASURED, slash_threshold=30)
    assert (found.threshold, found.slash_threshold) == (10, 30)


def test_size_and_images_are_those_of_the_calibration() -> None:
    five = calibration(CHEATS, group_size=5, images=4)
    found = required_stake(90, 10, calibration=five)
    assert (found.group_size, found.images) == (5, 4)
    assert required_stake(90, 10, calibration=five, group_size=5, images=4) == found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"group_size": 5}, "made with group_size 3, not 5"),
        ({"images": 2}, "made with images 1, not 2"),
        ({"threshold": None}, "threshold is None, which means text tasks"),
        ({"source": "binomial"}, "source is 'binomial', and there is a calibration"),
        ({"cheats": ["half"]}, "'half' was not measured; this calibration has half-steps, other-seed, noise"),
        ({"cheats": "half-steps"}, "cheats is 'half-steps'; expected a list"),
        ({"cheats": []}, "cheats is empty"),
        ({"calibration": calibration({})}, "the calibration has no cheats"),
        ({"calibration": "file.json"}, "calibration is 'file.json'; expected a Calibration"),
        ({"threshold": 65}, "threshold is 65"),
        ({"threshold": 12, "slash_threshold": 8}, "slash_threshold is 8"),
        ({"calibration": None, "cheats": ["noise"]}, "without a calibration; give the calibration that measured them"),
    ],
)
def test_bad_input(changes: dict[str, Any], problem: str) -> None:
    arguments = {"calibration": MEASURED} | changes
    with pytest.raises(InvalidInputError, match=problem):
        required_stake(90, 10, **arguments)
    with pytest.raises(InvalidInputError, match=problem):
        expected_gain(1, 90, 10, **arguments)


def test_a_policy_from_a_calibration() -> None:
    policy = Policy.calibrated(calibration(CHEATS, group_size=5), min_stake=1_000)
    assert policy == Policy(group_size=5, threshold=10, slash_threshold=20, min_stake=1_000)
    for fields, problem in (
        ({"threshold": 10}, "threshold is given, but the calibration decides it"),
        ({"group_size": 3}, "group_size is given"),
        ({"min_stakes": 1}, "a policy has no field 'min_stakes'"),
        ({"min_stake": 0}, "min_stake is 0"),
    ):
        with pytest.raises(InvalidInputError, match=problem):
            Policy.calibrated(MEASURED, **fields)
    with pytest.raises(InvalidInputError, match="2938 more pictures are needed"):
        Policy.calibrated(calibration(CHEATS, recommendation=NOT_ENOUGH))
    with pytest.raises(InvalidInputError, match="calibration is None; expected a Calibration"):
        Policy.calibrated(None)  # type: ignore[arg-type]
