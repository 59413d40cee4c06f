"""Keyed values of pictures: what holds for every picture and every key (protocol, "Keyed values")."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.stats import chi2

from crynux_validate.errors import InvalidImageError, InvalidInputError
from crynux_validate.hashing.bands import (
    BANDS,
    LEAST_CONTRAST,
    SIZE,
    STEPS,
    VALUES,
    Key,
    bands_apart,
    bands_of,
    contrast,
    features,
    misfit,
)

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
    assert len(Key(seed(0)).values(picture(height, width))) == SIZE * len(names) <= 256


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


def of_band(level: int, *values: int) -> bytes:
    """The values of a band, the first ones named, with its contrast."""
    return bytes([level, *(value & 255 for value in values)]).ljust(SIZE, b"\0")


def test_differences_are_in_units_of_the_lesser_contrast() -> None:
    a, b = of_band(10, 1, -2) + of_band(4), of_band(10, 4, 2) + of_band(4, 127)
    assert bands_apart(a, b) == bands_apart(b, a) == [9 + 16, 127**2]
    a, b = of_band(10, 20), of_band(20, 10)
    assert bands_apart(a, b) == [0], "the same sum"
    assert bands_apart(of_band(10, 20), of_band(20, 20)) == bands_apart(of_band(20, 20), of_band(10, 20)) == [400]
    assert bands_apart(of_band(7, 3), of_band(8, 3)) == [1], "rounded up"


@pytest.mark.parametrize("samples", [0, 255, "stripes", "noise", "red and green"])
def test_contrast_is_the_root_mean_square_in_grey_levels(samples: Any) -> None:
    generator, shape = np.random.default_rng(2), (64, 64, 3)
    whole = np.zeros(shape, np.uint8)
    if samples == "stripes":
        whole[::2] = 255
    elif samples == "noise":
        whole[:] = generator.integers(0, 256, shape)
    elif samples == "red and green":
        whole[..., 0], whole[..., 1] = 255 * generator.integers(0, 2, (2, 64, 64))
    else:
        whole[:] = samples
    values = Key(seed(0)).values(whole)
    for at, (numbers, scale) in enumerate(features(Image.fromarray(whole)).values()):
        real = np.sqrt(((numbers / scale) ** 2).mean())
        assert values[at * SIZE] == contrast(numbers, scale)
        assert max(LEAST_CONTRAST, real - 1.2) <= contrast(numbers, scale) <= max(LEAST_CONTRAST, min(255, real + 0.1))


def test_values_are_of_a_picture_or_not() -> None:
    assert not misfit(Key(seed(0)).values(picture(64, 64)))
    for values, problem in (
        (b"", "0 bytes, not 31 for each band"),
        (bytes(30), "30 bytes"),
        (of_band(4) + of_band(3), "a contrast of 3 grey levels, below 4"),
        (of_band(4, -128), "the value -128, below -127"),
    ):
        assert problem in misfit(values)
    assert not misfit(of_band(128, -127)), "128 is a contrast"


def moved(before: Picture, most: int, number: int = 9) -> Picture:
    """The picture with noise that is spread over it."""
    noise = np.random.default_rng(number).integers(-most, most + 1, before.shape)
    return np.clip(before.astype(int) + noise, 0, 255).astype(np.uint8)


def test_the_squared_distance_is_the_difference_of_the_pictures() -> None:
    """On average over keys, whether the difference is everywhere or in one place."""
    before = picture(128, 128)
    spot = before.astype(int)
    spot[41:50, 43:50] += 60
    for after in (moved(before, 6), np.clip(spot, 0, 255).astype(np.uint8)):
        real = difference(before, after)
        found = np.mean([bands_apart(Key(seed(at)).values(before), Key(seed(at)).values(after)) for at in range(50)], 0)
        measured = np.sqrt(found / VALUES) / STEPS
        rounding = np.where(real > 0, 1 / 6 / STEPS**2, 0)  # of two values, each by up to half a unit
        assert np.allclose(measured, np.sqrt(real**2 + rounding), rtol=0.15), (measured, real)


def difference(a: Picture, b: Picture) -> Any:
    """The root mean square difference of each band, in units of the lesser contrast."""
    both = [list(features(Image.fromarray(one)).values()) for one in (a, b)]
    return np.array(
        [
            np.sqrt(((one - other) ** 2).mean()) / scale / min(contrast(one, scale), contrast(other, scale))
            for (one, scale), (other, _) in zip(*both, strict=True)
        ]
    )


def test_the_closed_formula_holds_over_fifty_keys() -> None:
    """A spread difference of d is within tau, both in units of the contrast, with F_chi2,30(30 tau^2 / d^2)."""
    before = picture(128, 128)
    after = moved(before, 24)
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


def test_half_the_contrast_and_half_the_colour_are_seen() -> None:
    """Values are in units of each picture's own contrast, and the contrast is compared too."""
    before = picture(64, 64)
    grey = before.mean(-1, keepdims=True)
    for after in (128 + (before - 128.0) / 2, grey + (before - grey) / 2):
        values = [Key(seed(0)).values(one) for one in (before, np.rint(after).astype(np.uint8))]
        assert max(bands_apart(*values)) > VALUES * (STEPS * 0.75) ** 2, "more than any limit"


@pytest.mark.parametrize(("height", "width"), [(7, 100), (100, 7), (1, 1)])
def test_a_picture_below_the_smallest_band(height: int, width: int) -> None:
    with pytest.raises(InvalidImageError, match=f"the picture is {width}x{height}; keyed/1 needs at least 8 pixels"):
        Key(seed(0)).values(picture(height, width))


@pytest.mark.parametrize("wrong", [b"", bytes(31), "00" * 32, None, 3])
def test_a_seed_that_is_none(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected the 32 bytes"):
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
