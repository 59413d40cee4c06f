"""The designs that were compared: sums in units of the contrast (``keyed/1``), in grey levels, and signs of sums."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from attacks.answer import Picture
from PIL import Image

from crynux_validate.hashing.bands import LEAST_CONTRAST, STEPS, VALUES, Band, Key, bands_of, features

Numbers = dict[Band, tuple[npt.NDArray[np.float64], int]]
"""For each band its numbers, float64 of shape (pictures, places), all whole; and which number is one grey level."""

Answers = dict[Band, npt.NDArray[Any]]
"""For each band an array of shape (pictures, what an answer has of it)."""

SIGNS: Final = 8 * VALUES
"""Bits of a band: as many bytes as values have."""

_TERMS: Final = 1024
_FLOOR: Final = {"luma-8": 3, "chroma-16": 3, "chroma-64": 3}
"""The dither, in grey levels; of other bands it is 2."""


def numbers_of(pictures: Sequence[Picture]) -> Numbers:
    """Return the numbers of pictures of one size."""
    found = [features(Image.fromarray(picture)) for picture in pictures]
    bands = bands_of(pictures[0].shape[1], pictures[0].shape[0])
    return {band: (np.stack([one[band][0] for one in found]).astype(np.float64), found[0][band][1]) for band in bands}


def _sums(band: Band, rows: npt.NDArray[np.float64], seed: bytes) -> npt.NDArray[np.int64]:
    """Products of whole numbers are exact in float64."""
    into, signs = Key(seed).words(band)
    matrix = np.zeros((band.places, VALUES))
    matrix[np.arange(band.places), into] = signs
    return (rows @ matrix).astype(np.int64)


def values(numbers: Numbers, seed: bytes) -> Answers:
    """Return what `Key.values` gives, of many pictures at once: contrast, then 30 values."""
    found = {}
    for band, (rows, scale) in numbers.items():
        sixteenths = 16 * rows.astype(np.int64) // scale
        squares = (sixteenths**2).sum(1) // band.places
        level = np.maximum(LEAST_CONTRAST, np.array([math.isqrt(one) // 16 for one in squares.tolist()]))[:, None]
        unit = math.isqrt(scale * scale * band.places // VALUES) * level
        steps = ((2 * STEPS * _sums(band, rows, seed) + unit) // (2 * unit)).clip(-127, 127)
        found[band] = np.concatenate([level, steps], 1)
    return found


def values_apart(a: Answers, b: Answers) -> npt.NDArray[np.float64]:
    """Return the root mean square difference in units of the lesser contrast, shape (pictures, bands)."""
    apart = []
    for band in a:
        ours, theirs = a[band][:, :1], b[band][:, :1]
        difference = (a[band][:, 1:] * ours - b[band][:, 1:] * theirs) / np.minimum(ours, theirs)
        apart.append(np.sqrt((difference**2).mean(1)) / STEPS)
    return np.stack(apart, 1)


def levels(numbers: Numbers, seed: bytes) -> Answers:
    """Return quarters of a grey level, modulo 256."""
    found = {}
    for band, (rows, scale) in numbers.items():
        unit = math.isqrt(scale * scale * band.places // VALUES)
        found[band] = (((8 * _sums(band, rows, seed) + unit) // (2 * unit)) & 255).astype(np.uint8)
    return found


def levels_apart(a: Answers, b: Answers) -> npt.NDArray[np.float64]:
    """Return the root mean square difference in grey levels, shape (pictures, bands)."""
    apart = [(a[band] - b[band]).astype(np.int8).astype(np.float64) for band in a]
    return np.stack([np.sqrt((one**2).mean(1)) / 4 for one in apart], 1)


@cache
def _sign_matrix(band: Band, seed: bytes) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(list(hashlib.sha256(seed + band.name.encode()).digest()))
    terms = min(band.places, _TERMS)
    matrix = np.zeros((band.places, SIGNS), np.float32)
    for bit in range(SIGNS):
        places = np.arange(terms) if terms == band.places else generator.integers(0, band.places, terms)
        np.add.at(matrix[:, bit], places, generator.choice(np.array([-1, 1], np.float32), terms))
    return matrix


def signs(numbers: Numbers, seed: bytes) -> Answers:
    """Return bits: the signs of sums of up to 1,024 places of a band, with a dither, so that flat bands agree."""
    found = {}
    for band, (rows, scale) in numbers.items():
        generator = np.random.default_rng(list(hashlib.sha256(band.name.encode() + seed).digest()))
        size = np.sqrt(3 * min(band.places, _TERMS)) * _FLOOR.get(band.name, 2)
        dither = generator.uniform(-1, 1, SIGNS) * size
        found[band] = (rows / scale).astype(np.float32) @ _sign_matrix(band, seed) > dither
    return found


def signs_apart(a: Answers, b: Answers) -> npt.NDArray[np.float64]:
    """Return the share of bits that differ, shape (pictures, bands)."""
    return np.stack([(a[band] != b[band]).mean(1) for band in a], 1)


@dataclass(frozen=True)
class Design:
    """A design: what a picture's answer under a seed is, and how far two are apart, band by band."""

    name: str
    answers: Callable[[Numbers, bytes], Answers]
    apart: Callable[[Answers, Answers], npt.NDArray[np.float64]]
    rounding: float


DESIGNS: Final = (
    Design("values", values, values_apart, 1 / STEPS),
    Design("grey levels", levels, levels_apart, 1 / 4),
    Design("signs", signs, signs_apart, 0),
)
