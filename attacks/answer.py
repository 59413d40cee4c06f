"""What an attack is, and what it hands in."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from crynux_validate import ImageScore, ImageTask, image_hash
from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing import PerceptualHash

if TYPE_CHECKING:
    from attacks.machine import Machine
    from crynux_validate import ImageResult
    from crynux_validate.audits.trace import Trace

Picture: TypeAlias = npt.NDArray[np.uint8]
"""8-bit RGB of shape (height, width, 3)."""


class DoesNotFit(InvalidInputError):  # noqa: N818 - no fault: the attack says that it means nothing for this task
    """An attack that means nothing for a task: bfloat16 in place of float32 where the task asks for bfloat16."""


@dataclass(frozen=True)
class Made:
    """What the program of an attack gives.

    Parameters
    ----------
    pixels
        A picture for each image of the task.
    cost
        Evaluations of the model, relative to those of the honest answer; 0 where no model ran.
    result
        The run that the pixels came from, with its trace where the task binds one; None where no pipeline ran.
    instead
        The task that is answered, where the attack chose another one.
    """

    pixels: tuple[Picture, ...]
    cost: float = 0.0
    result: "ImageResult | None" = None
    instead: ImageTask | None = None


@dataclass(frozen=True)
class Answer:
    """What a cheat hands in for a task.

    Parameters
    ----------
    name
        Of the attack.
    saves
        What the cheat has from it, in words.
    task
        The task that is answered: the one that was asked for, or in bad faith the one that its creator chose.
    pixels
        8-bit RGB of shape (height, width, 3) for each image of the task.
    cost
        Evaluations of the model, relative to those of the honest answer: 1 is as much work, 0 is none. An evaluation on
        a smaller picture counts by its share of the pixels. Prompts and decoding are not counted.
    result
        The run that the pixels came from, with its trace where the task binds one; None where no pipeline ran.
    """

    name: str
    saves: str
    task: ImageTask
    pixels: tuple[Picture, ...]
    cost: float
    result: "ImageResult | None" = None

    @cached_property
    def trace(self) -> "Trace | None":
        """The run, bound to `task` as if it were the one that was asked for, of a task that binds its trace.

        A run with fewer steps is stretched to as many. None where no pipeline ran: an audit is shown nothing.

        Raises
        ------
        DoesNotFit
            For a run at another resolution.
        """
        if self.result is None or self.task.binding != "trace":
            return None
        from attacks.traces import bound  # imports torch

        return bound(self.task, self.result, self.pixels)

    @cached_property
    def score(self) -> ImageScore:
        """What the cheat commits to: the hashes of the pixels, and the digest of the pixels or of the trace."""
        score = ImageScore.from_images([Image.fromarray(picture) for picture in self.pixels], self.task.algorithm)
        return score if self.trace is None else replace(score, result_digest=self.trace.root)

    @cached_property
    def hashes(self) -> tuple[PerceptualHash, ...]:
        """The hash of each picture, with its margin."""
        return tuple(image_hash(picture, self.task.algorithm) for picture in self.pixels)


@dataclass(frozen=True)
class Attack:
    """A way to cheat; call it with a task and a machine.

    Parameters
    ----------
    name
        Words joined by hyphens.
    group
        What kind of cheat it is.
    saves
        What the cheat has from it, in words.
    against
        What stands against it, in words.
    program
        What it does.
    """

    name: str
    group: str
    saves: str
    against: str
    program: Callable[[ImageTask, "Machine"], Made]

    def __call__(self, task: ImageTask, machine: "Machine") -> Answer:
        """Answer a task.

        Raises
        ------
        DoesNotFit
            Where the attack means nothing for this task; nothing is run then.
        """
        made = self.program(task, machine)
        return Answer(self.name, self.saves, made.instead or task, made.pixels, made.cost, made.result)

    @property
    def words(self) -> str:
        """The name for people."""
        return self.name.replace("-", " ")


def attack(
    name: str, group: str, *, saves: str, against: str
) -> Callable[[Callable[[ImageTask, "Machine"], Made]], Attack]:
    """Make an attack of the function below."""
    return lambda program: Attack(name, group, saves, against, program)
