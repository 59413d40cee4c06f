"""LoRAs: small matrices that are added to a model's weights while it is loaded.

``W + weight * alpha / rank * (up @ down)``: the product is computed in float32 on the CPU, of matrices in the task's
dtype, rounded to that dtype and added in it, LoRA by LoRA in the task's order. These are the bits of diffusers'
``fuse_lora`` on a CPU. They are added, and not kept beside the weights, because a step takes no longer then, an audit
needs nothing else, and a task that follows cannot find them switched on or off. Files are read here and not by peft,
which would make the libraries load adapters that nobody asked for.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.images.families import Family
from crynux_validate.pipelines.models.loading import reading
from crynux_validate.pipelines.models.parts import PartFile, read_part
from crynux_validate.tasks.parts import Lora

_MATRIX: Final = re.compile(
    r"(?P<component>unet|transformer|text_encoder|text_encoder_2)\.(?P<layer>.+?)"
    r"(?:\.lora_(?P<side>[AB])|(?P<old>_lora|\.lora|\.lora_linear_layer)\.(?P<way>down|up))\.weight"
)
"""The names of matrices as diffusers, older diffusers and peft write them."""

_OLD_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "unet": {"to_out": "to_out.0"},
    "text_encoder": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
}
"""What layers were called where their matrices end in ``_lora``."""

_SETTINGS: Final = "lora_adapter_metadata"
_PLAIN_SETTINGS: Final = frozenset({
    "r", "lora_alpha", "target_modules", "rank_pattern", "peft_type", "auto_mapping", "base_model_name_or_path",
    "revision", "inference_mode", "init_lora_weights", "lora_dropout", "task_type", "peft_version",
})  # fmt: skip
"""Of peft's settings: what is read here or can be seen from the matrices, and what matters to training only."""


@dataclass(frozen=True)
class Update:
    """What a LoRA adds to one layer.

    Parameters
    ----------
    layer
        Its name in the component.
    down, up
        (rank, inputs) and (outputs, rank), or those of a convolution.
    scale
        The factor.
    """

    layer: str
    down: torch.Tensor
    up: torch.Tensor
    scale: float


@dataclass(frozen=True)
class ReadLora:
    """A LoRA that fits the model.

    Parameters
    ----------
    updates
        By the component that they belong to.
    record
        What a recipe says of it: JSON values.
    """

    updates: Mapping[str, Sequence[Update]]
    record: Mapping[str, Any]


def read_loras(family: Family, loras: Sequence[Lora], skeletons: Mapping[str, nn.Module]) -> list[ReadLora]:
    """Read LoRAs, and check that they fit, before the model's weights are read.

    Parameters
    ----------
    family
        That of the model.
    loras
        Those of a task.
    skeletons
        The components of the model, without weights.

    Raises
    ------
    ModelError
        Names the LoRA: its file is missing or damaged, is of another kind, or was made for another model.
    """
    return [_read(f"loras.{at}", family, lora, skeletons) for at, lora in enumerate(loras)]


def _read(name: str, family: Family, lora: Lora, skeletons: Mapping[str, nn.Module]) -> ReadLora:
    file = read_part(name, lora)
    where = f"{name}: {lora}"
    named, alphas = _in_diffusers_names(where, family, file, skeletons[family.denoiser])
    pairs: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for key, tensor in named.items():
        component, layer, side = _place(where, key)
        pairs.setdefault((component, layer), {})[side] = tensor
    settings = _settings(where, file)
    updates: dict[str, list[Update]] = {}
    wrong = []
    for (component, layer), pair in sorted(pairs.items()):
        if not all(side.isfinite().all() for side in pair.values()):
            raise ModelError(f"{where} has values that are NaN or infinite in {component}.{layer}; get it again")
        if set(pair) != {"down", "up"}:
            raise ModelError(f"{where} has half of the matrices of {component}.{layer}; get it again")
        network = skeletons.get(component) if component in family.lora_components else None
        problem = _misfit(network, layer, pair["down"], pair["up"])
        if problem is not None:
            wrong.append(f"{component}.{layer} {problem}")
            continue
        rank = pair["down"].shape[0]
        alpha = alphas.get((component, layer), settings.get(component, rank))
        # In this order, or the last bit of the factor would differ from peft's.
        factor = lora.weight * alpha / rank
        updates.setdefault(component, []).append(Update(layer, pair["down"], pair["up"], factor))
    if wrong or not updates:
        raise ModelError(
            f"{where} was made for another model: {len(wrong)} of its {len(pairs)} layers do not fit"
            f"{''.join(f' ({each})' for each in wrong[:1])}. Take one that was made for this {family.pipeline}"
        )
    layers = {component: len(found) for component, found in updates.items()}
    record = {**lora.to_dict(), "sha256": file.sha256, "layers": layers, "applied": "added to the weights"}
    return ReadLora(updates, record)


def _in_diffusers_names(
    where: str, family: Family, file: PartFile, denoiser: nn.Module
) -> tuple[Mapping[str, torch.Tensor], dict[tuple[str, str], float]]:
    """Return the matrices by diffusers' names, and the alpha of each layer that has one."""
    import diffusers

    for key in file.tensors:
        if not key.endswith((".weight", ".alpha")) or "lora" not in key or "magnitude" in key:
            raise ModelError(
                f"{where} holds {shorten(key)}, which is no matrix of a LoRA; DoRA, LoHa, LoKr and other kinds are not"
                " supported: take a plain LoRA"
            )
    loader: Any = getattr(diffusers, family.pipeline)
    found, alphas = reading(where, "the file", lambda: family.lora_matrices(loader, file.tensors, denoiser))
    return found, {_layer_of(where, key): float(alpha) for key, alpha in (alphas or {}).items()}


def _place(where: str, key: str) -> tuple[str, str, str]:
    """Return the component, the layer and the side that a matrix belongs to."""
    found = _MATRIX.fullmatch(key.replace(".processor.", "."))
    if found is None:
        raise ModelError(
            f"{where} holds {shorten(key)}, which names no layer of a UNet, a transformer or a text encoder"
        )
    component, layer = found["component"], found["layer"]
    if found["old"] == "_lora":
        stem, _, last = layer.rpartition(".")
        last = _OLD_NAMES["text_encoder" if component.startswith("text_encoder") else "unet"].get(last, last)
        layer = f"{stem}.{last}"
    side = found["way"] or {"A": "down", "B": "up"}[found["side"]]
    return component, layer.removeprefix("text_model.") if component.startswith("text_encoder") else layer, side


def _layer_of(where: str, key: str) -> tuple[str, str]:
    """Return the component and the layer that an alpha belongs to; diffusers names some after a matrix."""
    name = key.removesuffix(".alpha")
    return _place(where, name if name.endswith(".weight") else f"{name}.lora.down.weight")[:2]


def _settings(where: str, file: PartFile) -> dict[str, float]:
    """Return the alpha of each component for which peft's settings stand in the file."""
    text = file.metadata.get(_SETTINGS)
    if text is None:
        return {}
    settings = reading(where, "the file", lambda: dict(json.loads(text)))
    found = {}
    for key, value in settings.items():
        component, _, name = key.partition(".")
        if name == "lora_alpha":
            found[component] = reading(where, "the file", partial(float, value))
        elif name not in _PLAIN_SETTINGS and value not in (None, False, [], {}, "none", 0):
            raise ModelError(f"{where} was trained with {shorten(key)} {shorten(value)}, which is not supported")
    return found


def _misfit(component: nn.Module | None, layer: str, down: torch.Tensor, up: torch.Tensor) -> str | None:
    """Say why matrices do not fit; None where they do."""
    if component is None:
        return "is of a component that LoRAs of such models are not added to"
    try:
        found = component.get_submodule(_in(component, layer))
    except AttributeError:
        return "is no layer of the model"
    if not isinstance(found, nn.Linear | nn.Conv2d) or (isinstance(found, nn.Conv2d) and found.groups != 1):
        return f"is a {type(found).__name__} in the model"
    whole = tuple(found.weight.shape)
    rank = down.shape[0]
    sides = (rank, *whole[1:]), (whole[0], rank, *(1 for _ in whole[2:]))
    if (tuple(down.shape), tuple(up.shape)) != sides:
        return f"has matrices of {tuple(down.shape)} and {tuple(up.shape)}; the model needs {sides[0]} and {sides[1]}"
    return None


def _in(component: nn.Module, layer: str) -> str:
    """Some text encoders have their layers a level deeper."""
    return f"text_model.{layer}" if hasattr(component, "text_model") else layer


def updates_of(loras: Sequence[ReadLora], component: str) -> list[Update]:
    """Return all that LoRAs add to a component, in their order."""
    return [update for lora in loras for update in lora.updates.get(component, ())]


@torch.no_grad()
def add(component: nn.Module, updates: Sequence[Update]) -> None:
    """Add updates to the weights of a component, which lies on the CPU."""
    for update in updates:
        layer: Any = component.get_submodule(_in(component, update.layer))
        # A new tensor: the weights may still lie in their file.
        layer.weight.data = layer.weight.data + _delta(update, layer.weight)


def _delta(update: Update, weight: torch.Tensor) -> torch.Tensor:
    down, up = (side.to(weight.dtype).float() for side in (update.down, update.up))
    if down.dim() == 2:
        product = up @ down
    elif down.shape[2:] == (1, 1):
        product = (up.flatten(1) @ down.flatten(1))[:, :, None, None]
    else:
        product = nn.functional.conv2d(down.transpose(0, 1), up).transpose(0, 1)
    return (product * update.scale).to(weight.dtype)
