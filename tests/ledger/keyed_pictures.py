"""Pictures and a policy for groups whose second round is of keyed values."""

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from crynux_validate.keyed import KeyedTolerance
from crynux_validate.tasks import ImageSetting
from tests.ledger.helpers import POLICY, TASK

Picture = npt.NDArray[np.uint8]

SIDE: Final = 64
ASKED: Final = TASK.replace(width=SIDE, height=SIDE)
LIMITS: Final = (60, 60, 80, 70, 130, 520)
TOLERANCE: Final = KeyedTolerance(ImageSetting.of(ASKED), LIMITS)
KEYED: Final = replace(POLICY, second_algorithm="keyed/1", keyed_tolerances=(TOLERANCE,))


def honest_picture(number: int = 0) -> Picture:
    """Shapes of several sizes and colours."""
    generator = np.random.default_rng(number)
    samples = np.full((SIDE, SIDE, 3), generator.integers(60, 200, 3), float)
    for size in (40, 24, 12, 5, 3, 2):
        for _ in range(4):
            y, x = generator.integers(0, SIDE - size, 2)
            samples[y : y + size, x : x + size] = generator.integers(20, 236, 3)
    return samples.astype(np.uint8)


def noisy(picture: Picture, number: int) -> Picture:
    """The picture as another honest machine has it."""
    generator = np.random.default_rng(100 + number)
    noise = generator.integers(-1, 2, picture.shape) * (generator.random(picture.shape) < 0.1)
    return np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8)


def enlarged(picture: Picture, side: int) -> Picture:
    small = Image.fromarray(picture).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


PICTURE: Final = honest_picture()
