"""Counts of distances against plain double loops."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import crynux_validate as cv
from crynux_validate.calibration.counting import count_cheat, count_honest
from crynux_validate.calibration.table import PLAIN, Table, classes_of, margin_cuts, pictures_of
from crynux_validate.calibration.unrelated import PairCounts, count_unrelated
from crynux_validate.judging.bulk import is_telling
from tests.calibration.worlds import unrelated, world

INTEGERS = np.iinfo(np.uint64)


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return max((int(x) ^ int(y)).bit_count() for x, y in zip(a, b, strict=True))


def telling(a: np.ndarray, b: np.ndarray, *, both: bool) -> int:
    """The farthest block that can slash: of two hashes that are not degenerate, or of which one is not."""
    found = 0
    for x, y in zip(a, b, strict=True):
        tells = [24 <= int(one).bit_count() <= 40 for one in (x, y)]
        if all(tells) if both else any(tells):
            found = max(found, (int(x) ^ int(y)).bit_count())
    return found


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("safety_checker", [True, False])
def test_honest_pairs(images: int, safety_checker: bool) -> None:
    samples = world(1, images=images, missing=0.2).having("honest")
    table = Table.of(samples, classes_of(samples, margin_cuts(samples)))
    found = count_honest(table, safety_checker=safety_checker, seed=0)
    tasks: dict[str, list[int]] = {}
    for row, code in enumerate(samples.tasks.codes):
        tasks.setdefault(samples.tasks.names[code], []).append(row)
    of_task: dict[str, np.ndarray] = {}
    of_telling: dict[str, np.ndarray] = {}
    pairs = 0
    for task, rows in tasks.items():
        two = list(combinations(rows, 2))
        if not two:
            continue
        pairs += len(two)
        apart = [distance(samples.hashes[a], samples.hashes[b]) for a, b in two]
        far = [telling(samples.hashes[a], samples.hashes[b], both=safety_checker) for a, b in two]
        of_task[task] = np.bincount(apart, minlength=65) / len(two)
        of_telling[task] = np.bincount(far, minlength=65) / len(two)
    assert found.pictures == len(of_task)
    np.testing.assert_allclose(found.distances.sum(axis=0), sum(of_task.values()))
    np.testing.assert_allclose(found.telling.sum(axis=0), sum(of_telling.values()))
    np.testing.assert_allclose(found.by_pair.sum(axis=0), sum(of_task.values()))
    np.testing.assert_allclose(found.telling_by_pair.sum(axis=0), sum(of_telling.values()))
    np.testing.assert_allclose(np.sort(found.weights), np.ones(found.pictures))
    assert found.classes.sum() == pairs


def test_cheats_beside_honest_answers() -> None:
    samples = world(2, images=2, missing=0.3)
    honest, cheat = samples.having("honest"), samples.having("cheat:grey")
    table = Table.of(honest, classes_of(honest, ()))
    names = [cheat.tasks.names[code] for code in cheat.tasks.codes]
    task = np.array([table.places.get(("m", name), -1) for name in names])
    found = count_cheat(table, cheat.hashes[task >= 0], task[task >= 0], safety_checker=True, seed=0)
    expected = np.zeros(65)
    for row, name in enumerate(names):
        others = [at for at, code in enumerate(honest.tasks.codes) if honest.tasks.names[code] == name]
        apart = [distance(cheat.hashes[row], honest.hashes[at]) for at in others]
        if apart:
            expected += np.bincount(apart, minlength=65) / len(apart)
    np.testing.assert_allclose(found.distances.sum(axis=0), expected)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("safety_checker", [True, False])
def test_unrelated_pairs(images: int, safety_checker: bool) -> None:
    samples = unrelated(np.random.default_rng(3), 7, 3, images=images, alike=0.4)
    samples.hashes[4] = 0xF  # degenerate
    samples.hashes[5, 0] = 0xF
    picture = pictures_of(samples)
    classes = classes_of(samples, margin_cuts(samples))
    found = count_unrelated(samples.hashes, picture, classes, safety_checker=safety_checker)
    apart, far, mark = np.zeros(65, int), np.zeros(65, int), np.zeros((PLAIN + 1, 65), int)
    nearest: dict[int, int] = {}
    for a, b in combinations(range(len(samples)), 2):
        if picture[a] != picture[b]:
            step = distance(samples.hashes[a], samples.hashes[b])
            apart[step] += 1
            far[telling(samples.hashes[a], samples.hashes[b], both=safety_checker)] += 1
            mark[max(classes[a], classes[b]), step] += 1
            for one in (picture[a], picture[b]):
                nearest[one] = min(nearest.get(one, 65), step)
    assert found.pairs == apart.sum() == 7 * 6 // 2 * 9
    np.testing.assert_array_equal(found.distances.sum(axis=0), 2 * apart)
    np.testing.assert_array_equal(found.telling.sum(axis=0), 2 * far)
    np.testing.assert_array_equal(found.classes, mark)
    np.testing.assert_array_equal(found.nearest, np.bincount(list(nearest.values()), minlength=66))
    assert (found.pictures, found.pairs_of_pictures) == (7, 21)


def test_pictures_of_many_parts_count_for_fewer_pairs() -> None:
    """A picture of many parts is one picture: most pairs have it in common, and n falls."""
    rng = np.random.default_rng(4)
    hashes = rng.integers(0, INTEGERS.max, (120, 1), np.uint64)
    even = count_unrelated(hashes, np.repeat(np.arange(12), 10))
    uneven = count_unrelated(hashes, np.repeat(np.arange(12), [109, *[1] * 11]))
    assert even.pairs_of_pictures == 66
    assert uneven.pairs_of_pictures == 12, "those of the large picture, and hardly more"


def test_equal_pixels_are_one_picture() -> None:
    rng = np.random.default_rng(5)
    one = unrelated(rng, 4)
    again = cv.calibration.Samples.from_columns(
        algorithm="phash/1",
        hashes=np.repeat(one.hashes, 2, axis=0),
        task=[f"name-{at}" for at in range(8)],
        role="unrelated",
        pixels=[bytes([at // 2] * 32) for at in range(8)],
    )
    assert pictures_of(one).max() + 1 == pictures_of(again).max() + 1 == 4


class KilledError(Exception):
    """Stands for a process that ends."""


def test_what_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = unrelated(np.random.default_rng(6), 30, 2, alike=0.2)
    picture, state = pictures_of(samples), tmp_path / "state"
    whole = count_unrelated(samples.hashes, picture)
    monkeypatch.setattr("crynux_validate.calibration.unrelated._SECONDS", 0.0)
    seen: list[int] = []

    def told(done: int, total: int) -> None:
        seen.append(done)
        assert done <= total
        if len(seen) in (5, 20):
            raise KilledError

    for _ in range(2):
        with pytest.raises(KilledError):
            count_unrelated(samples.hashes, picture, state=state, on_progress=told)
    resumed = count_unrelated(samples.hashes, picture, state=state, on_progress=told)
    assert len(seen) < 2 * len(samples), "what was counted is not counted again"
    assert_equal(resumed, whole)
    assert_equal(count_unrelated(samples.hashes, picture, state=state), whole)


def assert_equal(a: PairCounts, b: PairCounts) -> None:
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name))


def test_a_state_of_other_samples_is_refused(tmp_path: Path) -> None:
    one, other = (unrelated(np.random.default_rng(seed), 5) for seed in (7, 8))
    state = tmp_path / "state"
    count_unrelated(one.hashes, pictures_of(one), state=state)
    with pytest.raises(cv.errors.InvalidInputError, match="no whole state of a calibration of these samples"):
        count_unrelated(other.hashes, pictures_of(other), state=state)
    with pytest.raises(cv.errors.InvalidInputError, match="no whole state"):
        count_unrelated(one.hashes, pictures_of(one), state=state, safety_checker=False)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    """Whatever bit is another one, and wherever it was cut off."""
    one = unrelated(np.random.default_rng(7), 5)
    state = tmp_path / "state"
    count_unrelated(one.hashes, pictures_of(one), state=state)
    whole = state.read_bytes()
    changed = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 97)]
    for content in (*changed, whole[:-1], whole[:40], b"", b"no state", whole + b"x", whole * 2, bytes(len(whole))):
        state.write_bytes(content)
        with pytest.raises(cv.errors.InvalidInputError, match=r"no whole state|has more than"):
            count_unrelated(one.hashes, pictures_of(one), state=state)


def test_files_that_are_no_state(tmp_path: Path) -> None:
    one = unrelated(np.random.default_rng(7), 5)
    large = tmp_path / "large"
    large.write_bytes(bytes(10**6))
    for state in (large, tmp_path, "/dev/zero"):
        with pytest.raises(cv.errors.InvalidInputError, match=r"has more than|cannot read"):
            count_unrelated(one.hashes, pictures_of(one), state=state)
    with pytest.raises(OSError, match="No such file"):
        count_unrelated(one.hashes, pictures_of(one), state=tmp_path / "no" / "state")


def test_one_picture_makes_no_pair() -> None:
    samples = unrelated(np.random.default_rng(9), 1, 5)
    with pytest.raises(cv.errors.InvalidInputError, match="at least two pictures"):
        count_unrelated(samples.hashes, pictures_of(samples))


def test_which_hashes_tell() -> None:
    hashes = np.array([0, 2**23 - 1, 2**24 - 1, 2**40 - 1, 2**41 - 1, 2**64 - 1], np.uint64)
    assert is_telling(hashes).tolist() == [False, False, True, True, False, False]
