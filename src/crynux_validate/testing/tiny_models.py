"""Small models: real code paths and real kernels, in a second and without a download.

The trained ones are shipped with this package: they draw and say what they were asked for, within what they know. The
random ones have other shapes and sizes, and every seed is another model. What they paint or say means nothing, but it
depends on prompt, seed and steps. Their weights come from this library's own noise, so every machine builds the same
bytes (with the same versions of diffusers and transformers, which write theirs into the configuration files).
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

from crynux_validate.encoding import canonical_json, shorten
from crynux_validate.errors import InvalidInputError, MissingExtraError
from crynux_validate.tasks import ModelRef, folder_digest
from crynux_validate.testing import trained

_MARKER: Final = ".crynux-tiny-model.json"
"""Says what a folder holds; a file with a leading dot is no part of the folder's digest."""

_BUILDER: Final = 1
"""Counts up with every change of the weights or the architecture."""

Flow = Literal["sd3", "flux", "flux-schnell", "z-image", "flux-2-klein", "qwen-image"]
FLOWS: Final[tuple[Flow, ...]] = ("sd3", "flux", "flux-schnell", "z-image", "flux-2-klein", "qwen-image")
VisionKind = Literal["llava", "qwen2_vl"]

_LIBRARIES: Final = {"image": ("transformers", "diffusers"), "text": ("transformers",)}


def tiny_image_model(
    path: str | PathLike[str], *, random: bool = False, seed: int = 0, safety_checker: bool = False
) -> ModelRef:
    """Put a small Stable Diffusion pipeline into a folder, or reuse the one that is there.

    The trained one draws one shape on a background at 128x128, "a big blue star on sand"; `trained.DRAWS` lists what it
    knows. Any other word has tokens, but no meaning to it. 25 steps take about a second on one thread of a CPU.
    The model card in the folder says how it was made.

    The random one is made for 256x256 pixels and DDIM: 20 steps take about two seconds.

    Parameters
    ----------
    path
        A folder that does not exist, is empty, or holds what an earlier call with these arguments put there.
    random
        Build a model of random weights in place of the trained one.
    seed
        Of the random weights: another seed is another model.
    safety_checker
        Add a (random) safety checker and its image processor to the random model, as Stable Diffusion 1.5 has.

    Raises
    ------
    InvalidInputError
        When the folder holds something else, and for a seed or a safety checker of the trained model.
    ModelError
        Where a file that this package carries is missing or damaged.
    MissingExtraError
        For a random model, without the packages of the extra ``image``.
    """
    if not random:
        if safety_checker:
            raise InvalidInputError("safety_checker=True: the trained model has none; add random=True")
        return _trained("image", Path(path), seed)

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_image

        tiny_base.save(tiny_image.stable_diffusion(seed, safety_checker=safety_checker), folder)

    recipe = {"kind": "sd", "seed": seed, "safety_checker": safety_checker}
    return _once(Path(path), recipe, _quietly(build, "image"))


def tiny_sdxl_model(path: str | PathLike[str], *, seed: int = 0) -> ModelRef:
    """Build a small Stable Diffusion XL pipeline of random weights in a folder, or reuse the one that is there.

    It has what SDXL has and 1.5 has not: two text encoders, and a UNet that is told sizes and the pooled text.
    Parameters and errors as for the random model of `tiny_image_model`.
    """

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_image

        tiny_base.save(tiny_image.stable_diffusion_xl(seed), folder)

    return _once(Path(path), {"kind": "sdxl", "seed": seed}, _quietly(build, "image"))


def tiny_refiner_model(path: str | PathLike[str], *, seed: int = 0) -> ModelRef:
    """Build a small refiner for `tiny_sdxl_model` of random weights in a folder, or reuse the one that is there.

    As SDXL's, it has the second text encoder alone, and is told an aesthetic score. Parameters and errors as for the
    random model of `tiny_image_model`.
    """

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_image

        tiny_base.save(tiny_image.refiner(seed), folder)

    return _once(Path(path), {"kind": "refiner", "seed": seed}, _quietly(build, "image"))


def tiny_flow_model(path: str | PathLike[str], family: Flow, *, seed: int = 0) -> ModelRef:
    """Build a small pipeline of random weights that predicts a flow in a folder, or reuse the one that is there.

    Parameters
    ----------
    path, seed
        As for the random model of `tiny_image_model`, with its errors.
    family
        ``sd3`` (with what 3.5 has besides), ``flux``, ``flux-schnell`` (which is told no guidance), ``z-image``,
        ``flux-2-klein`` (one that was not distilled) or ``qwen-image``.
    """
    if family not in FLOWS:
        raise InvalidInputError(f"family is {shorten(family)}; expected one of {', '.join(FLOWS)}")

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_flows

        tiny_base.save(tiny_flows.BUILDERS[family](seed), folder)

    return _once(Path(path), {"kind": family, "seed": seed}, _quietly(build, "image"))


def tiny_text_model(path: str | PathLike[str], *, random: bool = False, seed: int = 0) -> ModelRef:
    """Put a small Llama with a fast tokenizer and a chat template into a folder, or reuse the one that is there.

    The trained one continues an opening in the language of the King James Bible ("And the king said unto his
    servants,"); it answers no questions and follows no instructions. Any text has tokens; the context holds 512 of
    them. The model card in the folder says how it was made.

    The random one has a context of 2,048 tokens and a chat template that knows tools. Both are made for bfloat16: a
    hundred tokens take about a second or less on one thread of a CPU. Parameters and errors as in `tiny_image_model`,
    but the random model needs the extra ``text`` only.
    """
    if not random:
        return _trained("text", Path(path), seed)

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_text

        for part in tiny_text.llama(seed):
            tiny_base.save(part, folder)

    return _once(Path(path), {"kind": "llama", "seed": seed}, _quietly(build, "text"))


def tiny_vision_model(path: str | PathLike[str], *, kind: VisionKind = "llava", seed: int = 0) -> ModelRef:
    """Build a small vision-language model of random weights in a folder, or reuse the one that is there.

    What it says of a picture means nothing, but depends on it. Its context holds 512 tokens, of which a picture takes
    16 as it is for LLaVA, and for Qwen2-VL one for each 28x28 pixels, at most 16. Parameters and errors as for the
    random model of `tiny_text_model`.

    Parameters
    ----------
    kind
        ``llava`` or ``qwen2_vl``.
    """
    if kind not in ("llava", "qwen2_vl"):
        raise InvalidInputError(f"kind is {shorten(kind)}; expected 'llava' or 'qwen2_vl'")

    def build(folder: Path) -> None:
        from crynux_validate.testing import tiny_base, tiny_vision

        for part in tiny_vision.BUILD[kind](seed):
            tiny_base.save(part, folder)

    return _once(Path(path), {"kind": kind, "seed": seed}, _quietly(build, "text"))


def _trained(name: str, path: Path, seed: int) -> ModelRef:
    """Copy the model that this package carries; what an older version of the package carried is another model."""
    if seed != 0:
        raise InvalidInputError(f"seed is {seed}, but the trained model has one set of weights; add random=True")
    sums = hashlib.sha256(canonical_json(trained.read_sums(name))).hexdigest()
    return _once(path, {"kind": f"trained {name}", "sums": sums}, partial(trained.copy, name))


def _quietly(build: Callable[[Path], None], extra: str) -> Callable[[Path], None]:
    """Let libraries build without a word, and say which extra is missing."""

    def quietly(folder: Path) -> None:
        try:
            from crynux_validate.pipelines.models.loading import quiet

            with quiet(*_LIBRARIES[extra]):
                build(folder)
        except ImportError as error:
            raise MissingExtraError("a random model", extra, error.name or _LIBRARIES[extra][-1]) from error

    return quietly


def _once(path: Path, recipe: dict[str, Any], build: Callable[[Path], None]) -> ModelRef:
    """Build into a folder beside `path` and move it there, so that a folder at `path` is always a whole model."""
    recipe = {"builder": _BUILDER, **recipe}
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        return _reuse(path, recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        folder = Path(scratch) / "model"
        build(folder)
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
