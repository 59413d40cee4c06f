"""A calibration as a whole: what it recommends, what it warns of, what it refuses."""

import dataclasses
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crynux_validate as cv
from crynux_validate.calibration import Curve, Curves, NotEnough, Recommendation, Sample, Samples
from crynux_validate.calibration.intervals import exact
from crynux_validate.calibration.rates import reps_of, slash_place
from crynux_validate.calibration.recommendation import recommended
from tests.calibration.worlds import balanced, cheat, flipped, honest, unrelated, world

pytest.importorskip("scipy")


def quick(samples: Samples, **options: Any) -> cv.Calibration:
    return cv.calibrate(samples, **{"groups": 300} | options)


@pytest.fixture(scope="module")
def made() -> cv.Calibration:
    return quick(world(1, 30))


@pytest.fixture(scope="module")
def quiet() -> cv.Calibration:
    """Enough honest pictures for rates that are not too low."""
    rng = np.random.default_rng(2)
    return quick(honest(rng, balanced(rng, 150, 1), most=1), false_reject_rate=0.2, false_slash_rate=0.05)


def curves(rng: np.random.Generator, thresholds: tuple[int, ...], n: int) -> Curves:
    """Rates that fall with the thresholds, as those of real groups do."""
    count = len(thresholds)
    reject = np.sort(rng.random(count) ** 4)[::-1] * rng.random() ** 3
    slash = np.zeros(slash_place(count, count, count))
    for at in range(count):
        place = slash_place(count, at, at)
        slash[place : place + count - at] = np.sort(rng.random(count - at) ** 6)[::-1] * reject[at]

    def curve(rate: np.ndarray) -> Curve:
        low, high = exact(rate, n)
        return Curve(n, tuple(rate), tuple(low), tuple(high), (0,) * len(rate))

    return Curves(curve(reject), curve(slash))


@pytest.mark.parametrize("seed", range(40))
def test_the_recommendation_against_brute_force(seed: int) -> None:
    """The lowest threshold, and the lowest slash threshold from there on, with all above them as good."""
    rng = np.random.default_rng(seed)
    thresholds = reps_of(even=bool(seed % 2))
    found = curves(rng, thresholds, int(rng.choice([100, 1_000, 10_000])))
    limits = float(rng.choice([0.005, 0.05])), float(rng.choice([0.001, 0.02]))

    def at(threshold: int) -> int:
        return max(place for place, start in enumerate(thresholds) if start <= threshold)

    good = [
        threshold
        for threshold in range(1, 65)
        if all(found.passing.high[at(one)] <= limits[0] for one in range(threshold, 65))
    ]
    wanted = None
    if good:
        slashes = [
            slash
            for slash in range(good[0], 65)
            if all(
                found.slash.high[slash_place(len(thresholds), at(good[0]), at(one))] <= limits[1]
                for one in range(slash, 65)
            )
        ]
        wanted = Recommendation(good[0], slashes[0]) if slashes else None
    answer = recommended(found, thresholds, *limits, 0.95)
    assert (answer if isinstance(answer, Recommendation) else None) == wanted


def test_a_rate_that_fails_between_two_good_ones_ends_the_search() -> None:
    """From the top down: one confidence covers the choice only if nothing below a failure is looked at."""
    thresholds = reps_of(even=False)
    high = [0.001 if threshold != 20 else 0.5 for threshold in thresholds]
    passing = Curve(1_000, (0.0,) * 64, (0.0,) * 64, tuple(high), (0,) * 64)
    slash = Curve(1_000, (0.0,) * 2080, (0.0,) * 2080, (0.0005,) * 2080, (0,) * 2080)
    assert recommended(Curves(passing, slash), thresholds, 0.01, 0.001, 0.95) == Recommendation(21, 21)


def test_how_many_more_pictures_it_takes(made: cv.Calibration) -> None:
    found = made.recommendation
    assert isinstance(found, NotEnough)
    assert found.what == "false_slash_rate"
    assert found.needed is not None
    enough = found.pictures + found.needed
    assert exact(0.0, enough)[1] <= 0.001 < exact(0.0, enough - 1)[1]
    assert str(found) == f"not enough data: {found.needed} more pictures are needed for the false-slash rate"


def test_rates_that_no_number_of_pictures_can_show(tmp_path: Path) -> None:
    found = quick(world(1, 10), false_reject_rate=5e-324, false_slash_rate=1e-300)
    assert isinstance(found.recommendation, NotEnough)
    found.save(tmp_path / "calibration.json")
    assert cv.Calibration.load(tmp_path / "calibration.json") == found


def test_more_pictures_do_not_help_where_machines_differ_too_much() -> None:
    """Two of five kinds draw other pictures: no threshold below 64 keeps them together."""
    rng = np.random.default_rng(3)
    base = balanced(rng, 40, 1)
    away = honest(rng, ~base, 2, most=0, fragile=0)
    other = dataclasses.replace(
        away, kinds=dataclasses.replace(away.kinds, names=tuple(f"other-{name}" for name in away.kinds.names))
    )
    found = quick(honest(rng, base, 3, most=0, fragile=0) + other).recommendation
    assert isinstance(found, NotEnough)
    assert found.needed is None
    assert "more pictures do not help" in str(found)


def test_the_recommendation_holds_its_rates(quiet: cv.Calibration) -> None:
    found = quiet.recommendation
    assert isinstance(found, Recommendation)
    rates = quiet.rates(found.threshold, found.slash_threshold)
    assert rates.honest.reject.high <= 0.2
    assert rates.honest.slash.high <= 0.05
    below = quiet.rates(found.threshold - 1)
    assert below.honest.reject.high > 0.2


def test_rates_go_with_the_thresholds(made: cv.Calibration) -> None:
    """Nothing that a higher threshold accepts is rejected by it, and nothing below a slash threshold is slashed."""
    for name, one in {**made.groups, **{f"pairs of {name}": one for name, one in made.pairs.items()}}.items():
        steps = np.diff(one.passing.rate)
        assert (steps <= 0).all() if name.endswith("honest") else (steps >= 0).all(), name
    for threshold in (4, 16, 30):
        slashes = [made.rates(threshold, slash).honest.slash.rate for slash in range(threshold, 65)]
        assert (np.diff(slashes) <= 0).all()


def test_nothing_seen_is_never_nothing(made: cv.Calibration) -> None:
    for one in (*made.groups.values(), *made.pairs.values()):
        for curve in (one.passing, one.slash):
            assert min(curve.high) > 0
            assert all(low <= rate <= high for low, rate, high in zip(curve.low, curve.rate, curve.high, strict=True))
            floor = exact(0.0, curve.n)[1]
            assert min(curve.high) >= floor * (1 - 1e-5), "never narrower than n of nothing"


def test_rates_per_pair_against_a_double_loop(made: cv.Calibration) -> None:
    samples = world(1, 30).having("honest")
    tasks: dict[int, list[int]] = {}
    for row, code in enumerate(samples.tasks.codes.tolist()):
        tasks.setdefault(code, []).append(row)
    for threshold in (2, 8, 16, 24):
        rejected = [
            np.mean([cv.hamming(int(samples.hashes[a, 0]), int(samples.hashes[b, 0])) >= threshold for a, b in two])
            for two in (list(combinations(rows, 2)) for rows in tasks.values())
        ]
        assert made.rates(threshold).pairs.honest.reject.rate == pytest.approx(np.mean(rejected), rel=1e-5)


def test_one_picture_many_times_is_one_picture(made: cv.Calibration) -> None:
    """The same answers under other names of tasks, as somebody would repeat good pictures: n stays."""
    samples = world(1, 30).having("honest")
    again = dataclasses.replace(
        samples, tasks=dataclasses.replace(samples.tasks, names=tuple(f"again-{one}" for one in samples.tasks.names))
    )
    found = quick(samples + again)
    assert found.pictures["honest"] == made.pictures["honest"] == 30
    assert found.groups["honest"].passing.n == 30
    assert any("each picture counts once" in warning for warning in found.warnings)


def test_one_picture_of_several_kinds_of_machines_is_one_picture() -> None:
    """Under other names of tasks and of machines, with result digests, without, and with some: n stays."""
    hashes = balanced(np.random.default_rng(11), 10, 1)

    def again(time: int, known: bool) -> list[Sample]:
        return [
            Sample(
                f"{kind}-{time}", f"{time}-{at}", "honest", "phash/1", f"{int(one[0]):016x}", "m",
                pixels=bytes([number, at] * 16) if known else None,
            )
            for number, kind in enumerate("ab")
            for at, one in enumerate(hashes)
        ]  # fmt: skip

    for known in ([True] * 4, [False] * 4, [True, False] * 2):
        found = quick(Samples.of([row for time, one in enumerate(known) for row in again(time, one)]))
        assert found.pictures["honest"] == found.groups["honest"].passing.n == 10, known


def test_an_unrelated_picture_under_many_names_makes_no_rate_surer() -> None:
    """Without digests too: in groups it counts once, and beside one another its copies agree."""
    rng = np.random.default_rng(12)
    own = honest(rng, balanced(rng, 40, 1))
    hashes = balanced(rng, 10, 1)
    once, often = (
        quick(
            own
            + Samples.from_columns(
                algorithm="phash/1",
                hashes=np.tile(hashes, (times, 1)),
                task=[f"photo-{at}" for at in range(10 * times)],
                role="unrelated",
            )
        )
        for times in (1, 20)
    )
    assert once.groups["unrelated"] == often.groups["unrelated"]
    assert once.pictures == often.pictures
    assert once.rates(16).pairs.cheats["unrelated"].accept.rate < often.rates(16).pairs.cheats["unrelated"].accept.rate
    assert any("190 of 200 unrelated pictures have no result digest" in warning for warning in often.warnings)


def renamed(samples: Samples, kind: str) -> Samples:
    return dataclasses.replace(samples, kinds=dataclasses.replace(samples.kinds, names=(kind,)))


def test_kinds_that_give_equal_pixels_count_once() -> None:
    rng = np.random.default_rng(4)
    base = balanced(rng, 10, 1)

    def rows(kind: str, hashes: Any, pixels: int) -> list[Sample]:
        return [
            Sample(kind, f"t{at}", "honest", "phash/1", f"{int(one[0]):016x}", "m", pixels=bytes([pixels, at] * 16))
            for at, one in enumerate(hashes)
        ]

    other = base ^ np.uint64(3)
    first = rows("a", base, 1) + rows("b", other, 2)
    found = quick(Samples.of([*first, *rows("c", base, 1), *rows("d", base, 1)]))
    assert found.kinds == ("a", "b")
    assert found.merged == {"a": ("c", "d")}
    assert found.pairs == quick(Samples.of(first)).pairs
    told = quick(Samples.of([*first, *rows("c", base, 3)]))
    assert told.kinds == ("a", "b", "c"), "equal hashes are not equal pixels"
    some = [dataclasses.replace(one, pixels=None) if one.task < "t5" else one for one in rows("c", base, 1)]
    assert quick(Samples.of([*first, *some])).kinds == ("a", "b"), "a digest that is missing hides no kind"
    deviating = [*some[1:], dataclasses.replace(some[0], score="f" * 16)]
    assert quick(Samples.of([*first, *deviating])).kinds == ("a", "b", "c")
    with pytest.raises(cv.errors.InvalidInputError, match="they are one kind"):
        quick(Samples.of([*rows("a", base, 1), *rows("c", base, 1)]))


def test_kinds_without_pixels_are_told_of(made: cv.Calibration) -> None:
    assert any("no result digest" in warning for warning in made.warnings)
    rng = np.random.default_rng(5)
    one = honest(rng, balanced(rng, 6, 1), 1)
    found = quick(renamed(one, "x") + renamed(one, "y"))
    assert any("equal hashes everywhere: y and x" in warning for warning in found.warnings)


def test_what_was_not_measured_has_no_rate(made: cv.Calibration) -> None:
    rng = np.random.default_rng(6)
    base = balanced(rng, 5, 1)
    elsewhere = cheat(rng, base, "elsewhere")
    elsewhere = dataclasses.replace(
        elsewhere, tasks=dataclasses.replace(elsewhere.tasks, names=tuple(f"x-{one}" for one in elsewhere.tasks.names))
    )
    found = quick(honest(rng, base) + elsewhere + unrelated(rng, 1, 3))
    assert found.cheats == ()
    assert any("the cheat elsewhere has no rates" in warning for warning in found.warnings)
    assert any("unrelated samples are of one picture" in warning for warning in found.warnings)
    with pytest.raises(cv.errors.InvalidInputError, match="'elsewhere' was not measured; this calibration has none"):
        found.cheat("elsewhere", 16)
    with pytest.raises(cv.errors.InvalidInputError, match="this calibration has unrelated, grey, half-steps"):
        made.cheat("half", 16)
    assert made.cheat("grey", 16) == made.rates(16).cheats["grey"]


def test_a_cheat_of_many_machines_is_told_of() -> None:
    """Answers that fail, beside one that passes, hide it; their shares add up to nearly 1, and are no NaN."""
    rng = np.random.default_rng(13)
    base = balanced(rng, 200, 1)
    samples = honest(rng, base, most=0, fragile=0)
    samples += cheat(rng, base, "x", most=0)
    assert not any("the cheat x has answers" in warning for warning in quick(samples).warnings)
    for number in range(20):
        samples += cheat(rng, base ^ np.uint64(2**32 - 1), "x", most=0, kind=f"other-{number}")
    found = quick(samples)
    assert any("the cheat x has answers of 21 kinds of machines" in warning for warning in found.warnings)
    assert found.rates(2).pairs.cheats["x"].accept.rate == pytest.approx(1 / 21, rel=1e-5)


def test_few_kinds_are_told_of() -> None:
    rng = np.random.default_rng(7)
    found = quick(honest(rng, balanced(rng, 6, 1), 2))
    assert any("two kinds of machines" in warning for warning in found.warnings)
    assert any("fewer than 3 kinds" in warning for warning in found.warnings)
    assert any("no unrelated pictures" in warning for warning in found.warnings)


def test_plain_pictures_are_told_of() -> None:
    rng = np.random.default_rng(12)
    base = balanced(rng, 6, 1)
    base[:3] = np.uint64(7) << np.arange(3, dtype=np.uint64)[:, None]
    found = quick(honest(rng, base, 3, most=0, fragile=0))
    assert any("50% of the honest hashes are degenerate" in warning for warning in found.warnings)


def test_unrelated_pictures_are_no_pairs_in_groups() -> None:
    """All honest pictures are smooth, and so is one unrelated picture of many: whether it is there decides all."""
    rng = np.random.default_rng(13)
    smooth = flipped(rng, np.full((80, 1), 0xFFFFFFFF, np.uint64), 2)
    found = quick(honest(rng, smooth, 3, most=0, fragile=0) + unrelated(rng, 50), groups=20_000)
    accept = found.cheat("unrelated", 16).accept
    assert (accept.rate, accept.n) == (0, 50)
    assert accept.high == pytest.approx(exact(0.0, 50)[1], rel=1e-4)
    assert found.rates(16).pairs.cheats["unrelated"].accept.n == 50 * 49 // 2


def test_several_models_are_told_of() -> None:
    rng = np.random.default_rng(8)
    one = honest(rng, balanced(rng, 6, 1), 3)
    other = honest(rng, balanced(rng, 6, 1), 3)
    found = quick(one + dataclasses.replace(other, models=dataclasses.replace(other.models, names=("n",))))
    assert found.models == ("m", "n")
    assert found.pictures["honest"] == 12, "one task for two models is two pictures"
    assert any("2 models are taken together" in warning for warning in found.warnings)


def test_what_rules_would_leave_out(made: cv.Calibration) -> None:
    samples = world(1, 30)
    rules = [one for one in made.left_out if one.role == "honest"]
    assert [one.rule.partition(",")[0] for one in rules] == ["degenerate"] * 4
    pairs = [
        (a, b)
        for a, b in combinations(range(len(samples.having("honest"))), 2)
        if samples.tasks.codes[a] == samples.tasks.codes[b]
    ]
    plain = samples.degenerate
    assert (rules[0].pairs, rules[0].excluded) == (len(pairs), sum(plain[a] or plain[b] for a, b in pairs))
    place = made.place(16)
    far = [(a, b) for a, b in pairs if cv.hamming(int(samples.hashes[a, 0]), int(samples.hashes[b, 0])) >= 16]
    assert rules[0].events[place] == len(far)
    for rule in rules[1:]:
        assert rule.margin is not None
        low = (samples.margins < rule.margin) | plain
        assert rule.excluded == sum(low[a] or low[b] for a, b in pairs)
        assert rule.excluded_events[place] == sum(low[a] or low[b] for a, b in far)
    margins = [rule.margin for rule in rules[1:]]
    assert margins == sorted(margins)  # type: ignore[type-var]


def test_equal_samples_and_seeds_give_equal_calibrations(made: cv.Calibration) -> None:
    samples = world(1, 30)
    assert quick(samples) == made
    shuffled = samples.at(np.random.default_rng(9).permutation(len(samples)))
    assert quick(shuffled).pairs["honest"] == made.pairs["honest"], "the order of the rows does not matter"
    alone = quick(samples.having("honest"))
    assert alone.groups["honest"] == made.groups["honest"], "other roles do not matter"


def test_a_cheat_that_always_passes_and_one_that_never_does() -> None:
    rng = np.random.default_rng(10)
    base = balanced(rng, 20, 1)
    found = quick(
        honest(rng, base, most=0, fragile=0) + cheat(rng, base, "copy", most=0) + cheat(rng, ~base, "other", most=0)
    )
    rates = found.rates(16)
    assert (rates.cheats["copy"].accept.rate, rates.cheats["copy"].slash.rate) == (1, 0)
    assert (rates.cheats["other"].accept.rate, rates.cheats["other"].slash.rate) == (0, 1)
    assert rates.cheats["copy"].accept.high == 1
    assert rates.cheats["other"].accept.high == pytest.approx(exact(0.0, 20)[1], rel=1e-4)


def test_the_state_gives_the_same_calibration(tmp_path: Path, made: cv.Calibration) -> None:
    state = tmp_path / "state"
    told: list[tuple[int, int]] = []
    first = quick(world(1, 30), state=state, on_progress=lambda done, total: told.append((done, total)))
    assert state.exists()
    assert told[-1][0] == told[-1][1] > 0
    assert quick(world(1, 30), state=state) == first == made


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group_size": 4}, "group_size is 4"),
        ({"group_size": True}, "group_size is True"),
        ({"false_reject_rate": 0.0}, "false_reject_rate is 0.0"),
        ({"false_slash_rate": float("nan")}, "false_slash_rate is nan"),
        ({"false_slash_rate": 1}, "false_slash_rate is 1"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"confidence": float("nan")}, "confidence is nan"),
        ({"safety_checker": None}, "safety_checker is None"),
        ({"groups": 0}, "groups is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"on_progress": 3}, "on_progress is 3"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], said: str) -> None:
    with pytest.raises(cv.errors.InvalidInputError, match=said):
        cv.calibrate(world(1, 4), **options)


def test_samples_that_cannot_be_compared() -> None:
    rng = np.random.default_rng(11)
    base = balanced(rng, 4, 1)
    with pytest.raises(cv.errors.InvalidInputError, match=r"one kind of machine only \(kind-0\)"):
        quick(honest(rng, base, 1))
    with pytest.raises(cv.errors.InvalidInputError, match="no honest answers"):
        quick(unrelated(rng, 4))
    with pytest.raises(cv.errors.InvalidInputError, match="make them with Samples"):
        quick([])  # type: ignore[arg-type]
    one, two = renamed(honest(rng, base, 1), "a"), renamed(honest(rng, base, 1), "b")
    apart = dataclasses.replace(two, tasks=dataclasses.replace(two.tasks, names=tuple("wxyz")))
    with pytest.raises(cv.errors.InvalidInputError, match="no task was answered by two kinds"):
        quick(one + apart)
