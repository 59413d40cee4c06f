"""Random models: the same bytes everywhere, real pipelines, and pictures that tell cheats from honest runs."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing import hamming, image_hash
from crynux_validate.tasks import ModelRef
from crynux_validate.testing import tiny_image_model, tiny_sdxl_model
from crynux_validate.testing.fake_hardware import Workers
from tests.testing import jobs

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Leave the other threads to the workers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def files(folder: Path) -> dict[str, bytes]:
    """Return every file of a model."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def folder_of(model: ModelRef) -> Path:
    """Return where a local model lies."""
    assert model.path is not None
    return model.path


def test_importing_the_kit_does_not_import_torch() -> None:
    program = (
        "import sys; from crynux_validate.testing import tiny_image_model, fake_hardware; "
        "import crynux_validate.testing as kit; "
        "assert set(kit.__all__) <= set(dir(kit)); assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    import crynux_validate.testing as kit

    with pytest.raises(AttributeError, match="no_such_name"):
        _ = kit.no_such_name


def test_other_hardware_builds_the_same_bytes(
    image_model: ModelRef, fake_hardware_workers: Workers, tmp_path: Path
) -> None:
    other = fake_hardware_workers["oldest"].run(tiny_image_model, str(tmp_path / "sd"), random=True)
    assert other == image_model
    assert files(tmp_path / "sd") == files(folder_of(image_model))


def test_a_seed_is_another_model_and_an_empty_folder_will_do(image_model: ModelRef, tmp_path: Path) -> None:
    import torch

    state = torch.random.get_rng_state()
    other = tiny_image_model(tmp_path, random=True, seed=1)
    assert other.digest != image_model.digest
    assert torch.equal(torch.random.get_rng_state(), state), "building a model moved torch's own generator"
    assert {path.name for path in tmp_path.parent.iterdir() if path.name.startswith(f".{tmp_path.name}")} == set()


def test_a_model_is_built_once(image_model: ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    from crynux_validate.testing import tiny_image

    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("built again")

    monkeypatch.setattr(tiny_image, "stable_diffusion", refuse)
    assert tiny_image_model(folder_of(image_model), random=True) == image_model


def test_a_folder_that_holds_something_else_is_refused(image_model: ModelRef, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="not empty and holds no tiny model"):
        tiny_image_model(tmp_path)
    with pytest.raises(InvalidInputError, match="not empty and holds no tiny model"):
        tiny_image_model(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(InvalidInputError, match=r"'seed': 0.*'seed': 2"):
        tiny_image_model(folder_of(image_model), random=True, seed=2)
    with pytest.raises(InvalidInputError, match="'kind': 'sd'"):
        tiny_sdxl_model(folder_of(image_model))


def test_a_model_that_was_changed_is_refused(image_model: ModelRef, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name, data in files(folder_of(image_model)).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    assert tiny_image_model(copy, random=True) == image_model
    (copy / "scheduler" / "extra.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="was changed since it was built"):
        tiny_image_model(copy, random=True)


def test_everything_can_be_spelt(image_model: ModelRef) -> None:
    from transformers import CLIPTokenizer

    from crynux_validate.testing import tiny_base

    tokenizer: Any = CLIPTokenizer.from_pretrained(folder_of(image_model) / "tokenizer")
    for word in tiny_base.WORDS.split():
        assert tokenizer.tokenize(word) == [f"{word}</w>"]
    text = "Überall 東京, 🐱 & \x00\x7f ½ zzyzx 1999"
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert len(tokenizer(text, padding="max_length", truncation=True).input_ids) == 77


@pytest.mark.parametrize("kind", ["sd", "safety", "sdxl"])
def test_it_loads_in_silence_and_paints(
    kind: str, image_model: ModelRef, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import diffusers
    import transformers  # noqa: F401 - imported before the log is watched: it complains about what is not installed

    pipelines: Any = diffusers
    _ = pipelines.StableDiffusionXLPipeline, pipelines.StableDiffusionPipeline
    model = {
        "sd": lambda: image_model,
        "safety": lambda: tiny_image_model(tmp_path / "safety", random=True, safety_checker=True),
        "sdxl": lambda: tiny_sdxl_model(tmp_path / "sdxl"),
    }[kind]()
    loggers = [logging.getLogger("diffusers"), logging.getLogger("transformers")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        pipeline = pipelines.DiffusionPipeline.from_pretrained(folder_of(model), use_safetensors=True)
        pipeline.set_progress_bar_config(disable=True)
        # diffusers' Euler scheduler warns under numpy 2.
        pipeline.scheduler = pipelines.DDIMScheduler.from_config(pipeline.scheduler.config)
        result = pipeline("a red cat", num_inference_steps=2, height=64, width=64)
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert result.images[0].size == (64, 64)
    assert all(low < high for low, high in result.images[0].getextrema())
    if kind == "safety":
        assert result.nsfw_content_detected == [False]


def test_configuration_is_that_of_stable_diffusion(image_model: ModelRef) -> None:
    config = json.loads((folder_of(image_model) / "scheduler" / "scheduler_config.json").read_text())
    wanted = {"beta_schedule": "scaled_linear", "steps_offset": 1, "clip_sample": False, "prediction_type": "epsilon"}
    assert wanted.items() <= config.items()


def test_honest_machines_agree_and_cheats_do_not(image_model: ModelRef, fake_hardware_workers: Workers) -> None:
    folder = folder_of(image_model)
    native, oldest = fake_hardware_workers["native"], fake_hardware_workers["oldest"]
    honest = native.submit(jobs.picture, folder, "old castle on a mountain", 3, 20)
    elsewhere = oldest.submit(jobs.picture, folder, "old castle on a mountain", 3, 20)
    cheats = {
        "half the steps": native.submit(jobs.picture, folder, "old castle on a mountain", 3, 10),
        "another seed": oldest.submit(jobs.picture, folder, "old castle on a mountain", 4, 20),
        "another prompt": native.submit(jobs.picture, folder, "a black bird", 3, 20),
    }
    picture, other = honest.result(), elsewhere.result()
    hash_ = image_hash(picture)
    assert (picture != other).any(), "the kinds painted the same pixels: nothing is tested"
    assert hamming(hash_, image_hash(other)) < 16, "honest machines agree at the default threshold"
    assert picture.std() > 40, "a picture without contrast"
    assert not hash_.degenerate
    for name, future in cheats.items():
        assert hamming(hash_, image_hash(future.result())) >= 16, name


def test_the_text_model_is_the_same_everywhere_and_loads_no_diffusers(tmp_path: Path, text_model: ModelRef) -> None:
    script = (
        "import sys; from crynux_validate.testing import tiny_text_model; "
        f"print(tiny_text_model({str(tmp_path / 'again')!r}, random=True).digest, 'diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [text_model.digest, "False"]
    assert done.stderr == ""
    with pytest.raises(InvalidInputError, match="holds the tiny model"):
        tiny_image_model(tmp_path / "again")


def test_any_text_has_tokens_and_comes_back(text_model: ModelRef) -> None:
    from transformers import AutoTokenizer

    from crynux_validate.testing import tiny_base

    tokenizer: Any = AutoTokenizer.from_pretrained(folder_of(text_model))
    for word in tiny_base.WORDS.split():
        assert len(tokenizer(f" {word}", add_special_tokens=False).input_ids) == 1
    text = "Überall 東京, 🐱 & \x00\x7f ½ zzyzx 1999  two  spaces\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.chat_template is not None


def test_the_text_model_says_words(text_model: ModelRef) -> None:
    from crynux_validate import Runner, TextTask
    from crynux_validate.testing import tiny_base, tiny_text

    words = set(f"{tiny_base.WORDS} {tiny_text._MORE_WORDS}".split())
    task = TextTask(model=text_model, prompt="once", max_new_tokens=60, do_sample=True, sequences=2)
    with Runner.for_task(task, "cpu") as runner:
        for text in runner.run(task).texts:
            assert set(text.split()) <= words
