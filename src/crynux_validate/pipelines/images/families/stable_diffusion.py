"""Stable Diffusion 1 and 2: a UNet, one text encoder."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.images.decoding import as_numpy, decoded, drawn
from crynux_validate.pipelines.images.families.family import SCALING, Family
from crynux_validate.pipelines.images.prompts import check_windows
from crynux_validate.pipelines.images.scheduling import check_settings
from crynux_validate.pipelines.images.weighted import encodings
from crynux_validate.schedulers import NOISE_SCHEDULERS
from crynux_validate.tasks import ImageTask
from crynux_validate.tasks.prompts import SYNTAXES


class StableDiffusion(Family):
    """`StableDiffusionPipeline`."""

    pipeline: ClassVar = "StableDiffusionPipeline"
    components: ClassVar[Mapping[str, tuple[str, str]]] = {
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
    }
    denoiser: ClassVar = "unet"
    lora_components: ClassVar[Collection[str]] = ("unet", "text_encoder")
    schedulers: ClassVar = NOISE_SCHEDULERS
    replaceable: ClassVar = {
        "vae": SCALING,
        "unet": (
            "in_channels", "out_channels", "cross_attention_dim", "addition_embed_type", "addition_time_embed_dim",
            "projection_class_embeddings_input_dim", "class_embed_type", "encoder_hid_dim_type",
        ),
    }  # fmt: skip
    parts: ClassVar[Collection[str]] = ("vae", "unet", "loras", "textual_inversions", "controlnet")
    others: ClassVar[Mapping[str, str]] = {"controlnet": "StableDiffusionControlNetPipeline"}
    safety_checker: ClassVar = True
    syntaxes: ClassVar = SYNTAXES

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """With what diffusers corrects in old models: latents have no range that they could be clipped to."""
        return check_settings({**config, "steps_offset": 1, "clip_sample": False})

    def assembly(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """With a safety checker where one was loaded."""
        checker = {"safety_checker": None, "feature_extractor": None, **parts}
        return {**checker, "requires_safety_checker": "safety_checker" in parts, "scheduler": placeholder()}

    def lora_matrices(self, loader: Any, tensors: Mapping[str, torch.Tensor], denoiser: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """Alphas stand beside the matrices."""
        matrices, alphas = loader.lora_state_dict(dict(tensors))
        return matrices, alphas

    def check(self, pipeline: Any, task: ImageTask) -> None:
        """A UNet that is told more than latents was made for one use, like inpainting; plain ones are told latents."""
        super().check(pipeline, task)
        told, latents = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
        if told != latents:
            raise PipelineError(
                f"model: its UNet takes {told} channels, and latents have {latents}: it was made for inpainting or"
                " edits alone; name a plain model, which inpaints too"
            )

    def check_prompts(self, pipeline: Any, task: ImageTask) -> None:
        """Every tokenizer has a window, and diffusers says in a log only that it cuts off what does not fit."""
        if task.prompt_syntax == "plain":
            check_windows(pipeline, task)

    def channels(self, pipeline: Any) -> int:
        """As the UNet takes them."""
        channels: int = pipeline.unet.config.in_channels
        return channels

    def arguments(self, pipeline: Any, task: ImageTask) -> dict[str, Any]:
        """With encodings where prompts have weights; DDIM draws no noise of its own."""
        encoded = {} if task.prompt_syntax == "plain" else encodings(pipeline, task)
        return super().arguments(pipeline, task) | encoded | {"eta": 0.0}

    def guided(self, pipeline: Any, task: ImageTask) -> bool:
        """A UNet that is told the scale needs one prediction."""
        return task.guidance_scale > 1 and pipeline.unet.config.time_cond_proj_dim is None

    def encoded(self, pipeline: Any, picture: torch.Tensor, noise: AbstractContextManager[Any]) -> torch.Tensor:
        """In the VAE's own dtype."""
        found: torch.Tensor = pipeline.vae.config.scaling_factor * drawn(pipeline.vae, picture, noise)
        return found

    def pixels(self, pipeline: Any, latents: torch.Tensor) -> NDArray[np.float32]:
        """The safety checker blanks the picture itself."""
        image = decoded(pipeline.vae, latents / pipeline.vae.config.scaling_factor)
        image, unsafe = pipeline.run_safety_checker(image, image.device, latents.dtype)
        # Its verdict changes nothing but the range of values, which is diffusers' way.
        return as_numpy(pipeline, image, denormalize=unsafe is None or not unsafe[0])


def placeholder() -> Any:
    """Return a scheduler to make a pipeline with: each image gets one of its own."""
    import diffusers

    library: Any = diffusers
    return library.DDIMScheduler(steps_offset=1, clip_sample=False)
