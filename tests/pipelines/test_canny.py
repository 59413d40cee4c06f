"""``canny/1``: the bits of OpenCV, and what edges are."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crynux_validate.pipelines.images.canny import _reached, canny
from crynux_validate.pipelines.noise import uniform


def picture(seed: int) -> np.ndarray:
    """Noise, and from the seed 3 on noise in fields of 3 x 3."""
    values = (uniform(seed, shape=(40 + seed, 56, 3)) * 256).astype(np.uint8)
    return np.repeat(np.repeat(values[:20, :28], 3, 0), 3, 1) if seed >= 3 else values


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, "4d43421626a8aa5a4011b1602a4d9b8c"),
        (1, "4e3e5c020affb51e1d9a5eb575ae07d4"),
        (2, "f6ac032f577cfee65a7870f1ed417474"),
        (3, "6e39564115af96ae8b444f21ae3065ad"),
        (4, "3811df0615587e48bb04fe901c740f53"),
        (5, "e930eb043845518b9e78f321bd06af39"),
    ],
)
def test_the_bits_are_those_of_opencv(seed: int, expected: str) -> None:
    """cv2.Canny(picture, 100 * seed, 150 + 150 * seed) of opencv-python-headless 5.0.0."""
    found = canny(picture(seed), 100 * seed, 150 + 150 * seed)
    assert found.any()
    assert hashlib.sha256(found.tobytes()).hexdigest()[:32] == expected


def test_a_border_is_one_line_and_a_flat_picture_has_none() -> None:
    pixels = np.zeros((9, 12, 3), np.uint8)
    assert not canny(pixels, 0, 0).any()
    pixels[:, 6:] = 255
    found = canny(pixels, 100, 200)
    assert set(np.unique(found)) == {0, 255}
    assert [int(at) for at in np.flatnonzero(found.any(axis=0))] == [5]
    assert found[:, 5].all()


def test_one_channel_is_enough() -> None:
    pixels = np.zeros((9, 12, 3), np.uint8)
    pixels[:, 6:, 2] = 255
    assert canny(pixels, 100, 200)[:, 5].all()


@given(hnp.arrays(np.uint8, (12, 10, 3)), st.integers(0, 600), st.integers(0, 600), st.integers(0, 600))
def test_lower_thresholds_lose_no_edge(pixels: np.ndarray, a: int, b: int, c: int) -> None:
    low, middle, high = sorted((a, b, c))
    assert (canny(pixels, low, middle) >= canny(pixels, low, high)).all()
    assert (canny(pixels, low, high) >= canny(pixels, middle, high)).all()


@given(hnp.arrays(np.bool_, (9, 13)), hnp.arrays(np.bool_, (9, 13)))
def test_what_is_connected_is_found_as_by_walking(ridge: np.ndarray, lit: np.ndarray) -> None:
    strong = ridge & lit
    walked, left = strong.copy(), [tuple(at) for at in np.argwhere(strong)]
    while left:
        y, x = left.pop()
        for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
            if 0 <= near[0] < 9 and 0 <= near[1] < 13 and ridge[near] and not walked[near]:
                walked[near] = True
                left.append(near)
    assert (_reached(ridge, strong) == walked).all()


def test_a_path_that_winds_through_the_whole_picture_is_followed() -> None:
    ridge = np.zeros((400, 401), bool)
    ridge[::2] = True
    ridge[1::4, -1] = ridge[3::4, 0] = True
    strong = np.zeros_like(ridge)
    strong[0, 0] = True
    assert (_reached(ridge, strong) == ridge).all()
