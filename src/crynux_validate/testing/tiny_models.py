"""Small models of random weights: real code paths and real kernels, in a second and without a download.

What they paint or say means nothing, but it depends on prompt, seed and steps as a real model's results do, so that
cheats can be told from honest runs. The weights come from this library's own noise, so every machine builds the same
bytes (with the same versions of diffusers and transformers, which write theirs into the configuration files).
"""

import json
import tempfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final

from crynux_validate.errors import InvalidInputError, MissingExtraError
from crynux_validate.tasks import ModelRef, folder_digest

_MARKER: Final = ".crynux-tiny-model.json"
"""Says what a folder holds; a file with a leading dot is no part of the folder's digest."""

_BUILDER: Final = 1
"""Counts up with every change of the weights or the architecture."""

_LIBRARIES: Final = {"image": ("transformers", "diffusers"), "text": ("transformers",)}


def tiny_image_model(path: str | PathLike[str], *, seed: int = 0, safety_checker: bool = False) -> ModelRef:
    """Build a small Stable Diffusion pipeline in a folder, or reuse the one that is there.

    Made for 256x256 pixels and DDIM: 20 steps take about two seconds on one thread of a CPU.

    Parameters
    ----------
    path
        A folder that does not exist, is empty, or holds what an earlier call with these arguments built.
    seed
        Of the weights: another seed is another model.
    safety_checker
        Add a (random) safety checker and its image processor, as Stable Diffusion 1.5 has.

    Raises
    ------
    InvalidInputError
        When the folder holds something else.
    MissingExtraError
        Without the packages of the extra ``image``.
    """

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_image

        tiny_base.save(tiny_image.stable_diffusion(seed, safety_checker=safety_checker), folder)

    return _once(Path(path), {"kind": "sd", "seed": seed, "safety_checker": safety_checker}, build)


def tiny_sdxl_model(path: str | PathLike[str], *, seed: int = 0) -> ModelRef:
    """Build a small Stable Diffusion XL pipeline in a folder, or reuse the one that is there.

    It has what SDXL has and 1.5 has not: two text encoders, and a UNet that is told sizes and the pooled text.
    Parameters and errors as in `tiny_image_model`.
    """

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_image

        tiny_base.save(tiny_image.stable_diffusion_xl(seed), folder)

    return _once(Path(path), {"kind": "sdxl", "seed": seed}, build)


def tiny_text_model(path: str | PathLike[str], *, seed: int = 0) -> ModelRef:
    """Build a small Llama with a fast tokenizer and a chat template in a folder, or reuse the one that is there.

    Made for bfloat16: a hundred tokens take about a second on one thread of a CPU. The context holds 2,048 tokens, the
    chat template knows tools, and any text has tokens. Parameters and errors as in `tiny_image_model`, but it needs the
    extra ``text`` only.
    """

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_text

        for part in tiny_text.llama(seed):
            tiny_base.save(part, folder)

    return _once(Path(path), {"kind": "llama", "seed": seed}, build, extra="text")


def _once(path: Path, recipe: dict[str, Any], build: Callable[[Path], None], extra: str = "image") -> ModelRef:
    """Build into a folder beside `path` and move it there, so that a folder at `path` is always a whole model."""
    recipe = {"builder": _BUILDER, **recipe}
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        return _reuse(path, recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        folder = Path(scratch) / "model"
        try:
            from crynux_validate.pipelines.loading import quiet

            with quiet(*_LIBRARIES[extra]):
                build(folder)
        except ImportError as error:
            raise MissingExtraError("a tiny model", extra, error.name or _LIBRARIES[extra][-1]) from error
        marker = {"recipe": recipe, "digest": folder_digest(folder)}
        (folder / _MARKER).write_text(json.dumps(marker), encoding="utf-8")
        try:
            folder.rename(path)
        except OSError:
            # Another process was faster; what it built is as good.
            return _reuse(path, recipe)
    return ModelRef.local(path)


def _reuse(path: Path, recipe: dict[str, Any]) -> ModelRef:
    try:
        marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} is not empty and holds no tiny model; name another folder") from error
    built = marker.get("recipe") if isinstance(marker, dict) else None
    if built != recipe:
        raise InvalidInputError(f"{path} holds the tiny model {built}, not {recipe}; name another folder")
    model = ModelRef.local(path)
    if model.digest != marker.get("digest"):
        raise InvalidInputError(f"the tiny model in {path} was changed since it was built; delete the folder")
    return model
