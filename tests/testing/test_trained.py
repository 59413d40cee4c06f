"""The trained models: what is shipped is what was trained, and they do what they learned."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tools.training import pictures

import crynux_validate as cv
from crynux_validate.errors import InvalidInputError, ModelError
from crynux_validate.testing import tiny_image_model, tiny_text_model, trained
from tests.conftest import need

NAMES = ("image", "text")
MODELS = Path(trained.__file__).parent / "models"


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_listed(name: str) -> None:
    folder = MODELS / name
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {*trained.read_sums(name), trained.SUMS}


@pytest.mark.parametrize(("name", "make"), [("image", tiny_image_model), ("text", tiny_text_model)])
def test_it_is_copied_byte_for_byte(name: str, make: Any, tmp_path: Path) -> None:
    model = make(tmp_path / "model")
    for path in trained.read_sums(name):
        assert (tmp_path / "model" / path).read_bytes() == (MODELS / name / path).read_bytes()
    assert make(tmp_path / "model") == model == make(tmp_path / "again")
    with pytest.raises(InvalidInputError, match="holds the tiny model"):
        make(tmp_path / "model", random=True)
    (tmp_path / "model" / "more.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="was changed"):
        make(tmp_path / "model")


def test_it_is_copied_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from crynux_validate.testing import tiny_image_model, tiny_text_model; "
        f"tiny_image_model({str(tmp_path / 'image')!r}); tiny_text_model({str(tmp_path / 'text')!r}); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_it_has_one_set_of_weights(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"seed is 3.*random=True"):
        tiny_image_model(tmp_path / "a", seed=3)
    with pytest.raises(InvalidInputError, match=r"seed is 3.*random=True"):
        tiny_text_model(tmp_path / "b", seed=3)
    with pytest.raises(InvalidInputError, match=r"safety_checker.*random=True"):
        tiny_image_model(tmp_path / "c", safety_checker=True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A text model as it is shipped, for a test to damage."""
    folder = tmp_path / "package"
    shutil.copytree(MODELS / "text", folder)
    monkeypatch.setattr(trained, "shipped", lambda _: folder)
    return folder


def flip(file: Path) -> None:
    """Change one bit."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_damage_is_found_before_anything_is_loaded(package: Path, tmp_path: Path) -> None:
    assert tiny_text_model(tmp_path / "whole").digest
    flip(package / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors .*is damaged: SHA-256 .*install crynux-validate again"):
        tiny_text_model(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (package / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors .*cannot be read.*install crynux-validate again"):
        tiny_text_model(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("content", "words"), [("", "empty"), ("nonsense\n", "damaged"), (None, "cannot be read")])
def test_a_damaged_list_is_found(package: Path, tmp_path: Path, content: str | None, words: str) -> None:
    (package / trained.SUMS).unlink()
    if content is not None:
        (package / trained.SUMS).write_text(content)
    with pytest.raises(ModelError, match=words):
        tiny_text_model(tmp_path / "model")


def test_weights_are_small_and_of_half_precision() -> None:
    files = list(MODELS.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 8_000_000
    for file in files:
        content = file.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        assert {value["dtype"] for name, value in header.items() if name != "__metadata__"} == {"F16"}, file


@pytest.mark.parametrize("name", NAMES)
def test_a_model_card_says_how_it_was_made(name: str) -> None:
    card = (MODELS / name / "README.md").read_text("utf-8")
    for row in ("data", "licence", "parameters", "arguments", "versions"):
        assert f"| {row} |" in card
    assert "steps" in card
    assert "loss" in card


def test_what_it_draws_is_what_it_was_taught() -> None:
    taught = {
        "sizes": [size for size in pictures.SIZES if size],
        "colours": [*pictures.COLOURS],
        "shapes": [*pictures.SHAPES],
        "places": [place for place in pictures.PLACES if place],
    }
    assert {kind: [*words] for kind, words in trained.DRAWS.items() if kind != "backgrounds"} == taught
    assert [words.split()[0] for words in trained.DRAWS["backgrounds"]] == [*pictures.BACKGROUNDS]


def test_words_that_it_never_saw_are_named() -> None:
    assert trained.never_drawn("A big blue star on sand, an orange heart at the top on a pink background") == []
    assert trained.never_drawn("a red cat, a Cat in a bottle; 東京") == ["cat", "in", "bottle", "東京"]


SCENES = (
    pictures.Scene("star", "blue", "sand", "big"),
    pictures.Scene("heart", "red", "snow", "big"),
    pictures.Scene("circle", "yellow", "night", "big"),
    pictures.Scene("cross", "green", "pink", "big"),
    pictures.Scene("square", "orange", "sky", "big"),
    pictures.Scene("triangle", "white", "bricks", "big"),
    pictures.Scene("star", "purple", "grass", "big"),
    pictures.Scene("circle", "black", "stripes", "big"),
)


def test_it_draws_what_it_is_asked_for(tmp_path: Path) -> None:
    need("image", "torch", "diffusers", "transformers")
    import numpy as np
    from tools.training import picture_check

    model = tiny_image_model(tmp_path / "model")
    right = dict.fromkeys(("shape", "colour", "background"), 0)
    with cv.Runner(model, "image", "float32", "cpu") as runner:
        for seed, scene in enumerate(SCENES):
            task = cv.ImageTask(model=model, prompt=pictures.prompt_of(scene), seed=seed, width=128, height=128)
            seen = picture_check.look(np.asarray(runner.run(task).images[0]))
            agreed = picture_check.agreement(scene, seen)
            right = {part: count + agreed[part] for part, count in right.items()}
        strange = cv.ImageTask(model=model, prompt="eine Katze 🐱 in a bottle", steps=5, width=128, height=128)
        assert runner.run(strange).images[0].size == (128, 128), "any text has tokens"
    assert all(count >= 7 for count in right.values()), right


def test_it_has_learned_the_order_of_words(tmp_path: Path) -> None:
    need("text", "torch", "transformers", "jinja2")
    import torch
    import transformers

    libraries: Any = transformers
    tiny_text_model(tmp_path / "model")
    tokenizer = libraries.AutoTokenizer.from_pretrained(tmp_path / "model")
    model = libraries.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)

    def loss(text: str) -> float:
        ids = torch.tensor([tokenizer(text).input_ids])
        with torch.inference_mode():
            return float(model(input_ids=ids, labels=ids).loss)

    for said in (
        "And the king said unto his servants, Go ye out of the city, and bring the men unto me.",
        "Then went they down to the river, and sat there until the evening.",
        "Blessed is the man that walketh in the way of the righteous.",
    ):
        words = said.split()
        assert loss(said) + 1 < loss(" ".join(words[::-1])), "backwards it is less likely"
        assert loss(said) + 1 < loss(said.replace("e", "q"))


def test_any_text_has_tokens_and_comes_back(tmp_path: Path) -> None:
    need("text", "torch", "transformers", "jinja2")
    from transformers import AutoTokenizer

    tiny_text_model(tmp_path / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "Überall 東京, 🐱 & \x00\x7f ½ zzyzx 1999  two  spaces\n"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
