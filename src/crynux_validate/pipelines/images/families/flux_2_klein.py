"""FLUX.2 klein: a language model's hidden states as the prompt; latents as its VAE packs them, four to a patch."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.images.decoding import as_numpy, decoded
from crynux_validate.pipelines.images.families.flow import Flow
from crynux_validate.pipelines.images.prompts import as_chat
from crynux_validate.tasks import ImageTask


class Flux2Klein(Flow):
    """`Flux2KleinPipeline`; its latents are patches: (1, 4 channels of the VAE, height / 16, width / 16)."""

    pipeline: ClassVar = "Flux2KleinPipeline"
    components: ClassVar = {
        "transformer": ("diffusers", "Flux2Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKLFlux2"),
        "text_encoder": ("transformers", "Qwen3ForCausalLM"),
        "tokenizer": ("transformers", "Qwen2Tokenizer"),
    }
    replaceable: ClassVar = {
        "vae": ("latent_channels", "patch_size", "batch_norm_eps"),
        "transformer": ("in_channels", "out_channels", "patch_size", "joint_attention_dim", "guidance_embeds"),
    }
    lora_components: ClassVar = ("transformer",)
    tokens: ClassVar = 512
    longest: ClassVar = "tokenizer"

    def assembly(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
        """Whether a model was distilled stands in its index."""
        return {**super().assembly(parts, index), "is_distilled": bool(index.get("is_distilled", False))}

    def check(self, pipeline: Any, task: ImageTask) -> None:
        """Refuse guidance and prompts that would not be heeded."""
        super().check(pipeline, task)
        if task.guidance_scale > 1 and pipeline.config.is_distilled:
            raise PipelineError(f"guidance_scale: is {task.guidance_scale}; this model was distilled: give 0 to 1")
        if task.negative_prompt:
            raise PipelineError(f"negative_prompt: a {self.pipeline} takes none; leave it empty")

    def written(self, pipeline: Any, prompt: str) -> str:
        """As a message to the language model."""
        return as_chat(pipeline.tokenizer, prompt, thinking=False)

    def latent_shape(self, pipeline: Any, task: ImageTask) -> tuple[int, int, int]:
        """In patches."""
        side = self.multiple(pipeline)
        return self.channels(pipeline), task.height // side, task.width // side

    def handed(self, latents: torch.Tensor) -> torch.Tensor:
        """The pipeline packs them itself."""
        return latents

    def packed(self, latents: torch.Tensor) -> torch.Tensor:
        """A row of patches: (1, patches, channels)."""
        return latents.flatten(2).permute(0, 2, 1)

    def unpacked(self, latents: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Back from the row."""
        return latents.permute(0, 2, 1).reshape(1, *shape)

    def arguments(self, pipeline: Any, task: ImageTask) -> dict[str, Any]:
        """Without a negative prompt: it is empty."""
        return {name: value for name, value in super().arguments(pipeline, task).items() if name != "negative_prompt"}

    def shift(self, pipeline: Any, scheduler: Any, task: ImageTask) -> float:  # noqa: ARG002
        """By the number of patches and of steps."""
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        _, height, width = self.latent_shape(pipeline, task)
        return compute_empirical_mu(height * width, task.steps)

    def guided(self, pipeline: Any, task: ImageTask) -> bool:
        """Distilled models are told no guidance."""
        return task.guidance_scale > 1 and not pipeline.config.is_distilled

    def pixels(self, pipeline: Any, latents: torch.Tensor) -> NDArray[np.float32]:
        """The VAE knows mean and variance of each channel."""
        from diffusers import Flux2KleinPipeline

        vae = pipeline.vae
        mean, variance = (values.view(1, -1, 1, 1) for values in (vae.bn.running_mean, vae.bn.running_var))
        scale = torch.sqrt(variance + vae.config.batch_norm_eps).to(latents.dtype)
        patches = latents * scale + mean.to(latents.dtype)
        return as_numpy(pipeline, decoded(vae, Flux2KleinPipeline._unpatchify_latents(patches)))
