"""Products of tensor cores, in exact fractions."""

from tests.testing import tensor_core_reference
from tests.vectors.reading import Vector, each, load


@each("tensor-cores")
def test_tensor_core(vector: Vector) -> None:
    """Exact fractions give it, whosever program it is of."""
    dtype, splits = vector["dtype"], vector["splits"]
    digits = 8 if dtype == "tf32" else 4
    a, b = (
        [int(text[at : at + digits], 16) for at in range(0, len(text), digits)] for text in (vector["a"], vector["b"])
    )
    for name, bits in vector["result"].items():
        found = tensor_core_reference.dot(a, b, int(vector["c"], 16), architecture=name, dtype=dtype, splits=splits)
        assert f"{found:08x}" == bits


def test_the_vectors_of_tensor_cores_tell_architectures_apart() -> None:
    vectors = load("tensor-cores")
    assert sum(vector["source"] == "MMA-Sim" for vector in vectors) == 144
    for one, other in (("volta", "turing"), ("turing", "hopper"), ("hopper", "cdna3"), ("ampere", "cdna3")):
        results = [vector["result"] for vector in vectors if {one, other} <= set(vector["result"])]
        assert sum(result[one] != result[other] for result in results) > 10
