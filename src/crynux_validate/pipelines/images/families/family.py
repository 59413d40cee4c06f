"""What a family of image models does its own way: loading, drawing and auditing ask its adapter, never its name."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray

from crynux_validate.audits.bands import AuditBands
from crynux_validate.audits.image_bands import Band
from crynux_validate.encoding import shorten
from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.models.loading import DTYPES
from crynux_validate.tasks import ImageTask

SCALING: Final = ("latent_channels", "scaling_factor", "shift_factor")
"""What another VAE of the class `AutoencoderKL` must have in common with that of the model."""


class Family(ABC):
    """The adapter of a family: it has no state, and one instance serves all models.

    Latents have the shape (1, channels, height, width) everywhere; `packed`, `unpacked` and `handed` say what
    they are to the pipeline. `pipeline` is an instance of the family's pipeline class.
    """

    pipeline: ClassVar[str]
    """The pipeline's class in diffusers."""
    components: ClassVar[Mapping[str, tuple[str, str]]]
    """What a model has to consist of: library and class by the component's name."""
    denoiser: ClassVar[str]
    """The component that predicts in each step."""
    schedulers: ClassVar[Collection[str]]
    """Those that a task may name."""
    others: ClassVar[Mapping[str, str]] = {}
    """The classes of the pipelines that draw with pictures, by the fields of the task that name these."""
    parts: ClassVar[Collection[str]]
    """The fields of a task for what is loaded beside the model."""
    replaceable: ClassVar[Mapping[str, Collection[str]]]
    """The components that a task may replace, with the settings in which another must be equal: what each is handed,
    and what it gives."""
    takes_length: ClassVar[bool] = False
    """Whether ``max_sequence_length`` means something."""
    true_guidance: ClassVar[bool] = False
    """Whether ``true_cfg_scale`` means something."""
    safety_checker: ClassVar[bool] = False
    """Whether models may have one."""
    syntaxes: ClassVar[Collection[str]] = ("plain",)
    """How prompts may be read (`ImageTask.prompt_syntax`)."""
    guidance: ClassVar[str] = "one batch of two"
    """How a guided prediction is computed, for the recipe."""
    lora_components: ClassVar[Collection[str]]
    """What LoRAs can be for."""

    @abstractmethod
    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model's scheduler settings, checked; raises `ModelError`."""

    @abstractmethod
    def assembly(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that make the pipeline of loaded parts.

        Parameters
        ----------
        index
            The model's ``model_index.json``.
        """

    def check(self, pipeline: Any, task: ImageTask) -> None:
        """Refuse what the family cannot do or would not heed; raises `PipelineError`."""
        if task.scheduler not in self.schedulers:
            raise PipelineError(
                f"scheduler: {task.scheduler} is not for a {self.pipeline}; name one of: {', '.join(self.schedulers)}"
            )
        if task.prompt_syntax not in self.syntaxes:
            raise PipelineError(f"prompt_syntax: {task.prompt_syntax} is not for a {self.pipeline}; name plain")
        side = self.multiple(pipeline)
        for name in ("width", "height"):
            if getattr(task, name) % side:
                raise PipelineError(f"{name}: is {shorten(getattr(task, name))}; this model needs a multiple of {side}")
        if task.max_sequence_length is not None and not self.takes_length:
            raise PipelineError(f"max_sequence_length: a {self.pipeline} does not use it; leave it out")
        if task.true_cfg_scale != 1 and not self.true_guidance:
            raise PipelineError(f"true_cfg_scale: a {self.pipeline} does not use it; leave it out, or give 1")

    def multiple(self, pipeline: Any) -> int:
        """Return what width and height have to be multiples of, in pixels."""
        side: int = pipeline.vae_scale_factor
        return side

    def lora_matrices(self, loader: Any, tensors: Mapping[str, torch.Tensor], denoiser: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """Return the matrices of a LoRA's file by diffusers' names, and the alphas of layers (None for none).

        Parameters
        ----------
        loader
            The pipeline's class.
        denoiser
            That of the model, without weights.
        """
        return loader.lora_state_dict(dict(tensors)), None

    @abstractmethod
    def check_prompts(self, pipeline: Any, task: ImageTask) -> None:
        """Refuse prompts that would be cut off; raises `PromptTooLongError`."""

    @abstractmethod
    def channels(self, pipeline: Any) -> int:
        """Return how many channels latents have."""

    def latent_shape(self, pipeline: Any, task: ImageTask) -> tuple[int, int, int]:
        """Return the shape of a task's latents: channels, height, width."""
        side = pipeline.vae_scale_factor
        return self.channels(pipeline), task.height // side, task.width // side

    def dtype(self, task: ImageTask) -> torch.dtype:
        """Return what latents are computed in."""
        return DTYPES[task.dtype]

    def packed(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents as the pipeline takes them and its denoiser predicts them."""
        return latents

    def handed(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents as the pipeline is called with them."""
        return self.packed(latents)

    def unpacked(self, latents: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Return what `packed` was given, of (channels, height, width) `shape`."""
        return latents.reshape(1, *shape)

    def arguments(self, pipeline: Any, task: ImageTask) -> dict[str, Any]:  # noqa: ARG002 - others need it
        """Return what the pipeline is called with, besides latents and callbacks."""
        return {
            "prompt": task.prompt,
            "negative_prompt": task.negative_prompt,
            "height": task.height,
            "width": task.width,
            "num_inference_steps": task.steps,
            "guidance_scale": task.guidance_scale,
        }

    def start(self, pipeline: Any, scheduler: Any, task: ImageTask) -> None:
        """Set a scheduler's timesteps as the pipeline does."""
        scheduler.set_timesteps(task.steps, device=getattr(pipeline, self.denoiser).device)

    @abstractmethod
    def guided(self, pipeline: Any, task: ImageTask) -> bool:
        """Whether each step predicts with the prompt and without."""

    def direction(self, outputs: Sequence[Any]) -> torch.Tensor:
        """Return the prediction with the prompt less that without, of all that the denoiser gave in a guided step."""
        without, given = outputs[0].chunk(2)
        return given - without  # type: ignore[no-any-return]  # outputs have no type

    def encoded(self, pipeline: Any, picture: torch.Tensor, noise: AbstractContextManager[Any]) -> torch.Tensor:  # noqa: ARG002
        """Return the latents of a picture, scaled for the denoiser: (1, channels, height, width), in the task's dtype.

        Parameters
        ----------
        picture
            (1, 3, height, width), float32, -1 to 1.
        noise
            Answers what is drawn of the encoder's distribution.

        Raises
        ------
        PipelineError
            Where the family has no such tasks.
        """
        raise PipelineError(f"start: a {self.pipeline} does not start with a picture here; leave it out")

    @abstractmethod
    def pixels(self, pipeline: Any, latents: torch.Tensor) -> NDArray[np.float32]:
        """Decode the latents of one image: (height, width, 3), 0 to 1."""

    def band(self, bands: AuditBands, task: ImageTask, kinds: tuple[str, str] | None) -> Band | None:
        """Return what honest machines may be apart; None where nothing was measured: other bits are INCOMPARABLE.

        That is so of tasks that are given pictures, and of those with a refiner.
        """
        if task.pictures_named() or task.refiner is not None:
            return None
        return bands.for_image(task, kinds)
