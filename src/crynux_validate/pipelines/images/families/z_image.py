"""Z-Image: prompts go through a language model's chat template, and are not padded.

Latents are float32 in every dtype.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.images.families.family import SCALING, Family
from crynux_validate.pipelines.images.families.flow import Flow
from crynux_validate.pipelines.images.prompts import as_chat
from crynux_validate.tasks import ImageTask


class ZImage(Flow):
    """`ZImagePipeline`; guidance is added to the prediction with the prompt, so that 0 is none."""

    pipeline: ClassVar = "ZImagePipeline"
    components: ClassVar = {
        "transformer": ("diffusers", "ZImageTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "Qwen3Model"),
        "tokenizer": ("transformers", "Qwen2Tokenizer"),
    }
    lora_components: ClassVar = ("transformer",)
    replaceable: ClassVar = {
        "vae": SCALING,
        "transformer": ("in_channels", "cap_feat_dim", "all_patch_size", "all_f_patch_size", "siglip_feat_dim"),
    }
    takes_length: ClassVar = False
    guidance: ClassVar = Family.guidance
    tokens: ClassVar = 512
    longest: ClassVar = "tokenizer"

    def check(self, pipeline: Any, task: ImageTask) -> None:
        """A trace holds values of the task's dtype."""
        super().check(pipeline, task)
        if task.binding == "trace" and task.dtype != "float32":
            raise PipelineError(f"binding: 'trace' of a {self.pipeline} needs dtype 'float32'; its latents are float32")

    def dtype(self, task: ImageTask) -> torch.dtype:  # noqa: ARG002
        """Whatever the task's is."""
        return torch.float32

    def written(self, pipeline: Any, prompt: str) -> str:
        """As a message to the language model."""
        return as_chat(pipeline.tokenizer, prompt, thinking=True)

    def start(self, pipeline: Any, scheduler: Any, task: ImageTask) -> None:
        """Noise levels fall evenly before they are shifted."""
        levels = torch.linspace(1.0, 1 / task.steps, task.steps).tolist()
        by_size = self.shift(pipeline, scheduler, task)
        scheduler.set_timesteps(sigmas=levels, mu=by_size, device=pipeline.transformer.device)

    def guided(self, pipeline: Any, task: ImageTask) -> bool:  # noqa: ARG002
        """From 0 on, not from 1."""
        return task.guidance_scale > 0

    def direction(self, outputs: Sequence[Any]) -> torch.Tensor:
        """The pipeline turns the sign of what the transformer gives, and the prompt comes first."""
        given, without = (each.float() for each in outputs[0])
        return without - given  # type: ignore[no-any-return]  # outputs have no type
