"""Pictures made to fit a hash that the cheat knows, from another node's answer, without running the model."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from attacks.answer import Made, Picture, attack
from attacks.machine import Machine
from attacks.no_work import stock
from crynux_validate import ImageTask, hamming, image_hash
from crynux_validate.algorithms import ImageAlgorithm

GROUP: Final = "made to fit"

GOAL: Final = 8
"""A picture fits where its distance is below this."""

_SAVES: Final = "everything"
_AGAINST: Final = "commitments: nobody learns a hash before all have committed to theirs"

_LOW: Final = 8
_LIMIT: Final = 120.0
_STEPS: Final = 50
_QUERIES: Final = 20_000
_STEP: Final = 12.0

Floats = npt.NDArray[np.float64]


@attack("from-the-hash", GROUP, saves=_SAVES, against=_AGAINST)
def from_the_hash(task: ImageTask, machine: Machine) -> Made:
    """A picture of nothing, from the 8 bytes alone."""
    return Made(tuple(made_from(bits, task.width, task.height) for bits in _leaked(task, machine)))


@attack("by-gradient", GROUP, saves=_SAVES, against=_AGAINST)
def by_gradient(task: ImageTask, machine: Machine) -> Made:
    """A picture in store, moved as little as it takes, by somebody who knows how the hash is made."""
    pairs = zip(_leaked(task, machine), stock(task, machine), strict=True)
    return Made(tuple(moved(picture, bits, task.algorithm) for bits, picture in pairs))


@attack("by-hill-climbing", GROUP, saves=_SAVES, against=_AGAINST)
def by_hill_climbing(task: ImageTask, machine: Machine) -> Made:
    """A picture in store, changed at random as long as it helps, by somebody who can only ask for hashes."""
    pairs = zip(_leaked(task, machine), stock(task, machine), strict=True)
    return Made(tuple(climbed(picture, bits, task.algorithm)[0] for bits, picture in pairs))


def made_from(bits: bytes, width: int, height: int) -> Picture:
    """Return a picture that has a hash: the inverse transform of coefficients that are all equally large.

    The first coefficient is that of the brightness, the largest of every picture; of the others those are positive
    whose bit is set. Hashes that are not degenerate are reached exactly, or nearly so in small pictures.
    """
    signs = _signs(bits)
    signs[0, 0] = 0
    field = _waves(height).T @ signs @ _waves(width)
    return _coloured(128 + field * (_LIMIT / np.abs(field).max()))


def moved(picture: Picture, bits: bytes, algorithm: ImageAlgorithm, goal: int = GOAL) -> Picture:
    """Move a picture by gradient steps until its hash is less than `goal` bits away, or for 50 steps.

    Each step asks of the cheapest coefficients that are wrong that they come to the other side of the median. The
    waves of a cosine transform are orthogonal, so that a step changes nothing else.
    """
    height, width = picture.shape[:2]
    rows, columns = _waves(height), _waves(width)
    norm = np.outer((rows**2).sum(axis=1), (columns**2).sum(axis=1))
    signs, added, found = _signs(bits), np.zeros((height, width)), picture
    for _ in range(_STEPS):
        apart = hamming(image_hash(found, algorithm).bits, bits)
        if apart < goal:
            break
        coefficients = rows @ _grey(found) @ columns.T
        beyond = signs * (coefficients - np.median(coefficients))
        wrong = np.sort(beyond[beyond <= 0])[::-1]
        dearest = wrong[min(len(wrong), apart - goal + 2) - 1] if len(wrong) else 0.0
        margin = np.abs(coefficients).max() / 1000
        wanted = np.where((beyond >= dearest) & (beyond < margin), signs * (margin - beyond), 0.0)
        wanted[0, 0] = 0.0
        added += rows.T @ (wanted / norm) @ columns
        found = _coloured(picture + added[:, :, None])
    return found


def climbed(
    picture: Picture, bits: bytes, algorithm: ImageAlgorithm, goal: int = GOAL, queries: int = _QUERIES
) -> tuple[Picture, int]:
    """Change a picture at random and keep what takes its hash no farther away, until it is less than `goal` bits away.

    Returns
    -------
    picture
        The nearest one.
    queries
        How many hashes were asked for.
    """
    generator = np.random.default_rng(list(bits))
    height, width = picture.shape[:2]
    kept, found = picture.astype(np.float64), picture
    nearest = hamming(image_hash(found, algorithm).bits, bits)
    for asked in range(1, queries + 1):
        if nearest < goal:
            return found, asked
        coarse = Image.fromarray(generator.normal(0, _STEP, (_LOW, _LOW)).astype(np.float32))
        change = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
        tried = np.clip(kept + change[:, :, None], 0, 255)
        shown = _coloured(tried)
        apart = hamming(image_hash(shown, algorithm).bits, bits)
        if apart <= nearest:
            kept, found, nearest = tried, shown, apart
    return found, queries


def _leaked(task: ImageTask, machine: Machine) -> list[bytes]:
    """The hashes of the honest answer, which the cheat should not know."""
    hashes = machine.honest(task).score.hashes
    return [hashes[at : at + 8] for at in range(0, len(hashes), 8)]


def _signs(bits: bytes) -> Floats:
    """The bits of a hash as 1 and -1, a row for each vertical frequency."""
    set_bits = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(_LOW, _LOW)
    return np.where(set_bits, np.float64(1), np.float64(-1))


def _waves(length: int) -> Floats:
    """The 8 lowest waves of a cosine transform over so many pixels, a row each."""
    places = (2 * np.arange(length) + 1) * math.pi / (2 * length)
    waves: Floats = np.cos(np.outer(np.arange(_LOW), places))
    return waves


def _grey(picture: Picture) -> Floats:
    grey: Floats = picture @ np.array([0.299, 0.587, 0.114])
    return grey


def _coloured(values: Floats) -> Picture:
    """Round values to 8-bit RGB; of one value for a pixel a grey is made."""
    rounded = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded if rounded.ndim == 3 else np.repeat(rounded[:, :, None], 3, axis=2)


ATTACKS: Final = (from_the_hash, by_gradient, by_hill_climbing)
