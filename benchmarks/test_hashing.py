"""Both hashes beside ImageHash and other libraries; all of one table is timed in turn, on one thread.

Goals at 512x512 in memory: ``phash/1`` at most 5% more than the library whose bits it has, ``phash-go/1`` at most 0.75
of it; two threads or processes hash files 1.9 times as fast as one where two processors are free.
"""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import medians, peer, peer_elsewhere, report
from crynux_validate.hashing import block_distances, image_hash, image_hashes
from crynux_validate.hashing.bands import BANDS, Key

SIDES = [512, 1024]
IMAGE_HASH = "imagehash.phash"


def picture(side: int, seed: int = 0) -> Image.Image:
    """Smooth shapes under noise: between a photograph and the worst that a PNG decoder can meet."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((side, side))
    noise = rng.integers(-4, 5, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(shapes) + noise, 0, 255).astype(np.uint8))


def saved(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def from_file(data: bytes, hashed: Callable[[Image.Image], object]) -> object:
    with Image.open(io.BytesIO(data)) as image:
        return hashed(image)


@pytest.mark.benchmark(group="hashes in memory")
@pytest.mark.parametrize("side", SIDES)
def test_in_memory(side: int, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    image = picture(side)
    functions: dict[str, Callable[[], object]] = {
        IMAGE_HASH: lambda: imagehash.phash(image),
        "phash/1": lambda: image_hash(image),
        "phash-go/1": lambda: image_hash(image, "phash-go/1"),
    }
    assert image_hash(image).hex == str(imagehash.phash(image))
    times = medians(functions, 300 if benchmark.enabled else 1)
    benchmark(image_hash, image, "phash-go/1")
    if benchmark.enabled:
        report(capsys, f"hashes of {side}x{side} in memory", times, IMAGE_HASH)


@pytest.mark.benchmark(group="hashes of PNG files")
@pytest.mark.parametrize("side", SIDES)
def test_from_files(side: int, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    data = saved(picture(side))
    functions: dict[str, Callable[[], object]] = {
        IMAGE_HASH: lambda: from_file(data, imagehash.phash),
        "phash/1": lambda: image_hash(data),
        "phash-go/1": lambda: image_hash(data, "phash-go/1"),
    }
    times = medians(functions, 50 if benchmark.enabled else 1)
    benchmark(image_hash, data, "phash-go/1")
    if benchmark.enabled:
        report(capsys, f"hashes of {side}x{side} PNG files", times, IMAGE_HASH)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("module", "package"), [("pdqhash", "pdqhash"), ("cv2", "opencv-contrib-python-headless")])
def test_beside_peers(module: str, package: str, side: int, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Hashes with other bits: 256 of them in the first, and the second reduces by leaving pixels out."""
    other = peer(module, package)
    image = picture(side)
    array = np.asarray(image)
    if module == "cv2" and not hasattr(other, "img_hash"):
        pytest.skip("this OpenCV lacks img_hash: pip install opencv-contrib-python-headless")
    if module == "cv2":
        other.setNumThreads(1)
    theirs = other.compute if module == "pdqhash" else other.img_hash.pHash
    functions: dict[str, Callable[[], object]] = {
        IMAGE_HASH: lambda: imagehash.phash(image),
        "phash-go/1": lambda: image_hash(image, "phash-go/1"),
        module: lambda: theirs(array),
    }
    times = medians(functions, 50 if benchmark.enabled else 1)
    benchmark(theirs, array)
    if benchmark.enabled:
        report(capsys, f"{module} at {side}x{side} in memory", times, IMAGE_HASH)


@pytest.mark.parametrize("side", SIDES)
def test_beside_a_peer_elsewhere(side: int, benchmark: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The package perception, whose dependencies do not go with ours, in an interpreter of its own; other bits."""
    image = picture(side)
    image.save(tmp_path / "picture.png")
    setup = "import cv2; cv2.setNumThreads(1); from perception.hashers import PHash; hasher = PHash()"
    with peer_elsewhere("perception", setup, "hasher.compute(array)", tmp_path / "picture.png") as (versions, once):
        functions: dict[str, Callable[[], object]] = {
            IMAGE_HASH: lambda: imagehash.phash(image),
            "phash-go/1": lambda: image_hash(image, "phash-go/1"),
            versions: once,
        }
        times = medians(functions, 50 if benchmark.enabled else 1)
        benchmark(once)
    if benchmark.enabled:
        report(capsys, f"perception's PHash at {side}x{side} in memory", times, IMAGE_HASH)


@pytest.mark.benchmark(group="many files")
@pytest.mark.parametrize(("side", "count"), [(512, 24), (512, 240), (1024, 120)])
def test_two_at_the_same_time(
    side: int, count: int, benchmark: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(count if benchmark.enabled else 3)]
    contents = [saved(picture(side, seed)) for seed in range(min(6, len(paths)))]
    for number, path in enumerate(paths):
        path.write_bytes(contents[number % len(contents)])
    hashed = functools.partial(image_hashes, paths, "phash-go/1")
    assert hashed(threads=2) == hashed(processes=2) == [image_hash(path, "phash-go/1") for path in paths]
    functions: dict[str, Callable[[], object]] = {
        "one thread": lambda: hashed(threads=1),
        "two threads": lambda: hashed(threads=2),
        "two processes": lambda: hashed(processes=2),
    }
    times = medians(functions, 5 if benchmark.enabled else 1)
    benchmark.pedantic(hashed, kwargs={"threads": 2}, rounds=1)
    if benchmark.enabled:
        report(capsys, f"phash-go/1 of {len(paths)} PNG files of {side}x{side}", times, "one thread")


@pytest.mark.benchmark(group="distances of two scores")
@pytest.mark.parametrize("images", [1, 6])
def test_block_distances(images: int, benchmark: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.bytes(8 * images), rng.bytes(8 * images)
    assert len(benchmark(block_distances, a, b)) == images


@pytest.mark.benchmark(group="keyed values")
@pytest.mark.parametrize("side", SIDES)
def test_keyed_values(side: int, benchmark: Any) -> None:
    """Goal: at most 5 ms for a picture of 512x512."""
    benchmark(Key(bytes(32)).values, picture(side))


@pytest.mark.benchmark(group="keyed values")
def test_a_key(benchmark: Any) -> None:
    """Goal: at most 8 ms."""

    def made() -> None:
        key = Key(bytes(32))
        for band in BANDS:
            key.words(band)

    benchmark(made)
