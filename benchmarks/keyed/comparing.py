"""Both designs beside each other: how far honest pictures and cheats' are apart, under many keys."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from attacks import fitted, less_work
from attacks.answer import Picture
from PIL import Image

from benchmarks.keyed import drawing
from benchmarks.keyed.designs import DESIGNS, Answers, Design, numbers_of
from crynux_validate import image_hash
from crynux_validate.hashing.bands import Band, features
from crynux_validate.tasks import Dtype

KEYS: Final = 9

_CHUNK: Final = 200


@dataclass(frozen=True)
class Apart:
    """How far pictures of one name are from another's of the same tasks.

    Parameters
    ----------
    pictures
        The numbers of the tasks.
    distances
        float64 of shape (pictures, keys, bands), for each design by its name.
    """

    pictures: list[int]
    distances: Mapping[str, npt.NDArray[np.float64]]


def seeds(count: int = KEYS) -> list[bytes]:
    """Return so many seeds."""
    return [hashlib.sha256(f"key {number}".encode()).digest() for number in range(count)]


def apart(ours: Mapping[int, Picture], theirs: Mapping[int, Picture], count: int = KEYS) -> Apart:
    """Compare the pictures of the tasks that both have."""
    both = sorted(set(ours) & set(theirs))
    found: dict[str, list[npt.NDArray[np.float64]]] = {design.name: [] for design in DESIGNS}
    for at in range(0, len(both), _CHUNK):
        some = both[at : at + _CHUNK]
        a, b = (numbers_of([one[number] for number in some]) for one in (ours, theirs))
        for design in DESIGNS:
            rows = [design.apart(design.answers(a, seed), design.answers(b, seed)) for seed in seeds(count)]
            found[design.name].append(np.stack(rows, 1))
    return Apart(both, {name: np.concatenate(rows) for name, rows in found.items()})


Made = Callable[[int, Mapping[int, Picture]], Picture | None]
"""Makes the picture that a cheat hands in for a task from finished pictures, or None where it cannot."""


def _enlarged(side: int) -> Made:
    return lambda number, honest: less_work.reduced(honest[number], side)


def _grey(number: int, honest: Mapping[int, Picture]) -> Picture:
    return np.asarray(Image.fromarray(honest[number]).convert("L").convert("RGB"))


def _hues(number: int, honest: Mapping[int, Picture]) -> Picture:
    return np.roll(honest[number], 1, axis=2)


def _other(number: int, honest: Mapping[int, Picture]) -> Picture:
    """The picture of another prompt and seed."""
    return honest[min(honest, key=lambda other: ((other - number - 7) % (max(honest) + 1), other))]


def _inverse(number: int, honest: Mapping[int, Picture]) -> Picture:
    picture = honest[number]
    return fitted.made_from(image_hash(picture).bits, picture.shape[1], picture.shape[0])


def _moved(number: int, honest: Mapping[int, Picture]) -> Picture:
    return fitted.moved(_other(number, honest), image_hash(honest[number]).bits, "phash/1")


def _climbed(number: int, honest: Mapping[int, Picture]) -> Picture | None:
    if number % 10:
        return None  # it takes a thousand times as long as the others
    return fitted.climbed(_other(number, honest), image_hash(honest[number]).bits, "phash/1", 16, 2_000)[0]


MADE: Final[Mapping[str, Made]] = {
    "enlarged from 8": _enlarged(8),
    "enlarged from 16": _enlarged(16),
    "enlarged from 32": _enlarged(32),
    "enlarged from 64": _enlarged(64),
    "grey": _grey,
    "exchanged hues": _hues,
    "fitted: inverse transform": _inverse,
    "fitted: gradient": _moved,
    "fitted: hill climbing": _climbed,
}
"""What cheats make from finished pictures; what is fitted has the honest picture's plain hash."""


def made(name: str, honest: Mapping[int, Picture], every: int) -> dict[int, Picture]:
    """Return what a cheat makes of every so many honest pictures."""
    found = {number: MADE[name](number, honest) for number in honest if number % every == 0}
    return {number: picture for number, picture in found.items() if picture is not None}


def chroma(picture: Picture) -> float:
    """Return the root mean square of a picture's colour differences in fields of 16 x 16, in grey levels."""
    numbers, scale = next(
        found for band, found in features(Image.fromarray(picture)).items() if band.name == "chroma-16"
    )
    return float(np.sqrt((numbers.astype(np.float64) ** 2).mean()) / scale)


__all__ = [
    "KEYS",
    "MADE",
    "Answers",
    "Apart",
    "Band",
    "Design",
    "Dtype",
    "Path",
    "apart",
    "chroma",
    "drawing",
    "made",
    "seeds",
]
