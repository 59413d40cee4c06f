"""Loading a Stable Diffusion pipeline: exactly the files that a task names, all of them, and nothing else.

Components are loaded one by one, so that each gets its dtype and a weight that a file lacks is an error; diffusers
itself fills it with random numbers and a line in a log.
"""

import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError

from crynux_validate.encoding import canonical_json
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.process import require
from crynux_validate.pipelines.recipe import plain, recipe_of
from crynux_validate.tasks import Dtype, ModelRef, folder_digest

require("diffusers", "transformers")

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

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

_READING: Final = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, SafetensorError)
"""What diffusers, transformers and safetensors raise for files that are missing, damaged or of the wrong shape."""


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline that is ready to run, and the record of what was loaded.

    Parameters
    ----------
    pipeline
        The diffusers pipeline.
    scheduler_config
        The model's own scheduler configuration, from which each image's scheduler is made.
    recipe
        What was loaded, read back: JSON values (see `Environment.recipe`).
    """

    pipeline: Any
    scheduler_config: Mapping[str, Any]
    recipe: Mapping[str, Any]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers and transformers from writing to standard error; their own settings are put back.

    What they would log there and what matters (missing weights, prompts that are too long) is an error here. Warnings
    about their own use of old interfaces are no business of the caller's. Enter the guard first: its lock keeps two
    threads from undoing each other's settings.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category, module=_LIBRARIES)
        with _silent("transformers.utils.logging"), _silent("diffusers.utils.logging"):
            yield


_LIBRARIES: Final = r"(diffusers|transformers|torch|accelerate)(\.|$)"


@contextmanager
def _silent(module: str) -> Iterator[None]:
    """Silence one library's log and progress bars. Importing diffusers logs which optional packages are missing."""
    log: Any = importlib.import_module(module)
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    # Errors too: diffusers logs those that it also raises.
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()


def load(model: ModelRef, dtype: Dtype, device: torch.device, *, safety_checker: bool) -> LoadedModel:
    """Load a pipeline; enter the guard first.

    Raises
    ------
    ModelError
        Where files are missing, damaged or not those that `model` names, or the pipeline is not supported.
    """
    with quiet():
        folder = locate(model, safety_checker=safety_checker)
        index = _read_json(folder / "model_index.json")
        name = index.get("_class_name")
        if not isinstance(name, str) or name not in PIPELINES:
            raise ModelError(f"{model} is a {name!r}; supported are {' and '.join(PIPELINES)}")
        if safety_checker and (name != "StableDiffusionPipeline" or not _present(index, "safety_checker")):
            raise ModelError(f"the task asks for a safety checker, but {model} has none; set safety_checker=False")
        parts: dict[str, Any] = {}
        for part, (library, class_name) in PIPELINES[name].items():
            found = index.get(part, [])
            if not _present(index, part) or not (folder / part).is_dir():
                raise ModelError(f"{model} lacks the component {part!r} ({folder / part}); load a whole pipeline")
            if found[0] != library or str(found[1]).removesuffix("Fast") != class_name:
                raise ModelError(
                    f"{part} of {model} is {'.'.join(map(str, found))}; supported is {library}.{class_name}"
                )
            parts[part] = _load_part(folder, part, library, class_name, model.variant, dtype, device)
        if safety_checker:
            parts |= _load_checker(folder, model, dtype, device)
        scheduler_config = _scheduler_config(folder, name, model)
        return _assemble(name, parts, scheduler_config, index, model, folder)


def locate(model: ModelRef, *, safety_checker: bool = False) -> Path:
    """Return the folder that holds the files of a model: a local one, checked, or the hub's cache, filled.

    A safety checker of a hub model is only downloaded where it is asked for.

    Raises
    ------
    ModelError
        Where it is not there, or not what `model` says.
    """
    if model.digest is not None:
        if model.path is None:
            raise ModelError(f"where {model} lies on this machine is not known; name its folder: model.at(folder)")
        try:
            found = folder_digest(model.path)
        except OSError as error:
            raise ModelError(f"the model folder cannot be read: {error}") from error
        if found != model.digest:
            raise ModelError(f"{model.path} holds the model {found}, but the task asks for {model.digest}")
        return model.path
    from diffusers import DiffusionPipeline

    # Components that are passed are not downloaded.
    unused: dict[str, Any] = {} if safety_checker else {"safety_checker": None, "feature_extractor": None}
    try:
        folder = DiffusionPipeline.download(
            model.repository, revision=model.revision, variant=model.variant, use_safetensors=True, **unused
        )
    except _READING as error:
        raise ModelError(
            f"{model} can be neither found in the local cache nor downloaded: {_first_line(error)}. Check its name, "
            "revision and variant, and the connection; with HF_HUB_OFFLINE=1 it must be in the cache already"
        ) from error
    return Path(folder)


def _present(index: Mapping[str, Any], part: str) -> bool:
    found = index.get(part)
    return isinstance(found, list) and len(found) == 2 and found[1] is not None


def _load_part(
    folder: Path, part: str, library: str, class_name: str, variant: str | None, dtype: Dtype, device: torch.device
) -> Any:
    """Load one component, and refuse it where a weight is missing or of another shape."""
    import diffusers
    import transformers

    loader = getattr({"diffusers": diffusers, "transformers": transformers}[library], class_name)
    if part.startswith("tokenizer"):
        return _reading(part, folder, lambda: loader.from_pretrained(folder / part, local_files_only=True))
    return _load_weights(loader, folder, part, variant, dtype, device, eager=library == "transformers")


def _load_weights(
    loader: Any, folder: Path, part: str, variant: str | None, dtype: Dtype, device: torch.device, *, eager: bool
) -> Any:
    settings: dict[str, Any] = {"attn_implementation": "eager"} if eager else {}
    loaded, info = _reading(
        part,
        folder,
        lambda: loader.from_pretrained(
            folder / part,
            dtype=DTYPES[dtype],
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **settings,
        ),
    )
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if info.get(problem):
            names = ", ".join(sorted(map(str, info[problem]))[:3])
            raise ModelError(
                f"{part} in {folder}: {len(info[problem])} {problem.replace('_', ' ')} ({names}, ...); its files do "
                "not hold the whole component, and what is missing would be random. Get them again"
            )
    return _reading(part, folder, lambda: loaded.to(device).eval())


def _load_checker(folder: Path, model: ModelRef, dtype: Dtype, device: torch.device) -> dict[str, Any]:
    """The safety checker and the image processor that feeds it (Pillow's, whatever else is installed)."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    for part in ("safety_checker", "feature_extractor"):
        if not (folder / part).is_dir():
            raise ModelError(f"the task asks for a safety checker, but {model} lacks {part!r} ({folder / part})")
    checker = _load_weights(
        StableDiffusionSafetyChecker, folder, "safety_checker", model.variant, dtype, device, eager=True
    )
    name = "feature_extractor"
    extractor = _reading(name, folder, lambda: CLIPImageProcessorPil.from_pretrained(folder / name))
    return {"safety_checker": checker, name: extractor}


def _scheduler_config(folder: Path, name: str, model: ModelRef) -> dict[str, Any]:
    """The model's scheduler configuration, with the two settings that diffusers corrects in old Stable Diffusion."""
    config = _read_json(folder / "scheduler" / "scheduler_config.json")
    if not isinstance(config.get("_class_name"), str):
        raise ModelError(f"the scheduler configuration of {model} names no class; load a whole pipeline")
    if name == "StableDiffusionPipeline":
        config |= {"steps_offset": 1, "clip_sample": False}
    return config


def _assemble(
    name: str,
    parts: dict[str, Any],
    scheduler_config: dict[str, Any],
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
    pipeline = _reading(name, folder, lambda: getattr(library, name)(scheduler=placeholder, **settings))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.disable_slicing()
    pipeline.vae.disable_tiling()
    return LoadedModel(pipeline, scheduler_config, recipe_of(pipeline, parts, model, folder))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        canonical_json(plain(value))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}; load a whole pipeline, as diffusers saves it") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} holds no JSON object; load a whole pipeline, as diffusers saves it")
    return value


def _reading(part: str, folder: Path, load_it: Callable[[], Any]) -> Any:
    """Run something that reads model files; what it raises is a `ModelError` that says which."""
    try:
        return load_it()
    except _READING as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise ModelError(
            f"{part} in {folder} cannot be loaded: {reason}. Needed are its configuration and safetensors files (of "
            "the variant that the model names, if any), undamaged"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
