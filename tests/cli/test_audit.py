"""prove and audit: from a node's folder to an auditor's findings."""

import json
from pathlib import Path
from typing import Any

import pytest

from crynux_validate import ImageTask, ModelRef, task_from_json
from crynux_validate.cli import main
from crynux_validate.testing import tiny_image_model

pytest.importorskip("torch")
pytest.importorskip("diffusers")

DRAW = ["--seed", "5eed", "--steps", "3"]


@pytest.fixture(scope="module")
def folder(image_model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a node wrote of a task of two images."""
    path = tmp_path_factory.mktemp("audit")
    task = ImageTask(
        model=image_model, prompt="a red cat", steps=2, width=64, height=64, images=2, seed=3, binding="trace"
    )
    (path / "task.json").write_text(task.to_json())
    assert main(["run", str(path / "task.json"), "--model", str(image_model.path), "--out", str(path / "out")]) == 0
    assert main(["prove", str(path / "out"), *DRAW]) == 0
    return path


def audit(folder: Path, model: ModelRef, *settings: str, proof: str = "proof-0.bin") -> int:
    files = [str(folder / "task.json"), str(folder / "out" / "answer.bin"), str(folder / "out" / proof)]
    return main(["audit", *files, *(settings or DRAW), "--model", str(model.path)])


def test_a_proved_answer_is_audited(folder: Path, image_model: ModelRef, capsys: pytest.CaptureFixture[str]) -> None:
    assert (folder / "out" / "trace.bin").exists()
    capsys.readouterr()
    assert main(["prove", str(folder / "out"), *DRAW]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2, "three of four steps are steps of both images"
    for image in (0, 1):
        assert audit(folder, image_model, "--seed", "0x5eed", *DRAW[2:], "--json", proof=f"proof-{image}.bin") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["image"], found["finding"]) == (image, "MATCH")
    assert audit(folder, image_model) == 0
    said = capsys.readouterr()
    assert "step 1       MATCH" in said.out
    assert "the seed draws steps of image 1 too" in said.err, "a node must not choose which image is audited"


def test_what_does_not_fit_is_bad_input(
    folder: Path, image_model: ModelRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prove", str(folder / "out"), *DRAW, "--out", str(tmp_path)]) == 0
    data = (tmp_path / "proof-0.bin").read_bytes()
    (folder / "out" / "proof-short.bin").write_bytes(data[:-1])
    for settings, proof, said in [
        (["--seed", "5eee", "--steps", "1"], "proof-0.bin", "the seed draws"),
        (["--seed", "5", "--steps", "3"], "proof-0.bin", "hexadecimal digits"),
        (["--seed", "5eed", "--steps", "0"], "proof-0.bin", "the number of steps is 0"),
        (DRAW, "proof-short.bin", "bytes; expected"),
        (DRAW, "missing.bin", "cannot be read"),
        (DRAW, "answer.bin", "are not a proof of a trace"),
    ]:
        assert audit(folder, image_model, *settings, proof=proof) == 2
        assert said in capsys.readouterr().err
    assert main(["prove", str(tmp_path), *DRAW]) == 2
    assert "has no answer.bin; expected a folder that crynux-validate run" in capsys.readouterr().err


def test_another_model_is_a_second_hypothesis(
    folder: Path, image_model: ModelRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_image_model(tmp_path / "model", random=True)
    task = task_from_json((folder / "task.json").read_bytes())
    assert main(["prove", str(folder / "out"), *DRAW]) == 0
    hypothesis = tmp_path / "other.json"
    hypothesis.write_text(task.replace(model=other).to_json())
    assert audit(folder, image_model, *DRAW, "--against", str(hypothesis), "--against-model", str(other.path)) == 0
    capsys.readouterr()
    cases: list[tuple[dict[str, Any], list[str], str]] = [
        ({"seed": 4}, [], "--against differs from the task in more than its model"),
        ({"model": ModelRef(digest="0" * 64)}, [], "say where it lies with --against-model"),
        ({}, ["--whole"], "--whole is for texts"),
        ({}, ["--bands", str(hypothesis)], "the schema of the bands is"),
    ]
    for change, settings, said in cases:
        hypothesis.write_text(task.replace(**change).to_json())
        assert audit(folder, image_model, *DRAW, "--against", str(hypothesis), *settings) == 2
        assert said in capsys.readouterr().err
    assert audit(folder, image_model, *DRAW, "--against-model", str(tmp_path)) == 2
    assert "--against-model is given without --against" in capsys.readouterr().err
