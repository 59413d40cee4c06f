"""Tolerances of keyed values: what sets a limit, what counts as rejected, and what is refused."""

import hashlib
from typing import Any

import numpy as np
import pytest

from crynux_validate import Lora
from crynux_validate.calibration import KeyedSample, calibrate_keyed
from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing.bands import BANDS, SIZE, VALUES, bands_apart
from crynux_validate.keyed import KeyedScore, keyed_agree
from crynux_validate.tasks import ImageSetting
from tests.ledger.keyed_pictures import ASKED

TASK = ASKED


def samples(
    pictures: int = 40, bands: int = 6, keys: int = 3, noise: int = 2, kinds: tuple[str, ...] = ("a", "b", "c")
) -> list[KeyedSample]:
    """Values of pictures under keys, which kinds differ in by whole numbers up to `noise`."""
    generator = np.random.default_rng(0)
    found = []
    for picture in range(pictures):
        for key in range(keys):
            base = generator.integers(-40, 41, (bands, VALUES))
            for at, kind in enumerate(kinds):
                moved = base + (generator.integers(-noise, noise + 1, base.shape) if at else 0)
                data = b"".join(bytes([9]) + band.astype(np.int8).tobytes() for band in moved)
                found.append(KeyedSample(kind, f"picture {picture}", f"key {key}", KeyedScore(data, "keyed/1")))
    return found


def calibrated(rows: list[KeyedSample], **change: Any) -> Any:
    return calibrate_keyed(rows, **{"tasks": [TASK], **change})


def halves(rows: list[KeyedSample]) -> tuple[set[str], set[str]]:
    names = sorted({row.picture for row in rows}, key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(names[::2]), set(names[1::2])


def largest(rows: list[KeyedSample], among: set[str]) -> list[int]:
    pairs = [
        bands_apart(one.score.score, other.score.score)
        for one in rows
        for other in rows
        if one.picture in among and (one.picture, one.key) == (other.picture, other.key)
    ]
    return [int(one) for one in np.max(pairs, 0)]


@pytest.mark.parametrize("margin", [1, 1.5, 3])
def test_the_largest_difference_and_a_margin_set_the_limits(margin: float) -> None:
    rows = samples()
    found = calibrated(rows, margin=margin)
    expected = largest(rows, {row.picture for row in rows})
    assert found.tolerance.limits == tuple(int(one * margin**2) + VALUES for one in expected)
    assert [band.largest for band in found.bands] == expected
    assert [band.band for band in found.bands] == [band.name for band in BANDS[:6]]
    assert (found.pictures, found.kinds) == (40, ("a", "b", "c"))
    assert found.tolerance.setting == ImageSetting.of(TASK)


def test_pictures_are_judged_by_the_limits_of_the_other_half() -> None:
    """A picture counts as rejected where more than half of its pairs and keys are beyond a limit, in any band."""
    rows = samples(keys=2, kinds=("a", "b"))
    one_half, other_half = halves(rows)
    always, once = sorted(one_half)[:2]

    def spoiled(row: KeyedSample, by: int = 60) -> KeyedSample:
        if row.kind == "b" and (row.picture == always or (row.picture == once and row.key == "key 0")):
            data = bytearray(row.score.score)
            data[SIZE + 1] = (data[SIZE + 1] + by) & 255
            return KeyedSample(row.kind, row.picture, row.key, KeyedScore(bytes(data), "keyed/1"))
        return row

    spoiled_rows = [spoiled(row) for row in rows]
    found = calibrated(spoiled_rows)
    assert found.tolerance.limits[1] > 4 * 55**2, "they have a part in the limits, and are counted as if they had none"
    assert (found.rejected, found.rejected_once, found.far) == (1, 2, 2)
    assert [band.rejected for band in found.bands] == [0, 2, 0, 0, 0, 0]
    low, high = found.interval()
    assert low < 1 / 40 < high < 0.15
    nearer = calibrated([spoiled(row, 30) for row in rows])
    assert (nearer.rejected, nearer.rejected_once, nearer.far) == (1, 2, 0), "more than once the limit, less than twice"
    clean = calibrated(rows)
    assert (clean.rejected, clean.far) == (0, 0)
    assert clean.interval()[0] == 0
    assert 0.05 < clean.interval()[1] < 0.1, "nothing in 40 is not never"
    assert largest(rows, one_half) != largest(rows, other_half)


def test_order_and_repetition_of_the_work_change_nothing() -> None:
    rows = samples()
    assert calibrated(rows) == calibrated(rows[::-1])


def test_what_was_calibrated_agrees() -> None:
    rows = samples()
    found = calibrated(rows)
    limits = found.tolerance.limits
    assert keyed_agree(rows[0].score, rows[1].score, limits)
    assert not keyed_agree(rows[0].score, rows[3].score, limits)
    assert found.to_dict()["tolerance"] == found.tolerance.to_dict()
    assert "0 of 40 held-out pictures rejected" in repr(found)


def test_bad_input() -> None:
    rows = samples()
    digest = KeyedSample("a", "p", "k", KeyedScore(bytes(32)))
    longer = KeyedSample("a", "p", "k", KeyedScore(bytes([9] + 30 * [0]), "keyed/1"))
    wrong: list[tuple[Any, str]] = [
        ([*rows, digest], r"samples\[360\] is a digest/1; only keyed/1 has tolerances"),
        ([*rows, longer], r"several sizes: 186 bytes .*, 31 bytes"),
        ([*rows, rows[0]], r"samples\[360\]: a has answered 'picture 0' with this key"),
        (samples(pictures=19), "19 pictures were drawn by two kinds; at least 20"),
        (samples(kinds=("a",)), "0 pictures were drawn by two kinds"),
        (samples(noise=0), "the kinds a, b, c gave equal values; give machines that differ"),
        (samples(noise=40), "too far apart for a limit"),
        ([], "0 pictures"),
        (None, "samples is None"),
        ([b"x"], r"samples\[0\] is b'x'; expected a KeyedSample"),
    ]
    for given, match in wrong:
        with pytest.raises(InvalidInputError, match=match):
            calibrated(given)
    for margin in (0.9, 11, "2", True):
        with pytest.raises(InvalidInputError, match=r"margin is .*; expected a number from 1 to 10"):
            calibrated(rows, margin=margin)
    tasks: list[tuple[Any, str]] = [
        ([], "tasks is empty"),
        (None, "tasks is None"),
        (["a task"], r"tasks\[0\] is 'a task'; expected an ImageTask"),
        ([TASK, TASK.replace(dtype="bfloat16")], r"tasks\[1\] has another dtype than tasks\[0\]"),
        ([TASK, TASK.replace(loras=[Lora(TASK.model)])], "another loras"),
        ([TASK.replace(width=512, height=512)], "6 bands, and pictures of 512x512 have 8"),
    ]
    for given, match in tasks:
        with pytest.raises(InvalidInputError, match=match):
            calibrated(rows, tasks=given)
