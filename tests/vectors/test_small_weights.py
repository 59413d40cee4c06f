"""Weights of 4 and 8 bits, computed a second time: one weight after the other, in plain arithmetic (T6)."""

import struct
from fractions import Fraction
from itertools import pairwise

import pytest

from tests.vectors.reading import Vector, each, load

VALUES = {
    11: "-1", 10: "-2/3", 13: "-1/2", 12: "-1/3", 15: "-1/4", 14: "-1/6", 9: "-1/192", 0: "0", 8: "0", 1: "1/192",
    6: "1/6", 7: "1/4", 4: "1/3", 5: "1/2", 2: "2/3", 3: "1",
}  # fmt: skip
"""Those of the protocol, in ascending order."""


def float32(value: float | Fraction) -> float:
    """Round to float32: a float64 holds the product or quotient of two of these well enough to be rounded again."""
    found: float = struct.unpack(">f", struct.pack(">f", float(value)))[0]
    return found


def numbers(text: str, dtype: str) -> list[float]:
    data = bytes.fromhex(text)
    if dtype == "bfloat16":
        return [struct.unpack(">f", data[at : at + 2] + b"\0\0")[0] for at in range(0, len(data), 2)]
    size, form = {"float16": (2, ">e"), "float32": (4, ">f")}[dtype]
    return [struct.unpack(form, data[at : at + size])[0] for at in range(0, len(data), size)]


def nearest(value: float, dtype: str) -> float:
    """Round a float32 to the task's dtype, ties to even."""
    if dtype == "float16":
        found: float = struct.unpack(">e", struct.pack(">e", value))[0]
        return found
    if dtype == "float32":
        return value
    (bits,) = struct.unpack(">I", struct.pack(">f", value))
    return numbers(f"{(bits + 0x7FFF + (bits >> 16 & 1)) >> 16:04x}", "bfloat16")[0]


@each("small-weights")
def test_small_weights(vector: Vector) -> None:
    dtype = vector["dtype"]
    weights = numbers(vector["weights"], dtype)
    share = 64 if vector["bits"] == 4 else len(weights) // vector["rows"]
    groups = [weights[at : at + share] for at in range(0, len(weights), share)]
    scales = [max(map(abs, group)) for group in groups]
    assert numbers(vector["scales"], "float32") == scales
    inverses = [float32(1 / max(scale, float32(1e-30))) for scale in scales]
    codes = bytes.fromhex(vector["codes"])
    widened = numbers(vector["widened"], dtype)
    assert len(widened) == len(weights)
    values = {code: float32(Fraction(value)) for code, value in VALUES.items()}
    order = list(VALUES)
    for at, weight in enumerate(weights):
        scale, inverse = scales[at // share], inverses[at // share]
        if vector["bits"] == 4:
            part = min(1.0, max(-1.0, float32(weight * inverse)))
            found = order[0]
            for one, other in pairwise(order):
                if part > float32((values[one] + values[other]) / 2):
                    found = other
            assert codes[at // 2] >> (4 if at % 2 == 0 else 0) & 15 == found
            assert widened[at] == nearest(float32(values[found] * scale), dtype)
        else:
            step = round(float32(weight * float32(inverse * 127)))
            assert codes[at] == step % 256
            assert widened[at] == nearest(float32(float32(step * scale) * float32(1 / 127)), dtype)


def test_codes_fill_their_bytes() -> None:
    for vector in load("small-weights"):
        many = len(numbers(vector["weights"], vector["dtype"]))
        assert len(vector["codes"]) // 2 == (many if vector["bits"] == 8 else (many + 1) // 2)


def test_the_library_rounds_so() -> None:
    """What loads a model for a task, beside the vectors."""
    torch = pytest.importorskip("torch")
    from crynux_validate.pipelines.text.quantized import rounded_4, rounded_8

    for vector in load("small-weights"):
        weights = torch.tensor(numbers(vector["weights"], vector["dtype"])).reshape(vector["rows"], -1)
        codes, scales = (rounded_4 if vector["bits"] == 4 else rounded_8)(weights.to(getattr(torch, vector["dtype"])))
        assert codes.numpy().tobytes().hex() == vector["codes"]
        assert scales.ravel().tolist() == numbers(vector["scales"], "float32")
