"""Trainings of a few steps, from end to end: what they write, the library loads and runs."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crynux_validate as cv
from tests.conftest import need

VERSES = (
    "In the beginning was a hill, and the hill was by the sea.",
    "And the man said unto the woman, Behold, the day is come;",
    "Then went they down to the river, and sat there until the evening.",
)


@pytest.fixture(scope="module", autouse=True)
def kept() -> Iterator[None]:
    """Put back what a training sets for its whole process."""
    need("text", "torch")
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text in the shape in which the program prints it."""
    path = tmp_path_factory.mktemp("book") / "text.txt"
    lines = []
    for chapter in range(1, 13):
        lines += ["", f"Hills {chapter}", ""]
        lines += [f"  {verse} {VERSES[verse * chapter % 3]}" for verse in range(1, 9)]
    path.write_text("\n".join(lines), encoding="ascii")
    return path


def test_a_book_is_chapters_of_verses(book: Path) -> None:
    from tools.training import bible

    read = bible.read(book)
    assert len(read.training) == 11
    assert len(read.held_out) == 1
    assert {len(chapter) for chapter in chain(read.training, read.held_out)} == {8}
    assert set(chain.from_iterable(read.training)) == set(VERSES)
    assert len(read.digest) == 64


def test_a_text_without_chapters_is_refused(tmp_path: Path) -> None:
    from tools.training import bible

    (tmp_path / "text.txt").write_text("Nothing\n", encoding="ascii")
    with pytest.raises(ValueError, match="no chapters"):
        bible.read(tmp_path / "text.txt")


@pytest.fixture(scope="module")
def trained(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, after twelve steps."""
    need("text", "torch", "transformers", "jinja2")
    folder = tmp_path_factory.mktemp("text")
    _train_text(book, folder, 12)
    return folder / "model"


def test_the_library_continues_an_opening(trained: Path) -> None:
    model = cv.ModelRef.local(trained)
    opening = [{"role": "user", "content": "And the man said"}]
    task = cv.TextTask(model=model, messages=opening, max_new_tokens=8, eos_token_ids=[], dtype="float32")
    result = cv.run(task, device="cpu")
    assert len(result.token_ids[0]) == 8
    # The template adds nothing to an opening but the token with which a text begins, as a prompt has it too.
    assert cv.run(task.replace(messages=None, prompt="And the man said"), device="cpu").texts == result.texts


def test_an_answer_stands_where_the_opening_ended(trained: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(trained)
    talk = [
        {"role": "system", "content": "Hills"}, {"role": "user", "content": "And the man said"},
        {"role": "assistant", "content": " unto the woman."}, {"role": "user", "content": "Then"},
    ]  # fmt: skip
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert text == "<|begin|>Hills\nAnd the man said unto the woman.\nThen"


def test_weights_are_float16_and_the_card_says_how_they_came_about(trained: Path) -> None:
    from safetensors.numpy import load_file

    assert {array.dtype for array in load_file(trained / "model.safetensors").values()} == {np.dtype(np.float16)}
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "12 steps" in card
    assert "nats a token" in card


def test_a_training_that_is_resumed_ends_where_one_without_a_break_ends(
    book: Path, trained: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    # The first sitting leaves a checkpoint of its last step before the learning rate falls.
    _train_text(book, tmp_path, 12, stop=6)
    _train_text(book, tmp_path, 12)
    one, other = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "model"))
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_the_autoencoder_begins_by_shrinking_and_enlarging() -> None:
    need("image", "torch", "diffusers", "transformers")
    import torch
    from tools.training import autoencoder, image

    torch.manual_seed(0)
    vae = autoencoder.build([8, 16, 32, 48]).eval()
    _, drawn = image.drawn(24, 3)
    target = image.as_tensor(drawn)
    autoencoder.calibrate(vae, target[:16])
    blocks = torch.nn.functional.avg_pool2d(target[16:], 8)
    blurred = torch.nn.functional.interpolate(blocks, scale_factor=8)
    with torch.inference_mode():
        made = vae.decode(vae.encode(target[16:]).latent_dist.mean).sample
    # A hundredth of the range is what norms change.
    assert float((made - blurred).abs().mean()) < 0.02


def test_an_image_training_draws_and_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("image", "torch", "diffusers", "transformers")
    from tools import train_image_model

    small = (
        "--pictures 8 --vae-steps 2 --vae-batch 4 --vae-widths 8 8 8 8 --steps 2 --batch 2 --widths 16 16 --prompts 2"
    )
    train_image_model.main([*small.split(), "--out", str(tmp_path / "model"), "--work", str(tmp_path / "work")])
    assert "prompts followed" in capsys.readouterr().out
    model = cv.ModelRef.local(tmp_path / "model")
    # Any words have tokens, also those that no picture was drawn for.
    task = cv.ImageTask(model=model, prompt="ein grünes Schloß, 城", steps=2, width=128, height=128)
    result = cv.run(task, device="cpu")
    assert result.images[0].size == (128, 128)
    assert (tmp_path / "work" / "sheet.png").is_file()
    assert "2 steps" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def _train_text(book: Path, folder: Path, steps: int, stop: int | None = None) -> None:
    from tools import train_text_model

    small = "--vocabulary 300 --width 32 --inner 64 --layers 2 --heads 2 --tokens 512 --checkpoints 2"
    ending = [] if stop is None else ["--stop", str(stop)]
    places = ["--text", str(book), "--out", str(folder / "model"), "--work", str(folder / "work")]
    train_text_model.main([*small.split(), "--steps", str(steps), *places, *ending])
