"""How many groups a second `judge_table` takes from record batches, beside `judge_many` on arrays."""

from typing import Any

import numpy as np
import pytest

from crynux_validate.judging import judge_many

pa = pytest.importorskip("pyarrow")

from crynux_validate.tables import judge_table  # noqa: E402

GROUPS = 65_536


def hashes() -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Groups of three; one member in a hundred has another picture."""
    generator = np.random.default_rng(0)
    right = generator.integers(0, 2**64, (GROUPS, 1), dtype=np.uint64)
    other = generator.integers(0, 2**64, (GROUPS, 3), dtype=np.uint64)
    return np.where(generator.random((GROUPS, 3)) < 0.01, other, right)


@pytest.mark.benchmark(group="65,536 groups of three")
def test_judge_many(benchmark: Any) -> None:
    found = benchmark(judge_many, hashes()[..., None])
    assert len(found) == GROUPS


@pytest.mark.benchmark(group="65,536 groups of three")
def test_judge_table(benchmark: Any) -> None:
    data = hashes()
    scores = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), data.size, [None, pa.py_buffer(data.astype(">u8"))])
    lists = pa.FixedSizeListArray.from_arrays(scores.cast(pa.binary()), 3).cast(pa.list_(pa.binary()))
    batch = pa.record_batch({"scores": lists})
    found = benchmark(judge_table, batch)
    expected = judge_many(data[..., None]).count()["VALIDATED"]
    assert found.column("outcome").to_pylist().count("VALIDATED") == expected
