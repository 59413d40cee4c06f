"""What is drawn: tasks, the settings that honest machines are compared in, and which kind draws what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from attacks import scenes

from crynux_validate import ImageTask, ModelRef
from crynux_validate.schedulers import NOISE_SCHEDULERS
from crynux_validate.tasks import Dtype

NATIVE: Final = "native"

Job: TypeAlias = tuple[str, ImageTask]
"""What is drawn: an honest picture, by the name of the kind that draws it, or what a cheat hands in, by its name."""

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
    *(Setting(scheduler=name) for name in NOISE_SCHEDULERS if name != Setting.scheduler),
    *(Setting(steps=steps) for steps in OTHER_STEPS),
)
"""The settings that native and `VARIED_KINDS` draw in."""


def tasks(model: ModelRef, count: int) -> list[ImageTask]:
    """Return so many tasks, each with a prompt and a seed of its own, in the first main setting."""
    return [MAIN[0].of(task) for task in scenes.tasks(model, count)]


def plan(asked: Sequence[ImageTask], kinds: Sequence[str], cheats: Iterable[str]) -> Mapping[str, list[Job]]:
    """Return what each kind draws, nothing twice; the cheats are drawn by native."""
    found: dict[str, list[Job]] = {}
    for kind in kinds:
        settings = [*MAIN, *(VARIED if kind in (NATIVE, *VARIED_KINDS) else ())]
        found[kind] = [(kind, setting.of(task)) for setting in settings for task in asked]
        if kind == NATIVE:
            found[kind] += [(cheat, task) for task in asked for cheat in cheats]
    return found
