"""Vectors of products as the tensor cores of each architecture compute them."""

from collections.abc import Iterator
from typing import Any

from crynux_validate.errors import needed_for
from crynux_validate.vectors_check.files import Vector


def product(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The bits that each architecture gives."""
    with needed_for("a vector of tensor cores", "ledger"):
        from crynux_validate.testing.gpu.arithmetic import from_hex, multiply
    given = vector.content
    dtype = given["dtype"]
    row, column, begin = from_hex(given["a"], dtype)[None], from_hex(given["b"], dtype)[:, None], given["c"]
    found = {}
    for name in given["result"]:
        c = from_hex(begin, "float32")[None]
        sums = multiply(row, column, c, architecture=name, dtype=dtype, splits=given["splits"])
        found[name] = sums.astype(">f4").tobytes().hex()
    yield "result", found
