"""A loaded model that runs many tasks."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from crynux_validate.answers import ImageScore
from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.machines.environment import Environment
from crynux_validate.pipelines.determinism import deterministic
from crynux_validate.pipelines.images import ImageResult, draw_images
from crynux_validate.pipelines.models import DTYPES, LoadedModel, load
from crynux_validate.pipelines.probe import find_device, local_environment
from crynux_validate.tasks import Dtype, ImageTask, ModelRef

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    image, images
        The image that is being drawn, counted from 0, and how many there are.
    step, steps
        How many of its steps are done, from 1, and how many it has. Some schedulers take more than the task names.
    """

    image: int
    images: int
    step: int
    steps: int


class Runner:
    """A model, loaded once, that runs tasks one after the other; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    model
        Which weights; of a local folder the digest is checked before it is loaded.
    kind
        What it makes: ``image``.
    dtype
        ``float32``, ``float16`` or ``bfloat16``: what the weights are loaded as and the computation runs in.
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the first that is there of cuda, mps, cpu.
    safety_checker
        Load the model's own safety checker, which must be there then.

    Raises
    ------
    InvalidInputError
        For a kind, dtype or device that does not exist.
    ModelError
        Where the model cannot be loaded, or is not what `model` names.
    DeterminismError
        Where the guard cannot be entered.

    Notes
    -----
    Runs of one process wait for each other: the guard's switches belong to the whole process.
    """

    def __init__(
        self,
        model: ModelRef,
        kind: Literal["image"] = "image",
        dtype: Dtype = "float32",
        device: "str | torch.device | None" = None,
        *,
        safety_checker: bool = False,
    ) -> None:
        if not isinstance(model, ModelRef):
            raise InvalidInputError(f"model is {model!r}; expected a ModelRef")
        if kind != "image":
            raise InvalidInputError(f"kind is {kind!r}; this version runs 'image'")
        if dtype not in DTYPES:
            raise InvalidInputError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
        self.model = model
        self.kind = kind
        self.dtype = dtype
        self.device = find_device(device)
        self.safety_checker = safety_checker
        self._machine = local_environment(self.device)
        with deterministic():
            self._loaded: LoadedModel | None = load(model, dtype, self.device, safety_checker=safety_checker)

    @classmethod
    def for_task(cls, task: ImageTask, device: "str | torch.device | None" = None) -> Self:
        """Load what a task names; parameters and errors as for the class."""
        if not isinstance(task, ImageTask):
            raise InvalidInputError(f"task is {task!r}; expected an ImageTask")
        return cls(task.model, "image", task.dtype, device, safety_checker=task.safety_checker)

    def run(self, task: ImageTask, on_step: Callable[[Progress], None] | None = None) -> ImageResult:
        """Run a task: the same task gives the same bits, whatever ran before it.

        Parameters
        ----------
        task
            A task for the loaded model, dtype and safety checker.
        on_step
            Called after each denoising step. What it raises ends the run and reaches the caller.

        Raises
        ------
        InvalidInputError
            For a task that names something else than what is loaded.
        PromptTooLongError
            For a prompt that the model's tokenizer cannot hold.
        PipelineError
            Where the computation fails or overflows, or the runner is closed.
        DeterminismError
            Where a switch did not hold, or something drew from torch's own generators.
        """
        self._check(task)
        if self._loaded is None:
            raise PipelineError("this runner is closed; make a new one")

        def report(image: int, step: int, steps: int) -> None:
            if on_step is not None:
                on_step(Progress(image, task.images, step, steps))

        start = time.perf_counter()
        with deterministic():
            images, recipe = draw_images(self._loaded, task, None if on_step is None else report)
        seconds = time.perf_counter() - start
        environment = Environment(self._machine.kernel, self._machine.numerics, recipe)
        return ImageResult(task, tuple(images), ImageScore.from_images(images, task.algorithm), environment, seconds)

    def close(self) -> None:
        """Free the model and its memory. Closing twice is fine."""
        if self._loaded is None:
            return
        self._loaded = None
        gc.collect()
        import torch

        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._loaded is None else "loaded"
        return f"<Runner {self.model} {self.dtype} on {self.device}, {state}>"

    def _check(self, task: ImageTask) -> None:
        """Refuse a task that names something else than what is loaded."""
        if not isinstance(task, ImageTask):
            raise InvalidInputError(f"task is {task!r}; expected an ImageTask")
        asked: dict[str, tuple[Any, Any]] = {
            "model": (task.model, self.model),
            "dtype": (task.dtype, self.dtype),
            "safety_checker": (task.safety_checker, self.safety_checker),
        }
        for name, (wanted, loaded) in asked.items():
            if wanted != loaded:
                raise InvalidInputError(
                    f"the task asks for {name} {wanted}, but this runner has loaded {loaded}; use Runner.for_task(task)"
                )


def run(
    task: ImageTask,
    *,
    device: "str | torch.device | None" = None,
    on_step: Callable[[Progress], None] | None = None,
) -> ImageResult:
    """Load a task's model, run the task, free the model; parameters and errors as for `Runner`.

    For more than one task of a model make a `Runner`: loading takes longer than drawing.
    """
    with Runner.for_task(task, device) as runner:
        return runner.run(task, on_step)
