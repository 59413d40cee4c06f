"""Stable Diffusion XL: two text encoders, and a UNet that is told sizes and the pooled text."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from crynux_validate.pipelines.images.decoding import as_numpy, decoded, drawn
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
    others: ClassVar[Mapping[str, str]] = {"controlnet": "StableDiffusionXLControlNetPipeline"}
    parts: ClassVar[Collection[str]] = (*StableDiffusion.parts, "refiner")
    safety_checker: ClassVar = False
    lora_components: ClassVar = ("unet", "text_encoder", "text_encoder_2")

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Latents have no range to be clipped to: that is the default of schedulers for pixels."""
        return check_settings({"clip_sample": False, **config})

    def assembly(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
        """Without a watermark, which would be drawn only where its package is installed."""
        zeros = bool(index.get("force_zeros_for_empty_prompt", True))
        own = {"add_watermarker": False, "force_zeros_for_empty_prompt": zeros, "scheduler": placeholder()}
        return {**parts, **own}

    def lora_matrices(self, loader: Any, tensors: Mapping[str, torch.Tensor], denoiser: Any) -> tuple[Any, Any]:
        """Some trainers name blocks by their place in the UNet."""
        matrices, alphas = loader.lora_state_dict(dict(tensors), unet_config=denoiser.config)
        return matrices, alphas

    def encoded(self, pipeline: Any, picture: torch.Tensor, noise: AbstractContextManager[Any]) -> torch.Tensor:
        """In float32 where the configuration says that its VAE overflows."""
        vae, dtype = pipeline.vae, pipeline.vae.dtype
        try:
            if vae.config.force_upcast:
                vae.to(torch.float32)
            latents = drawn(vae, picture.to(dtype), noise)
        finally:
            vae.to(dtype)
        latents, scale = latents.to(dtype), vae.config.scaling_factor
        moments = _moments(vae, latents)
        found: torch.Tensor = scale * latents if moments is None else (latents - moments[0]) * scale / moments[1]
        return found

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
    moments, scale = _moments(vae, latents), vae.config.scaling_factor
    found: torch.Tensor = latents / scale if moments is None else latents * moments[1] / scale + moments[0]
    return found


def _moments(vae: Any, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Mean and deviation of latents, where the configuration has them."""
    mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or deviation is None:
        return None
    sides = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(deviation).view(1, -1, 1, 1)
    return sides[0].to(latents.device, latents.dtype), sides[1].to(latents.device, latents.dtype)
