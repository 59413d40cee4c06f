"""FLUX.1: CLIP and T5; the transformer is told the guidance scale, and takes latents as a row of patches."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.images.families.family import SCALING
from crynux_validate.pipelines.images.families.flow import Flow
from crynux_validate.tasks import ImageTask


class Flux(Flow):
    """`FluxPipeline`; a negative prompt counts with a `true_cfg_scale` above 1 only."""

    pipeline: ClassVar = "FluxPipeline"
    components: ClassVar = {
        "transformer": ("diffusers", "FluxTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "text_encoder_2": ("transformers", "T5EncoderModel"),
        "tokenizer_2": ("transformers", "T5Tokenizer"),
    }
    # diffusers 0.42 with transformers 5 loads those of FLUX.1's text encoder without effect.
    lora_components: ClassVar = ("transformer",)
    replaceable: ClassVar = {
        "vae": SCALING,
        "transformer": ("in_channels", "out_channels", "patch_size", "joint_attention_dim", "pooled_projection_dim"),
    }
    starts: ClassVar = True
    tokens: ClassVar = 512
    longest: ClassVar = "tokenizer_2"
    true_guidance: ClassVar = True

    def check(self, pipeline: Any, task: ImageTask) -> None:
        """Refuse guidance and prompts that would not be heeded."""
        super().check(pipeline, task)
        if task.guidance_scale > 1 and not pipeline.transformer.config.guidance_embeds:
            raise PipelineError(f"guidance_scale: is {task.guidance_scale}; this model is told none: give 0")
        if task.true_cfg_scale > 1 and task.negative_prompt is None:
            raise PipelineError("negative_prompt: is missing; true_cfg_scale above 1 needs one, also an empty one")
        if task.true_cfg_scale == 1 and task.negative_prompt:
            raise PipelineError("negative_prompt: counts with a true_cfg_scale above 1 only; leave one out, or add one")

    def lora_matrices(self, loader: Any, tensors: Mapping[str, torch.Tensor], denoiser: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """Alphas stand beside the matrices."""
        matrices, alphas = loader.lora_state_dict(dict(tensors), return_alphas=True)
        return matrices, alphas

    def channels(self, pipeline: Any) -> int:
        """Four latents make a patch."""
        return super().channels(pipeline) // 4

    def packed(self, latents: torch.Tensor) -> torch.Tensor:
        """A row of patches of 2 x 2 latents: (1, patches, 4 channels)."""
        from diffusers import FluxPipeline

        found: torch.Tensor = FluxPipeline._pack_latents(latents, *latents.shape)
        return found

    def unpacked(self, latents: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Back from the row."""
        from diffusers import FluxPipeline

        found: torch.Tensor = FluxPipeline._unpack_latents(latents, shape[1], shape[2], vae_scale_factor=1)
        return found

    def arguments(self, pipeline: Any, task: ImageTask) -> dict[str, Any]:
        """With both guidances."""
        return super().arguments(pipeline, task) | {"true_cfg_scale": task.true_cfg_scale}

    def guided(self, pipeline: Any, task: ImageTask) -> bool:  # noqa: ARG002
        """Being told a scale takes one evaluation."""
        return task.true_cfg_scale > 1
