"""The noise: standard vectors, accuracy, statistics, keys, and a value computed from the specification alone."""

import math
from typing import Any

import numpy as np
import pytest

from crynux_validate.errors import InvalidInputError
from crynux_validate.pipelines import elementary, noise
from crynux_validate.pipelines.noise import Purpose, normal, philox, uniform

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_gives_the_vectors_of_random123(counter: Any, key: Any, expected: Any) -> None:
    counters: Any = tuple(np.array([word], np.uint64) for word in counter)
    words = philox(counters, key)
    assert tuple(int(word[0]) for word in words) == expected


def plain_philox(counter: Any, key: Any) -> Any:
    """Philox4x32-10 in Python's integers, written from the paper."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & ONES, (first >> 32) ^ c[3] ^ k[1], first & ONES]
        k = [(k[0] + 0x9E3779B9) & ONES, (k[1] + 0xBB67AE85) & ONES]
    return c


def test_values_follow_the_documented_layout() -> None:
    seed, image, draw = 2**53 - 12345, 3, 5
    key = (seed & ONES, seed >> 32)
    words = [w for block in range(3) for w in plain_philox((block, draw, image, Purpose.TOKEN), key)]
    got = uniform(seed, image=image, draw=draw, shape=10, purpose=Purpose.TOKEN)
    assert got.tolist() == [(w + 0.5) * 2.0**-32 for w in words[:10]]
    values = normal(seed, image=image, draw=draw, shape=(2, 5), purpose=Purpose.TOKEN)
    assert values.shape == (2, 5)
    assert values.dtype == np.float32
    expected = []
    for r, s in zip(words[::2], words[1::2], strict=True):
        radius = math.sqrt(-2 * math.log((r + 0.5) / 2**32))
        angle = 2 * math.pi * ((s + 0.5) / 2**32)
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    np.testing.assert_allclose(values.ravel(), expected[:10], rtol=1e-7, atol=1e-9)


def test_pinned_bits() -> None:
    """Bits of this noise never change: a change is a new kind of noise, and breaks every task that was answered."""
    values = normal(7, image=1, draw=2, shape=6)
    assert values.view(np.uint32).tolist() == PINNED


PINNED = [0x3F450E02, 0x3F2D9EBE, 0xBF9005AC, 0xBFE224FF, 0xBE1E5018, 0x3E8EDF28]

EDGES = [0, 1, 2**29 - 1, 2**29, 2**29 + 1, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**29, 3 * 2**30, ONES - 1, ONES]


def words_to_try() -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.concatenate([rng.integers(0, 2**32, 100_000, dtype=np.uint64), np.array(EDGES, np.uint64)])


def test_log_is_accurate_to_a_few_ulps() -> None:
    near_one = np.arange(2**32 - 2000, 2**32, dtype=np.uint64)
    u = noise._to_unit(np.concatenate([words_to_try(), near_one]))
    expected = np.array([math.log(value) for value in u])
    assert np.abs((elementary.log(u) - expected) / expected).max() < 1e-15


def test_sine_and_cosine_are_accurate_to_a_few_ulps() -> None:
    words = words_to_try()
    cosine, sine = elementary.cosine_sine(words)
    # The reference's own angle has an error of 2e-16 times 2 pi.
    angles = [2 * math.pi * ((int(word) + 0.5) / 2**32) for word in words]
    assert np.abs(cosine - [math.cos(angle) for angle in angles]).max() < 1e-15
    assert np.abs(sine - [math.sin(angle) for angle in angles]).max() < 1e-15
    small = np.arange(1000, dtype=np.uint64)
    exact = [math.sin(2 * math.pi * ((int(word) + 0.5) / 2**32)) for word in small]
    assert np.abs(elementary.cosine_sine(small)[1] / exact - 1).max() < 1e-15


def test_a_million_values_are_standard_normal() -> None:
    values = np.sort(normal(3, shape=1_000_000).astype(np.float64))
    assert abs(values.mean()) < 0.004
    assert abs(values.var() - 1) < 0.006
    assert abs((values**3).mean()) < 0.012
    assert abs((values**4).mean() - 3) < 0.05
    # Kolmogorov-Smirnov against the normal distribution; 1.95 / sqrt(n) is the 0.1% level.
    points = values[::50]
    distribution = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in points])
    distance = np.abs(distribution - np.arange(0, 1_000_000, 50) / 1e6).max()
    assert distance < 1.95e-3


@pytest.mark.parametrize(
    "other",
    [{"seed": 8}, {"seed": 7 + 2**32}, {"image": 1}, {"draw": 1}, {"purpose": Purpose.WEIGHTS}],
    ids=lambda other: next(iter(other)),
)
def test_every_part_of_the_key_gives_independent_values(other: Any) -> None:
    seed = other.get("seed", 7)
    rest = {key: value for key, value in other.items() if key != "seed"}
    a, b = normal(7, shape=100_000), normal(seed, shape=100_000, **rest)
    assert not np.array_equal(a, b)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.015
    assert abs(np.corrcoef(np.abs(a), np.abs(b))[0, 1]) < 0.015


def test_a_shorter_draw_is_the_beginning_of_a_longer_one() -> None:
    long = normal(5, shape=100_000)
    for count in (0, 1, 2, 3, 4, 5, 32_767, 32_768, 32_769):
        assert np.array_equal(normal(5, shape=(count,)), long[:count])


@pytest.mark.parametrize(
    ("seed", "settings", "message"),
    [
        (-1, {}, "seed is -1; expected an integer from 0 to 9007199254740991"),
        (2**53, {}, "seed is"),
        (True, {}, "seed is True"),
        (1.0, {}, "seed is 1.0"),
        (1, {"image": -1}, "image is -1"),
        (1, {"image": 2**32}, "image is"),
        (1, {"draw": 2**32}, "draw is"),
        (1, {"shape": (4, -1)}, "side of shape"),
        (1, {"shape": (2**20, 2**20)}, "at most 2147483648"),
    ],
)
def test_what_is_out_of_range_is_refused(seed: Any, settings: Any, message: Any) -> None:
    with pytest.raises(InvalidInputError, match=message):
        normal(seed, **{"shape": 4, **settings})
    with pytest.raises(InvalidInputError, match=message):
        uniform(seed, **{"shape": 4, **settings})


def test_numpy_integers_are_integers() -> None:
    seed: Any = np.uint32(7)
    image: Any = np.int64(1)
    assert np.array_equal(normal(seed, image=image, shape=4), normal(7, image=1, shape=4))
