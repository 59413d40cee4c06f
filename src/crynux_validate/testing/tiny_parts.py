"""Small parts for the small models: LoRAs and the like, of random weights that change a picture visibly."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from crynux_validate.encoding import check_integer, check_type
from crynux_validate.errors import InvalidInputError, MissingExtraError, needed_for
from crynux_validate.tasks import ModelRef
from crynux_validate.tasks.parts import Lora, TextualInversion

_RANK = 4
_GAIN = 0.5
_LAYERS = ("to_q", "to_v", "to_out.0", "q_proj", "v_proj", "proj_in", "conv1")


def tiny_lora(path: str | PathLike[str], model: ModelRef, *, seed: int = 0) -> Lora:
    """Write a LoRA of random weights for a small image model, and return it with the weight 1.

    It changes layers of the UNet or transformer and of the text encoders that LoRAs are for, linear ones and
    convolutions, and is written as diffusers writes one: ``pytorch_lora_weights.safetensors``.

    Parameters
    ----------
    path
        A folder, made if it is not there; what is in it is replaced.
    model
        What it is for: a model in a local folder.
    seed
        Another seed is another LoRA.

    Raises
    ------
    InvalidInputError
        Where `model` lies in no folder.
    MissingExtraError
        Without the packages of the extra ``image``.
    """
    check_integer(seed, "seed", 0, 2**53 - 1)
    shapes = _shapes(model, lambda part: part.name in _with_loras(part.parent))
    named: dict[str, Any] = {}
    for part, name, shape in shapes:
        layer = name.removesuffix(".weight")
        if name.endswith(".weight") and layer.endswith(_LAYERS) and len(shape) in (2, 4):
            named[f"{part}.{layer}.lora_A.weight"] = (_RANK, *shape[1:])
            named[f"{part}.{layer}.lora_B.weight"] = (shape[0], _RANK, *(1 for _ in shape[2:]))
    lora = Lora(ModelRef(digest="0" * 64))
    _write(Path(path) / lora.file, seed, named)
    return Lora(ModelRef.local(path))


def tiny_textual_inversion(
    path: str | PathLike[str],
    model: ModelRef,
    *,
    token: str = "<thing>",  # noqa: S107 - a word
    vectors: int = 2,
    seed: int = 0,
) -> TextualInversion:
    """Write random vectors for a word of a small image model, and return them.

    Parameters
    ----------
    path, model, seed
        As of `tiny_lora`; errors too.
    token
        The word.
    vectors
        How many it stands for, 1 to 75.
    """
    check_integer(seed, "seed", 0, 2**53 - 1)
    check_integer(vectors, "vectors", 1, 75)
    shapes = _shapes(model, lambda part: part.name.startswith("text_encoder"))
    widths = [shape[1] for _, name, shape in shapes if name.endswith("token_embedding.weight")]
    names = [token] if len(widths) == 1 else ["clip_l", "clip_g"]
    found = TextualInversion(ModelRef(digest="0" * 64), token=token)
    named = {name: (vectors, width) for name, width in zip(names, widths, strict=True)}
    _write(Path(path) / found.file, seed, named, 1.0)
    return replace(found, model=ModelRef.local(path))


def tiny_controlnet(path: str | PathLike[str], model: ModelRef, *, seed: int = 0) -> ModelRef:
    """Write a ControlNet of random weights for a small image model, as diffusers saves one.

    Parameters and errors as of `tiny_lora`.
    """
    check_integer(seed, "seed", 0, 2**53 - 1)
    with needed_for("a tiny ControlNet", "image"):
        from crynux_validate.testing import tiny_base, tiny_image
    tiny_base.save(tiny_image.controlnet(_folder_of(model) / "unet", seed), Path(path))
    return ModelRef.local(path)


def _folder_of(model: ModelRef) -> Path:
    check_type(model, ModelRef, "model", "a ModelRef, as tiny_image_model returns it")
    if model.path is None:
        raise InvalidInputError(f"model is {model}, which lies in no folder; expected one as tiny_image_model returns")
    return model.path


def _with_loras(folder: Path) -> Collection[str]:
    """Return the components of a model that LoRAs can be for."""
    try:
        from crynux_validate.pipelines.images.families import FAMILIES
    except ModuleNotFoundError as error:
        raise MissingExtraError("a tiny part", "image", error.name or "torch") from error
    return FAMILIES[json.loads((folder / "model_index.json").read_text())["_class_name"]].lora_components


def _shapes(model: ModelRef, wanted: Callable[[Path], bool]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Give the component, the name and the shape of each tensor of some components of a model."""
    for folder in sorted(each for each in _folder_of(model).iterdir() if each.is_dir() and wanted(each)):
        for file in sorted(folder.glob("*.safetensors")):
            with file.open("rb") as stream:
                header: Mapping[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            for name, tensor in sorted(header.items()):
                if name != "__metadata__":
                    yield folder.name, name, tuple(tensor["shape"])


def _write(file: Path, seed: int, shapes: Mapping[str, tuple[int, ...]], gain: float | None = None) -> None:
    """Write tensors of this library's noise, times `gain`, or so that a layer's outputs are as large as its inputs."""
    try:
        from safetensors.numpy import save_file
    except ModuleNotFoundError as error:
        raise MissingExtraError("a tiny part", "image", error.name or "safetensors") from error
    from crynux_validate.pipelines.noise import Purpose, normal

    tensors = {}
    for draw, (name, shape) in enumerate(sorted(shapes.items())):
        noise = normal(seed, image=_RANK, draw=draw, shape=shape, purpose=Purpose.WEIGHTS)
        factor = _GAIN / math.sqrt(math.prod(shape[1:])) if gain is None else gain
        tensors[name] = noise * noise.dtype.type(factor)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, metadata={"format": "pt"})
