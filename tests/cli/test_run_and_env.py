"""run and env: one node's part, from a task file to files."""

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import crynux_validate
from crynux_validate import ErrorReport, GpuModel, ImageTask, ModelRef, TextScore, TextTask, image_hash, task_from_json
from crynux_validate.answers import answer_from_bytes
from crynux_validate.cli import main
from crynux_validate.errors import InvalidTaskError, PipelineError
from crynux_validate.machines import Environment
from crynux_validate.pipelines import results
from crynux_validate.testing.fake_hardware import Workers

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from crynux_validate.pipelines.canary import canary_of
from crynux_validate.pipelines.canary import probes as canary_probes


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
    for word in (task.digest, str(score), "margin", str(out)):
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
    assert found["task_digest"] == task.digest
    assert found["score"] == "".join(row["hash"] for row in found["hashes"])
    assert {"kernel_digest", "numerics_digest", "recipe_digest"} <= set(found)


@pytest.fixture
def asked(text_model: ModelRef, tmp_path: Path) -> TextTask:
    messages = [{"role": "user", "content": "what is the sea?"}]
    task = TextTask(model=text_model, messages=messages, max_new_tokens=6, sequences=2)
    (tmp_path / "task.json").write_text(task.to_json())
    return task


def test_run_a_text_task(asked: TextTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "result"
    assert run(tmp_path, "--model", asked.model.path, "--out", out) == 0
    captured = capsys.readouterr()
    texts = [(out / f"text-{at}.txt").read_text("utf-8") for at in range(2)]
    score = answer_from_bytes((out / "answer.bin").read_bytes())
    for word in (*texts, asked.digest, str(score), "6 tokens, ended by the number of tokens", str(out)):
        assert word in captured.out
    answer = json.loads((out / "answer.json").read_text())
    assert answer["finish"] == ["length"] * 2
    assert TextScore.from_tokens(answer["token_ids"]) == score


def test_run_a_text_task_for_programs(asked: TextTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--model", asked.model.path, "--out", tmp_path / "result", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["task_digest"] == asked.digest
    assert found["score"] == TextScore.from_tokens(found["token_ids"]).hex
    assert [len(ids) for ids in found["token_ids"]] == [6, 6]
    assert len(found["texts"]) == 2


def test_run_a_text_task_that_this_model_cannot_do(
    asked: TextTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "task.json").write_text(
        asked.replace(messages=[{"role": "user", "content": "the sea " * 3000}]).to_json()
    )
    assert run(tmp_path, "--model", asked.model.path, "--out", tmp_path / "result") == 2
    err = capsys.readouterr().err
    assert "the model's context holds 2048 together" in err
    report = answer_from_bytes((tmp_path / "result" / "answer.bin").read_bytes())
    assert isinstance(report, ErrorReport)
    assert report.code == "failed"
    assert "PromptTooLongError" in report.message or "PipelineError" in report.message
    assert "the task failed on this machine" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--out", "x"], "--model DIR"),
        (["--out", "x", "--model", "nowhere"], "nowhere is not a folder"),
        (["--out", "x", "--model", "task.json"], "--model task.json is not a folder"),
        (["--out", "task.json", "--model", "."], "is a file; name a folder"),
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


def _why(tmp_path: Path, task: ImageTask, change: dict[str, Any]) -> Exception:
    """What the library says of the task; where it finds it valid, the run failed."""
    try:
        task_from_json((tmp_path / "task.json").read_bytes())
    except InvalidTaskError as error:
        return error
    return PipelineError()


def answers(out: Path) -> str:
    """The code of the report in a folder, or ``score``; what is beside it is of the same answer."""
    answer = answer_from_bytes((out / "answer.bin").read_bytes())
    readable = json.loads((out / "answer.json").read_text())
    names = {path.name for path in out.iterdir()}
    if isinstance(answer, ErrorReport):
        assert names == {"answer.bin", "answer.json", "task.json"}
        assert readable["answer"] == ("invalid_task" if answer.invalid_task else "failed")
        assert (readable["code"], readable["message"]) == (answer.code, answer.message)
        assert (readable["task_digest"] is None) == answer.invalid_task
        return answer.code
    assert readable["answer"] == "score"
    task = task_from_json((out / "task.json").read_bytes())
    assert readable["task_digest"] == task.digest
    own = task.images if isinstance(task, ImageTask) else task.sequences
    assert len(names) == own + 4, names
    return "score"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": -2}, "steps: is -2"),
        ({"scheduler": "Nope"}, "DDIMScheduler"),
        ({"prompt": "cat " * 100}, "takes at most 75"),
        ({"model": {"repository": "a/b", "revision": "main"}}, "can change"),
        ({"extra": 1}, "extra: no such field"),
        ({"safety_checker": True}, "safety checker"),
    ],
)
def test_run_a_bad_task(
    task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], word: str
) -> None:
    (tmp_path / "task.json").write_text(json.dumps(json.loads(task.to_json()) | change))
    assert run(tmp_path, "--model", task.model.path, "--out", tmp_path / "x") == 2
    err = capsys.readouterr().err
    assert word in err
    assert err.splitlines()[-1].startswith("crynux-validate: ")
    assert answers(tmp_path / "x") == ErrorReport.of(_why(tmp_path, task, change)).code


def test_no_file_of_another_task_stays(
    task: ImageTask, text_model: ModelRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pictures, then one, then a text, then no task, then a failure: only what is of the last is there."""
    out = tmp_path / "result"
    image = ["--model", task.model.path, "--out", out]
    assert run(tmp_path, *image) == 0
    (out / "image-mine.png").write_bytes(b"of the user")
    (out / "notes.txt").write_text("of the user")
    mine = {"image-mine.png", "notes.txt"}

    def kept() -> str:
        texts = [(out / name).rename(tmp_path / name) for name in mine]
        code = answers(out)
        for text in texts:
            text.rename(out / text.name)
        return code

    (tmp_path / "task.json").write_text(task.replace(images=1).to_json())
    assert run(tmp_path, *image) == 0
    assert kept() == "score"
    asked = TextTask(model=text_model, messages=[{"role": "user", "content": "what?"}], max_new_tokens=3)
    (tmp_path / "task.json").write_text(asked.to_json())
    assert run(tmp_path, "--model", text_model.path, "--out", out) == 0
    assert kept() == "score"
    (tmp_path / "task.json").write_bytes(b"\xffno task")
    assert run(tmp_path, *image, "--json") == 2
    assert kept() == "schema"
    assert (out / "task.json").read_bytes() == b"\xffno task"
    captured = capsys.readouterr()
    printed = json.loads(captured.out[captured.out.rindex("{\n") :])
    assert printed == json.loads((out / "answer.json").read_text()) | {"out": str(out)}
    (tmp_path / "task.json").write_text(task.to_json())
    assert run(tmp_path, "--model", tmp_path, "--out", out) == 2
    assert kept() == "failed"
    assert "holds" in capsys.readouterr().err


def test_out_that_cannot_be_written_is_found_before_anything_is_loaded(
    task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crynux_validate.cli.run._compute", lambda *_: pytest.fail("loaded"))
    (tmp_path / "mine").mkdir()
    for name in ("answer.json", "image-7.png"):
        (tmp_path / "mine" / name).write_text("{}")
    results.begin(tmp_path / "mine", b"")
    assert (tmp_path / "mine" / "image-7.png").exists(), "an answer.json of somebody else is no earlier answer"
    for out in (tmp_path / "task.json" / "below", "/proc/nowhere/below"):
        assert run(tmp_path, "--model", task.model.path, "--out", out) == 2
        assert f"--out {out} cannot be written" in capsys.readouterr().err
    (tmp_path / "task.json").write_text("{}")
    assert run(tmp_path, "--out", "/proc/nowhere/below") == 2
    assert "--out /proc/nowhere/below cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("a bug"), OSError(28, "No space left on device"), ImportError("broken")]
)
def test_every_failure_is_reported(
    error: Exception, task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("crynux_validate.cli.run._compute", fail)
    assert run(tmp_path, "--model", task.model.path, "--out", tmp_path / "x") == 2
    assert answers(tmp_path / "x") == "failed"
    err = capsys.readouterr().err
    assert type(error).__name__ in err
    assert err.count("\n") == 1


def test_an_interrupted_run_leaves_no_answer(
    task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x"
    (tmp_path / "task.json").write_text("{}")
    assert run(tmp_path, "--out", out) == 2
    (tmp_path / "task.json").write_text(task.to_json())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crynux_validate.cli.run._compute", interrupt)
    assert run(tmp_path, "--model", task.model.path, "--out", out) == 130
    assert [path.name for path in out.iterdir()] == ["task.json"]
    assert task_from_json((out / "task.json").read_bytes()) == task
    assert capsys.readouterr().err.splitlines()[-1] == "crynux-validate: interrupted"


def test_a_text_that_cannot_be_shown_is_still_written(
    asked: TextTask, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", None)
        assert run(tmp_path, "--model", asked.model.path, "--out", tmp_path / "x") == 2
    assert "standard output" in capsys.readouterr().err
    assert answers(tmp_path / "x") == "score"


def test_a_device_that_is_not_there(task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    arguments = [str(tmp_path / "task.json"), "--model", str(task.model.path), "--out", str(tmp_path / "x")]
    for device in ("cuda", "cuda:1"):
        assert main(["run", *arguments, "--device", device]) == 2
        assert f"the device {device}" in capsys.readouterr().err
        assert answers(tmp_path / "x") == "failed"


def env(*arguments: Any) -> int:
    return main(["env", "--device", "cpu", *map(str, arguments)])


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What this machine prints for programs."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert env("--json") == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_env_for_programs(machine: dict[str, Any]) -> None:
    assert Environment.from_dict(machine).kernel["device"] == "cpu"
    assert GpuModel.from_dict(machine["gpu"]) == crynux_validate.local_gpu("cpu")
    challenge = bytes.fromhex(machine["canary"]["challenge"])
    assert challenge == b"crynux-validate env"
    assert machine["canary"]["digest"] == crynux_validate.canary(challenge, "cpu").hex()
    assert machine["canary"]["probes"].keys() == canary_probes(challenge, "cpu").keys()


def test_env_for_people(machine: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert env() == 0
    text = capsys.readouterr().out
    for part in ("kernel", "numerics"):
        assert f"{part}  {machine[f'{part}_digest']}" in text
    assert "cpu_threads: 1" in text
    assert f"gpu  {GpuModel.from_dict(machine['gpu'])}" in text
    assert f"canary  {machine['canary']['digest']}" in text
    assert "challenge: crynux-validate env" in text
    for name, digest in machine["canary"]["probes"].items():
        assert f"{name}: {digest[:16]}" in text


@pytest.mark.parametrize(
    ("given", "challenge", "shown"),
    [
        ("epoch 7", b"epoch 7", "epoch 7"),
        ("0xfF00", b"\xff\x00", "0xff00"),
        ("0x61", b"a", "a"),
        ("\u00e9", b"\xc3\xa9", "0xc3a9"),
        ("0x3078", b"0x", "0x3078"),
    ],
)
def test_env_with_a_challenge(given: str, challenge: bytes, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert env("--challenge", given) == 0
    text = capsys.readouterr().out
    assert f"canary  {crynux_validate.canary(challenge, 'cpu').hex()}" in text
    assert f"  challenge: {shown}\n" in text


def write(path: Path, machine: dict[str, Any]) -> Path:
    path.write_text(json.dumps(machine))
    return path


def redigested(machine: dict[str, Any]) -> dict[str, Any]:
    """A machine with the digests that its records and probes have now."""
    canary = machine["canary"]
    probes = {name: bytes.fromhex(digest) for name, digest in canary["probes"].items()}
    digest = canary_of(bytes.fromhex(canary["challenge"]), probes).hex()
    environment = Environment(machine["kernel"], machine["numerics"]).to_dict()
    return {**machine, **environment, "canary": {**canary, "digest": digest}}


def compare(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = env("--compare", path)
    return code, capsys.readouterr().out.splitlines()


def test_env_compares_equal_machines(
    machine: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = write(tmp_path / "there.json", machine)
    assert compare(there, capsys) == (0, ["equal: one class"])
    assert env("--compare", there, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"equal": True, "differences": []}
    assert env("--compare", there, "--challenge", "crynux-validate env") == 0


def test_env_compares_by_the_challenge_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert env("--challenge", "0x00", "--json") == 0
    there = tmp_path / "there.json"
    there.write_text(capsys.readouterr().out)
    assert compare(there, capsys) == (0, ["equal: one class"])
    assert env("--compare", there, "--challenge", "0x01") == 2
    assert "answers the challenge 0x00" in capsys.readouterr().err


def test_env_says_what_differs_and_what_to_align(
    machine: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copy.deepcopy(machine)
    changed["gpu"] |= {"name": "Other", "count": 2}
    changed["kernel"]["torch"]["version"] = "2.14.0"
    changed["canary"]["probes"]["rms_norm.float32"] = 64 * "0"
    changed["canary"]["probes"]["rms_norm.float8"] = 64 * "0"
    there = write(tmp_path / "there.json", redigested(changed))
    code, lines = compare(there, capsys)
    assert code == 1
    assert lines[0].startswith("gpu.name: ")
    assert lines[0].endswith(" here, 'Other' there; another GPU model: nothing aligns these")
    assert lines[1] == "gpu.count: 1 here, 2 there; use as many cards on both"
    assert lines[2].startswith("kernel.torch.version: ")
    assert lines[2].endswith("'2.14.0' there; install the same build of torch")
    assert lines[3].startswith("canary: 1 of ")
    assert "give other bits (rms_norm.float32), 1 probes are of one machine only" in lines[3]
    assert lines[3].endswith("align what stands above, then compare again")
    assert lines[4].startswith("different: ")
    assert len(lines) == 5
    assert env("--compare", there, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found == {"equal": False, "differences": lines[:4]}


def test_env_finds_a_machine_that_is_not_what_it_says(
    machine: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copy.deepcopy(machine)
    changed["canary"]["probes"]["linear_decode.bfloat16"] = 64 * "0"
    code, lines = compare(write(tmp_path / "there.json", redigested(changed)), capsys)
    assert code == 1
    assert "(linear_decode.bfloat16); what the machines say of themselves does not explain it" in lines[0]


def test_env_tells_a_machine_with_other_kernels(
    machine: dict[str, Any], tmp_path: Path, fake_hardware_workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real one: what it prints differs in its capability and in its canary, and that is all."""
    there = tmp_path / "there.json"
    there.write_text(fake_hardware_workers["aten-default"].run(env_json))
    code, lines = compare(there, capsys)
    assert code == 1
    assert lines[0].startswith("kernel.processor.capability: ")
    assert "'DEFAULT' there; set ATEN_CPU_CAPABILITY alike" in lines[0]
    assert lines[1].startswith("canary: ")
    assert len(lines) == 3


def env_json() -> str:
    """What a fake-hardware worker runs."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        env("--json")
    return out.getvalue()


def test_env_refuses_the_environment_of_a_run(
    machine: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_run = Environment(machine["kernel"], machine["numerics"], {"dtype": "float32"}).to_dict()
    assert env("--compare", write(tmp_path / "bare.json", of_run)) == 2
    assert "has no gpu and canary" in capsys.readouterr().err
    assert env("--compare", write(tmp_path / "there.json", machine | of_run)) == 2
    assert "has a recipe, which only a run has" in capsys.readouterr().err


PROBES = {"a": "00" * 32}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"gpu": None}, "a GPU model is None"),
        ({"gpu": {"name": "x", "memory_gib": 0}}, "memory_gib"),
        ({"kernel": {}}, "kernel_digest"),
        ({"kernel": 3}, "kernel"),
        ({"recipe": {"model": "x"}, "recipe_digest": None}, "recipe"),
        ({"canary": []}, "expected challenge, digest and probes"),
        ({"canary": {"probes": PROBES, "digest": "00" * 32}}, "the challenge"),
        ({"canary": {"probes": PROBES, "digest": "00" * 31, "challenge": "00"}}, "the digest of the canary"),
        ({"canary": {"probes": {"a": "00"}, "digest": "00" * 32, "challenge": "00"}}, "the probe a"),
        ({"canary": {"probes": {"\n": "00" * 32}, "digest": "00" * 32, "challenge": "00"}}, "the name of a probe"),
        ({"canary": {"probes": PROBES, "digest": "00" * 32, "challenge": "00"}}, "the file was changed"),
        ({"canary": {"probes": PROBES, "digest": "00" * 32, "challenge": ""}}, "1 to 256 bytes"),
        ({"canary": {"probes": dict.fromkeys(map(str, range(2000)), "00" * 32)}}, "2000 probes; expected 1 to 1000"),
        ({"canary": {"probes": {}, "digest": "00" * 32, "challenge": "00"}}, "0 probes; expected 1 to 1000"),
    ],
)
def test_env_refuses_a_file_that_no_machine_wrote(
    machine: dict[str, Any], change: dict[str, Any], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert env("--compare", write(tmp_path / "there.json", machine | change)) == 2
    captured = capsys.readouterr()
    assert word in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--challenge", ""], "empty"),
        (["--challenge", "0x"], "empty"),
        (["--challenge", "0xabc"], "hexadecimal"),
        (["--challenge", "x" * 257], "257 bytes"),
        (["--compare", "nowhere.json"], "cannot read"),
    ],
)
def test_env_refuses_bad_arguments(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert env(*arguments) == 2
    assert word in capsys.readouterr().err
    for text in ("no json", "[]", "{}"):
        (tmp_path / "nowhere.json").write_text(text)
        assert env("--compare", tmp_path / "nowhere.json") == 2
