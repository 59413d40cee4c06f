"""Refiners of Stable Diffusion XL: models that draw the last steps, and no picture of their own."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from crynux_validate.pipelines.images.families.stable_diffusion_xl import StableDiffusionXL
from crynux_validate.tasks import ImageTask


class StableDiffusionXLRefiner(StableDiffusionXL):
    """`StableDiffusionXLImg2ImgPipeline` with one text encoder; it decodes with the VAE of the model before it."""

    pipeline: ClassVar = "StableDiffusionXLImg2ImgPipeline"
    components: ClassVar = {
        name: StableDiffusionXL.components[name] for name in ("unet", "text_encoder_2", "tokenizer_2")
    }
    parts: ClassVar[Collection[str]] = ()
    others: ClassVar[Mapping[str, str]] = {}

    def assembly(self, parts: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
        """It is told an aesthetic score where others are told a size."""
        absent = {"text_encoder": None, "tokenizer": None, "requires_aesthetics_score": True}
        return {**super().assembly(parts, index), **absent}

    def arguments(self, pipeline: Any, task: ImageTask) -> dict[str, Any]:
        """Its latents say how large the picture is."""
        found = super().arguments(pipeline, task)
        return {name: value for name, value in found.items() if name not in ("height", "width")}
