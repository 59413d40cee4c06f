"""Weights of 4 and 8 bits: rounded by a rule that has one result everywhere, and widened for each product (T6).

The rule is what bitsandbytes makes of weights: FP4 in blocks of 64, or 8-bit integers row by row. Products are torch's
own, of the widened weights in the task's dtype: its kernels for 4 and 8 bits choose their arithmetic by features of a
processor that no switch of torch's reaches.
"""

import math
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.tasks import ModelRef

BLOCK: Final = 64
"""How many weights of 4 bits share a scale."""

_SIZES: Final = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
"""The magnitudes of FP4 by their code; codes from 8 on are the same with a minus."""

_ASCENDING: Final = (11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3)
"""Codes by what they stand for, the least first; 8 is minus zero."""

_LEAST: Final = 1e-30
"""What a smaller scale counts as when weights are divided by it."""

_ROWS: Final = 1 << 24
"""How many weights are rounded at once."""


class SmallLinear(nn.Module):
    """A linear layer whose weights are kept in 4 or 8 bits.

    Parameters
    ----------
    linear
        The layer; its weights are finite, in the dtype that they are widened to.
    bits
        4 or 8.
    """

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bits = bits
        self.dtype = linear.weight.dtype
        self.bias = linear.bias
        codes, scales = (rounded_4 if bits == 4 else rounded_8)(linear.weight.detach())
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)

    @property
    def weight(self) -> torch.Tensor:
        """The widened weights, shape (out, in), in the dtype that they were rounded from."""
        codes, scales = self.get_buffer("codes"), self.get_buffer("scales")
        widen = widened_4 if self.bits == 4 else widened_8
        return widen(codes, scales, (self.out_features, self.in_features)).to(self.dtype)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Multiply by the widened weights; in a reference of another dtype these are widened further."""
        return functional.linear(values, self.weight.to(values.dtype), self.bias)


def quantize(model: ModelRef, loaded: Any, bits: int) -> dict[str, Any]:
    """Keep the weights of every linear layer in 4 or 8 bits, but those of the output layer.

    Returns
    -------
    dict
        For the recipe: the bits, how many layers have them, and how many weights of how many.

    Raises
    ------
    ModelError
        For a model without such layers, one that has weights in layers of another kind, which would stay as they are,
        and for weights that are no finite numbers.
    """
    _check_no_others(model, loaded)
    every = sum(parameter.numel() for parameter in loaded.parameters())
    output = loaded.get_output_embeddings()
    made: dict[int, SmallLinear] = {}
    for name, module in list(loaded.named_modules(remove_duplicate=False)):
        for child_name, child in list(module._modules.items()):
            if type(child) is not nn.Linear or child is output:
                continue
            if not torch.isfinite(child.weight).all():
                raise ModelError(
                    f"{model} has weights in {f'{name}.{child_name}'.lstrip('.')} that are no finite numbers, which "
                    f"have no {bits} bits; leave quantize_bits out, or choose another model"
                )
            if id(child) not in made:
                made[id(child)] = SmallLinear(child, bits)
            setattr(module, child_name, made[id(child)])
    if not made:
        raise ModelError(
            f"{model} has no linear layers, whose weights quantize_bits would round; leave it out, or choose another "
            "model"
        )
    small = sum(layer.in_features * layer.out_features for layer in made.values())
    return {"bits": bits, "layers": len(made), "weights": small, "of": every}


def _check_no_others(model: ModelRef, loaded: Any) -> None:
    """Refuse layers that multiply by weights of their own: a mixture's experts in one tensor, GPT-2's layers."""
    from transformers.pytorch_utils import Conv1D

    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    for name, module in loaded.named_modules():
        stacked = any(parameter.ndim > 2 for parameter in module.parameters(recurse=False))
        if isinstance(module, Conv1D) or (stacked and not isinstance(module, convolutions)):
            raise ModelError(
                f"{model} multiplies by weights in {shorten(name)} ({type(module).__name__}), which is no linear "
                "layer, so that quantize_bits would leave them large; leave it out, or choose another model"
            )


def _table(device: torch.device) -> torch.Tensor:
    """The values of FP4 by their codes."""
    return torch.tensor([*_SIZES, *(-size for size in _SIZES)], dtype=torch.float32, device=device)


def _inverse(scales: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(scales) / scales.clamp(min=_LEAST)


def rounded_4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round weights to FP4.

    Returns
    -------
    codes
        Two in a byte, the first in the high half, row by row; shape (bytes,).
    scales
        The largest magnitude of each 64, float32, shape (blocks,).
    """
    flat = weight.reshape(-1)
    padded = functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    table = _table(weight.device)
    order = torch.tensor(_ASCENDING, device=weight.device)
    middles = (table[order[:-1]] + table[order[1:]]) / 2
    codes, scales = [], []
    for block in torch.split(padded, _ROWS // BLOCK):
        values = block.float()
        largest = values.abs().amax(dim=1)
        shares = (values * _inverse(largest).unsqueeze(1)).clamp(-1, 1)
        found = order[torch.bucketize(shares, middles)].to(torch.uint8).view(-1)
        codes.append(found[::2] * 16 + found[1::2])
        scales.append(largest)
    return torch.cat(codes)[: (len(flat) + 1) // 2].clone(), torch.cat(scales)


def widened_4(codes: torch.Tensor, scales: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return the weights that codes of FP4 stand for, float32."""
    table = _table(codes.device)
    pairs = torch.stack((table.repeat_interleave(16), table.repeat(16)), dim=1)
    flat = functional.embedding(codes.int(), pairs).view(-1)
    padded = functional.pad(flat, (0, len(scales) * BLOCK - len(flat)))
    return (padded.view(-1, BLOCK) * scales.unsqueeze(1)).view(-1)[: math.prod(shape)].view(shape)


def rounded_8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round weights to integers from -127 to 127, each row by its largest magnitude.

    Returns
    -------
    codes
        int8, shape (out, in).
    scales
        The largest magnitude of each row, float32, shape (out, 1).
    """
    codes, scales = [], []
    for rows in torch.split(weight, max(1, _ROWS // weight.shape[1])):
        values = rows.float()
        largest = values.abs().amax(dim=1, keepdim=True)
        codes.append(torch.round(values * (_inverse(largest) * 127)).to(torch.int8))
        scales.append(largest)
    return torch.cat(codes), torch.cat(scales)


def widened_8(codes: torch.Tensor, scales: torch.Tensor, _shape: tuple[int, int]) -> torch.Tensor:
    """Return the weights that 8-bit integers stand for, float32."""
    return codes.float() * scales * (1 / 127)
