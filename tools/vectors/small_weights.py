"""Vectors of weights in 4 and 8 bits (protocol T6)."""

from typing import Any

import torch
from tools.vectors.common import Vector, vector

from crynux_validate.pipelines.noise import Purpose, normal
from crynux_validate.pipelines.text.quantized import SmallLinear

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def _bits(values: torch.Tensor) -> str:
    """The bits of numbers, the highest first."""
    words = values.detach().contiguous().view(torch.int32 if values.element_size() == 4 else torch.int16)
    return words.numpy().astype(">i4" if values.element_size() == 4 else ">i2").tobytes().hex()


def small_weight_vectors() -> list[Vector]:
    """Each dtype in 4 and 8 bits, then what is special: ends of blocks, halves, zeros, the very small."""
    noise = torch.from_numpy(normal(7, image=0, draw=0, shape=(3, 70), purpose=Purpose.WEIGHTS)) * 0.05
    halves = [value / 254 for value in (-254, -253, -3, -1, 1, 3, 5, 251, 253, 254)]
    middles = [-11 / 12, -7 / 12, -5 / 12, -1 / 384, 1 / 384, 5 / 12, 7 / 12, 5 / 6, 1.0, -1.0]
    cases: list[tuple[str, str, torch.Tensor, str, tuple[int, ...]]] = [
        *((f"{dtype}", "weights of a layer, whose rows end within blocks", noise, dtype, (4, 8)) for dtype in _DTYPES),
        ("odd", "an odd number of weights: half of the last byte is empty", noise[:1, :65], "bfloat16", (4,)),
        ("middles", "the middle between two values goes to the lesser", torch.tensor([middles]), "float32", (4,)),
        ("halves", "integers and a half: ties to even", torch.tensor([halves]), "float32", (8,)),
        ("zeros", "a block and a row of zeros, of both signs", torch.tensor([[0.0, -0.0] * 32, [1.0, -0.0] * 32]),
         "bfloat16", (4, 8)),
        ("tiny", "scales below 1e-30", torch.tensor([[3e-31, -1e-31, 1e-38], [2e-42, 0.0, -1e-42]]), "float32", (4, 8)),
        ("large", "a weight beside which all others are nothing", torch.tensor([[6e4, 1.0, -300.0, 2e-4]]), "float16",
         (4, 8)),
    ]  # fmt: skip
    found = []
    for name, why, values, dtype, bits in cases:
        weights = values.to(_DTYPES[dtype])
        for some in bits:
            layer = torch.nn.Linear(weights.shape[1], weights.shape[0], bias=False)
            layer.weight = torch.nn.Parameter(weights)
            small = SmallLinear(layer, some)
            given: dict[str, Any] = {"bits": some, "dtype": dtype, "rows": len(weights), "weights": _bits(weights)}
            computed = {
                "codes": small.get_buffer("codes").numpy().tobytes().hex(),
                "scales": _bits(small.get_buffer("scales")),
                "widened": _bits(small.weight),
            }
            found.append(vector(f"small-weights/{name}-{some}", why, **given, **computed))
    return found
