"""Qwen-Image: draws as FLUX.1 does; a vision-language model reads the prompt, and the VAE is one for films."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from crynux_validate.pipelines.images.decoding import as_numpy, decoded
from crynux_validate.pipelines.images.families.family import Family
from crynux_validate.pipelines.images.families.flux import Flux
from crynux_validate.tasks import ImageTask


class QwenImage(Flux):
    """`QwenImagePipeline`; with `true_cfg_scale` above 1, predictions keep the length of those with the prompt."""

    pipeline: ClassVar = "QwenImagePipeline"
    components: ClassVar = {
        "transformer": ("diffusers", "QwenImageTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKLQwenImage"),
        "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration"),
        "tokenizer": ("transformers", "Qwen2Tokenizer"),
    }
    replaceable: ClassVar = {
        "vae": ("z_dim", "latents_mean", "latents_std", "temperal_downsample"),
        "transformer": (
            "in_channels", "out_channels", "patch_size", "joint_attention_dim", "use_additional_t_cond",
            "use_layer3d_rope", "zero_cond_t",
        ),
    }  # fmt: skip
    starts: ClassVar = False
    takes_length: ClassVar = False
    longest: ClassVar = "tokenizer"

    def lora_matrices(self, loader: Any, tensors: Mapping[str, torch.Tensor], denoiser: Any) -> tuple[Any, Any]:
        """Alphas are multiplied in."""
        return Family.lora_matrices(self, loader, tensors, denoiser)

    def written(self, pipeline: Any, prompt: str) -> str:
        """In the pipeline's own frame."""
        found: str = pipeline.prompt_template_encode.format(prompt)
        return found

    def room(self, pipeline: Any, task: ImageTask) -> int:
        """What the encoder says of the start of the frame is left out."""
        start: int = pipeline.prompt_template_encode_start_idx
        return start + super().room(pipeline, task)

    def pixels(self, pipeline: Any, latents: torch.Tensor) -> NDArray[np.float32]:
        """A film of one picture: (1, channels, 1, height, width)."""
        vae = pipeline.vae
        film = latents[:, :, None].to(vae.dtype)
        mean, scale = (
            torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        # Divided by the inverse, as the pipeline does it.
        film = film / (1.0 / scale.to(film)) + mean.to(film)
        return as_numpy(pipeline, decoded(vae, film)[:, :, 0])
