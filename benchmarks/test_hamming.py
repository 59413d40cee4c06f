"""Distances of many hashes beside ImageHash's operator, plain numpy and faiss, on one thread.

Goals: one hash against a million in at most 5 times the time that reading them takes, and 1,000 times as fast as with
ImageHash's operator; all pairs of ten thousand not slower than faiss.
"""

from collections.abc import Callable
from typing import Any

import imagehash
import numpy as np
import pytest

from benchmarks.peers import medians, peer, report
from crynux_validate.hashing import hamming_distances, hamming_matrix, hashes_within, nearest_hashes

MANY, SOME, FEW = 1_000_000, 10_000, 1_000


def hashes(count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)


@pytest.mark.benchmark(group="one hash against many")
def test_one_against_many(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    many = hashes(MANY if benchmark.enabled else FEW)
    one = many[7]
    objects = [imagehash.hex_to_hash(f"{value:016x}") for value in many[:FEW].tolist()]
    first = objects[7]
    functions: dict[str, Callable[[], object]] = {
        "reading them (xor to one number)": lambda: np.bitwise_xor.reduce(many),
        "hamming_distances": lambda: hamming_distances([one], many),
        "hashes_within 10": lambda: hashes_within(one, many, 10),
        "nearest_hashes 10": lambda: nearest_hashes(one, many, 10),
        "numpy: bitwise_count(one ^ many)": lambda: np.bitwise_count(one ^ many),
        f"ImageHash's operator, {FEW:,} only": lambda: [first - other for other in objects],
    }
    assert hamming_distances([one], many[:FEW]).tolist() == [first - other for other in objects]
    times = medians(functions, 40 if benchmark.enabled else 1)
    benchmark(hamming_distances, [one], many)
    if benchmark.enabled:
        operator = times.pop(f"ImageHash's operator, {FEW:,} only") * len(many) / FEW
        times["ImageHash's operator, extrapolated"] = operator
        report(capsys, f"one hash against {len(many):,}", times, "hamming_distances")
        report(capsys, "the same", times, "reading them (xor to one number)")


@pytest.mark.benchmark(group="all pairs")
def test_all_pairs(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    many = hashes(SOME if benchmark.enabled else 100)
    functions: dict[str, Callable[[], object]] = {
        "hamming_matrix": lambda: hamming_matrix(many),
        "numpy: bitwise_count(a ^ b)": lambda: np.bitwise_count(many[:, None] ^ many),
    }
    assert (hamming_matrix(many) == np.bitwise_count(many[:, None] ^ many)).all()
    times = medians(functions, 7 if benchmark.enabled else 1)
    benchmark(hamming_matrix, many)
    if benchmark.enabled:
        report(capsys, f"all pairs of {len(many):,}", times, "hamming_matrix")


@pytest.mark.benchmark(group="beside faiss")
def test_beside_faiss(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    faiss = peer("faiss", "faiss-cpu")
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        many = hashes(MANY if benchmark.enabled else FEW)
        some = many[: SOME if benchmark.enabled else 100]
        large, small = faiss.IndexBinaryFlat(64), faiss.IndexBinaryFlat(64)
        large.add(many.view(np.uint8).reshape(-1, 8))
        small.add(some.view(np.uint8).reshape(-1, 8))
        one, queries = many[7:8].view(np.uint8).reshape(1, 8), some.view(np.uint8).reshape(-1, 8)
        found, expected = nearest_hashes(many[7], many, 10), large.search(one, 10)[0][0]
        assert found.distances.tolist() == sorted(expected.tolist())
        functions: dict[str, Callable[[], object]] = {
            "hamming_matrix, all pairs": lambda: hamming_matrix(some),
            "faiss, nearest of each, all pairs": lambda: small.search(queries, 1),
            "nearest_hashes 10, one": lambda: nearest_hashes(many[7], many, 10),
            "faiss, nearest 10, one": lambda: large.search(one, 10),
        }
        times = medians(functions, 7 if benchmark.enabled else 1)
        benchmark(nearest_hashes, many[7], many, 10)
    finally:
        faiss.omp_set_num_threads(threads)
    if benchmark.enabled:
        title = f"all pairs of {len(some):,}, and one against {len(many):,}"
        report(capsys, title, times, "hamming_matrix, all pairs")
