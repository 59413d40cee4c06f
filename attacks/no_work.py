"""Pictures that nobody worked for."""

from typing import Final

import numpy as np

from attacks.answer import Made, Picture, attack
from attacks.machine import Machine, pixels_of
from crynux_validate import ImageTask

GROUP: Final = "no work"

GREY: Final = 128

STOCK_PROMPT: Final = "a big red heart on sky"
STOCK_SEED: Final = 1_000_003

_SAVES: Final = "everything"
_AGAINST: Final = "the hash: such pictures agree with the right one by chance alone"


@attack("noise", GROUP, saves=_SAVES, against=_AGAINST)
def noise(task: ImageTask, _: Machine) -> Made:
    """Independent random values, the same ones for the same task."""
    generator = np.random.default_rng(list(bytes.fromhex(task.digest)))
    return Made(tuple(generator.integers(0, 256, _shape(task), dtype=np.uint8) for _ in range(task.images)))


@attack("plain-grey", GROUP, saves=_SAVES, against=_AGAINST)
def plain_grey(task: ImageTask, _: Machine) -> Made:
    """One grey for every pixel."""
    return Made((np.full(_shape(task), GREY, dtype=np.uint8),) * task.images)


@attack("cached-picture", GROUP, saves=_SAVES, against=_AGAINST)
def cached_picture(task: ImageTask, machine: Machine) -> Made:
    """One picture of this model for every task; that it was drawn once is not counted."""
    return Made(stock(task, machine))


def stock(task: ImageTask, machine: Machine) -> tuple[Picture, ...]:
    """Return the picture that the cheat has in store, once for each image of the task."""
    drawn = machine.honest(task.replace(prompt=STOCK_PROMPT, negative_prompt="", seed=STOCK_SEED, images=1))
    return pixels_of(drawn) * task.images


def _shape(task: ImageTask) -> tuple[int, int, int]:
    return task.height, task.width, 3


ATTACKS: Final = (noise, plain_grey, cached_picture)
