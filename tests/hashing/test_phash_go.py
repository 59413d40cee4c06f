"""``phash-go/1`` has the bits of the live network, on the vectors and by its definition word for word."""

import io
import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crynux_validate import ImageScore
from crynux_validate.errors import InvalidImageError
from crynux_validate.hashing import image_hash, phash_go
from crynux_validate.hashing.phash_go_cosines import COSINES
from crynux_validate.testing import fake_hardware
from tests.hashing import jobs

GO: Any = "phash-go/1"


def saved(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# ------------------------------------------------------------------------------------------------ the live network


@pytest.mark.parametrize("vector", jobs.load_vectors(), ids=lambda vector: str(vector["file"]))
def test_vector(vector: dict[str, Any]) -> None:
    """Those that hang on the processor are of amd64, whose arithmetic is this one."""
    data = jobs.picture_bytes(vector)
    assert image_hash(data, GO).hex == vector["go"]
    with Image.open(io.BytesIO(data)) as opened:
        assert image_hash(opened, GO).hex == vector["go"]
        copied = opened.copy()
    assert image_hash(copied, GO).hex == vector["go"]


def test_the_cosines_are_those_of_the_live_network() -> None:
    lines = (jobs.VECTORS / "dct_tables.txt").read_text("ascii").splitlines()
    bits = [[struct.unpack(">d", bytes.fromhex(word))[0] for word in line.split()] for line in lines if line]
    assert [list(row) for row in COSINES.values()] == bits
    assert list(COSINES) == [32, 16, 8, 4, 2, 1]


def test_other_hardware_gives_the_same_bits(fake_hardware_workers: fake_hardware.Workers) -> None:
    here = jobs.go_hashes()
    assert len(here) == 172 + 12
    for name, worker in fake_hardware_workers.items():
        assert worker.run(jobs.go_hashes) == here, name


# ------------------------------------------------------------------------------------------------ the definition


def by_the_book(planes: list[np.ndarray[Any, Any]]) -> str:
    """Compute the hash of one or three planes as it is worded, with integers and Python's floats."""
    unit = 256 if planes[0].dtype == np.uint8 else 65536
    small = [plane.astype(np.int64) for plane in planes]
    if planes[0].shape != (64, 64):
        small = [shrunk(shrunk(plane, unit).T, unit).T for plane in small]
    if unit == 65536:
        small = [plane // divisor for plane, divisor in zip(small * (3 // len(small)), (257, 257, 256), strict=True)]
    red, green, blue = (plane.tolist() for plane in small * (3 // len(small)))
    grey = [[0.299 * red[y][x] + 0.587 * green[y][x] + 0.114 * blue[y][x] for x in range(64)] for y in range(64)]
    columns = transposed([dct(row) for row in grey])[:8]
    low = [value for row in transposed([dct(column) for column in columns])[:8] for value in row]
    ordered = sorted(low)
    median = ordered[31] / 2 + ordered[32] / 2
    return f"{int(''.join('01'[value > median] for value in low), 2):016x}"


def transposed(rows: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


def shrunk(rows: np.ndarray[Any, np.dtype[np.int64]], unit: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Reduce each row to 64 samples."""
    size = rows.shape[1]
    scale = size / 64
    taps = 2 * max(math.ceil(scale), 1)
    result = np.empty((len(rows), 64), np.int64)
    for output in range(64):
        centre = scale * (output + 0.5) - 0.5
        start = int(centre) - taps // 2 + 1
        weights = [int(max(1 - abs((centre - start - tap) * min(1 / scale, 1)), 0) * unit) for tap in range(taps)]
        places = [min(max(start + tap, 0), size - 1) for tap in range(taps)]
        result[:, output] = rows[:, places] @ np.array(weights) // sum(weights)
    return result


def dct(values: list[float]) -> list[float]:
    if len(values) == 1:
        return values
    half = len(values) // 2
    even = dct([values[i] + values[-1 - i] for i in range(half)])
    odd = [*dct([(values[i] - values[-1 - i]) / COSINES[half][i] for i in range(half)])]
    sums = [odd[i] + odd[i + 1] for i in range(half - 1)] + odd[-1:]
    return [value for pair in zip(even, sums, strict=True) for value in pair]


sides = st.one_of(st.integers(1, 90), st.sampled_from([1, 63, 64, 65, 128, 192, 200]))


@st.composite
def samples(draw: st.DrawFn, planes: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Samples of shape (height, width, planes), from noise over coarse to flat and symmetric ones."""
    width, height = draw(sides), draw(sides)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grain = draw(st.sampled_from([1, 1, 5, 40, 300]))
    coarse = rng.integers(0, 256, (-(-height // grain), -(-width // grain), planes), dtype=np.uint8)
    fine = np.kron(coarse, np.ones((grain, grain, 1), np.uint8))[:height, :width]
    return fine // 2 + fine[:, ::-1] // 2 if draw(st.booleans()) else fine


@given(samples())
@settings(max_examples=60, deadline=None)
def test_colour(array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    expected = by_the_book([array[:, :, plane] for plane in range(3)])
    assert image_hash(array, GO).hex == image_hash(saved(Image.fromarray(array)), GO).hex == expected


@given(samples(planes=1))
@settings(max_examples=30, deadline=None)
def test_grey(array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    plane = array[:, :, 0]
    assert image_hash(np.ascontiguousarray(plane), GO).hex == by_the_book([plane])


@given(samples(planes=2))
@settings(max_examples=30, deadline=None)
def test_grey_of_16_bits(array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    plane = array[:, :, 0].astype(np.uint16) * 256 + array[:, :, 1]
    image = Image.fromarray(plane)
    assert image.mode == "I;16"
    assert image_hash(image, GO).hex == image_hash(saved(image), GO).hex == by_the_book([plane])


@given(samples(planes=4))
@settings(max_examples=40, deadline=None)
def test_alpha_multiplies_the_colours(array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    wide = array.astype(int)
    if wide.shape[:2] == (64, 64):
        planes = (wide[:, :, :3] * 257 * wide[:, :, 3:] // 255).astype(np.uint16)
    else:
        planes = (wide[:, :, :3] * wide[:, :, 3:] // 255).astype(np.uint8)
    expected = by_the_book([planes[:, :, plane] for plane in range(3)])
    assert image_hash(array, GO).hex == image_hash(saved(Image.fromarray(array)), GO).hex == expected


@given(st.integers(0, 2**32 - 1), st.sampled_from(["LA", "RGBA"]))
@settings(max_examples=20, deadline=None)
def test_alpha_of_what_needs_no_reducing_has_16_bits(seed: int, mode: str) -> None:
    array = noise((64, 64, len(mode)), seed)
    wide = array.astype(int)
    planes = np.moveaxis(wide[:, :, :-1] * 257 * wide[:, :, -1:] // 255, 2, 0)
    image = Image.merge(mode, [Image.fromarray(plane) for plane in np.moveaxis(array, 2, 0).copy()])
    assert (phash_go._reduced(image) == planes).all()
    assert image_hash(image, GO).hex == image_hash(saved(image), GO).hex


@given(samples(), st.sampled_from([2, 7, 256]), st.data())
@settings(max_examples=40, deadline=None)
def test_palettes_are_samples_of_16_bits(
    array: np.ndarray[Any, np.dtype[np.uint8]], colours: int, data: st.DataObject
) -> None:
    image = Image.fromarray(array).quantize(colours)
    used = image.getpalette() or []
    palette = np.zeros((256, 3), int)
    palette[: len(used) // 3] = np.reshape(used, (-1, 3))
    alpha = np.full((256, 1), 255)
    match data.draw(st.sampled_from(["none", "one", "each", "in the palette", "in both"])):
        case "one":
            image.info["transparency"] = data.draw(st.integers(0, len(used) // 3 - 1))
            alpha[image.info["transparency"]] = 0
        case "each":
            image.info["transparency"] = data.draw(st.binary(min_size=1, max_size=len(used) // 3))
            alpha[: len(image.info["transparency"]), 0] = list(image.info["transparency"])
        case "in the palette":
            alpha[: len(used) // 3, 0] = np.random.default_rng(1).integers(0, 256, len(used) // 3)
            entries = np.concatenate([palette, alpha], axis=1)[: len(used) // 3].astype(np.uint8)
            image.putpalette(entries.tobytes(), "RGBA")
        case "in both":
            replaced = np.random.default_rng(2).integers(0, 256, (256, 1))
            entries = np.concatenate([palette, replaced], axis=1)[: len(used) // 3].astype(np.uint8)
            image.putpalette(entries.tobytes(), "RGBA")
            image.info["transparency"] = 0
            alpha[0] = 0
    planes = (palette * 257 * alpha // 255).astype(np.uint16)[np.asarray(image)]
    expected = by_the_book([planes[:, :, plane] for plane in range(3)])
    assert image_hash(image, GO).hex == image_hash(saved(image), GO).hex == expected


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_is_black(mode: str) -> None:
    array = np.kron(noise((9, 9, 3)), np.ones((9, 9, 1), np.uint8))
    image = Image.fromarray(array).convert(mode)
    key: Any = image.getpixel((40, 40))
    image.info["transparency"] = key
    planes = np.asarray(image).reshape(81, 81, -1).copy()
    planes[(planes == np.reshape(key, -1)).all(axis=2)] = 0
    expected = by_the_book([planes[:, :, plane] for plane in range(planes.shape[2])])
    assert image_hash(image, GO).hex == image_hash(saved(image), GO).hex == expected
    plain = image.copy()
    del plain.info["transparency"]
    assert image_hash(plain, GO).hex != expected


def test_black_and_white() -> None:
    image = Image.fromarray(noise((70, 50))).convert("1")
    assert image_hash(image, GO).hex == by_the_book([np.asarray(image.convert("L"))])


@pytest.mark.parametrize(("width", "height"), [(20_000, 3), (3, 17_000), (4097, 70), (600, 500)])
def test_large_pictures(width: int, height: int) -> None:
    """Beyond what is kept between pictures, what is reduced at once, and what float32 holds."""
    array = noise((height, width))
    assert image_hash(array, GO).hex == by_the_book([array])


@pytest.mark.parametrize("at_once", [phash_go._AT_ONCE, 2_000])
@pytest.mark.parametrize(("width", "height"), [(512, 512), (300, 1000), (1000, 701), (640, 65), (20_000, 3), (50, 66)])
def test_every_sample_is_that_of_the_definition(
    width: int, height: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece and in several, of which the last is smaller; sums of weights that are equal, and that are not."""
    monkeypatch.setattr(phash_go, "_AT_ONCE", at_once)
    array = noise((height, width, 3))
    array[: height // 3] |= 0xF0  # large sums
    reduced = phash_go._reduced(Image.fromarray(array))
    for plane in range(3):
        expected = shrunk(shrunk(array[:, :, plane].astype(np.int64), 256).T, 256).T
        assert (reduced[plane] == expected).all()


def test_products_are_exact_in_any_order() -> None:
    """No sum of weights times samples, nor any part of it, needs a bit more than the type has."""
    for size in [*range(1, 700), 1000, 4096, 16_000, 17_000, 100_000, 2**20]:
        for itemsize, largest in ((1, 0xFF), (2, 0xFFFF)):
            axis = phash_go._new_axis(size, itemsize)
            total = max(weights.sum(axis=0).max() for _, _, weights in axis.blocks)
            assert total == axis.sums.max()
            assert int(total) * largest < 2 ** (np.finfo(axis.sums.dtype).nmant + 1)
            assert all((weights == np.trunc(weights)).all() and (weights >= 0).all() for _, _, weights in axis.blocks)
            assert axis.sums.min() > 0


@pytest.mark.parametrize("size", [100, 512, 1000, 1024, 4096, 2**16])
def test_products_are_too_small_to_be_split_among_threads(size: int) -> None:
    axis = phash_go._new_axis(size, 1)
    rows = phash_go._AT_ONCE // size
    assert all(rows * weights.size < 2**19 for _, _, weights in axis.blocks)


@given(st.integers(1, 2**24 - 1), st.integers(1, 2**24 - 1))
def test_rounded_quotients_keep_their_whole_part(a: int, b: int) -> None:
    for total in (a, a // b * b, a // b * b + b - 1):
        if total < 2**24:
            assert int(np.float32(total) / np.float32(b)) == total // b


# ------------------------------------------------------------------------------------------------ the short cut


def exact(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return phash_go._lowest(phash_go._grey(phash_go._reduced(Image.fromarray(array))))


@given(samples())
@settings(max_examples=100, deadline=None)
def test_sums_in_another_order_differ_by_less_than_the_short_cut_allows(
    array: np.ndarray[Any, np.dtype[np.uint8]],
) -> None:
    grey = phash_go._grey(phash_go._reduced(Image.fromarray(array)))
    product = phash_go._basis() @ grey @ phash_go._basis().T
    assert np.abs(product - phash_go._lowest(grey)).max() < phash_go._SURE / 1000


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_transform_has_every_bit_of_the_recursion(seed: int) -> None:
    """The last bit of a coefficient decides few hashes, so it is looked at itself."""
    grey = phash_go._grey(noise((3, 64, 64), seed))
    columns = transposed([dct(row) for row in grey.tolist()])[:8]
    expected = transposed([dct(column) for column in columns])[:8]
    assert phash_go._lowest(grey).tolist() == expected


def test_the_transform_is_a_dct() -> None:
    values = noise((64, 64)).astype(float)
    position, frequency = np.arange(64), np.arange(8)[:, None]
    basis = np.cos(np.pi * frequency * (2 * position + 1) / 128)
    assert phash_go._lowest(values) == pytest.approx(basis @ values @ basis.T, rel=1e-12, abs=1e-7)


def test_the_last_bits_decide_symmetric_pictures() -> None:
    """The reason for the original order of operations: another order gives other bits."""
    different = 0
    for array in jobs.symmetric_pictures():
        grey = phash_go._grey(phash_go._reduced(Image.fromarray(array)))
        low = (phash_go._basis() @ grey @ phash_go._basis().T).ravel()
        different += np.packbits(low > np.median(low)).tobytes().hex() != image_hash(array, GO).hex
        assert image_hash(array, GO).margin < 1e-3
    assert different > 0


@given(samples())
@settings(max_examples=50, deadline=None)
def test_the_margin_is_the_smallest_gap_to_the_median(array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    low = exact(array)
    assert image_hash(array, GO).margin == pytest.approx(np.abs(low - np.median(low)).min(), rel=1e-6, abs=2e-6)


def test_the_margin_has_the_unit_of_phash_1() -> None:
    """The first coefficient of both is 4096 times the mean."""
    assert exact(np.full((64, 64), 100, np.uint8))[0, 0] == pytest.approx(4096 * 100)
    smooth = Image.radial_gradient("L").rotate(20).resize((512, 512))
    ratio = Fraction(image_hash(smooth, GO).margin) / Fraction(image_hash(smooth).margin)
    assert 0.2 < ratio < 5


# ------------------------------------------------------------------------------------------------ refusals


def png_of_16_bit_colour(kind: int, channels: int) -> bytes:
    """A 4x4 PNG of 16-bit samples, which Pillow reads but does not write."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(8 * channels)) for _ in range(4))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_is_refused(kind: int, channels: int) -> None:
    data = png_of_16_bit_colour(kind, channels)
    for background in (None, "white"):
        with pytest.raises(InvalidImageError, match=r"16-bit samples.*save the picture with 8 bits"):
            image_hash(data, GO, background=background)
    with Image.open(io.BytesIO(data)) as image, pytest.raises(InvalidImageError, match="16-bit samples"):
        image_hash(image, GO)
    image_hash(data, background="white")


def test_16_bit_grey_with_a_transparent_shade_is_refused() -> None:
    image = Image.fromarray(noise((8, 8)).astype(np.uint16))
    image.info["transparency"] = 7
    for picture in (image, saved(image, transparency=7)):
        with pytest.raises(InvalidImageError, match="16-bit samples"):
            image_hash(picture, GO)


def test_few_bits_with_a_transparent_shade_are_refused() -> None:
    image = Image.fromarray(noise((8, 8))).convert("1")
    image.info["transparency"] = 0
    with pytest.raises(InvalidImageError, match="fewer than 8 bits"):
        image_hash(image, GO)


@pytest.mark.parametrize(
    ("file_format", "reason"),
    [
        ("JPEG", "JPEG decoders differ"),
        ("WEBP", "other formats"),
        ("GIF", "other formats"),
        ("BMP", "other formats"),
    ],
)
def test_other_files_are_refused_with_the_reason(file_format: str, reason: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise((40, 40, 3))).save(buffer, file_format)
    with pytest.raises(InvalidImageError, match=f"is a {file_format} file; phash-go/1 takes PNG.*{reason}"):
        image_hash(buffer.getvalue(), GO)
    with Image.open(buffer) as image:
        with pytest.raises(InvalidImageError, match=reason):
            image_hash(image, GO)
        decoded = image.convert("RGB")
    assert image_hash(decoded, GO) == image_hash(np.asarray(decoded), GO)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "F", "I", "RGBX", "La", "RGBa", "PA"])
def test_modes_that_png_files_do_not_have(mode: str) -> None:
    with pytest.raises(
        InvalidImageError, match=rf'has mode {mode}; expected one of 1, L, LA, P, .*convert it to "RGB"'
    ):
        image_hash(Image.new(mode, (8, 8)), GO)


@pytest.mark.parametrize(
    ("mode", "key"),
    [("L", b"\0"), ("L", (1, 2, 3)), ("RGB", 7), ("RGB", (1, 2)), ("P", 256), ("P", -1), ("P", bytes(257)), ("P", "x")],
)
def test_transparent_colours_that_fit_no_mode(mode: str, key: Any) -> None:
    image = Image.new(mode, (8, 8))
    image.info["transparency"] = key
    with pytest.raises(InvalidImageError, match=f"has the transparent colour .*, which the mode {mode} does not have"):
        image_hash(image, GO)


def test_sides_where_the_original_overflows() -> None:
    with pytest.raises(InvalidImageError, match=r"1048577x1; .*at most 1048576 pixels along a side"):
        image_hash(np.zeros((1, 2**20 + 1), np.uint8), GO)
    assert image_hash(np.zeros((1, 2**20), np.uint8), GO).hex == by_the_book([np.zeros((1, 1), np.uint8)])


# ------------------------------------------------------------------------------------------------ the interface


def test_alpha_is_flattened_where_a_background_is_named() -> None:
    array = noise((50, 60, 4))
    image = Image.fromarray(array)
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    assert image_hash(array, GO, background="white") == image_hash(ground.convert("RGB"), GO)
    assert image_hash(array, GO, background="white") != image_hash(array, GO)


def test_pictures_are_left_as_they_were() -> None:
    for mode in ("L", "RGB", "RGBA", "P"):
        image = Image.fromarray(noise((50, 60, 3))).convert(mode)
        before = image.tobytes(), dict(image.info)
        image_hash(image, GO)
        assert (image.tobytes(), dict(image.info)) == before


def test_strided_arrays_hash_as_their_copy() -> None:
    array = noise((80, 90, 3))
    for view in (array[::2, ::-1], array[:, :, ::-1], array.transpose(1, 0, 2), np.asfortranarray(array)):
        assert image_hash(view, GO) == image_hash(view.copy(), GO)


def test_it_is_another_hash_than_phash_1() -> None:
    array = noise((100, 100, 3))
    assert image_hash(array, GO) != image_hash(array)
    assert image_hash(array, GO).algorithm == GO
    assert not image_hash(array, GO).degenerate
    assert image_hash(np.full((10, 10), 9, np.uint8), GO).degenerate


def test_scores() -> None:
    images = [Image.fromarray(noise((64, 80, 3), seed)) for seed in (1, 2)]
    score = ImageScore.from_images(images, GO)
    assert score.hex == "".join(image_hash(image, GO).hex for image in images)
    assert score.algorithm == GO
