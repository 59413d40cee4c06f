"""How vision-language models are shown pictures: transformers' own processors, on Pillow, and without videos.

transformers prepares pictures with torchvision where that is installed, and with Pillow where it is not; the two resize
differently. Here it is Pillow everywhere. What a processor needs to know of the model comes from the model's own
configuration: a part of it also stands in files that older repositories lack.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError, PipelineError
from crynux_validate.pipelines.models.loading import RUNNING, first_line
from crynux_validate.pipelines.models.recipe import plain, versions
from crynux_validate.pipelines.pictures import read_picture
from crynux_validate.tasks import ModelRef, TextTask

if TYPE_CHECKING:
    from PIL import Image

LONGEST: Final = 100
"""How many times the short side of a picture fits into the long one, at most."""


@dataclass(frozen=True)
class Family:
    """A kind of vision-language models.

    Parameters
    ----------
    images
        The image processors that its repositories name.
    processor
        Makes transformers' processor of a configuration, an image processor and a tokenizer.
    """

    images: tuple[str, ...]
    processor: Callable[[Any, Any, Any], Any]


def _llava(config: Any, images: Any, tokenizer: Any) -> Any:
    from transformers import LlavaProcessor

    processor: Any = LlavaProcessor
    return processor(
        images,
        tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(config.vision_config.model_type == "clip_vision_model"),
        image_token=tokenizer.convert_ids_to_tokens(config.image_token_id),
    )


def _qwen(config: Any, images: Any, tokenizer: Any) -> Any:
    from transformers import Qwen2VLProcessor
    from transformers.processing_utils import ProcessorMixin

    base: Any = Qwen2VLProcessor
    mixin: Any = ProcessorMixin

    class Qwen2VLPictures(base):  # type: ignore[misc]
        """The processor without its half for videos, which needs torchvision."""

        def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
            self.image_token = tokenizer.convert_ids_to_tokens(config.image_token_id)
            self.image_token_id = config.image_token_id
            self.video_token = tokenizer.convert_ids_to_tokens(config.video_token_id)
            self.video_token_id = config.video_token_id
            mixin.__init__(self, image_processor, tokenizer)

    return Qwen2VLPictures(images, tokenizer)


_QWEN: Final = Family(("Qwen2VLImageProcessor",), _qwen)

FAMILIES: Final[Mapping[str, Family]] = {
    "llava": Family(("CLIPImageProcessor", "LlavaImageProcessor", "SiglipImageProcessor"), _llava),
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
}
"""The kinds that can be shown pictures, by the model_type of their config.json."""


@dataclass(frozen=True)
class Eyes:
    """What prepares pictures for a loaded model.

    Parameters
    ----------
    processor
        Of transformers.
    """

    processor: Any

    def see(self, task: TextTask, text: str) -> tuple[list[int], dict[str, torch.Tensor]]:
        """Return the token ids of a rendered text with the task's pictures, and what the model is given beside them.

        Raises
        ------
        PipelineError
            For a picture that cannot be used or is a long strip, and a text with another number of places for pictures.
        """
        pictures = [_shaped(name, read_picture(name, picture)) for name, picture in task.pictures_named().items()]
        try:
            found = self.processor(text=text, images=pictures or None, add_special_tokens=False, return_tensors="pt")
        except RUNNING as error:
            raise PipelineError(
                f"the model's processor refuses the {len(pictures)} pictures or the messages: {first_line(error)}"
            ) from error
        given = {name: found[name] for name in found if name not in ("input_ids", "attention_mask")}
        return [int(token) for token in found["input_ids"][0]], given if pictures else {}

    def recipe(self) -> dict[str, Any]:
        """Describe it, read back."""
        images = self.processor.image_processor
        return {"class": type(images).__name__, "settings": plain(images.to_dict()), "versions": versions(("pillow",))}


def _shaped(name: str, picture: "Image.Image") -> "Image.Image":
    """Refuse long strips, which processors would enlarge without a limit until the short side is what they want."""
    width, height = picture.size
    if max(width, height) > LONGEST * min(width, height):
        raise PipelineError(
            f"{name} is {width}x{height}; expected at most {LONGEST} times as wide as high, or as high as wide: cut it"
        )
    return picture


def eyes(model: ModelRef, config: Any, images: Any, tokenizer: Any) -> Eyes:
    """Make what prepares pictures, of the parts that were read; errors as of `models.load`."""
    family, name = FAMILIES[config.model_type], type(images).__name__
    if name not in {f"{known}Pil" for known in family.images}:
        raise ModelError(
            f"{model} prepares pictures by {shorten(name.removesuffix('Pil'))}; supported for {config.model_type} are "
            f"{', '.join(family.images)}, on Pillow"
        )
    try:
        processor = family.processor(config, images, tokenizer)
    except RUNNING as error:
        raise ModelError(
            f"the processor of {model} cannot be made: {first_line(error)}; get its files again"
        ) from error
    return Eyes(processor)


def check_sees(model: ModelRef, config: Any) -> None:
    """Refuse a model that cannot be shown pictures."""
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"{model} is of the kind {config.model_type!r}, which cannot be shown the task's pictures here; leave them "
            f"out, or name a model of a kind that can: {', '.join(FAMILIES)}"
        )
