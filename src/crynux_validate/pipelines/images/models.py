"""Loading a Stable Diffusion pipeline: exactly the files that a task names, all of them, and nothing else.

Components are loaded one by one, so that each gets its dtype and a weight that a file lacks is an error; diffusers
itself fills it with random numbers and a line in a log.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from crynux_validate.encoding import canonical_json, shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.guard.process import require
from crynux_validate.pipelines.images.components import (
    Source,
    check_components,
    load_component,
    load_weights,
    other_components,
    skeletons,
)
from crynux_validate.pipelines.images.embeddings import read_embeddings, teach
from crynux_validate.pipelines.images.loras import read_loras, updates_of
from crynux_validate.pipelines.images.scheduling import check_settings
from crynux_validate.pipelines.models.files import PREPROCESSOR, check_cached, check_files
from crynux_validate.pipelines.models.hub_names import spelled
from crynux_validate.pipelines.models.loading import (
    READING,
    check_not_shadowed,
    local_folder,
    not_found,
    quiet,
    reading,
)
from crynux_validate.pipelines.models.recipe import plain, recipe_of
from crynux_validate.tasks import Dtype, ModelRef
from crynux_validate.tasks.parts import NO_PARTS, Parts

require("diffusers", "transformers")

_COMMON: Final = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
}
_SECOND_ENCODER: Final = {
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
    "tokenizer_2": ("transformers", "CLIPTokenizer"),
}
PIPELINES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "StableDiffusionPipeline": _COMMON,
    "StableDiffusionXLPipeline": {**_COMMON, **_SECOND_ENCODER},
}
"""The pipeline classes that are supported, and for each its components with their library and class."""


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline that is ready to run, and the record of what was loaded.

    Parameters
    ----------
    pipeline
        The diffusers pipeline.
    scheduler_settings
        Of the model's own scheduler configuration, from which each image's scheduler is made.
    recipe
        What was loaded, read back: JSON values (see `Environment.recipe`).
    """

    pipeline: Any
    scheduler_settings: Mapping[str, Any]
    recipe: Mapping[str, Any]


def load(
    model: ModelRef, dtype: Dtype, device: torch.device, *, safety_checker: bool, beside: Parts = NO_PARTS
) -> LoadedModel:
    """Load a pipeline, with what a task names beside the model; enter the guard first.

    Raises
    ------
    ModelError
        Where files are missing, damaged or not those that are named, a part does not fit the model, or the pipeline is
        not supported. What can be known of parts without the model's weights is checked before these are read.
    """
    with (
        quiet("transformers", "diffusers"),
        locate(model, safety_checker=safety_checker) as folder,
        other_components(beside) as others,
    ):
        index = _read_json(folder / "model_index.json")
        name = index.get("_class_name")
        if not isinstance(name, str) or name not in PIPELINES:
            raise ModelError(f"{model} is a {shorten(name)}; supported are {' and '.join(PIPELINES)}")
        if safety_checker and (name != "StableDiffusionPipeline" or not _present(index, "safety_checker")):
            raise ModelError(f"the task asks for a safety checker, but {model} has none; set safety_checker=False")
        sources: dict[str, Source] = {}
        for part, (library, class_name) in PIPELINES[name].items():
            found = index.get(part, [])
            if not _present(index, part) or not (folder / part).is_dir():
                raise ModelError(f"{model} lacks the component {part!r} ({folder / part}); load a whole pipeline")
            if found[0] != library or str(found[1]).removesuffix("Fast") != class_name:
                raise ModelError(
                    f"{part} of {model} is {'.'.join(map(str, found))}; supported is {library}.{class_name}"
                )
            sources[part] = Source(folder / part, folder, model.variant)
        check_components(sources, others)
        sources |= others
        hollow = skeletons(PIPELINES[name], sources) if beside.loras or beside.textual_inversions else {}
        loras = read_loras(name, beside.loras, hollow)
        embeddings = read_embeddings(beside.textual_inversions, hollow)
        parts = {
            part: load_component(part, library, class_name, sources[part], dtype, device, updates_of(loras, part))
            for part, (library, class_name) in PIPELINES[name].items()
        }
        if safety_checker:
            parts |= _load_checker(folder, model, dtype, device)
        settings = _scheduler_settings(folder, name)
        loaded = _assemble(name, parts, settings, index, model, folder)
        named = {part: getattr(beside, part).to_dict() for part in others}
        teach(loaded.pipeline, embeddings)
        record = named | {
            "loras": [lora.record for lora in loras],
            "textual_inversions": [embedding.record for embedding in embeddings],
        }
        return replace(loaded, recipe={**loaded.recipe, "parts": record})


@contextmanager
def locate(model: ModelRef, *, safety_checker: bool = False) -> Iterator[Path]:
    """Give the folder that holds the files of a model: a local one, checked, or the hub's cache, filled.

    A safety checker of a hub model is only downloaded where it is asked for.

    Raises
    ------
    ModelError
        Where it is not there, not what `model` says, or changes meanwhile.
    """
    if model.digest is not None:
        with local_folder(model) as folder:
            yield folder
        return
    name = spelled(model)
    check_not_shadowed(name)
    from diffusers import DiffusionPipeline

    # Components that are passed are not downloaded.
    unused: dict[str, Any] = {} if safety_checker else {"safety_checker": None, "feature_extractor": None}
    try:
        found = DiffusionPipeline.download(
            name, revision=model.revision, variant=model.variant, use_safetensors=True, **unused
        )
    except READING as error:
        raise not_found(model, error) from error
    snapshot = Path(found)
    parts = [*_COMMON, *_SECOND_ENCODER, *(("safety_checker", "feature_extractor") if safety_checker else ())]
    check_cached(snapshot, model, parts)
    yield snapshot


def _present(index: Mapping[str, Any], part: str) -> bool:
    found = index.get(part)
    return isinstance(found, list) and len(found) == 2 and found[1] is not None


def _load_checker(folder: Path, model: ModelRef, dtype: Dtype, device: torch.device) -> dict[str, Any]:
    """The safety checker and the image processor that feeds it (Pillow's, whatever else is installed)."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    for part in ("safety_checker", "feature_extractor"):
        if not (folder / part).is_dir():
            raise ModelError(f"the task asks for a safety checker, but {model} lacks {part!r} ({folder / part})")
    source = Source(folder / "safety_checker", folder, model.variant)
    checker = load_weights(StableDiffusionSafetyChecker, "safety_checker", source, dtype, device, eager=True)
    name = "feature_extractor"
    check_files(name, folder / name, folder, PREPROCESSOR)
    extractor = reading(name, folder, lambda: CLIPImageProcessorPil.from_pretrained(folder / name))
    return {"safety_checker": checker, name: extractor}


def _scheduler_settings(folder: Path, name: str) -> dict[str, Any]:
    """The model's scheduler settings, with those that diffusers corrects in old Stable Diffusion.

    Latents have no range to be clipped to: that is the default of schedulers for pixels.
    """
    config = {"clip_sample": False} | _read_json(folder / "scheduler" / "scheduler_config.json")
    if name == "StableDiffusionPipeline":
        config |= {"steps_offset": 1, "clip_sample": False}
    return check_settings(config)


def _assemble(
    name: str,
    parts: dict[str, Any],
    scheduler_settings: dict[str, Any],
    index: Mapping[str, Any],
    model: ModelRef,
    folder: Path,
) -> LoadedModel:
    import diffusers

    library: Any = diffusers
    if name == "StableDiffusionPipeline":
        checker = {"safety_checker": None, "feature_extractor": None} | parts
        settings = {**checker, "requires_safety_checker": "safety_checker" in parts}
    else:
        # The watermark would be drawn only where its package is installed.
        zeros = bool(index.get("force_zeros_for_empty_prompt", True))
        settings = {**parts, "add_watermarker": False, "force_zeros_for_empty_prompt": zeros}
    # A place holder: each image gets a scheduler of its own.
    placeholder = library.DDIMScheduler(steps_offset=1, clip_sample=False)
    pipeline = reading(name, folder, lambda: getattr(library, name)(scheduler=placeholder, **settings))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.disable_slicing()
    pipeline.vae.disable_tiling()
    return LoadedModel(pipeline, scheduler_settings, recipe_of(pipeline, parts, model, folder))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        canonical_json(plain(value))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}; load a whole pipeline, as diffusers saves it") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} holds no JSON object; load a whole pipeline, as diffusers saves it")
    return value
