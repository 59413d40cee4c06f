"""Z-Image: prompts go through a language model's chat template, and are not padded.

Latents are float32 in every dtype.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import torch
from jinja2 import TemplateError

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.images.families.flow import Flow
from crynux_validate.pipelines.models.loading import RUNNING, first_line
from crynux_validate.tasks import ImageTask

_CHANCE: Final = ("strftime_now", "random", "lipsum")
"""What a chat template can ask that is not the same everywhere: the day, and chance."""


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
    takes_length: ClassVar = False
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
        template = pipeline.tokenizer.chat_template
        if not isinstance(template, str):
            raise PipelineError("the model's tokenizer has no chat template; get the whole model again")
        for word in _CHANCE:
            if word in template:
                raise PipelineError(f"the model's chat template uses {word}, which differs between nodes; name another")
        messages = [{"role": "user", "content": prompt}]
        try:
            found: str = pipeline.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
        except (*RUNNING, TemplateError) as error:
            raise PipelineError(f"the model's chat template cannot be filled in: {first_line(error)}") from error
        return found

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
