"""Checkpoints whose weights are stored in FP8 or MXFP4: widened when they are read, by a rule with one result (T8).

The model computes with the widened weights in the task's dtype, as with any others. transformers' own way depends on
the machine: where its kernels for small weights are installed and the card has them, products are theirs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.models.files import SMALL, read_object
from crynux_validate.tasks import ModelRef

_FP4: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The magnitudes of E2M1 by their code; codes from 8 on are the same with a minus."""

_BIAS: Final = 127
"""Of the exponents that MXFP4 has as scales."""

_ROWS: Final = 1 << 18
"""How many rows of 32 weights of MXFP4 are widened at once."""


def stored_as(model: ModelRef, config: Any) -> str | None:
    """Return how a checkpoint's weights are stored, where its configuration names a supported way; None for plainly.

    Raises
    ------
    ModelError
        For any other way, by its name.
    """
    for part in (config, config.get_text_config(decoder=True)):
        settings = getattr(part, "quantization_config", None)
        if settings is None and getattr(part, "compression_config", None) is None:
            continue
        known = settings if isinstance(settings, Mapping) else getattr(settings, "__dict__", {})
        found = known.get("quant_method")
        method = str(getattr(found, "value", found))
        if part is config and method in SMALL:
            _check_settings(model, method, known)
            return method
        raise ModelError(
            f"{model} holds weights quantized as {shorten(method)} (quantization_config in config.json); supported are "
            f"{', '.join(SMALL)}: name the same makers' checkpoint in bfloat16, and for fewer bits quantize_bits in "
            "the task"
        )
    return None


def _check_settings(model: ModelRef, method: str, settings: Mapping[str, Any]) -> None:
    """Refuse what changes the rule."""
    plain: dict[str, tuple[Any, ...]] = {
        "scale_fmt": (None, "float"), "expert_dtype": (None, "fp8"), "modules_to_convert": (None, [], ()),
        "fmt": (None, "e4m3"),
    }  # fmt: skip
    for name, values in plain.items() if method == "fp8" else ():
        value = getattr(settings.get(name), "value", settings.get(name))
        if value not in values:
            raise ModelError(
                f"{model} holds FP8 weights with {name} {shorten(value)} (quantization_config in config.json), which "
                "is not supported; name the same makers' checkpoint in bfloat16"
            )


def tensors(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for file in files:
        found |= load_file(file)
    return found


def widen(
    model: ModelRef, state: dict[str, torch.Tensor], method: str, config: Any, dtype: torch.dtype
) -> dict[str, Any]:
    """Put what small weights stand for in their places, in a dtype.

    Returns
    -------
    dict
        For the recipe: the way they were stored, how many tensors and how many weights.

    Raises
    ------
    ModelError
        Where a weight has no scale or a scale no weight, their shapes do not fit, or what they stand for is no number.
    """
    settings = config.quantization_config
    known = settings if isinstance(settings, Mapping) else vars(settings)
    names = (_of_fp8 if method == "fp8" else _of_mxfp4)(state, known, dtype)
    if not names:
        raise ModelError(f"{model} names {method} in config.json, but stores no weight so; get its files again")
    for name, tensor in state.items():
        if name in names and not torch.isfinite(tensor).all():
            raise ModelError(
                f"{model} has {method} weights in {shorten(name)} that stand for no finite numbers in {dtype}; choose "
                "another dtype or model"
            )
        weight = name.endswith((".weight", ".bias")) and not tensor.is_floating_point()
        if weight or tensor.element_size() < 2 or name.endswith(("_scale_inv", "_scales")):
            raise ModelError(
                f"{model} stores {shorten(name)} as {tensor.dtype}, which belongs to no {method} weight and is none "
                "itself; get its files again, or choose another model"
            )
    return {"format": method, "tensors": len(names), "weights": sum(state[name].numel() for name in names)}


def weight_files(source: Mapping[str, Any], variant: str | None) -> list[Path]:
    """Return the files of the weights, in a folder or in a hub's cache, which is filled if it has to be.

    Where there is one file of all weights, an index beside it means nothing, as in transformers. None where there is
    neither: transformers says so.
    """
    from transformers.utils.hub import cached_file

    given = dict(source)
    name = given.pop("pretrained_model_name_or_path")

    def file(called: str, **settings: Any) -> Any:
        return cached_file(name, called, **given, **settings)

    whole = "model.safetensors" if variant is None else f"model.{variant}.safetensors"
    found = file(whole, _raise_exceptions_for_missing_entries=False)
    if found is not None:
        return [Path(found)]
    index = file(
        f"model.safetensors.index{'' if variant is None else f'.{variant}'}.json",
        _raise_exceptions_for_missing_entries=False,
    )
    if index is None:
        return []
    shards = sorted(set(map(str, read_object(Path(index)).get("weight_map", {}).values())))
    return [Path(file(shard)) for shard in shards]


# ------------------------------------------------------------------------------------------------ the rules


def _of_fp8(state: dict[str, torch.Tensor], settings: Mapping[str, Any], dtype: torch.dtype) -> set[str]:
    """Widen FP8 weights in their place, and drop their scales, and those of activations, which nobody rounds here."""
    size = settings.get("weight_block_size")
    names = {name for name, tensor in state.items() if tensor.dtype == torch.float8_e4m3fn}
    for name in names:
        scale = state.pop(f"{name}_scale_inv", None)
        if scale is None:
            raise ModelError(
                f"{shorten(name)} is stored in FP8 without its scales ({shorten(f'{name}_scale_inv')}); get the files "
                "again"
            )
        state[name] = _named(name, widened_fp8, state[name], scale, None if size is None else tuple(size), dtype)
    for name in [name for name in state if name.endswith("activation_scale")]:
        del state[name]
    return names


def widened_fp8(
    weight: torch.Tensor, scales: torch.Tensor, block: Sequence[int] | None, dtype: torch.dtype
) -> torch.Tensor:
    """Return what FP8 weights stand for: each times the scale of its block, in float32, rounded to a dtype.

    Parameters
    ----------
    weight
        E4M3, shape (..., rows, columns).
    scales
        Of 16 or 32 bits: one for each block of a weight, shape (..., ceil(rows / block[0]), ceil(columns / block[1])),
        or a single one.
    block
        Rows and columns of a block; None where a weight has one scale.
    """
    if not scales.is_floating_point() or scales.element_size() < 2:
        raise ValueError(f"its scales are {scales.dtype}; expected float32 or bfloat16")
    values, factors = weight.float(), scales.float()
    if scales.numel() == 1:
        return (values * factors.reshape(())).to(dtype)
    if block is None:
        raise ValueError(f"it has scales of shape {tuple(scales.shape)}, but config.json names no weight_block_size")
    rows, columns = weight.shape[-2:]
    expected = (*weight.shape[:-2], math.ceil(rows / block[0]), math.ceil(columns / block[1]))
    if tuple(scales.shape) != expected:
        raise ValueError(f"its scales have shape {tuple(scales.shape)}; expected {expected}, blocks of {tuple(block)}")
    spread = factors.repeat_interleave(block[0], -2)[..., :rows, :].repeat_interleave(block[1], -1)[..., :columns]
    return (values * spread).to(dtype)


def _of_mxfp4(state: dict[str, torch.Tensor], _settings: Mapping[str, Any], dtype: torch.dtype) -> set[str]:
    """Put widened weights in the place of blocks and scales."""
    names = {name.removesuffix("_blocks") for name in state if name.endswith("_blocks")}
    for name in names:
        blocks, scales = state.pop(f"{name}_blocks"), state.pop(f"{name}_scales", None)
        if scales is None:
            raise ModelError(f"{shorten(f'{name}_blocks')} has no {shorten(f'{name}_scales')}; get the files again")
        state[name] = _named(name, widened_mxfp4, blocks, scales, dtype)
    return names


def widened_mxfp4(blocks: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what MXFP4 weights of a mixture's experts stand for: E2M1 times a power of two, rounded to a dtype.

    Parameters
    ----------
    blocks
        Two codes in a byte, the first in the low half; uint8, shape (experts, outputs, groups, 16).
    scales
        Exponents plus 127 of the groups; uint8, shape (experts, outputs, groups), 255 is none.

    Returns
    -------
    torch.Tensor
        Shape (experts, 32 groups, outputs).
    """
    if blocks.dtype != torch.uint8 or scales.dtype != torch.uint8 or blocks.ndim != 4 or blocks.shape[-1] != 16:
        raise ValueError(
            f"its blocks are {blocks.dtype} of shape {tuple(blocks.shape)}; expected uint8 (.., .., .., 16)"
        )
    if scales.shape != blocks.shape[:-1]:
        raise ValueError(f"its scales have shape {tuple(scales.shape)}; expected {tuple(blocks.shape[:-1])}")
    if bool((scales == 255).any()):
        raise ValueError("a scale is 255, which is no number")
    table = torch.tensor([*_FP4, *(-size for size in _FP4)], dtype=torch.float32)
    # In float64 all of it is exact, so that rounding to the dtype is the only one.
    powers = torch.tensor([math.ldexp(1.0, exponent - _BIAS) for exponent in range(255)], dtype=torch.float64)
    found = torch.empty(*blocks.shape[:-1], 32, dtype=dtype)
    into, codes, exponents = found.view(-1, 32), blocks.reshape(-1, 16), scales.reshape(-1)
    for start in range(0, len(codes), _ROWS):
        part = codes[start : start + _ROWS]
        values = torch.stack((table[(part & 15).long()], table[(part >> 4).long()]), dim=-1).view(-1, 32)
        factors = powers[exponents[start : start + _ROWS].long()]
        into[start : start + _ROWS] = (values.double() * factors[:, None]).to(dtype)
    experts, outputs = blocks.shape[:2]
    return found.view(experts, outputs, -1).transpose(1, 2).contiguous()


def _named(name: str, widen: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
    try:
        return widen(*given)
    except ValueError as error:
        raise ModelError(
            f"{shorten(name)} cannot be widened: {error}. Get the files again, or choose another"
        ) from error
