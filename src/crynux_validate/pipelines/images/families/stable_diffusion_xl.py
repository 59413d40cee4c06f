"""Stable Diffusion XL: two text encoders, and a UNet that is told sizes and the pooled text."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from crynux_validate.pipelines.images.decoding import as_numpy, decoded
from crynux_validate.pipelines.images.families.stable_diffusion import StableDiffusion, placeholder
from crynux_validate.pipelines.images.scheduling import check_settings


class StableDiffusionXL(StableDiffusion):
    """`StableDiffusionXLPipeline`; a negative prompt of None is not an empty one to most of its models."""

    pipeline: ClassVar = "StableDiffusionXLPipeline"
    components: ClassVar = {
        **StableDiffusion.components,
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
    }
    others: ClassVar = {"controlnet": "StableDiffusionXLControlNetPipeline"}
    safety_checker: ClassVar = False
    lora_needs_config: ClassVar = True

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Latents have no range to be clipped to: that is the default of schedulers for pixels."""
        return check_settings({"clip_sample": False, **config})

    def assembly(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
        """Without a watermark, which would be drawn only where its package is installed."""
        zeros = bool(index.get("force_zeros_for_empty_prompt", True))
        own = {"add_watermarker": False, "force_zeros_for_empty_prompt": zeros, "scheduler": placeholder()}
        return {**parts, **own}

    def pixels(self, pipeline: Any, latents: torch.Tensor) -> NDArray[np.float32]:
        """In float16 this decoder overflows, which its configuration says."""
        vae = pipeline.vae
        if vae.dtype != torch.float16 or not vae.config.force_upcast:
            return as_numpy(pipeline, decoded(vae, _unscaled(vae, latents)))
        try:
            vae.to(torch.float32)
            wide = latents.to(next(iter(vae.post_quant_conv.parameters())).dtype)
            return as_numpy(pipeline, decoded(vae, _unscaled(vae, wide)))
        finally:
            vae.to(torch.float16)


def _unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Undo what scales latents for the UNet."""
    mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or deviation is None:
        plain: torch.Tensor = latents / vae.config.scaling_factor
        return plain
    sides = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(deviation).view(1, -1, 1, 1)
    mean, deviation = (values.to(latents.device, latents.dtype) for values in sides)
    found: torch.Tensor = latents * deviation / vae.config.scaling_factor + mean
    return found
