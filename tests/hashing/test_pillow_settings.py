"""What a program sets for all of Pillow, numpy or Python's warnings decides no hash."""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageFile, TiffImagePlugin

from crynux_validate.errors import InvalidImageError, PipelineError
from crynux_validate.hashing import image_hash, image_hashes
from crynux_validate.hashing.images import FORMATS

NOISE = np.random.default_rng(7).integers(0, 256, (97, 61, 3), dtype=np.uint8)
OPTIONS: dict[str, dict[str, Any]] = {"TIFF": {"compression": "tiff_lzw"}, "JPEG": {"quality": 95}}


def encoded(file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, file_format, **OPTIONS.get(file_format, {}))
    return buffer.getvalue()


WHOLE = {file_format: encoded(file_format) for file_format in FORMATS}


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    ImageFile.LOAD_TRUNCATED_IMAGES = False


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("file_format", FORMATS)
def test_half_a_file_has_no_hash(file_format: str, tmp_path: Path) -> None:
    whole = WHOLE[file_format]
    half = whole[: len(whole) // 2]
    path = tmp_path / "half"
    path.write_bytes(half)
    pictures: list[Callable[[], Any]] = [lambda: half, lambda: path]
    if file_format not in ("GIF", "TIFF", "WEBP"):  # Pillow itself refuses to open those
        pictures.append(lambda: Image.open(io.BytesIO(half)))
    for picture in pictures:
        with pytest.raises(InvalidImageError, match=r"broken|truncated|not a picture"):
            image_hash(picture())
        assert ImageFile.LOAD_TRUNCATED_IMAGES  # as the program has it
    (found,) = image_hashes([path], processes=2, return_errors=True)
    assert isinstance(found, InvalidImageError)


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_whole_file_has_the_same_hash(file_format: str) -> None:
    found = image_hash(WHOLE[file_format])
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    assert found == image_hash(WHOLE[file_format])


@pytest.mark.usefixtures("lenient")
def test_a_png_with_a_wrong_checksum_has_no_hash() -> None:
    data = bytearray(WHOLE["PNG"])
    data[29] ^= 1  # of the header
    with pytest.raises(InvalidImageError):
        image_hash(bytes(data))


@pytest.mark.usefixtures("lenient")
def test_many_threads_leave_the_setting_as_it_was() -> None:
    half = WHOLE["PNG"][:9000]
    found = image_hashes([WHOLE["PNG"], half] * 40, threads=8, return_errors=True)
    assert {type(result).__name__ for result in found[1::2]} == {"InvalidImageError"}
    assert set(found[::2]) == {image_hash(WHOLE["PNG"])}
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.usefixtures("restored")
def test_switching_it_on_in_the_middle_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    load = ImageFile.ImageFile.load

    def switched_on(image: ImageFile.ImageFile) -> Any:
        thread = threading.Thread(target=setattr, args=(ImageFile, "LOAD_TRUNCATED_IMAGES", True))
        thread.start()
        thread.join()
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", switched_on)
    with pytest.raises(PipelineError, match="LOAD_TRUNCATED_IMAGES was switched on while"):
        image_hash(WHOLE["PNG"])
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # what the other thread wants stays
    monkeypatch.undo()
    assert image_hash(WHOLE["PNG"]).hex
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    ("holder", "name", "value"),
    [
        (ImageFile, "MAXBLOCK", 16),
        (ImageFile, "SAFEBLOCK", 16),
        (Image, "MAX_IMAGE_PIXELS", None),
        (Image, "MAX_IMAGE_PIXELS", 4000),  # Pillow warns from this on, and refuses from twice as many
        (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS),
        (TiffImagePlugin, "READ_LIBTIFF", True),
    ],
    ids=lambda value: str(value),
)
def test_settings_of_pillow_change_nothing(monkeypatch: pytest.MonkeyPatch, holder: Any, name: str, value: Any) -> None:
    before = image_hashes(WHOLE.values())
    monkeypatch.setattr(holder, name, value)
    assert image_hashes(WHOLE.values()) == before


def test_a_lower_limit_of_pillow_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InvalidImageError, match="MAX_IMAGE_PIXELS"):
        image_hash(WHOLE["PNG"])


def png_that_warns_while_it_is_read() -> bytes:
    """Pillow meets a second header of an animation after the samples, and warns."""
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "PNG")
    data = buffer.getvalue()
    content = b"acTL" + bytes(8)
    chunk = struct.pack(">I", 8) + content + struct.pack(">I", zlib.crc32(content))
    return data[:-12] + chunk + data[-12:]


def test_warnings_as_errors_refuse_no_file() -> None:
    data = png_that_warns_while_it_is_read()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_hash(data) == image_hash(WHOLE["PNG"])
        with Image.open(io.BytesIO(data)) as image:
            assert image_hash(image) == image_hash(WHOLE["PNG"])
        with Image.open(io.BytesIO(data)) as image, pytest.raises(UserWarning, match="Invalid APNG"):
            image.load()  # the filters are as they were, and without this library the picture is refused


@pytest.mark.parametrize("algorithm", ["phash/1", "phash-go/1"])
def test_numpy_errors_as_exceptions_change_nothing(algorithm: Any) -> None:
    pictures = [NOISE, NOISE[:1, :1], np.zeros((40, 30), np.uint8), np.full((64, 64), 255, np.uint8)]
    before = image_hashes(pictures, algorithm)
    with np.errstate(all="raise"):
        assert [image_hash(picture, algorithm) for picture in pictures] == before
