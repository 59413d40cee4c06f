"""prove and audit of texts, from a node's folder to a finding."""

import json
from pathlib import Path

import pytest
from PIL import Image

from crynux_validate import ModelRef, TextTask, task_from_json
from crynux_validate.audits.bands import shipped_bands
from crynux_validate.cli import main
from crynux_validate.tasks import PictureRef
from crynux_validate.testing import tiny_text_model, tiny_vision_model

pytest.importorskip("torch")
pytest.importorskip("transformers")

SEED = ["--seed", "5eed"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return tiny_text_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def folder(model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a node wrote of three tasks: with and without rows, and one that is no answer to the first."""
    path = tmp_path_factory.mktemp("audit-text")
    asked = [{"role": "user", "content": "And the king said unto his servants,"}]
    task = TextTask(model=model, messages=asked, do_sample=True, temperature=0.8, top_k=40, seed=3,
                    max_new_tokens=40, eos_token_ids=[])  # fmt: skip
    for name, one in (
        ("plain", task), ("top", task.replace(binding="top")), ("hot", task.replace(temperature=1.6, binding="top"))
    ):  # fmt: skip
        (path / f"{name}.json").write_text(one.to_json())
        code = main(["run", str(path / f"{name}.json"), "--model", str(model.path), "--out", str(path / name)])
        assert code == 0
    return path


def audit(folder: Path, model: ModelRef, name: str, proof: str, *settings: str, answer: str = "") -> int:
    files = [str(folder / f"{name}.json"), str(folder / (answer or name) / "answer.bin"), str(folder / proof)]
    return main(["audit", *files, *settings, "--model", str(model.path)])


def test_a_text_is_audited_from_what_run_wrote(
    folder: Path, model: ModelRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert audit(folder, model, "plain", "plain/answer.json", "--json") == 0
    assert json.loads(capsys.readouterr().out)["finding"] == "NOISE"
    bands = tmp_path / "bands.json"
    shipped_bands().save(bands)
    settings = ["--bands", str(bands), "--against", str(folder / "hot.json")]
    assert audit(folder, model, "plain", "plain/answer.json", *settings) == 0
    assert "hypothesis   -" in capsys.readouterr().out, "the task explains its own text better"


def test_rows_are_proved_and_audited(
    folder: Path, model: ModelRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prove", str(folder / "top"), *SEED]) == 0
    assert "40 tokens, 32 opened positions" in capsys.readouterr().out
    assert audit(folder, model, "top", "top/proof.json", *SEED) == 0
    assert "rows" in capsys.readouterr().out
    assert audit(folder, model, "top", "top/proof.json", *SEED, "--positions", "40") == 2
    assert "32 of the 40 positions" in capsys.readouterr().err
    assert audit(folder, model, "top", "top/proof.json", "--seed", "5eee") == 2
    assert "did not draw" in capsys.readouterr().err
    assert audit(folder, model, "top", "top/proof.json") == 2
    assert "--seed is missing" in capsys.readouterr().err
    assert audit(folder, model, "plain", "plain/answer.json", *SEED) == 2
    assert "leave it out" in capsys.readouterr().err


def test_a_cheat_is_exit_code_1(folder: Path, model: ModelRef, capsys: pytest.CaptureFixture[str]) -> None:
    """A node that sampled at another temperature and answers the task with that."""
    from crynux_validate.answers import TextScore
    from crynux_validate.audits.text_proof import TextProof

    tokens = TextProof.from_json((folder / "hot" / "answer.json").read_bytes()).token_ids
    task = task_from_json((folder / "plain.json").read_bytes())
    (folder / "cheat").mkdir(exist_ok=True)
    (folder / "cheat" / "answer.bin").write_bytes(TextScore.from_tokens(tokens).to_bytes())
    (folder / "cheat" / "proof.json").write_text(TextProof(task.digest, tokens).to_json())
    assert audit(folder, model, "plain", "cheat/proof.json", answer="cheat") == 1
    assert "finding      CHEAT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("proof", "answer", "said"),
    [
        ("plain/task.json", "", "no task_digest"),
        ("missing.json", "", "cannot read the proof"),
        ("plain/answer.json", "top", "the task needs tokens/1"),
        ("hot/answer.json", "", "the proof is of the task"),
    ],
)
def test_what_does_not_fit(
    folder: Path, model: ModelRef, proof: str, answer: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(folder, model, "plain", proof, answer=answer) == 2
    assert said in capsys.readouterr().err


def test_a_text_about_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file goes beside the folder of the model, for a run and for an audit; without it both say so at once."""
    seeing = tiny_vision_model(tmp_path / "llava")
    Image.radial_gradient("L").save(tmp_path / "photo.png")
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is this?"}]}]
    task = TextTask(model=seeing, messages=asked, pictures=[PictureRef.local(tmp_path / "photo.png")], max_new_tokens=8)
    (tmp_path / "task.json").write_text(task.to_json())
    run = ["run", str(tmp_path / "task.json"), "--out", str(tmp_path / "out"), "--model", str(tmp_path / "llava")]
    assert main(run) == 2
    assert "the task names pictures.0 by a digest" in capsys.readouterr().err
    shown = ["--part", str(tmp_path / "photo.png")]
    assert main([*run, *shown]) == 0
    files = [str(tmp_path / "task.json"), *(str(tmp_path / "out" / name) for name in ("answer.bin", "answer.json"))]
    assert main(["audit", *files, "--model", str(tmp_path / "llava"), *shown]) == 0
    assert "NOISE" in capsys.readouterr().out
    Image.linear_gradient("L").save(tmp_path / "other.png")
    assert main([*run, "--part", str(tmp_path / "other.png")]) == 2
    assert "the task asks for pictures.0 sha256:" in capsys.readouterr().err
