"""Loading an image pipeline: exactly the files that a task names, all of them, and nothing else.

Components are loaded one by one, so that each gets its dtype and a weight that a file lacks is an error; diffusers
itself fills it with random numbers and a line in a log.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from crynux_validate.encoding import canonical_json, shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.guard.process import require
from crynux_validate.pipelines.images.components import (
    Source,
    check_components,
    check_held,
    load_component,
    load_weights,
    loader_of,
    other_components,
    skeletons,
)
from crynux_validate.pipelines.images.controlnets import CONTROLNET, check_controlnet, load_controlnet
from crynux_validate.pipelines.images.embeddings import read_embeddings, teach
from crynux_validate.pipelines.images.families import FAMILIES, REFINER, Family
from crynux_validate.pipelines.images.families.stable_diffusion_xl import StableDiffusionXL
from crynux_validate.pipelines.images.loras import read_loras, updates_of
from crynux_validate.pipelines.models.files import PREPROCESSOR, check_cached, check_files, read_object
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
from crynux_validate.tasks import Dtype, ImageTask, ModelRef
from crynux_validate.tasks.parts import NO_PARTS, Parts

require("diffusers", "transformers")


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline that is ready to run, and the record of what was loaded.

    Parameters
    ----------
    pipeline
        The diffusers pipeline.
    family
        The adapter of its family.
    scheduler_settings
        Of the model's own scheduler configuration, from which each image's scheduler is made.
    recipe
        What was loaded, read back: JSON values (see `Environment.recipe`).
    controlnet
        The ControlNet; None for none.
    refiner
        The model of the last steps, which has the VAE of this one; None for none.
    """

    pipeline: Any
    family: Family
    scheduler_settings: Mapping[str, Any]
    recipe: Mapping[str, Any]
    controlnet: Any = None
    refiner: "LoadedModel | None" = None

    @property
    def denoiser(self) -> Any:
        """The network that predicts in each step."""
        return getattr(self.pipeline, self.family.denoiser)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        found: torch.device = self.denoiser.device
        return found

    def latent_shape(self, task: ImageTask) -> tuple[int, int, int]:
        """Return the shape of a task's latents: channels, height, width."""
        return self.family.latent_shape(self.pipeline, task)

    def check(self, task: ImageTask) -> None:
        """Refuse what this model cannot do: `PipelineError`, or `PromptTooLongError`."""
        self.family.check(self.pipeline, task)
        self.family.check_prompts(self.pipeline, task)
        if self.refiner is not None:
            self.refiner.check(task)


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
        _refiner_folder(beside.refiner) as last,
    ):
        index = _read_json(folder / "model_index.json")
        name = index.get("_class_name")
        family = FAMILIES.get(name) if isinstance(name, str) else None
        if name == REFINER.pipeline:
            raise ModelError(
                f"{model} is a refiner, which draws no picture of its own; name a {StableDiffusionXL.pipeline}, and"
                " this one as the task's refiner"
            )
        if family is None:
            raise ModelError(f"{model} is a {shorten(name)}; supported are {' and '.join(FAMILIES)}")
        if safety_checker and not (family.safety_checker and _present(index, "safety_checker")):
            raise ModelError(f"the task asks for a safety checker, but {model} has none; set safety_checker=False")
        for field in beside.references():
            if field.partition(".")[0] not in family.parts:
                raise ModelError(f"{field}: not supported for a {name}; leave it out of the task")
        sources = _sources(family, model, folder, index)
        second = others.pop("controlnet", None)
        check_components(family, sources, others)
        sources |= others
        if second is not None:
            if "controlnet" not in family.others:
                raise ModelError(f"{second.where}: a {name} takes none here; leave controlnet out")
            check_controlnet(second, sources[family.denoiser])
        last_sources = {} if last is None else _refiner_sources(*last, sources)
        asked = [(part, family.components[part], source) for part, source in sources.items()]
        asked += [("controlnet", CONTROLNET, second)] if second is not None else []
        asked += [(part, REFINER.components[part], source) for part, source in last_sources.items()]
        for part, kind, source in asked:
            if not part.startswith("tokenizer"):
                check_held(part, loader_of(*kind), source)
        hollow = skeletons(family.components, sources) if beside.loras or beside.textual_inversions else {}
        loras = read_loras(family, beside.loras, hollow)
        embeddings = read_embeddings(beside.textual_inversions, hollow)
        parts = {
            part: load_component(part, library, class_name, sources[part], dtype, device, updates_of(loras, part))
            for part, (library, class_name) in family.components.items()
        }
        if safety_checker:
            parts |= _load_checker(folder, model, dtype, device)
        net = None if second is None else load_controlnet(second, dtype, device)
        settings = family.settings(_read_json(folder / "scheduler" / "scheduler_config.json"))
        loaded = LoadedModel(
            pipeline := _assemble(family, parts, index, folder),
            family,
            settings,
            recipe_of(pipeline, parts if net is None else {**parts, "controlnet": net}, model, folder),
            net,
        )
        given = others if net is None else (*others, "controlnet")
        named = {part: getattr(beside, part).to_dict() for part in given}
        teach(loaded.pipeline, embeddings)
        record = named | {
            "loras": [lora.record for lora in loras],
            "textual_inversions": [embedding.record for embedding in embeddings],
        }
        whole = replace(loaded, recipe={**loaded.recipe, "parts": record})
        return whole if last is None else _with_refiner(whole, *last, last_sources, dtype, device)


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
    parts = {part for family in FAMILIES.values() for part in family.components}
    check_cached(snapshot, model, sorted(parts | {"safety_checker", "feature_extractor"} if safety_checker else parts))
    yield snapshot


def _present(index: Mapping[str, Any], part: str) -> bool:
    found = index.get(part)
    return isinstance(found, list) and len(found) == 2 and found[1] is not None


def _sources(family: Family, model: ModelRef, folder: Path, index: Mapping[str, Any]) -> dict[str, Source]:
    """Where the components lie that a model of a family consists of."""
    sources = {}
    for part, (library, class_name) in family.components.items():
        found = index.get(part, [])
        if not _present(index, part) or not (folder / part).is_dir():
            raise ModelError(f"{model} lacks the component {part!r} ({folder / part}); load a whole pipeline")
        if found[0] != library or str(found[1]).removesuffix("Fast") != class_name:
            raise ModelError(f"{part} of {model} is {'.'.join(map(str, found))}; supported is {library}.{class_name}")
        sources[part] = Source(folder / part, folder, model.variant)
    return sources


@contextmanager
def _refiner_folder(model: ModelRef | None) -> Iterator[tuple[ModelRef, Path] | None]:
    """Give a refiner and its folder, as `locate` does; None for none."""
    if model is None:
        yield None
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(locate(model))
        except ModelError as error:
            raise ModelError(f"refiner: {error}") from error
        yield model, folder


def _refiner_sources(model: ModelRef, folder: Path, base: Mapping[str, Source]) -> dict[str, Source]:
    """Where the components of a refiner lie that was made for the latents of a model; no weights are read for that."""
    index = _read_json(folder / "model_index.json")
    name = index.get("_class_name")
    if (
        name != REFINER.pipeline
        or _present(index, "text_encoder")
        or index.get("requires_aesthetics_score") is not True
    ):
        raise ModelError(
            f"refiner {model} is a {shorten(name)}; expected a {REFINER.pipeline} with one text encoder and"
            " requires_aesthetics_score, like that of SDXL 1.0"
        )
    sources = _sources(REFINER, model, folder, index)
    where = f"refiner {model}"
    if (folder / "vae" / "config.json").is_file():
        check_components(FAMILIES[StableDiffusionXL.pipeline], base, {"vae": Source(folder / "vae", where, None)})
    there, here = (read_object(each["unet"].folder / "config.json").get("in_channels", 4) for each in (sources, base))
    if there != here:
        raise ModelError(f"{where} takes {shorten(there)} channels, and the model has {shorten(here)}; name another")
    return sources


def _with_refiner(
    base: LoadedModel,
    model: ModelRef,
    folder: Path,
    sources: Mapping[str, Source],
    dtype: Dtype,
    device: torch.device,
) -> LoadedModel:
    """Load a refiner, and let it decode with the VAE of the model before it."""
    parts = {
        part: load_component(part, library, class_name, sources[part], dtype, device)
        for part, (library, class_name) in REFINER.components.items()
    }
    index = _read_json(folder / "model_index.json")
    pipeline = _assemble(REFINER, {**parts, "vae": base.pipeline.vae}, index, folder)
    settings = REFINER.settings(_read_json(folder / "scheduler" / "scheduler_config.json"))
    recipe = recipe_of(pipeline, parts, model, folder)
    refiner = LoadedModel(pipeline, REFINER, settings, recipe)
    own = {name: recipe[name] for name in ("pipeline", "model", "components")}
    return replace(base, refiner=refiner, recipe={**base.recipe, "refiner": own})


def _load_checker(folder: Path, model: ModelRef, dtype: Dtype, device: torch.device) -> dict[str, Any]:
    """The safety checker and the image processor that feeds it (Pillow's, whatever else is installed)."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    for part in ("safety_checker", "feature_extractor"):
        if not (folder / part).is_dir():
            raise ModelError(f"the task asks for a safety checker, but {model} lacks {part!r} ({folder / part})")
    source = Source(folder / "safety_checker", folder, model.variant)
    check_held("safety_checker", StableDiffusionSafetyChecker, source)
    checker = load_weights(StableDiffusionSafetyChecker, "safety_checker", source, dtype, device, eager=True)
    name = "feature_extractor"
    check_files(name, folder / name, folder, PREPROCESSOR)
    extractor = reading(name, folder, lambda: CLIPImageProcessorPil.from_pretrained(folder / name))
    return {"safety_checker": checker, name: extractor}


def _assemble(family: Family, parts: Mapping[str, Any], index: Mapping[str, Any], folder: Path) -> Any:
    import diffusers

    settings = family.assembly(parts, index)
    pipeline = reading(family.pipeline, folder, lambda: getattr(diffusers, family.pipeline)(**settings))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.disable_slicing()
    pipeline.vae.disable_tiling()
    return pipeline


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        canonical_json(plain(value))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}; load a whole pipeline, as diffusers saves it") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} holds no JSON object; load a whole pipeline, as diffusers saves it")
    return value
