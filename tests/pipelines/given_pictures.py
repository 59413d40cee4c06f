"""Pictures for tasks, and diffusers' own pipelines to compare with."""

import importlib
import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from crynux_validate.pipelines.images.noising import noise_tensor
from crynux_validate.pipelines.models.loading import DTYPES, own_memory
from crynux_validate.tasks import PictureRef


def png(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    """The bytes of a picture's file."""
    data = io.BytesIO()
    image.save(data, kind, **settings)
    return data.getvalue()


def ramp(width: int = 64, height: int = 64) -> Image.Image:
    """A picture in colours: stripes that get wider."""
    down, across = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([3 * across + down, across**2 // 8, 5 * down], 2).astype(np.uint8) & 255, "RGB")


def disc(side: int = 64) -> Image.Image:
    """A grey picture: a disc that fades."""
    return Image.radial_gradient("L").resize((side, side))


RAMP, DISC = PictureRef.of(png(ramp())), PictureRef.of(png(disc()))


def theirs(name: str, task: Any, recipe: Any, **more: Any) -> Any:
    """A pipeline of diffusers' own as `from_pretrained` loads it, with the scheduler of a recipe; enter the guard."""
    diffusers: Any = importlib.import_module("diffusers")
    dtype = DTYPES[task.dtype]
    pipeline = getattr(diffusers, name).from_pretrained(str(task.model.path), dtype=dtype, **more)
    pipeline.set_progress_bar_config(disable=True)
    for part, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module):
            own_memory(module)  # where weights lie decides bits
        if part.startswith("text_encoder") and module is not None:
            module.set_attn_implementation("eager")
    scheduler = recipe["scheduler"]
    config = {name: value for name, value in scheduler["config"].items() if value != "-inf"}  # a default
    pipeline.scheduler = getattr(diffusers, scheduler["class"]).from_config(config)
    return pipeline


class Answers(TorchFunctionMode):
    """Answers ``torch.randn`` with given tensors, one after the other."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        super().__init__()
        self._rest = list(tensors)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._rest.pop(0) if func is torch.randn else func(*args, **(kwargs or {}))


def asked(task: Any) -> dict[str, Any]:
    """What every pipeline is called with."""
    return {
        "prompt": task.prompt, "negative_prompt": task.negative_prompt, "num_inference_steps": task.steps,
        "guidance_scale": task.guidance_scale,
    }  # fmt: skip


def noise(task: Any, channels: int = 4) -> torch.Tensor:
    """The noise that a task's seed gives its first image."""
    shape = (1, channels, task.height // 8, task.width // 8)
    return noise_tensor(task.seed, 0, 0, shape, DTYPES[task.dtype], "cpu")
