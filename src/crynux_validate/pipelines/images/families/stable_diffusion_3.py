"""Stable Diffusion 3 and 3.5: two CLIP encoders and T5; guidance and pooled texts as in Stable Diffusion XL."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from crynux_validate.pipelines.images.families.family import SCALING, Family
from crynux_validate.pipelines.images.families.flow import Flow
from crynux_validate.tasks import ImageTask


class StableDiffusion3(Flow):
    """`StableDiffusion3Pipeline`."""

    pipeline: ClassVar = "StableDiffusion3Pipeline"
    components: ClassVar = {
        "transformer": ("diffusers", "SD3Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
        "text_encoder_3": ("transformers", "T5EncoderModel"),
        "tokenizer_3": ("transformers", "T5Tokenizer"),
    }
    lora_components: ClassVar = ("transformer", "text_encoder", "text_encoder_2")
    replaceable: ClassVar = {
        "vae": SCALING,
        "transformer": ("in_channels", "out_channels", "patch_size", "joint_attention_dim", "pooled_projection_dim"),
    }
    guidance: ClassVar = Family.guidance
    starts: ClassVar = True
    tokens: ClassVar = 256
    longest: ClassVar = "tokenizer_3"

    def direction(self, outputs: Sequence[Any]) -> torch.Tensor:
        """As for Stable Diffusion."""
        return Family.direction(self, outputs)

    def start(self, pipeline: Any, scheduler: Any, task: ImageTask) -> None:
        """Its scheduler shifts by size only where its configuration says so."""
        by_size = {"mu": self.shift(pipeline, scheduler, task)} if scheduler.config.use_dynamic_shifting else {}
        scheduler.set_timesteps(task.steps, device=pipeline.transformer.device, **by_size)
