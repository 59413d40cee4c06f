"""run and env: one node's part, from a task file to files."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crynux_validate import Environment, ImageTask, ModelRef, answer_from_bytes, image_hash, task_from_json
from crynux_validate.cli import main

pytest.importorskip("torch")
pytest.importorskip("diffusers")


@pytest.fixture
def task(image_model: ModelRef, tmp_path: Path) -> ImageTask:
    task = ImageTask(model=image_model, prompt="a red cat", steps=2, width=64, height=64, images=2, seed=3)
    (tmp_path / "task.json").write_text(task.to_json())
    return task


def run(tmp_path: Path, *arguments: Any) -> int:
    return main(["run", str(tmp_path / "task.json"), "--device", "cpu", *map(str, arguments)])


def test_run(task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "result"
    assert run(tmp_path, "--model", task.model.path, "--out", out) == 0
    captured = capsys.readouterr()
    score = answer_from_bytes((out / "answer.bin").read_bytes())
    for word in (task.digest.hex(), str(score), "margin", str(out)):
        assert word in captured.out
    assert task_from_json((out / "task.json").read_text()) == task
    hashes = [image_hash(out / f"image-{at}.png") for at in range(2)]
    assert b"".join(found.bits for found in hashes).hex() in str(score)
    assert json.loads((out / "answer.json").read_text())["hashes"] == [found.hex for found in hashes]
    environment = Environment.from_dict(json.loads((out / "environment.json").read_text()))
    assert environment.recipe_digest is not None
    assert environment.recipe_digest.hex() in captured.out
    with Image.open(out / "image-1.png") as image:
        assert image.size == (64, 64)


def test_run_for_programs(task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--model", task.model.path, "--out", tmp_path / "result", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["task_digest"] == task.digest.hex()
    assert found["score"] == "".join(row["hash"] for row in found["hashes"])
    assert {"kernel_digest", "numerics_digest", "recipe_digest"} <= set(found)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--out", "x"], "--model DIR"),
        (["--out", "x", "--model", "nowhere"], "nowhere is not a folder"),
        (["--out", "x", "--model", "."], "holds"),
    ],
)
def test_run_without_the_model(
    task: ImageTask,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    word: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, *arguments) == 2
    captured = capsys.readouterr()
    assert word in captured.err
    assert captured.out == ""
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": -2}, "steps: is -2"),
        ({"scheduler": "Nope"}, "DDIMScheduler"),
        ({"prompt": "cat " * 100}, "takes at most 75"),
        ({"model": {"repository": "a/b", "revision": "main"}}, "can move"),
        ({"extra": 1}, "extra: no such field"),
        ({"safety_checker": True}, "safety checker"),
    ],
)
def test_run_a_bad_task(
    task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], word: str
) -> None:
    (tmp_path / "task.json").write_text(json.dumps(json.loads(task.to_json()) | change))
    assert run(tmp_path, "--model", task.model.path, "--out", tmp_path / "x") == 2
    assert word in capsys.readouterr().err


def test_a_device_that_is_not_there(task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    arguments = [str(tmp_path / "task.json"), "--model", str(task.model.path), "--out", "x", "--device", "cuda"]
    assert main(["run", *arguments]) == 2
    assert "cuda" in capsys.readouterr().err


def test_env(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Environment.from_dict(found).kernel["device"] == "cpu"
    assert main(["env", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert found["kernel_digest"] in text
    assert "cpu_threads: 1" in text
