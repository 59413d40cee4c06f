"""What cheats hand in: what another task gives, the honest picture drawn smaller, or what nobody worked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image
from tools.training.pictures import SIDE, Picture

from crynux_validate import ImageTask

_OTHER_SEED: Final = 1_000_003
_STOCK_PROMPT: Final = "a big red heart on sky"
_GREY: Final = 128


@dataclass(frozen=True)
class Cheat:
    """A way to cheat; one of the last three is given.

    Parameters
    ----------
    name
        In words.
    group
        What it saves, in words: a heading of tables and pictures.
    instead
        Of all tasks and the number of one of them, the task that is run in its place.
    made
        Of the honest picture, what is handed in.
    invented
        Of the number of a task, what is handed in without drawing.
    """

    name: str
    group: str
    instead: Callable[[Sequence[ImageTask], int], ImageTask] | None = None
    made: Callable[[Picture], Picture] | None = None
    invented: Callable[[int], Picture] | None = None


def enlarged(picture: Picture, side: int = SIDE) -> Picture:
    """Enlarge a picture to a square of `side` pixels, bicubic; one of that size stays as it is."""
    if picture.shape[:2] == (side, side):
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def drawn_small(picture: Picture, side: int) -> Picture:
    """Return what a picture of `side` pixels, the mean of each field of the real one, gives when it is enlarged.

    Nobody who draws small comes nearer to the real picture without drawing it: it is the best that this cheat can do.
    """
    small = Image.fromarray(picture).resize((side, side), Image.Resampling.BOX)
    return enlarged(np.asarray(small), picture.shape[0])


def noise(number: int) -> Picture:
    """Return a picture of independent random values."""
    return np.random.default_rng([number, 3]).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def _small(side: int) -> Cheat:
    return Cheat(f"honest picture at {side} pixels, enlarged", LESS_DETAIL, made=lambda real: drawn_small(real, side))


LESS_WORK: Final = "less work"
LESS_DETAIL: Final = "less detail or colour"
ANOTHER: Final = "another picture"
NO_WORK: Final = "no work"

CHEATS: Final = (
    Cheat("half the steps", LESS_WORK, lambda asked, at: asked[at].replace(steps=asked[at].steps // 2)),
    Cheat("a quarter of the steps", LESS_WORK, lambda asked, at: asked[at].replace(steps=asked[at].steps // 4)),
    Cheat("guidance 5 for 7.5", LESS_WORK, lambda asked, at: asked[at].replace(guidance_scale=5.0)),
    Cheat("drawn at 64 pixels, enlarged", LESS_WORK, lambda asked, at: asked[at].replace(width=64, height=64)),
    *map(_small, (64, 32, 16, 8)),
    Cheat("honest picture, colours exchanged", LESS_DETAIL, made=lambda real: np.roll(real, 1, axis=2)),
    Cheat("another seed", ANOTHER, lambda asked, at: asked[at].replace(seed=asked[at].seed + _OTHER_SEED)),
    Cheat("another prompt", ANOTHER, lambda asked, at: asked[at].replace(prompt=asked[(at + 1) % len(asked)].prompt)),
    Cheat(
        "one stock picture for every task",
        NO_WORK,
        lambda asked, _: asked[0].replace(prompt=_STOCK_PROMPT, seed=_OTHER_SEED),
    ),
    Cheat("one plain grey", NO_WORK, invented=lambda _: np.full((SIDE, SIDE, 3), _GREY, dtype=np.uint8)),
    Cheat("noise", NO_WORK, invented=noise),
)
