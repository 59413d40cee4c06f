"""What is drawn: prompts, the settings that honest machines are compared in, and which kind draws what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from tools.training import pictures

from benchmarks.distances.cheats import Cheat
from crynux_validate import ImageTask, ModelRef
from crynux_validate.errors import InvalidInputError
from crynux_validate.schedulers import SCHEDULERS
from crynux_validate.tasks import Dtype

MOST_PROMPTS: Final = 3_000
"""There are 3,630 different scenes; the last ones would be long in coming."""

NATIVE: Final = "native"

VARIED_KINDS: Final = ("aten-default",)
"""The kinds beside native that draw with every scheduler and number of steps; all kinds would take hours."""

DTYPES: Final[tuple[Dtype, ...]] = ("float32", "bfloat16")
OTHER_STEPS: Final = (10, 50)


@dataclass(frozen=True)
class Setting:
    """How a task is drawn: what is changed of it to compare honest machines.

    Parameters
    ----------
    scheduler
        One that tasks may name.
    steps
        Denoising steps.
    dtype
        ``float32`` or ``bfloat16``.
    """

    scheduler: str = "DDIMScheduler"
    steps: int = 25
    dtype: Dtype = "float32"

    def of(self, task: ImageTask) -> ImageTask:
        """Return the task in this setting."""
        return task.replace(scheduler=self.scheduler, steps=self.steps, dtype=self.dtype)


MAIN: Final = tuple(Setting(dtype=dtype) for dtype in DTYPES)
"""The settings that every kind draws in."""

VARIED: Final = (
    *(Setting(scheduler=name) for name in SCHEDULERS if name != Setting.scheduler),
    *(Setting(steps=steps) for steps in OTHER_STEPS),
)
"""The settings that native and `VARIED_KINDS` draw in."""


def prompts(count: int, seed: int = 0) -> list[str]:
    """Return different prompts, always the same ones; fewer are the first of more.

    Raises
    ------
    InvalidInputError
        For a count outside 2..3,000: another prompt is one of the cheats.
    """
    if not 2 <= count <= MOST_PROMPTS:
        raise InvalidInputError(f"the number of prompts is {count}; expected 2 to {MOST_PROMPTS:,}")
    generator = np.random.default_rng([seed, 2])  # tools.training.image asks a trained model from [seed, 1]
    found: dict[str, None] = {}
    while len(found) < count:
        found[pictures.prompt_of(pictures.draw_scene(generator))] = None
    return list(found)


def tasks(model: ModelRef, texts: Sequence[str]) -> list[ImageTask]:
    """Return a task for each prompt, each with a seed of its own, in the first main setting."""
    side = pictures.SIDE
    return [
        MAIN[0].of(ImageTask(model=model, prompt=text, seed=number, width=side, height=side))
        for number, text in enumerate(texts)
    ]


def plan(asked: Sequence[ImageTask], kinds: Sequence[str], cheats: Iterable[Cheat]) -> Mapping[str, list[ImageTask]]:
    """Return what each kind draws, no task twice."""
    found: dict[str, list[ImageTask]] = {}
    for kind in kinds:
        settings = [*MAIN, *(VARIED if kind in (NATIVE, *VARIED_KINDS) else ())]
        drawn = [setting.of(task) for setting in settings for task in asked]
        if kind == NATIVE:
            drawn += [
                cheat.instead(asked, at) for cheat in cheats if cheat.instead is not None for at in range(len(asked))
            ]
        found[kind] = list({task.digest: task for task in drawn}.values())
    return found
