"""Tasks that are given pictures: which of diffusers' pipelines draws them, and what that is told."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.images.canny import canny
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.pictures import read_picture
from crynux_validate.tasks import ControlNet, ImageTask

_CONTROLLED: Final = "controlnet"


@dataclass(frozen=True)
class Call:
    """What draws a task's images.

    Parameters
    ----------
    pipeline
        Of diffusers; its networks are those of the loaded model.
    arguments
        What it is called with, besides latents and callbacks.
    record
        What a recipe says of the pictures: JSON values.
    """

    pipeline: Any
    arguments: Mapping[str, Any]
    record: Mapping[str, Any]


def call_for(loaded: LoadedModel, task: ImageTask) -> Call:
    """Return what draws a task's images, with its pictures read.

    Raises
    ------
    PipelineError
        For a picture that is not here, or cannot be used; see `crynux_validate.pipelines.pictures.read_picture`.
    """
    pipeline, arguments = loaded.pipeline, loaded.family.arguments(loaded.pipeline, task)
    if task.controlnet is None:
        return Call(pipeline, arguments, {})
    picture = _controlling(task, task.controlnet)
    told = {"image": picture, "controlnet_conditioning_scale": task.controlnet.scale}
    pipeline = _other(loaded, _CONTROLLED, controlnet=loaded.controlnet)
    record = {"controlnet.image": hashlib.sha256(picture.tobytes()).hexdigest()}
    return Call(pipeline, arguments | told, {"pictures": record})


def _controlling(task: ImageTask, net: ControlNet) -> Image.Image:
    """The picture that a ControlNet is told, 8-bit RGB."""
    picture = read_picture("controlnet.image", net.image, (task.width, task.height))
    if net.preprocess is None:
        return picture
    edges = canny(np.asarray(picture), net.preprocess.low, net.preprocess.high)
    return Image.fromarray(edges, "L").convert("RGB")


def _other(loaded: LoadedModel, way: str, **more: Any) -> Any:
    """Make another pipeline of the loaded networks."""
    import diffusers

    name = loaded.family.others.get(way)
    if name is None:
        raise PipelineError(f"{way}: a {loaded.family.pipeline} cannot be drawn with one; leave it out")
    own = loaded.pipeline
    parts = {part: found for part, found in own.components.items() if found is not None and part != "scheduler"}
    pipeline = getattr(diffusers, name)(**loaded.family.assembly(parts, own.config), **more)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
