"""The families of image models: one adapter each. A new one takes a file, and a line here (docs/families.md)."""

from collections.abc import Mapping
from typing import Final

from crynux_validate.pipelines.images.families.family import Family
from crynux_validate.pipelines.images.families.flux import Flux
from crynux_validate.pipelines.images.families.flux_2_klein import Flux2Klein
from crynux_validate.pipelines.images.families.qwen_image import QwenImage
from crynux_validate.pipelines.images.families.stable_diffusion import StableDiffusion
from crynux_validate.pipelines.images.families.stable_diffusion_3 import StableDiffusion3
from crynux_validate.pipelines.images.families.stable_diffusion_xl import StableDiffusionXL
from crynux_validate.pipelines.images.families.stable_diffusion_xl_refiner import StableDiffusionXLRefiner
from crynux_validate.pipelines.images.families.z_image import ZImage

FAMILIES: Final[Mapping[str, Family]] = {
    family.pipeline: family
    for family in (
        StableDiffusion(),
        StableDiffusionXL(),
        StableDiffusion3(),
        Flux(),
        ZImage(),
        Flux2Klein(),
        QwenImage(),
    )
}
"""By the class of the pipeline, as a model's ``model_index.json`` names it."""

REFINER: Final[Family] = StableDiffusionXLRefiner()
"""Of models that draw the last steps only."""

__all__ = ["FAMILIES", "REFINER", "Family"]
