"""``phash/1`` beside the library whose bits it has; the goal is at most 5% more time."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from crynux_validate.hashing import block_distances, image_hash

SIDES = [512, 1024]


def picture(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def medians(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each; they take turns, so that what else the machine does meets all of them alike."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds):
        for position in range(len(functions)):
            index = (turn + position) % len(functions)
            start = time.perf_counter()
            functions[index]()
            seconds[index].append(time.perf_counter() - start)
    return [statistics.median(of_one) for of_one in seconds]


@pytest.mark.benchmark(group="phash/1 beside ImageHash")
@pytest.mark.parametrize("side", SIDES)
def test_phash_beside_imagehash(side: int, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    image = picture(side)
    ours, theirs = medians([lambda: image_hash(image), lambda: imagehash.phash(image)], 300 if benchmark.enabled else 1)
    result = benchmark(image_hash, image)
    assert result.hex == str(imagehash.phash(image))
    if benchmark.enabled:
        with capsys.disabled():
            print(
                f"\n{side}x{side}: image_hash {ours * 1e6:.0f} us, imagehash.phash {theirs * 1e6:.0f} us,"
                f" ratio {ours / theirs:.3f}"
            )


@pytest.mark.benchmark(group="distances of two scores")
@pytest.mark.parametrize("images", [1, 6])
def test_block_distances(images: int, benchmark: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.bytes(8 * images), rng.bytes(8 * images)
    assert len(benchmark(block_distances, a, b)) == images
