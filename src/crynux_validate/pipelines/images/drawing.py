"""Drawing a task's images with diffusers, so that the same task gives the same bits again on the same kind of machine.

Each image is drawn alone (a batch changes bits), with a scheduler of its own, and every random number comes from
`crynux_validate.pipelines.noise`, keyed by (seed, image, draw).
"""

import functools
import io
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
from crynux_validate.pipelines.images.starting import begin, cut
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
        call = call_for(loaded, task)
        for image in range(task.images):
            scheduler = make_scheduler(loaded.scheduler_settings, task)
            step = None if on_step is None else functools.partial(on_step, image)
            images.append(_draw(loaded, call, scheduler, task, image, step, trace))
    recipe = {
        **loaded.recipe,
        **call.record,
        "scheduler": {"class": type(scheduler).__name__, "config": plain(dict(scheduler.config))},
        "prompts": task.prompt_syntax,
        "guidance": loaded.family.guidance if loaded.family.guided(loaded.pipeline, task) else "none",
    }
    return images, recipe, trace


def _draw(
    loaded: LoadedModel,
    call: Call,
    scheduler: Any,
    task: ImageTask,
    image: int,
    on_step: Callable[[int, int], None] | None,
    trace: Trace | None = None,
) -> Image.Image:
    """Draw one image."""
    from diffusers.models.attention_dispatch import attention_backend

    pipeline, family, shape = call.pipeline, loaded.family, loaded.latent_shape(task)
    dtype = DTYPES[task.dtype]
    generators = Untouched(loaded.device)
    if task.start is not None:
        cut(scheduler, task)
    own_step, noise = scheduler.step, Noise(task.seed, image)

    @functools.wraps(own_step)
    def step(prediction: Any, time: Any, latent: Any, **settings: Any) -> Any:
        with noise:
            found = own_step(prediction, time, latent, **settings)
        if trace is not None:
            keep(latent, prediction)
            if type(scheduler).__name__ == "UniPCMultistepScheduler":
                keep(scheduler.last_sample)
        if kept is not None:
            found = (kept.put_back(scheduler, task, next(steps), found[0]), *found[1:])
        return found

    def keep(*tensors: torch.Tensor) -> None:
        for tensor in tensors:
            trace.append(tensor_bytes(family.unpacked(tensor, shape), dtype))  # type: ignore[union-attr]  # called with a trace only

    raised: list[BaseException] = []

    def report(_pipeline: Any, index: int, _time: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            generators.check()
            try:
                on_step(index + 1, pipeline.num_timesteps)
            except BaseException as error:
                raised.append(error)
                raise
            generators.reset()
        return {}

    scheduler.step = step
    pipeline.scheduler = scheduler
    first: torch.Tensor = noise_tensor(task.seed, image, 0, (1, *shape), family.dtype(task), loaded.device)
    kept, steps = None, itertools.count()
    try:
        with attention_backend("native"):
            if task.start is not None:
                begun = begin(loaded, task, image)
                first, kept = begun.latent, begun.kept
            output = pipeline(
                **call.arguments,
                latents=family.packed(first),
                output_type="latent",
                callback_on_step_end=report,
                callback_on_step_end_tensor_inputs=[],
            )
            picture = decode(loaded, family.unpacked(output.images, shape))
        if trace is not None:
            keep(output.images)
            trace.append(picture.tobytes())
    except CrynuxValidateError:
        raise
    except RUNNING as error:
        if error in raised:
            raise
        raise PipelineError(f"image {image} could not be drawn: {type(error).__name__}: {error}") from error
    generators.check()
    return picture


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
        raise PipelineError("a latent holds values that are no numbers; an overflow, likely in float16: use bfloat16")
    bits = tensor.detach().cpu().contiguous().view(torch.int32 if dtype.itemsize == 4 else torch.int16).numpy()
    return bits.astype(f"<i{dtype.itemsize}").tobytes()


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
