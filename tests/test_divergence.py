"""The measurements of text: openings, rounding, where texts part, and the tables; no model is run."""

import numpy as np
import pytest

pytest.importorskip("torch")

from attacks.rounding import rounded
from benchmarks.divergence import tables
from benchmarks.divergence.measure import entropy, first_difference
from benchmarks.divergence.openings import openings
from benchmarks.divergence.records import Beside, Measurements, Native

WAY = "float32, greedy"

SEEN = Measurements(
    tokens=4,
    native={WAY: [Native([0.1, 0.2, 3.0, 4.0], [1.0, 1.1, 1.2, 1.3]), Native([5.0, 0.3, 7.0, 8.0], [2.0] * 4)]},
    kinds={
        "one": {WAY: [Beside(1, 0.5), Beside(None, 0.25)]},
        "two": {WAY: [Beside(1, 0.5), Beside(1, 0.125)]},
        "alike": {WAY: [Beside(None, 0.0), Beside(None, 0.0)]},
        "native too": {WAY: [Beside(None, 0.0), Beside(None, 0.0)]},
    },
    copies={
        "int8": {WAY: [Beside(None, 0.5), Beside(3, 0.25)]},
        "int4": {WAY: [Beside(0, 2.0), Beside(2, 1.0)]},
    },
)


def test_openings_are_different_and_the_same_each_time() -> None:
    found = openings(100)
    assert len(set(found)) == 100
    assert found == openings(100)
    assert found[:10] == openings(10)
    assert set(openings(12, seed=1)) != set(found[:12])
    # Pinned: figures in the documentation are of these.
    assert found[0] == "And Solomon said unto his brethren,"


@pytest.mark.parametrize("count", [0, 10_000])
def test_too_many_openings(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} openings were asked for; there are 1 to"):
        openings(count)


@pytest.mark.parametrize(("bits", "levels"), [(8, 255), (4, 15)])
def test_rounding_leaves_few_values_in_a_row(bits: int, levels: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((5, 4_000)).astype(np.float32)
    matrix[3] *= 1_000
    matrix[4] = 0
    found = rounded(matrix, bits)
    counts = [len(np.unique(row)) for row in found]
    assert counts[4] == 1
    assert levels // 2 < min(counts[:4])
    assert max(counts) <= levels
    step = np.abs(matrix).max(axis=1, keepdims=True) / (levels // 2)
    assert (np.abs(found - matrix) <= step * 0.501).all()
    assert np.allclose(np.abs(found).max(axis=1), np.abs(matrix).max(axis=1))


def test_first_difference() -> None:
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 5, 4]) == 1
    assert first_difference([0, 2], [1, 2]) == 0
    with pytest.raises(ValueError, match="shorter"):
        first_difference([1, 2], [1])


def test_entropy_of_known_distributions() -> None:
    assert entropy(np.zeros(8, dtype=np.float32)) == pytest.approx(np.log(8))
    assert entropy(np.array([0, -1_000], dtype=np.float32)) == pytest.approx(0)
    chances = np.array([0.5, 0.25, 0.25])
    assert entropy(np.log(chances).astype(np.float32) + 7) == pytest.approx(1.5 * np.log(2), rel=1e-5)


def test_the_table_of_kinds() -> None:
    rows = tables.kinds(SEEN).splitlines()[2:]
    assert rows == [
        "| float32, greedy | `one` | 1 of 2 | 1 | 1 | 1 | 1 | 0.25 | 0.5 |",
        "| float32, greedy | `two` | 2 of 2 | 1 | 1 | 1 | 1 | 0.125 | 0.5 |",
        "| float32, greedy | `alike`, `native too` | 0 of 2 | - | - | - | - | 0 | 0 |",
    ]


def test_the_table_of_margins_counts_a_token_once() -> None:
    rows = tables.margins(SEEN).splitlines()[2:]
    assert rows == [
        "| float32, greedy | where kinds part | 2 | 0.2 | 0.2 | 0.3 | 0.3 | 1.1 | 1.1 | 2 |",
        "| float32, greedy | elsewhere | 6 | 0.1 | 4 | 8 | 8 | 1 | 1.3 | 2 |",
    ]


def test_the_table_of_copies() -> None:
    rows = tables.copies(SEEN).splitlines()[2:]
    assert rows == [
        "| float32, greedy | int8 | 1 of 2 | 2 of 2 | 3 | 3 | 3 | 3 | 0.25 | 0.5 |",
        "| float32, greedy | int4 | 2 of 2 | 1 of 2 | 0 | 0 | 0 | 2 | 1 | 2 |",
    ]


def test_tables_have_as_many_cells_as_heads() -> None:
    for part in tables.tables(SEEN).split("\n\n"):
        assert len({line.count("|") for line in part.splitlines()}) == 1


def test_the_share_that_has_parted() -> None:
    assert tables.share_parted(SEEN.kinds["two"][WAY], 4) == [0, 0, 1, 1, 1]
    assert tables.share_parted(SEEN.kinds["one"][WAY], 4) == [0, 0, 0.5, 0.5, 0.5]
    assert tables.share_parted([Beside(0, 1.0), Beside(3, 1.0)], 4) == [0, 0.5, 0.5, 0.5, 1]
    assert list(tables.parting_kinds(SEEN)) == ["one", "two"]


def test_what_was_seen_can_be_kept_in_a_file() -> None:
    assert Measurements.from_json(SEEN.to_json()) == SEEN
