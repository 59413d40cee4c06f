"""Between latents and pictures, as diffusers' pipelines do it: one way for drawing and for auditing."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from crynux_validate.errors import PipelineError

if TYPE_CHECKING:
    from crynux_validate.pipelines.images.models import LoadedModel


@torch.no_grad()
def decode(loaded: "LoadedModel", latents: torch.Tensor) -> Image.Image:
    """Decode the latents of one image, run the safety checker where one is loaded, and round to 8 bits.

    Parameters
    ----------
    loaded
        The model.
    latents
        (1, channels, height, width), in the dtype of the task.

    Returns
    -------
    Image
        8-bit RGB.

    Raises
    ------
    PipelineError
        Where the picture holds values that are NaN or infinite.
    """
    return to_image(loaded.family.pixels(loaded.pipeline, latents))


def to_image(pixels: Any) -> Image.Image:
    """Round pixels between 0 and 1 to 8 bits."""
    if not np.isfinite(pixels).all():
        raise PipelineError(
            "the image holds values that are NaN or infinite: an overflow, likely in float16; use bfloat16 or float32"
        )
    return Image.fromarray(np.rint(pixels * np.float32(255)).astype(np.uint8), "RGB")


def decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return what a VAE makes of latents that are scaled as it was trained: values from -1 to 1."""
    image: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return image


def drawn(vae: Any, picture: torch.Tensor, noise: AbstractContextManager[Any]) -> Any:
    """Return what a VAE makes of a picture, in its dtype: drawn of the distribution that it gives."""
    found = vae.encode(picture.to(device=vae.device, dtype=vae.dtype)).latent_dist
    with noise:
        return found.sample()


def as_numpy(pipeline: Any, image: torch.Tensor, *, denormalize: bool = True) -> NDArray[np.float32]:
    """Return one image as an array (height, width, 3) of values from 0 to 1."""
    found: NDArray[np.float32] = pipeline.image_processor.postprocess(image, "np", [denormalize])[0]
    return found
