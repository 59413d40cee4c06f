"""``phash/1`` has the bits of ImageHash, on the vectors and on random pictures."""

import io
import json
import re
from importlib.resources import files
from typing import Any, TypeAlias

import imagehash
import numpy as np
import PIL
import pytest
import scipy.fftpack
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crynux_validate.errors import InvalidImageError, InvalidInputError, PipelineError
from crynux_validate.hashing import PerceptualHash, image_hash, phash
from crynux_validate.hashing.phash_transform import lowest_coefficients

Samples: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

VECTORS = files("crynux_validate") / "vectors" / "phash"


def load_vectors() -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / "vectors.json").read_text("utf-8"))["vectors"]
    return vectors


def test_there_are_172_vectors() -> None:
    assert len(load_vectors()) == 172


@pytest.mark.parametrize("vector", load_vectors(), ids=lambda vector: str(vector["file"]))
def test_vector(vector: dict[str, Any]) -> None:
    data = (VECTORS / "images" / vector["file"]).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        alpha = image.has_transparency_data
        if not alpha:
            assert image_hash(image).hex == image_hash(data).hex == vector["imagehash"]
            return
        # ImageHash drops alpha without a word; here who wants that has to say so.
        with pytest.raises(InvalidImageError, match="alpha"):
            image_hash(data)
        opaque = image.convert("L")
        opaque.info.clear()
        assert image_hash(opaque).hex == vector["imagehash"]


def test_most_vectors_have_no_alpha() -> None:
    modes = [vector["mode"] for vector in load_vectors()]
    assert sum(mode in ("RGBA", "LA") for mode in modes) == 29


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """Random pictures in every mode that real files have, from noise over smooth to flat."""
    mode = draw(st.sampled_from(["L", "RGB", "P", "1", "I;16", "I", "CMYK", "YCbCr"]))
    width, height = draw(st.tuples(st.integers(1, 300), st.integers(1, 300)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grain = draw(st.sampled_from([1, 2, 5, 40, 300]))
    coarse = rng.integers(0, 256, (-(-height // grain), -(-width // grain), 3), dtype=np.uint8)
    samples = np.kron(coarse, np.ones((grain, grain, 1), np.uint8))[:height, :width]
    if mode == "I;16":
        return Image.fromarray(samples[:, :, 0].astype(np.uint16) * draw(st.sampled_from([1, 2, 257])))
    if mode == "I":
        return Image.fromarray(samples[:, :, 0].astype(np.int32) - draw(st.sampled_from([0, 100])))
    image = Image.fromarray(samples)
    return image.quantize(16) if mode == "P" else image.convert(mode)


@given(pictures())
@settings(max_examples=300, deadline=None)
def test_random_pictures_have_the_bits_of_imagehash(image: Image.Image) -> None:
    before = image.tobytes()
    assert image_hash(image).hex == imagehash_bits(image)
    assert image.tobytes() == before


@given(pictures())
@settings(max_examples=50, deadline=None)
def test_the_margin_is_the_smallest_gap_to_the_median(image: Image.Image) -> None:
    narrow = image.convert("L").resize((32, image.height), Image.Resampling.LANCZOS)
    small = np.asarray(narrow.resize((32, 32), Image.Resampling.LANCZOS))
    low = scipy.fftpack.dct(scipy.fftpack.dct(small, axis=0), axis=1)[:8, :8]
    result = image_hash(image)
    assert result.margin == pytest.approx(np.abs(low - np.median(low)).min(), rel=1e-9, abs=1e-6)
    assert result.margin >= 0
    assert result.hex == np.packbits(low > np.median(low)).tobytes().hex()


def imagehash_bits(image: Image.Image) -> str:
    """What ImageHash gives with Pillow 9.5 to 12, which reduce the width first; under 13 it depends on the shape."""
    return str(imagehash.phash(image.convert("L").resize((32, image.height), Image.Resampling.LANCZOS)))


def blocks(width: int, height: int, grain: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // grain), -(-width // grain)), dtype=np.uint8)
    return Image.fromarray(np.kron(coarse, np.ones((grain, grain), np.uint8))[:height, :width])


@pytest.mark.parametrize("size", [(21, 42), (30, 400), (400, 30), (31, 33), (256, 512), (1, 50), (50, 1), (3, 3)])
def test_the_width_is_reduced_before_the_height_whatever_the_shape(size: tuple[int, int]) -> None:
    for seed in range(10):
        image = blocks(*size, 1 + seed % 5 * 7, seed)
        assert image_hash(image).hex == imagehash_bits(image)


def test_the_order_of_the_passes_can_be_seen() -> None:
    """Otherwise the test above and the vectors of tall pictures would show nothing."""
    different = 0
    for seed in range(40):
        image = blocks(60, 200, 3, seed)
        other = image.resize((60, 32), Image.Resampling.LANCZOS).resize((32, 32), Image.Resampling.LANCZOS)
        different += image_hash(other) != image_hash(image)
    assert different


def test_a_pillow_that_reduces_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, size, _: resize(image, size, Image.Resampling.BICUBIC))
    phash._check_pillow.cache_clear()
    with pytest.raises(PipelineError, match=re.escape(f"the installed Pillow {PIL.__version__} gives other hashes")):
        image_hash(noise((8, 8)))
    monkeypatch.undo()
    assert image_hash(noise((8, 8))).hex == imagehash_bits(Image.fromarray(noise((8, 8))))


def tied(draw: st.DrawFn) -> Samples:
    """32x32 samples whose coefficients are equal or zero on paper: mirrored, diagonal, chequered, sparse, flat."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples = rng.integers(0, draw(st.sampled_from([2, 256])), (32, 32)) * draw(st.sampled_from([1, 255]))
    match draw(st.sampled_from(["mirrored", "diagonal", "chequered", "sparse", "flat", "noise"])):
        case "mirrored":
            samples[:, 16:] = samples[:, 15::-1]
        case "diagonal":
            samples = np.triu(samples) + np.triu(samples, 1).T
        case "chequered":
            side = draw(st.integers(1, 16))
            samples = np.indices((32, 32)).sum(0) // side % 2 * samples[0, 0]
        case "sparse":
            samples[rng.random((32, 32)) < 0.99] = 0
        case "flat":
            samples[:] = samples[0, 0]
    return samples.astype(np.uint8)


@given(st.composite(tied)())
@settings(max_examples=500, deadline=None)
def test_the_transform_has_the_bits_of_scipy(samples: Samples) -> None:
    """To the last bit of each coefficient, because that decides where two are equal on paper."""
    expected = scipy.fftpack.dct(scipy.fftpack.dct(samples, axis=0), axis=1)[:8, :8]
    assert np.array_equal(lowest_coefficients(samples), expected)
    assert image_hash(samples).hex == str(imagehash.phash(Image.fromarray(samples)))


@given(st.composite(tied)())
@settings(max_examples=200, deadline=None)
def test_the_matrix_product_is_near_the_transform(samples: Samples) -> None:
    """By much less than the gap from which on it decides the bits."""
    product = phash._basis() @ samples @ phash._basis().T
    assert np.abs(product - lowest_coefficients(samples)).max() < phash._SURE / 20


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_arrays_and_pictures_hash_alike() -> None:
    for shape in [(40, 60), (40, 60, 3), (1, 1), (1, 1, 3)]:
        samples = noise(shape)
        assert image_hash(samples) == image_hash(Image.fromarray(samples))


def test_strided_arrays_hash_as_their_copy() -> None:
    samples = noise((64, 64, 3))
    for view in (samples[::2, ::-1], samples[:, :, ::-1], samples.transpose(1, 0, 2), np.asfortranarray(samples)):
        assert image_hash(view) == image_hash(view.copy())


def test_row_and_column_are_not_swapped() -> None:
    samples = noise((64, 64))
    assert image_hash(samples) != image_hash(samples.T)


def test_flat_pictures_are_degenerate() -> None:
    flat = image_hash(np.full((32, 32), 200, np.uint8))
    assert flat.degenerate
    assert flat.hex == "8000000000000000"
    assert flat.margin == 0
    assert not image_hash(noise((64, 64))).degenerate


def test_equality_ignores_the_margin() -> None:
    assert PerceptualHash(bytes(8), "phash/1", 1.0) == PerceptualHash(bytes(8), "phash/1", 2.0)
    assert len({PerceptualHash(bytes(8), "phash/1", 1.0), PerceptualHash(bytes(8), "phash/1", 2.0)}) == 1


def test_forms() -> None:
    value = PerceptualHash(bytes.fromhex("0123456789abcdef"), "phash/1", 0.0)
    assert str(value) == value.hex == "0123456789abcdef"
    assert bytes(value) == value.bits


@pytest.mark.parametrize(
    ("set_bits", "degenerate"), [(0, True), (1, True), (23, True), (24, False), (40, False), (41, True), (64, True)]
)
def test_degenerate_bounds(set_bits: int, degenerate: bool) -> None:
    """A2: outside 24..40, both included."""
    bits = ((1 << set_bits) - 1).to_bytes(8, "big")
    assert PerceptualHash(bits, "phash/1", 0.0).degenerate is degenerate


@pytest.mark.parametrize(
    "arguments",
    [
        (b"", "phash/1", 0.0),
        (bytes(9), "phash/1", 0.0),
        ("00" * 8, "phash/1", 0.0),
        (bytes(8), "phash/2", 0.0),
        (bytes(8), "phash/1", -1.0),
        (bytes(8), "phash/1", float("nan")),
        (bytes(8), "phash/1", float("inf")),
    ],
)
def test_malformed_hashes_are_refused(arguments: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"expected|known"):
        PerceptualHash(*arguments)


@pytest.mark.parametrize("algorithm", ["phash", "PHASH/1", "phash/2", "", None, 1, ["phash/1"]])
def test_unknown_algorithms_name_the_known_ones(algorithm: Any) -> None:
    with pytest.raises(InvalidInputError, match="'phash/1'"):
        image_hash(noise((8, 8)), algorithm)
