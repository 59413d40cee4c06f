"""Pictures that a task names: by the digest of their file, found as parts are, and the same pixels everywhere."""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crynux_validate import ModelRef, TextTask, task_from_json
from crynux_validate.errors import InvalidInputError, InvalidTaskError, PipelineError
from crynux_validate.pipelines.pictures import MAX_PIXELS, read_picture
from crynux_validate.tasks import PictureRef
from crynux_validate.tasks.pictures import MAX_PICTURE_BYTES

MODEL = ModelRef(digest="0" * 64)


def picture(size: tuple[int, int] = (9, 7), mode: str = "RGB", seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def png(image: Image.Image, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **({"format": "PNG"} | settings))
    return file.getvalue()


def shown(*blocks: Any, pictures: Any = ()) -> TextTask:
    return TextTask(model=MODEL, messages=[{"role": "user", "content": list(blocks)}], pictures=pictures)


IMAGE = {"type": "image"}


def test_a_picture_is_the_sha256_of_its_file(tmp_path: Path) -> None:
    data = png(picture())
    (tmp_path / "a.png").write_bytes(data)
    local, here = PictureRef.local(tmp_path / "a.png"), PictureRef.of(data)
    assert local == here
    assert here.to_dict() == {"digest": hashlib.sha256(data).hexdigest()}
    assert local.data() == here.data() == data
    assert PictureRef.from_dict(here.to_dict()) == here
    assert "a.png" not in json.dumps(shown(IMAGE, pictures=[local]).to_dict())
    assert pickle.loads(pickle.dumps(shown(IMAGE, pictures=[local]))).pictures[0].data() == data


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, None, 7, "A" * 64])
def test_what_is_no_digest_is_refused(digest: Any) -> None:
    with pytest.raises(InvalidTaskError, match="64 lower-case"):
        PictureRef(digest)


def test_the_picture_is_in_the_digest_of_the_task() -> None:
    one, two = PictureRef.of(png(picture())), PictureRef.of(png(picture(seed=1)))
    text = {"type": "text", "text": "which is older?"}
    task = shown(IMAGE, IMAGE, text, pictures=[one, two])
    assert task.digest != shown(IMAGE, IMAGE, text, pictures=[two, one]).digest
    assert task_from_json(task.to_json()) == task
    assert TextTask.model_validate_json(task.model_dump_json()) == task
    assert task.pictures_named() == {"pictures.0": one, "pictures.1": two}


def test_text_around_a_picture_has_one_form() -> None:
    one = PictureRef.of(png(picture()))

    def blocks(*texts: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": text} for text in texts]

    assert shown(*blocks("a", "b"), IMAGE, *blocks("c", "d"), pictures=[one]) == shown(
        *blocks("ab"), IMAGE, *blocks("cd"), pictures=[one]
    )
    assert shown(*blocks("a", "b")).messages == ({"role": "user", "content": "ab"},)


@pytest.mark.parametrize(
    ("blocks", "many", "problem"),
    [
        ([IMAGE], 0, "has 0, but the messages show 1"),
        ([{"type": "text", "text": "a"}], 1, "has 1, but the messages show 0"),
        ([IMAGE] * 17, 17, "at most 16"),
        ([{"type": "video"}], 0, "video and audio are not supported"),
        ([{"type": "image", "url": "https://a.b/c.png"}], 1, "name the picture in the task's pictures"),
        ([{"type": {}}], 0, "expected 'text', or 'image'"),
    ],
)
def test_messages_and_pictures_fit_together(blocks: list[Any], many: int, problem: str) -> None:
    pictures = [PictureRef.of(b"a")] * many
    with pytest.raises(InvalidTaskError, match=problem):
        shown(*blocks, pictures=pictures)


def test_pictures_are_shown_in_messages_alone() -> None:
    with pytest.raises(InvalidTaskError, match="need messages as the input"):
        TextTask(model=MODEL, prompt="a", pictures=[PictureRef.of(b"a")])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([{"path": "/etc/passwd"}], r"pictures\.0\.path: no such field"),
        ([{"digest": "0" * 64, "source": "/etc/passwd"}], r"pictures\.0\.source: no such field"),
        ([{}], r"pictures\.0\.digest: is missing"),
        (["0" * 64], r"pictures\.0: is '0000"),
        ("0" * 64, "pictures: is '0000"),
    ],
)
def test_a_stranger_names_digests_alone(given: Any, problem: str) -> None:
    task = shown(IMAGE, pictures=[PictureRef.of(b"a")])
    with pytest.raises(InvalidTaskError, match=problem):
        task_from_json(task.to_dict() | {"pictures": given})


def test_pictures_are_found_as_folders_are(tmp_path: Path) -> None:
    data = png(picture())
    for name, content in {"a.png": data, "b.png": png(picture(seed=1))}.items():
        (tmp_path / name).write_bytes(content)
    task = task_from_json(shown(IMAGE, pictures=[PictureRef.of(data)]).to_json())
    with pytest.raises(PipelineError, match=r"pictures\.0: the file of .* is not known on this machine"):
        read_picture("pictures.0", task.pictures_named()["pictures.0"])
    found = task.at(tmp_path / "a.png")
    assert found == task
    assert found.pictures_named()["pictures.0"].data() == data
    with pytest.raises(InvalidInputError, match=r"b\.png holds .*; the task asks for pictures\.0 sha256:"):
        task.at(tmp_path / "b.png")
    with pytest.raises(InvalidInputError, match="no such file"):
        PictureRef.local(tmp_path / "c.png")
    with pytest.raises(InvalidInputError, match="it is not a file"):
        PictureRef.local(tmp_path)
    (tmp_path / "a.png").write_bytes(png(picture(seed=2)))
    with pytest.raises(PipelineError, match="but the task needs"):
        read_picture("pictures.0", found.pictures_named()["pictures.0"])
    (tmp_path / "a.png").unlink()
    with pytest.raises(PipelineError, match="cannot be read"):
        read_picture("pictures.0", found.pictures_named()["pictures.0"])


def test_sizes_are_limited(tmp_path: Path) -> None:
    for size in (0, MAX_PICTURE_BYTES + 1):
        (tmp_path / "a").write_bytes(b"a" * size)
        with pytest.raises(InvalidInputError, match=str(MAX_PICTURE_BYTES)):
            PictureRef.local(tmp_path / "a")
        with pytest.raises(InvalidInputError, match=str(MAX_PICTURE_BYTES)):
            PictureRef.of(b"a" * size)
    wide = png(Image.new("1", (MAX_PIXELS // 1024 + 1, 1024)))
    with pytest.raises(PipelineError, match=f"at most {MAX_PIXELS}"):
        read_picture("mask", PictureRef.of(wide))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_pixels_are_those_of_the_file(mode: str) -> None:
    image = picture(mode=mode)
    found = read_picture("mask", PictureRef.of(png(image)))
    assert found.mode == "RGB"
    assert found.tobytes() == image.convert("RGB").tobytes()


def test_what_has_no_certain_pixels_is_refused() -> None:
    image = picture()
    refused = {
        "is a JPEG.*save it as PNG": png(image, format="JPEG"),
        "is a WEBP": png(image, format="WEBP"),
        "has alpha": png(image.convert("RGBA")),
        "8 bits or fewer": png(Image.new("I;16", (3, 3))),
        "2 frames": png(image, save_all=True, append_images=[picture(seed=1)]),
        "is not a picture": b"abc",
        "broken or truncated": png(picture((200, 200)))[:9000],
    }
    for problem, data in refused.items():
        with pytest.raises(PipelineError, match=f"mask: .*{problem}"):
            read_picture("mask", PictureRef.of(data))
    transparent = image.convert("P")
    with pytest.raises(PipelineError, match="has alpha"):
        read_picture("mask", PictureRef.of(png(transparent, transparency=0)))
