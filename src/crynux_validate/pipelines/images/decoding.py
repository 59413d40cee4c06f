"""From the last latent to the picture, as diffusers' pipelines do it: one way for drawing and for auditing."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from crynux_validate.errors import PipelineError


@torch.no_grad()
def decode(pipeline: Any, latents: torch.Tensor) -> Image.Image:
    """Decode the latents of one image, run the safety checker where one is loaded, and round to 8 bits.

    Parameters
    ----------
    pipeline
        A `StableDiffusionPipeline` or `StableDiffusionXLPipeline`.
    latents
        (1, channels, height, width), in the dtype of the task.

    Returns
    -------
    Image
        8-bit RGB.

    Raises
    ------
    PipelineError
        Where the picture holds values that are no numbers.
    """
    vae, dtype = pipeline.vae, latents.dtype
    is_xl = type(pipeline).__name__ == "StableDiffusionXLPipeline"
    if is_xl and vae.dtype == torch.float16 and vae.config.force_upcast:
        # In float16 this decoder overflows.
        try:
            vae.to(torch.float32)
            wide = latents.to(next(iter(vae.post_quant_conv.parameters())).dtype)
            image = vae.decode(_unscaled(vae, wide, normalized=True), return_dict=False)[0]
        finally:
            vae.to(torch.float16)
    else:
        image = vae.decode(_unscaled(vae, latents, normalized=is_xl), return_dict=False)[0]
    if not is_xl:
        # It blanks the picture itself; its verdict changes nothing but the range of values, which is diffusers' way.
        image, unsafe = pipeline.run_safety_checker(image, image.device, dtype)
        if unsafe is not None:
            return to_image(_as_numpy(pipeline, image, denormalize=not unsafe[0]))
    return to_image(_as_numpy(pipeline, image, denormalize=True))


def to_image(pixels: Any) -> Image.Image:
    """Round pixels between 0 and 1 to 8 bits."""
    if not np.isfinite(pixels).all():
        raise PipelineError(
            "the image holds values that are no numbers: an overflow, likely in float16; use bfloat16 or float32"
        )
    return Image.fromarray(np.rint(pixels * np.float32(255)).astype(np.uint8), "RGB")


def _unscaled(vae: Any, latents: torch.Tensor, *, normalized: bool) -> Any:
    """Undo what scales latents for the UNet."""
    mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if not normalized or mean is None or deviation is None:
        return latents / vae.config.scaling_factor
    sides = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(deviation).view(1, -1, 1, 1)
    mean, deviation = (values.to(latents.device, latents.dtype) for values in sides)
    return latents * deviation / vae.config.scaling_factor + mean


def _as_numpy(pipeline: Any, image: torch.Tensor, *, denormalize: bool) -> NDArray[np.float32]:
    found: NDArray[np.float32] = pipeline.image_processor.postprocess(image, "np", [denormalize])[0]
    return found
