"""What a node of the demo does, in a process of its own: draw the pictures that a task asks for, or cheat."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import crynux_validate as cv
from crynux_validate.errors import PipelineError
from crynux_validate.tasks import ImageTask
from crynux_validate.testing import fake_hardware

if TYPE_CHECKING:
    from crynux_validate import ImageResult, Runner

OTHER_PROMPT: Final = "a big red square on stripes"


def _other_prompt(task: ImageTask) -> ImageTask:
    return task.replace(prompt=OTHER_PROMPT if task.prompt != OTHER_PROMPT else "a small white circle on night")


CHEATS: Final[Mapping[str, tuple[str, Callable[[ImageTask], ImageTask]]]] = {
    "none": ("nobody cheats", lambda task: task),
    "other-prompt": ("another prompt", _other_prompt),
    "other-seed": ("another seed", lambda task: task.replace(seed=task.seed + 1)),
    "other-picture": ("one and the same picture for every task", lambda task: _other_prompt(task).replace(seed=0)),
    "fewer-steps": ("a quarter of the steps", lambda task: task.replace(steps=max(1, task.steps // 4))),
}
"""The ways to cheat: in words, and the task that is run in place of the one that was asked."""


class _Process:
    """What this process holds: a runner, loaded once, and the one picture that `other-picture` hands in every time."""

    runner: "Runner | None" = None
    stock: "ImageResult | None" = None


def load(task: ImageTask) -> str:
    """Load the task's model; returns the digest of this process's kernels, as hexadecimal digits."""
    _Process.runner = cv.Runner.for_task(task, "cpu")
    return cv.local_environment("cpu").kernel_digest.hex()


def draw_as(task: ImageTask, architecture: str) -> "ImageResult":
    """Run a task in the arithmetic of a card's tensor cores."""
    from crynux_validate.testing import tensor_cores

    if _Process.runner is None:
        raise PipelineError("the node has loaded no model; call load first")
    with tensor_cores(architecture):
        return _Process.runner.run(task)


def answer(task: ImageTask, cheat: str, folder: Path) -> "ImageResult":
    """Run a task, or what the cheat runs in its place, and save the result; a message is sent for every step."""
    if _Process.runner is None:
        raise PipelineError("the node has loaded no model; call load first")
    result = _Process.stock
    if result is None:
        instead = CHEATS[cheat][1](task)
        result = _Process.runner.run(instead, on_step=lambda done: fake_hardware.send((done.step, done.steps)))
    if cheat == "other-picture":
        _Process.stock = result
    result.save(folder)
    return result
