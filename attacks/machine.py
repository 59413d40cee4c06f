"""The machine of a cheat: the models that it has loaded, how it changes them, and the answers that it can see."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Self, TypeAlias

import numpy as np

from attacks.answer import Made, Picture
from crynux_validate import ImageResult, ImageTask, ModelRef, Runner

Change: TypeAlias = Callable[[Any], AbstractContextManager[None]]
"""Changes a UNet for the time of a run."""

_KEPT: Final = 4
"""So many honest results are kept: each attack on a task asks for the same one."""


class Machine:
    """Runs tasks as asked or changed, and counts the work; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    device
        Where the models run, as for `Runner`.
    other_model
        What `other-model` runs in place of the task's model; by default the small one of random weights that
        ``crynux_validate.testing`` makes.
    """

    def __init__(self, device: str = "cpu", other_model: ModelRef | None = None) -> None:
        self._device = device
        self._other_model = other_model
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._runners: dict[tuple[ModelRef, str, bool], Runner] = {}
        self._honest: dict[str, ImageResult] = {}

    def run(self, task: ImageTask, change: Change | None = None, *, beside: ImageTask | None = None) -> Made:
        """Run a task, and say what it cost.

        Parameters
        ----------
        task
            What is run.
        change
            What is changed about the UNet for this run; nothing by default.
        beside
            The honest task that the cost is relative to; `task` itself by default.
        """
        runner = self._runner(task)
        unet = _pipeline(runner).unet
        work = _Work()
        with _counted(unet, work), (change or _unchanged)(unet):
            result = runner.run(task)
        cost = work.done / _asked(runner, beside or task)
        return Made(pixels_of(result), cost, result)

    def honest(self, task: ImageTask) -> ImageResult:
        """Return the honest result: another node computed it, and the cheat pays nothing for it."""
        if task.digest not in self._honest:
            self._honest = dict([*self._honest.items()][1 - _KEPT :])
            self._honest[task.digest] = self._runner(task).run(task)
        return self._honest[task.digest]

    @property
    def other_model(self) -> ModelRef:
        """The model that `other-model` runs."""
        if self._other_model is None:
            from crynux_validate.testing import tiny_image_model

            self._scratch = tempfile.TemporaryDirectory(prefix="attacks-")
            self._other_model = tiny_image_model(self._scratch.name, random=True)
        return self._other_model

    def close(self) -> None:
        """Free the models."""
        for runner in self._runners.values():
            runner.close()
        self._runners.clear()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _runner(self, task: ImageTask) -> Runner:
        key = task.model, task.dtype, task.safety_checker
        if key not in self._runners:
            self._runners[key] = Runner.for_task(task, self._device)
        return self._runners[key]


def pixels_of(result: ImageResult) -> tuple[Picture, ...]:
    """Return the pictures of a result as arrays."""
    return tuple(np.asarray(image) for image in result.images)


@contextmanager
def every_second_reused(unet: Any) -> Iterator[None]:
    """Compute every second prediction of an image, and use it twice."""
    computed = unet.forward
    steps, before, last = itertools.count(), float("inf"), None

    def forward(sample: Any, time: Any, *args: Any, **settings: Any) -> Any:
        nonlocal steps, before, last
        if float(time) > before:  # time runs down: the next image has begun
            steps = itertools.count()
        before = float(time)
        if next(steps) % 2 == 0:
            last = computed(sample, time, *args, **settings)
        return last

    with _replaced(unet, forward):
        yield


class _Work:
    """Counts predicted values: rows of a batch times places of a latent."""

    done = 0


@contextmanager
def _counted(unet: Any, work: _Work) -> Iterator[None]:
    computed = unet.forward

    def forward(sample: Any, *args: Any, **settings: Any) -> Any:
        work.done += sample.shape[0] * sample.shape[-2] * sample.shape[-1]
        return computed(sample, *args, **settings)

    with _replaced(unet, forward):
        yield


@contextmanager
def _replaced(unet: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a UNet compute with another function; afterwards it computes as before."""
    before = vars(unet).get("forward")
    unet.forward = forward
    try:
        yield
    finally:
        if before is None:
            del unet.forward
        else:
            unet.forward = before


def _unchanged(_: Any) -> AbstractContextManager[None]:
    return nullcontext()


def _asked(runner: Runner, task: ImageTask) -> float:
    """Return the predicted values that a task asks for, counted as `_Work` does."""
    from crynux_validate.pipelines.images.scheduling import make_scheduler
    from crynux_validate.pipelines.models.loading import quiet

    pipeline = _pipeline(runner)
    with quiet("diffusers"):
        scheduler = make_scheduler(_loaded(runner).scheduler_settings, task)
        scheduler.set_timesteps(task.steps)
    rows = 2 if task.guidance_scale > 1 else 1
    places = task.height * task.width / pipeline.vae_scale_factor**2
    return float(len(scheduler.timesteps) * rows * places * task.images)


def _pipeline(runner: Runner) -> Any:
    return _loaded(runner).pipeline


def _loaded(runner: Runner) -> Any:
    """Return what a runner has loaded: honest nodes have no business there, cheats have."""
    return runner._loaded
