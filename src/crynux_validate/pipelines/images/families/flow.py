"""What families that predict a flow share (arXiv 2403.03206): a transformer, and Euler steps from noise at 1 to 0."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from crynux_validate.audits.bands import AuditBands
from crynux_validate.audits.image_bands import Band
from crynux_validate.pipelines.images.decoding import as_numpy, decoded, drawn
from crynux_validate.pipelines.images.families.family import Family
from crynux_validate.pipelines.images.prompts import check_length
from crynux_validate.pipelines.images.scheduling import check_flow_settings
from crynux_validate.schedulers import FLOW_SCHEDULERS
from crynux_validate.tasks import ImageTask


class Flow(Family):
    """A family adds its components, its prompts, and its noise levels."""

    denoiser: ClassVar = "transformer"
    schedulers: ClassVar = FLOW_SCHEDULERS
    parts: ClassVar = ("vae", "transformer", "loras")
    takes_length: ClassVar = True
    guidance: ClassVar = "two evaluations"
    starts: ClassVar[bool] = False
    """Whether tasks may start with a picture."""
    tokens: ClassVar[int]
    """How many a prompt may have where the task does not say."""
    longest: ClassVar[str]
    """The tokenizer that holds the whole prompt; CLIP's see its beginning only, as in diffusers."""

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a flow."""
        return check_flow_settings(config)

    def assembly(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Its scheduler is a place holder: each image gets one of its own."""
        import diffusers

        library: Any = diffusers
        return {**parts, "scheduler": library.FlowMatchEulerDiscreteScheduler()}

    def check_prompts(self, pipeline: Any, task: ImageTask) -> None:
        """One encoder holds the whole prompt."""
        tokenizer = getattr(pipeline, self.longest)
        for field in ("prompt", "negative_prompt"):
            if getattr(task, field) is not None:
                written = self.written(pipeline, getattr(task, field))
                count = len(tokenizer(written, truncation=False, padding=False).input_ids)
                check_length(
                    field, self.longest, count, self.room(pipeline, task), tokenizer.num_special_tokens_to_add()
                )

    def written(self, pipeline: Any, prompt: str) -> str:  # noqa: ARG002 - others have a template
        """Return what is tokenized of a prompt."""
        return prompt

    def sequence(self, task: ImageTask) -> int:
        """Return how many tokens a prompt is padded to."""
        return self.tokens if task.max_sequence_length is None else task.max_sequence_length

    def room(self, pipeline: Any, task: ImageTask) -> int:  # noqa: ARG002 - others have a template
        """Return how many tokens what is `written` may have."""
        return self.sequence(task)

    def multiple(self, pipeline: Any) -> int:
        """Transformers take patches of 2 x 2 latents."""
        return 2 * super().multiple(pipeline)

    def channels(self, pipeline: Any) -> int:
        """As the transformer takes them."""
        channels: int = pipeline.transformer.config.in_channels
        return channels

    def arguments(self, pipeline: Any, task: ImageTask) -> dict[str, Any]:
        """With the length of prompts."""
        return super().arguments(pipeline, task) | {"max_sequence_length": self.sequence(task)}

    def start(self, pipeline: Any, scheduler: Any, task: ImageTask) -> None:
        """Noise levels fall evenly before they are shifted by size."""
        levels = np.linspace(1.0, 1 / task.steps, task.steps)
        by_size = self.shift(pipeline, scheduler, task)
        scheduler.set_timesteps(sigmas=levels, mu=by_size, device=pipeline.transformer.device)

    def guided(self, pipeline: Any, task: ImageTask) -> bool:  # noqa: ARG002 - others ask the model
        """As for Stable Diffusion."""
        return task.guidance_scale > 1

    def direction(self, outputs: Sequence[Any]) -> torch.Tensor:
        """The evaluation with the prompt comes first."""
        given, without = outputs
        return given - without  # type: ignore[no-any-return]  # outputs have no type

    def shift(self, pipeline: Any, scheduler: Any, task: ImageTask) -> float:
        """Return by how much more noise a larger picture begins with, where the scheduler shifts by size."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        _, height, width = self.latent_shape(pipeline, task)
        set_to = scheduler.config
        counts = set_to.base_image_seq_len, set_to.max_image_seq_len
        found: float = calculate_shift(height // 2 * (width // 2), *counts, set_to.base_shift, set_to.max_shift)
        return found

    def encoded(self, pipeline: Any, picture: torch.Tensor, noise: AbstractContextManager[Any]) -> torch.Tensor:
        """Shifted, and scaled."""
        if not self.starts:
            return super().encoded(pipeline, picture, noise)
        vae = pipeline.vae
        found: torch.Tensor = (drawn(vae, picture, noise) - vae.config.shift_factor) * vae.config.scaling_factor
        return found

    def pixels(self, pipeline: Any, latents: torch.Tensor) -> NDArray[np.float32]:
        """Latents are scaled and shifted."""
        vae = pipeline.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        return as_numpy(pipeline, decoded(vae, scaled))

    def band(self, bands: AuditBands, task: ImageTask, kinds: tuple[str, str] | None) -> Band | None:  # noqa: ARG002
        """Nothing was measured of flows yet."""
        return None
