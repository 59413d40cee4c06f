"""Drawing a task's images with diffusers, so that the same task gives the same bits again on the same kind of machine.

Each image is drawn alone (a batch changes bits), with a scheduler of its own, and every random number comes from
`crynux_validate.pipelines.noise`, keyed by (seed, image, draw).
"""

import functools
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from crynux_validate.answers import ImageScore
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.trace import Trace
from crynux_validate.encoding import summary
from crynux_validate.errors import CrynuxValidateError, InvalidInputError, PipelineError
from crynux_validate.hashing import PerceptualHash, image_hash
from crynux_validate.machines.environment import Environment
from crynux_validate.pipelines import results
from crynux_validate.pipelines.guard.generators import Untouched
from crynux_validate.pipelines.images.decoding import decode
from crynux_validate.pipelines.images.given import Call, call_for
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.images.noising import Noise, noise_tensor
from crynux_validate.pipelines.images.scheduling import make_scheduler
from crynux_validate.pipelines.images.stages import Stage, stages_of, steps_in_all
from crynux_validate.pipelines.images.starting import Kept, begin, cut
from crynux_validate.pipelines.models.loading import DTYPES, RUNNING, quiet
from crynux_validate.pipelines.models.recipe import plain
from crynux_validate.shown import Shown, pictures
from crynux_validate.tasks import ImageTask

OnStep = Callable[[int, int, int], None]
"""Called with the image, the steps that are done of it, and how many it has."""


@dataclass(frozen=True)
class ImageResult(Shown):
    """What a task came to.

    Parameters
    ----------
    task
        The task.
    images
        Its pictures in order, 8-bit RGB, from the raw pixels.
    score
        The answer to submit: their perceptual hashes, and the digest of the pixels or of the trace.
    environment
        The machine, the guard's switches and what was loaded.
    seconds
        Wall time of the drawing, without loading.
    trace
        What proves any step later, of a task with ``binding="trace"``; None of others.
    """

    task: ImageTask
    images: tuple[Image.Image, ...]
    score: ImageScore
    environment: Environment
    seconds: float
    trace: Trace | None = None

    def __repr__(self) -> str:
        return summary(
            self,
            f"of {len(self.images)} images",
            self.score,
            f"task {self.task.digest[:12]}",
            f"{self.seconds:.1f} s",
        )

    def __str__(self) -> str:
        several = "s" * (len(self.images) > 1)
        lines = [results.headline(self.task, self.score, f"{len(self.images)} image{several}", self.seconds)]
        for number, (image, block) in enumerate(zip(self.images, self.score.blocks, strict=True)):
            plain = "  too plain to tell from others" if number in self.score.degenerate else ""
            lines.append(f"  image {number}  {image.width} x {image.height}  {block:016x}{plain}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return pictures(self.images) + super()._repr_html_()

    @cached_property
    def hashes(self) -> tuple[PerceptualHash, ...]:
        """The perceptual hash of each image, with its margin: how far it is from flipping a bit."""
        return tuple(image_hash(image, self.task.algorithm) for image in self.images)

    def prove(self, image: int, steps: list[int] | tuple[int, ...] | range, *, pixels: bool = True) -> TraceProof:
        """Show some steps of one image, so that they can be audited: parameters and errors as of `Trace.prove`.

        A task that binds no trace is an `InvalidInputError`.
        """
        if self.trace is None:
            raise InvalidInputError(
                f"the task has binding={self.task.binding!r}, and nothing to prove steps with; give it binding='trace'"
                " before it is run"
            )
        return self.trace.prove(image, steps, pixels=pixels)

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the result into a folder, which is made if it is not there.

        ``image-0.png`` and so on (lossless), ``task.json`` (canonical bytes), ``answer.bin`` (the bytes to commit to),
        ``answer.json`` (the same, to read), ``environment.json``, and ``trace.bin`` where the task binds it. Files of
        these names are replaced, and those of an earlier result removed; everything else in the folder is left alone.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        PipelineError
            Where the folder cannot be written.
        """
        answer = {
            "hashes": [found.hex for found in self.hashes],
            "margins": [found.margin for found in self.hashes],
            "degenerate": list(self.score.degenerate),
            "seconds": self.seconds,
        }
        files: dict[str, bytes | Iterable[bytes]] = {
            f"image-{number}.png": _png(image) for number, image in enumerate(self.images)
        }
        if self.trace is not None:
            files[results.TRACE] = self.trace.chunks()
        return results.save(folder, self.task, self.score, self.environment, answer, files)


def draw_images(
    loaded: LoadedModel, task: ImageTask, on_step: OnStep | None
) -> tuple[list[Image.Image], dict[str, Any], Trace | None]:
    """Draw all images of a task; enter the guard first.

    Returns
    -------
    images
        8-bit RGB pictures.
    recipe
        The loaded model's, with the scheduler as it was configured and the layout of guidance.
    trace
        Of a task that binds it.

    Raises
    ------
    PromptTooLongError
        For a prompt that is too long.
    PipelineError
        Where the computation fails, or gives something that is no number.
    DeterminismError
        Where random numbers were drawn from torch's own generators.
    """
    images = []
    trace = Trace(task, loaded.latent_shape(task)) if task.binding == "trace" else None
    with quiet("transformers", "diffusers"):
        loaded.check(task)
        stages = stages_of(loaded, task)
        calls = [call_for(stage.loaded, stage.task) for stage in stages]
        for image in range(task.images):
            told = None if on_step is None else functools.partial(on_step, image)
            images.append(_draw(loaded, task, list(zip(stages, calls, strict=True)), image, told, trace))
    own, *later = (_record(*each) for each in zip(stages, calls, strict=True))
    recipe = {**loaded.recipe, **calls[0].record, "prompts": task.prompt_syntax, **own}
    for record in later:
        taken = stages[1].first, steps_in_all(task, stages) - stages[1].first
        recipe["refiner"] = {**loaded.recipe["refiner"], **record, "taken": list(taken)}
    return images, recipe, trace


def _record(stage: Stage, call: Call) -> dict[str, Any]:
    """What a recipe says of how a model was asked; its scheduler is the one that was used last."""
    scheduler, family = call.pipeline.scheduler, stage.loaded.family
    return {
        "scheduler": {"class": type(scheduler).__name__, "config": plain(dict(scheduler.config))},
        "guidance": family.guidance if family.guided(call.pipeline, stage.task) else "none",
    }


def _draw(
    loaded: LoadedModel,
    task: ImageTask,
    stages: Sequence[tuple[Stage, Call]],
    image: int,
    on_step: Callable[[int, int], None] | None,
    trace: Trace | None = None,
) -> Image.Image:
    """Draw one image."""
    from diffusers.models.attention_dispatch import attention_backend

    family, shape = loaded.family, loaded.latent_shape(task)
    latents: torch.Tensor = noise_tensor(task.seed, image, 0, (1, *shape), family.dtype(task), loaded.device)
    steps = steps_in_all(task, tuple(stage for stage, _ in stages))
    watch = _Watch(Untouched(loaded.device), on_step, steps)
    kept = None
    try:
        with attention_backend("native"):
            if task.start is not None:
                begun = begin(loaded, task, image)
                latents, kept = begun.latent, begun.kept
            for stage, call in stages:
                latents = _advance(stage, call, latents, image, watch, trace, kept)
            picture = decode(loaded, latents)
        if trace is not None:
            trace.append(tensor_bytes(latents, DTYPES[task.dtype]))
            trace.append(picture.tobytes())
    except CrynuxValidateError:
        raise
    except RUNNING as error:
        if error in watch.raised:
            raise
        raise PipelineError(f"image {image} could not be drawn: {type(error).__name__}: {error}") from error
    watch.generators.check()
    return picture


@dataclass
class _Watch:
    """Looks on after each step of an image: at torch's own generators, and for who wants to be told."""

    generators: Untouched
    on_step: Callable[[int, int], None] | None
    steps: int
    raised: list[BaseException] = field(default_factory=list)

    def report(self, step: int) -> dict[str, Any]:
        """Tell that a step, counted from 0, is done."""
        if self.on_step is not None:
            self.generators.check()
            try:
                self.on_step(step + 1, self.steps)
            except BaseException as error:
                self.raised.append(error)
                raise
            self.generators.reset()
        return {}


def _advance(
    stage: Stage,
    call: Call,
    latents: torch.Tensor,
    image: int,
    watch: _Watch,
    trace: Trace | None,
    kept: Kept | None,
) -> torch.Tensor:
    """Draw the steps of one model; return the latents after them."""
    task, family, pipeline = stage.task, stage.loaded.family, call.pipeline
    shape, dtype = tuple(latents.shape[1:]), DTYPES[task.dtype]
    scheduler = make_scheduler(stage.loaded.scheduler_settings, task)
    if task.start is not None:
        cut(scheduler, task)
    own_step, noise, steps = scheduler.step, Noise(task.seed, image, first=stage.first + 1), itertools.count()

    @functools.wraps(own_step)
    def step(prediction: Any, time: Any, latent: Any, **settings: Any) -> Any:
        with noise:
            found = own_step(prediction, time, latent, **settings)
        if trace is not None:
            keep(latent, prediction)
            if type(scheduler).__name__ == "UniPCMultistepScheduler":
                keep(scheduler.last_sample)
        if kept is not None:
            after = kept.put_back(scheduler, task, next(steps), family.unpacked(found[0], shape))
            found = (family.packed(after), *found[1:])
        last.append(found[0])
        return found

    def keep(*tensors: torch.Tensor) -> None:
        for tensor in tensors:
            trace.append(tensor_bytes(family.unpacked(tensor, shape), dtype))  # type: ignore[union-attr]  # called with a trace only

    last: deque[torch.Tensor] = deque(maxlen=1)

    def report(_pipeline: Any, index: int, _time: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        return watch.report(stage.first + index)

    scheduler.step = step
    pipeline.scheduler = scheduler
    pipeline(
        **call.arguments,
        **stage.more,
        **{stage.begins: family.handed(latents)},
        output_type="latent",
        callback_on_step_end=report,
        callback_on_step_end_tensor_inputs=[],
    )
    return family.unpacked(last[0], shape)


def tensor_bytes(tensor: torch.Tensor, dtype: torch.dtype) -> bytes:
    """The values of one image's latents (1, channels, height, width), little-endian, as a leaf of a trace holds them.

    Raises
    ------
    PipelineError
        For another dtype than the task's, and for values that are no finite numbers.
    """
    if tensor.dtype != dtype:
        raise PipelineError(f"a latent has the dtype {tensor.dtype}; a trace of this task holds {dtype}")
    if not torch.isfinite(tensor).all():
        raise PipelineError(
            "a latent holds values that are NaN or infinite; an overflow, likely in float16: use bfloat16"
        )
    bits = tensor.detach().cpu().contiguous().view(torch.int32 if dtype.itemsize == 4 else torch.int16).numpy()
    return bits.astype(f"<i{dtype.itemsize}").tobytes()


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
