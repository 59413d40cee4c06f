"""Keyed values of pictures: what holds for every picture and every key (protocol, "Keyed values")."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.stats import chi2

from crynux_validate.errors import InvalidImageError, InvalidInputError
from crynux_validate.hashing.bands import BANDS, STEPS, VALUES, Key, bands_apart, bands_of, features

Picture = npt.NDArray[np.uint8]


def seed(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def picture(height: int, width: int, number: int = 0) -> Picture:
    """Something with detail of every size, and colours."""
    generator = np.random.default_rng(number)
    samples = np.zeros((height, width, 3))
    for size in (2, 5, 17, 64):
        rough = generator.normal(0, 12, (size, size, 3))
        samples += np.stack(
            [np.asarray(Image.fromarray(rough[..., at].astype(np.float32)).resize((width, height))) for at in range(3)],
            -1,
        )
    return np.clip(samples + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "names"),
    [
        (8, 8, ["luma-8"]),
        (15, 400, ["luma-8"]),
        (16, 16, ["luma-8", "luma-16", "chroma-16"]),
        (400, 63, ["luma-8", "luma-16", "chroma-16", "luma-32"]),
        (64, 64, ["luma-8", "luma-16", "chroma-16", "luma-32", "luma-64", "chroma-64"]),
        (255, 256, [band.name for band in BANDS[:-1]]),
        (256, 4096, [band.name for band in BANDS]),
    ],
)
def test_a_band_exists_where_the_shorter_side_has_its_pixels(width: int, height: int, names: list[str]) -> None:
    assert [band.name for band in bands_of(width, height)] == names
    assert len(Key(seed(0)).values(picture(height, width))) == VALUES * len(names) <= 256


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 128), (96, 72), (10, 24)])
def test_a_picture_of_larger_pixels_has_the_same_values(height: int, width: int) -> None:
    """So a band does not depend on how large the picture is, and what is finer than the pixels is zero."""
    small = picture(height, width)
    large = small.repeat(4, 0).repeat(4, 1)
    for number in range(3):
        values, again = Key(seed(number)).values(small), Key(seed(number)).values(large)
        assert max(bands_apart(again[: len(values)], values)) <= VALUES, "more than roundings"
    finer = [numbers for band, (numbers, _) in features(Image.fromarray(large)).items() if band.side > height]
    if height == width:  # in others the fields of the large picture cut pixels
        assert finer
        assert all(not numbers.any() for numbers in finer)


def test_fields_are_the_whole_picture_in_pictures_that_are_not_square() -> None:
    """Each pixel counts, in fields that may cut it: no strip at an edge is left out."""
    for height, width in ((70, 200), (129, 65)):
        before, key = picture(height, width), Key(seed(1))
        for corner in (np.s_[0, 0], np.s_[-1, -1], np.s_[0, -1], np.s_[height // 2, width // 2]):
            after = before.copy()
            after[corner] = before[corner] ^ 255
            assert key.values(after) != key.values(before)


def test_grey_is_red_green_and_blue_alike() -> None:
    grey = picture(40, 64)[..., 0]
    assert Key(seed(0)).values(grey) == Key(seed(0)).values(np.stack([grey] * 3, -1))
    assert Key(seed(0)).values(Image.fromarray(grey)) == Key(seed(0)).values(grey)


def test_values_follow_from_picture_and_seed_alone() -> None:
    first, second = picture(64, 80), picture(64, 80, 1)
    key = Key(seed(0))
    assert key.values(first) == key.values(first) == Key(seed(0)).values(first)
    assert len({key.values(first), key.values(second), Key(seed(1)).values(first)}) == 3
    assert Image.fromarray(first).tobytes() == first.tobytes(), "the picture is left as it was"


def test_every_place_goes_into_one_sum_with_a_sign() -> None:
    key = Key(seed(3))
    for band in BANDS:
        into, signs = key.words(band)
        assert into.shape == signs.shape == (band.places,)
        assert set(np.unique(into)) == set(range(VALUES)) or band.places < 300
        assert set(np.unique(signs)) == {-1, 1}
        assert abs(signs.mean()) < 4 / np.sqrt(band.places)


def test_differences_are_modulo_256() -> None:
    a, b = bytes([0] * 30 + [250] * 30), bytes([1] * 30 + [4] * 30)
    assert bands_apart(a, b) == bands_apart(b, a) == [30, 3000]
    assert bands_apart(bytes(30), bytes([128] * 30)) == [30 * 128**2]


def test_the_sum_of_squares_is_the_difference_of_the_pictures() -> None:
    """On average over keys, whether the difference is everywhere or in one place."""
    before = picture(128, 128)
    spread, spot = before.astype(int), before.astype(int)
    spread += np.random.default_rng(5).integers(-6, 7, before.shape)
    spot[41:50, 43:50] += 60
    for after in (spread, spot):
        after = np.clip(after, 0, 255).astype(np.uint8)
        real = difference(before, after)
        found = np.mean([bands_apart(Key(seed(at)).values(before), Key(seed(at)).values(after)) for at in range(50)], 0)
        measured = np.sqrt(found / VALUES) / STEPS
        rounding = np.where(real > 0, 1 / 6 / STEPS**2, 0)  # of two values, each by up to half a unit
        assert np.allclose(measured, np.sqrt(real**2 + rounding), rtol=0.15), (measured, real)


def difference(a: Picture, b: Picture) -> Any:
    """The root mean square difference of each band, in grey levels."""
    both = features(Image.fromarray(a)), features(Image.fromarray(b))
    return np.array(
        [np.sqrt(((both[0][band][0] - both[1][band][0]) ** 2).mean()) / both[0][band][1] for band in both[0]]
    )


def test_the_closed_formula_holds_over_fifty_keys() -> None:
    """A spread difference of d grey levels is within tau with probability F_chi2,30(30 tau^2 / d^2)."""
    before = picture(128, 128)
    after = np.clip(before.astype(int) + np.random.default_rng(9).integers(-12, 13, before.shape), 0, 255).astype(
        np.uint8
    )
    real = difference(before, after)
    for factor in (0.9, 1.0, 1.1):
        limits = [VALUES * (STEPS * factor * one) ** 2 for one in real]
        within = np.array(
            [
                [one <= limit for one, limit in zip(bands_apart(*values), limits, strict=True)]
                for values in ([Key(seed(at)).values(each) for each in (before, after)] for at in range(50))
            ]
        )
        predicted = chi2.cdf(VALUES * factor**2, VALUES)
        n = within[:, 1:].size
        assert abs(within[:, 1:].mean() - predicted) < 4 * np.sqrt(predicted * (1 - predicted) / n), factor


@pytest.mark.parametrize(("height", "width"), [(7, 100), (100, 7), (1, 1)])
def test_a_picture_below_the_smallest_band(height: int, width: int) -> None:
    with pytest.raises(InvalidImageError, match=f"the picture is {width}x{height}; keyed/1 needs at least 8 pixels"):
        Key(seed(0)).values(picture(height, width))


@pytest.mark.parametrize("wrong", [b"", bytes(31), "00" * 32, None, 3])
def test_a_seed_that_is_none(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected 32 bytes"):
        Key(wrong)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (Image.new("RGBA", (64, 64)), "has alpha"),
        (Image.new("I;16", (64, 64)), "has mode I;16"),
        (np.zeros((64, 64, 3)), "dtype float64"),
        (b"nothing", "is not a picture"),
    ],
)
def test_what_is_no_picture_of_8_bits(wrong: Any, match: str) -> None:
    with pytest.raises(InvalidImageError, match=match):
        Key(seed(0)).values(wrong)
