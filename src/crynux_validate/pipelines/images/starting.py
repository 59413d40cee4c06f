"""What the drawing of an image begins with: the noise of the task's seed, or a picture under some of it.

The steps of image to image and of inpainting are those of drawing from noise: the first ones of the schedule are left
out, and where a mask says so, what the scheduler made is put back after each step to the picture.
"""

import functools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from crynux_validate.audits.layout import skipped_steps, step_count
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.images.noising import Noise, noise_tensor
from crynux_validate.pipelines.images.scheduling import without_scale
from crynux_validate.pipelines.images.stages import Stage
from crynux_validate.pipelines.noise import Purpose
from crynux_validate.pipelines.pictures import read_picture
from crynux_validate.schedulers import SCHEDULERS
from crynux_validate.tasks import ImageTask

_WHITE: Final = 128
"""From here on a sample of a mask is white."""


@dataclass(frozen=True)
class Kept:
    """What a mask keeps of the picture.

    Parameters
    ----------
    picture
        Its latents, (1, channels, height, width).
    noise
        What they lie under, of the same shape.
    drawn
        1 where the picture is drawn anew, 0 where it is kept: (1, 1, height, width).
    """

    picture: torch.Tensor
    noise: torch.Tensor
    drawn: torch.Tensor

    def put_back(self, scheduler: Any, task: ImageTask, step: int, latents: torch.Tensor) -> torch.Tensor:
        """Return what follows a step: the picture, under the noise of the next step, where it is kept.

        Parameters
        ----------
        scheduler
            In the state that it has after the step, with its whole schedule.
        step
            The step that was taken, counted from 0.
        latents
            What the scheduler made of it.
        """
        picture = self.picture
        if step + 1 < step_count(task):
            time = scheduler.timesteps[skipped_steps(task) + step + 1]
            picture = _noised(scheduler, picture, self.noise, torch.tensor([time]))
        found: torch.Tensor = (1 - self.drawn) * picture + self.drawn * latents
        return found


@dataclass(frozen=True)
class Begun:
    """What an image begins with.

    Parameters
    ----------
    latent
        The first latent, (1, channels, height, width).
    kept
        What a mask keeps; None without one.
    """

    latent: torch.Tensor
    kept: Kept | None = None


@torch.no_grad()
def begin(loaded: LoadedModel, task: ImageTask, image: int) -> Begun:
    """Return what an image begins with, scaled as its first step takes it.

    Raises
    ------
    PipelineError
        For a picture that is not here or cannot be used, and a family that does not start with one.
    """
    shape, dtype = (1, *loaded.latent_shape(task)), loaded.family.dtype(task)
    noise = noise_tensor(task.seed, image, 0, shape, dtype, loaded.device)
    scheduler = Stage(loaded, task, skipped=skipped_steps(task)).ready()
    alone = noise * getattr(scheduler, "init_noise_sigma", 1.0)  # a flow begins with the noise itself
    if task.start is None:
        return Begun(alone)
    size = (task.width, task.height)
    picture = _latents(loaded, task, image, read_picture("start.image", task.start.image, size))
    if task.start.mask is None:
        return Begun(_under(scheduler, task, picture, noise))
    mask = read_picture("start.mask", task.start.mask, size)
    kept = Kept(picture, noise, _drawn(mask, loaded).to(loaded.device, dtype))
    whole = task.start.strength == 1
    return Begun(alone if whole else _under(scheduler, task, picture, noise), kept)


def cut(scheduler: Any, task: ImageTask) -> None:
    """Let a new scheduler leave out the steps that a task skips; what the pipeline begins with is scaled already."""
    skipped, own_times, own_step = skipped_steps(task), scheduler.set_timesteps, scheduler.step
    without_scale(scheduler)
    whole: list[Any] = []

    @functools.wraps(own_times)
    def set_timesteps(*args: Any, **kwargs: Any) -> None:
        own_times(*args, **kwargs)
        whole.append(scheduler.timesteps)
        scheduler.timesteps = scheduler.timesteps[skipped:]

    @functools.wraps(own_step)
    def step(*args: Any, **kwargs: Any) -> Any:
        scheduler.timesteps = whole[-1]  # the pipeline has its part, and the scheduler looks at the end of its own
        return own_step(*args, **kwargs)

    scheduler.set_timesteps, scheduler.step = set_timesteps, step
    if hasattr(scheduler, "set_begin_index"):
        own_begin = scheduler.set_begin_index
        scheduler.set_begin_index = lambda _begin=0: own_begin(skipped)  # the pipeline's first step is this one


def _under(scheduler: Any, task: ImageTask, picture: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Put a picture's latents under the noise that the first step begins with."""
    at = skipped_steps(task)
    return _noised(scheduler, picture, noise, scheduler.timesteps[at : at + 1])


def _noised(scheduler: Any, picture: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    flow = SCHEDULERS[type(scheduler).__name__].flow
    found: torch.Tensor = (
        scheduler.scale_noise(picture, time, noise) if flow else scheduler.add_noise(picture, noise, time)
    )
    return found


def _latents(loaded: LoadedModel, task: ImageTask, image: int, picture: Image.Image) -> torch.Tensor:
    # In memory it lies as diffusers' own pipelines put it there: kernels, and so bits, depend on that.
    pixels = torch.from_numpy((np.asarray(picture).astype(np.float32) / np.float32(255))[None].transpose(0, 3, 1, 2))
    noise = Noise(task.seed, image, first=0, purpose=Purpose.PICTURE)
    from diffusers.models.attention_dispatch import attention_backend

    with attention_backend("native"):
        # From here on as in a proof, from which steps are computed again.
        return loaded.family.encoded(loaded.pipeline, 2.0 * pixels - 1.0, noise).contiguous()


def _drawn(mask: Image.Image, loaded: LoadedModel) -> torch.Tensor:
    """The mask over latents: each is what the mask's first sample over it says."""
    side = loaded.pipeline.vae_scale_factor
    white = np.asarray(mask.convert("L"))[::side, ::side] >= _WHITE
    return torch.from_numpy(white.astype(np.float32))[None, None]
