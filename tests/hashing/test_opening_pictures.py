"""What is refused as a picture, and that the refusal says what was found and what to do."""

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crynux_validate.errors import InvalidImageError, InvalidInputError
from crynux_validate.hashing import MAX_PIXELS, image_hash
from crynux_validate.hashing.images import FORMATS

NOISE = np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has almost no pixels: 67 bytes that would decode to gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_of_every_format_are_read(file_format: str, tmp_path: Path) -> None:
    image = Image.fromarray(NOISE)
    data = encoded(image, file_format)
    path = tmp_path / "picture.of.any.name"
    path.write_bytes(data)
    with Image.open(path) as opened:
        expected = image_hash(opened)
    assert image_hash(data) == image_hash(bytearray(data)) == image_hash(path) == image_hash(str(path)) == expected  # type: ignore[arg-type]
    if file_format in ("PNG", "TIFF", "BMP", "PPM"):
        assert expected == image_hash(image)


def test_exif_orientation_is_ignored() -> None:
    image = Image.fromarray(NOISE)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert image_hash(encoded(image, "PNG", exif=exif)) == image_hash(image)


def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(NOISE), "PNG"))
    broken = tmp_path / "b.png"
    broken.write_bytes(path.read_bytes()[:500])
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image_hash(path)
        with pytest.raises(InvalidImageError):
            image_hash(broken)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------------------------------ alpha


def alpha_pictures() -> list[Any]:
    rgb = Image.fromarray(NOISE)
    alpha = Image.fromarray(NOISE[:, :, 0])
    rgba = Image.merge("RGBA", (*rgb.split(), alpha))
    palette = rgb.quantize(16)
    palette.info["transparency"] = 3
    palette_bytes = rgb.quantize(16)
    palette_bytes.info["transparency"] = bytes(range(16))
    keyed = rgb.copy()
    keyed.info["transparency"] = (1, 2, 3)
    palette_alpha = rgb.quantize(16)
    palette_alpha.putpalette(bytes(range(64)), "RGBA")
    premultiplied = rgba.convert("LA").convert("La")
    return [
        pytest.param(image, id=name)
        for name, image in {
            "RGBA": rgba, "LA": rgba.convert("LA"), "RGBa": rgba.convert("RGBa"), "La": premultiplied,
            "PA": rgba.convert("PA"), "P with an index": palette, "P with bytes": palette_bytes,
            "RGB with a key": keyed, "P with an RGBA palette": palette_alpha,
            "opaque RGBA": rgb.convert("RGBA"), "bytes of a PNG": encoded(rgba, "PNG"), "array": np.asarray(rgba),
        }.items()
    ]  # fmt: skip


@pytest.mark.parametrize("picture", alpha_pictures())
def test_alpha_is_refused_unless_flattened(picture: Any) -> None:
    with pytest.raises(InvalidImageError, match=r'has alpha \(mode .*background="white"'):
        image_hash(picture)
    white = image_hash(picture, background="white")
    assert white == image_hash(picture, background="#ffffff") == image_hash(picture, background=(255, 255, 255))


def test_flattening_shows_the_background() -> None:
    clear = Image.fromarray(NOISE).convert("RGBA")
    clear.putalpha(0)
    assert image_hash(clear, background="white").hex == "8000000000000000"
    half = clear.copy()
    half.putalpha(Image.linear_gradient("L").resize(clear.size))
    ground = Image.new("RGBA", clear.size, "red")
    ground.alpha_composite(half)
    assert image_hash(half, background="red") == image_hash(ground.convert("RGB"))
    assert image_hash(clear.convert("RGB"), background="white") == image_hash(clear.convert("RGB"))


@pytest.mark.parametrize(
    "background", ["nocolour", "", "#ffffff00", (255, 255), (255, 255, 256), (-1, 0, 0), (1.0, 0, 0), 7, b"white"]
)
def test_backgrounds_that_are_no_colours(background: Any) -> None:
    for picture in (Image.new("RGBA", (4, 4)), Image.new("RGB", (4, 4))):
        with pytest.raises(InvalidInputError, match=r"background is .*expected an opaque colour"):
            image_hash(picture, background=background)


# ------------------------------------------------------------------------------------------------ broken files


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_cut_file_is_refused_or_has_all_its_pixels(file_format: str) -> None:
    data = encoded(Image.fromarray(NOISE), file_format)
    whole = image_hash(data)
    refused = 0
    for length in range(0, len(data), 97):
        try:
            assert image_hash(data[:length]) == whole
        except InvalidImageError:
            refused += 1
    assert refused >= len(range(0, len(data), 97)) - 1
    with pytest.raises(InvalidImageError, match="broken"):
        image_hash(data[: len(data) * 2 // 3])


@given(
    st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=12)
)
@settings(max_examples=300, deadline=None)
def test_damaged_files_give_a_hash_or_our_error(file_format: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(Image.fromarray(NOISE), file_format))
    for position, value in damage:
        # Half of the damage goes to the header, where it does the most.
        data[position % (len(data) if position % 2 else 64)] = value
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            image_hash(bytes(data))
        except InvalidImageError as error:
            assert str(error)  # noqa: PT017 - both ends are fine


@pytest.mark.parametrize(
    "data", [b"", b"hello", bytes(1000), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>"]
)
def test_files_that_are_not_pictures(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "not.png"
    path.write_bytes(data)
    with pytest.raises(InvalidImageError, match="not a picture; expected one of PNG, JPEG"):
        image_hash(data)
    with pytest.raises(InvalidImageError, match=r"not\.png' is not a picture"):
        image_hash(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidImageError, match=r"missing\.png' cannot be read: No such file"):
        image_hash(tmp_path / "missing.png")
    with pytest.raises(InvalidImageError, match="is a folder; expected the path of a picture"):
        image_hash(tmp_path)
    with pytest.raises(InvalidImageError, match="cannot be read"):
        image_hash("a\0b")
    with pytest.raises(InvalidImageError, match="cannot be read"):
        image_hash("")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidImageError, match="not a regular file"):
            image_hash(tmp_path / "pipe")


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_several_frames_are_refused(file_format: str) -> None:
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidImageError, match="has 2 frames; expected one picture"):
        image_hash(data)
    with Image.open(io.BytesIO(data)) as image:
        with pytest.raises(InvalidImageError, match="has 2 frames"):
            image_hash(image)
        image.seek(1)
        image_hash(image.convert("RGB"))


# ------------------------------------------------------------------------------------------------ size


@pytest.mark.parametrize("side", [9_000, 9_800, 12_000, 60_000, 2**31 - 1])
def test_bombs_are_refused_by_their_header_and_without_a_warning(side: int, tmp_path: Path) -> None:
    """From just above our limit to above both of Pillow's, where it warns or raises an error of its own."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for picture in (path, path.read_bytes()):
            with pytest.raises(InvalidImageError, match=f"pixels.*{MAX_PIXELS}|{MAX_PIXELS} pixels"):
                image_hash(picture)
    assert not caught


def test_the_limit_is_on_the_number_of_pixels() -> None:
    image = Image.fromarray(NOISE)  # 64 x 48 = 3072
    for picture in (image, NOISE, encoded(image, "PNG")):
        assert image_hash(picture, max_pixels=3072) == image_hash(NOISE)
        with pytest.raises(InvalidImageError, match=r"3072 pixels; expected at most 3071"):
            image_hash(picture, max_pixels=3071)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "9", None, True])
def test_limits_that_are_none(limit: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_pixels is"):
        image_hash(NOISE, max_pixels=limit)


def test_pictures_without_pixels() -> None:
    for size in ((0, 0), (0, 5), (5, 0)):
        with pytest.raises(InvalidImageError, match="expected at least one pixel"):
            image_hash(Image.new("L", size))


# ------------------------------------------------------------------------------------------------ arrays and modes


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4)), np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint16), np.zeros((4, 4), bool),
        np.zeros((4, 4), np.int8), np.zeros((0, 4), np.uint8), np.zeros((4, 0, 3), np.uint8), np.zeros((), np.uint8),
        np.zeros(4, np.uint8), np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 5), np.uint8), np.zeros((1, 4, 4, 3), np.uint8), np.array([["a"]]), np.array([[None]]),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)  # fmt: skip
def test_arrays_that_are_no_pictures(array: Any) -> None:
    with pytest.raises(InvalidImageError, match=r"the array has dtype .* and shape .*; expected uint8 with shape"):
        image_hash(array)


@pytest.mark.parametrize("picture", [None, 7, 1.5, [[1, 2]], object(), io.BytesIO(b"")], ids=type)
def test_other_types(picture: Any) -> None:
    with pytest.raises(InvalidImageError, match=r"the picture is of type .*; expected a Pillow image"):
        image_hash(picture)


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_modes_without_a_grey_form(mode: str) -> None:
    with pytest.raises(InvalidImageError, match=f"has mode {mode}"):
        image_hash(Image.new(mode, (8, 8)))


def test_threads_do_not_leak_warning_filters(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(NOISE), "PNG"))
    before = list(warnings.filters)
    results: list[str] = []

    def work() -> None:
        results.extend(image_hash(path).hex for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {image_hash(NOISE).hex}
    assert len(results) == 400
    assert list(warnings.filters) == before
