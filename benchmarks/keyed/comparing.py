"""Both designs beside each other: how far honest pictures and cheats' are apart, under many keys."""

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from attacks import fitted, less_work
from attacks.answer import Picture
from PIL import Image

from benchmarks.keyed.designs import DESIGNS, Answers, Design, numbers_of
from crynux_validate import image_hash
from crynux_validate.hashing.bands import contrast, features

KEYS: Final = 5

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


@dataclass(frozen=True)
class Answered:
    """The answers of pictures, by the numbers of their tasks, for each design and seed."""

    rows: Mapping[int, int]
    answers: Mapping[str, list[Answers]]


def answered(pictures: Mapping[int, Picture], count: int = KEYS, designs: Sequence[Design] = DESIGNS) -> Answered:
    """Answer with pictures under so many seeds."""
    found: dict[str, list[list[Answers]]] = {design.name: [[] for _ in range(count)] for design in designs}
    every = list(pictures)
    for at in range(0, len(every), _CHUNK):
        numbers = numbers_of([pictures[number] for number in every[at : at + _CHUNK]])
        for design, (key, seed) in itertools.product(designs, enumerate(seeds(count))):
            found[design.name][key].append(design.answers(numbers, seed))
    whole = {
        name: [{band: np.concatenate([part[band] for part in parts]) for band in parts[0]} for parts in keys]
        for name, keys in found.items()
    }
    return Answered({number: row for row, number in enumerate(every)}, whole)


def apart(ours: Answered, theirs: Answered) -> Apart:
    """Compare the answers to the tasks that both have."""
    both = sorted(set(ours.rows) & set(theirs.rows))
    chosen = [[one.rows[number] for number in both] for one in (ours, theirs)]
    found = {}
    for design in DESIGNS:
        if design.name in ours.answers and design.name in theirs.answers:
            pairs = zip(ours.answers[design.name], theirs.answers[design.name], strict=True)
            rows = [
                design.apart(*({band: one[band][at] for band in one} for one, at in zip(pair, chosen, strict=True)))
                for pair in pairs
            ]
            found[design.name] = np.stack(rows, 1)
    return Apart(both, found)


Made = Callable[[int, Mapping[int, Picture]], Picture]
"""Makes the picture that a cheat hands in for a task from finished pictures."""


def _enlarged(side: int) -> Made:
    return lambda number, honest: less_work.reduced(honest[number], side)


def _grey(number: int, honest: Mapping[int, Picture]) -> Picture:
    return np.asarray(Image.fromarray(honest[number]).convert("L").convert("RGB"))


def _colour(part: float) -> Made:
    def made(number: int, honest: Mapping[int, Picture]) -> Picture:
        grey = honest[number].mean(-1, keepdims=True)
        found: Picture = np.clip(np.rint(grey + part * (honest[number] - grey)), 0, 255).astype(np.uint8)
        return found

    return made


def _tinted(number: int, honest: Mapping[int, Picture]) -> Picture:
    found: Picture = np.clip(honest[number] + np.array([12, 0, 0]), 0, 255).astype(np.uint8)
    return found


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


def _climbed(number: int, honest: Mapping[int, Picture]) -> Picture:
    return fitted.climbed(_other(number, honest), image_hash(honest[number]).bits, "phash/1", 16, 2_000)[0]


MADE: Final[Mapping[str, Made]] = {
    "enlarged from 8": _enlarged(8),
    "enlarged from 16": _enlarged(16),
    "enlarged from 32": _enlarged(32),
    "enlarged from 64": _enlarged(64),
    "grey": _grey,
    "exchanged hues": _hues,
    "half the colour": _colour(0.5),
    "four fifths of the colour": _colour(0.8),
    "12 levels more red": _tinted,
    "fitted: inverse transform": _inverse,
    "fitted: gradient": _moved,
    "fitted: hill climbing": _climbed,
}
"""What cheats make from finished pictures; what is fitted has the honest picture's plain hash."""


LONG: Final = ("fitted: gradient", "fitted: hill climbing")
"""Those that take a thousand times as long as the others."""


def made(name: str, honest: Mapping[int, Picture], every: int) -> dict[int, Picture]:
    """Return what a cheat makes of every so many honest pictures."""
    return {number: MADE[name](number, honest) for number in honest if number % every == 0}


def chroma(picture: Picture) -> float:
    """Return the root mean square of a picture's colour differences in fields of 16 x 16, in grey levels."""
    return changed(picture, np.zeros_like(picture))


def changed(a: Picture, b: Picture) -> float:
    """Return the root mean square by which the colours of fields of 16 x 16 differ, in grey levels."""
    return float(differences(a, b)[[band.name for band in features(Image.fromarray(a))].index("chroma-16")])


def differences(a: Picture, b: Picture) -> npt.NDArray[np.float64]:
    """Return for each band the root mean square difference, in grey levels."""
    ours, theirs = features(Image.fromarray(a)), features(Image.fromarray(b))
    apart = [((ours[band][0] - theirs[band][0]).astype(np.float64), ours[band][1]) for band in ours]
    return np.array([np.sqrt((numbers**2).mean()) / scale for numbers, scale in apart])


def in_contrasts(a: Picture, b: Picture) -> npt.NDArray[np.float64]:
    """Return `differences` in units of the lesser contrast of each band."""
    both = [[contrast(*one) for one in features(Image.fromarray(picture)).values()] for picture in (a, b)]
    found: npt.NDArray[np.float64] = differences(a, b) / np.min(both, 0)
    return found
