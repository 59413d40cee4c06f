"""The demo, from the first task to the picture: real kernels, one cheat.

Nodes of one numeric kind share the process that all tests have for that kind, which has loaded its libraries; that each
node of the demo gets a process of its own is shown without models.
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

import crynux_validate as cv
from crynux_validate.cli import demo as demo_command
from crynux_validate.cli import demo_network, demo_node, demo_output, demo_text, demo_words, main
from crynux_validate.cli.demo_processes import Processes
from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.testing import fake_hardware

pytest.importorskip("torch")
pytest.importorskip("diffusers")


other_kernels: Final = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64", reason="no other kernels to imitate"
)


@pytest.fixture
def shared_processes(monkeypatch: pytest.MonkeyPatch, fake_hardware_workers: fake_hardware.Workers) -> None:
    monkeypatch.setattr(Processes, "_start", lambda _, kind: fake_hardware_workers[kind.name])


class _Some(Processes):
    """A demo of three nodes, two of which compute alike."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__(lambda _: None)
        self.workers: list[fake_hardware.Worker] = []
        self._then = then

    def _start_processes(self) -> None:
        known = self._known_kinds("")
        for name in ("native", "native", "oldest"):
            self.workers.append(self._start(known[name]))
        self._then()


@other_kernels
def test_each_node_has_a_process_that_ends_with_the_demo() -> None:
    with _Some() as some:
        ids = {worker.run(os.getpid) for worker in some.workers}
        assert len(ids | {os.getpid()}) == 4
        assert all(worker.alive for worker in some.workers)
    assert not any(worker.alive for worker in some.workers)


@other_kernels
def test_what_fails_at_the_start_ends_the_processes() -> None:
    def fail() -> None:
        raise RuntimeError("no model")

    some = _Some(fail)
    with pytest.raises(RuntimeError, match="no model"), ExitStack() as stack:
        stack.enter_context(some)
    assert len(some.workers) == 3
    assert not any(worker.alive for worker in some.workers)


def demo(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = main(["demo", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@other_kernels
@pytest.mark.usefixtures("shared_processes")
def test_the_demo_finds_the_cheat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_command, "STEPS", 6)  # what honest kernels and this cheat make of it needs no more
    monkeypatch.setattr(demo_command, "CARD_STEPS", 1)
    code, out, err = demo(capsys, "--out", tmp_path, "--tasks", 1, "--cheat", "other-picture", "--json")
    assert out, err
    summary = json.loads(out)
    assert code == 0
    assert summary["balanced"]
    assert summary["replay_equal"]
    assert summary["cards"]["cards"] == ["ada", "hopper"]
    assert 0 < summary["cards"]["share"] < 1
    assert summary["cards"]["distance"] < 16
    assert all(node["tasks"] for node in summary["nodes"].values()), "every node serves"
    cheats = [name for name, node in summary["nodes"].items() if node["cheat"] != "none"]
    assert cheats == ["node-4"]
    honest = [name for name in summary["nodes"] if name != "node-4"]
    for group in summary["groups"]:
        assert group["outcome"] == "VALIDATED"
        assert {group["findings"][node] for node in honest if node in group["findings"]} == {"VALID"}
        assert all(distance < 16 for node, distance in group["distances"].items() if node in honest)
        if "node-4" in group["findings"]:
            assert group["distances"]["node-4"] > 2, "the cheat handed in another picture"
    assert "values, by" in err, "honest pixels differ, and it says by how much"
    assert "node-4 cheated" in err
    with Image.open(summary["picture"]) as picture:
        assert picture.size[0] > 900
    members = sorted(path.name for path in (tmp_path / "group-1").iterdir() if path.is_dir())
    assert len(members) == 3
    assert main(["ledger", "verify", summary["ledger"]]) == 0
    assert summary["evidence"], "every node serves, so the cheat was found"
    for evidence in summary["evidence"]:
        assert main(["evidence", evidence]) == 0
        assert "node node-4 is INVALID" in capsys.readouterr().out
    for name in members:
        assert (tmp_path / "group-1" / name / "image-0.png").exists()


@pytest.mark.long
@other_kernels
@pytest.mark.usefixtures("shared_processes")
def test_an_audit_finds_what_the_hash_lets_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_command, "STEPS", 12)
    monkeypatch.setattr(demo_command, "CARD_STEPS", 1)
    code, out, err = demo(capsys, "--out", tmp_path, "--tasks", 1, "--cheat", "fewer-steps", "--json")
    assert out, err
    summary = json.loads(out)
    assert code == 0
    assert summary["nodes"]["node-4"]["tasks"] > 0
    for group in summary["groups"]:
        assert set(group["findings"].values()) == {"VALID"}, "the hash sees nothing"
        for node, found in group["audits"].items():
            assert (found["finding"] == "CHEAT") == (node == "node-4")
            assert len(found["steps"]) == demo_network.DRAWN_STEPS
    assert "says CHEAT: step" in err
    assert "PASSED" in err
    with Image.open(summary["picture"]) as picture:
        assert picture.size[1] > 1400, "the audits have a row"
    told = next(group for group in summary["groups"] if "node-4" in group["audits"])
    folder = tmp_path / told["group"] / "node-4"
    assert json.loads((folder / "audit.json").read_text()) == told["audits"]["node-4"]
    report = shlex.split(summary["audit_again"]["see it on one page"])
    assert main(report[1:]) == 0
    assert "CHEAT" in Path(report[-1]).read_text("utf-8")
    again = shlex.split(summary["audit_again"]["audit it again"])
    assert main(again[1:]) == 1
    assert "CHEAT" in capsys.readouterr().out


@pytest.mark.long
def test_the_text_demo(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    card_workers: fake_hardware.Workers,
) -> None:
    """Seven nodes in two processes: one computes as each card does."""
    monkeypatch.setattr(Processes, "_start", lambda _, kind: card_workers[kind.name])
    code, out, err = demo(capsys, "--kind", "text", "--out", tmp_path, "--tasks", 2, "--json")
    assert out, err
    summary = json.loads(out)
    assert code == 0
    assert summary["balanced"]
    honest = [f"node-{at}" for at in range(1, 7)]
    homes = [home["nodes"] for home in summary["classes"]]
    assert sorted(homes) == [honest[:3], honest[3:], ["node-7"]], "the canary tells the false declarer"
    for group in summary["groups"]:
        assert group["outcome"] == "VALIDATED"
        assert set(group["findings"].values()) == {"VALID"}
        assert sorted(group["members"]) in (honest[:3], honest[3:])
    assert len({group["class"] for group in summary["groups"]}) == 2, "both classes are given tasks"
    liar = summary["nodes"]["node-7"]
    assert not liar["honest"]
    assert (liar["with_canary"]["stake"], liar["with_canary"]["earned"]) == (1000, 0)
    last = summary["without_canary"][-1]
    assert last["findings"]["node-7"] == "INVALID"
    assert liar["without_canary"]["stake"] == 0
    assert len(set(last["scores"].values())) == 2
    assert summary["without_pairing"]["findings"]["node-4"] == "INVALID", "an honest node of the other GPU model"
    at = summary["without_pairing"]["first_difference"]
    said = "wrote the same 40 tokens, from other logits" if at is None else f"part at token {at + 1} of 40"
    assert said in err
    assert {node["numeric_kind"] for node in summary["nodes"].values()} == {"ada", "hopper"}
    assert "node-7 served nobody" in err
    assert (tmp_path / "with-canary" / "group-1").is_dir()
    for ledger in summary["ledgers"]:
        assert main(["ledger", "verify", ledger]) == 0
    (evidence,) = summary["evidence"]
    assert main(["evidence", evidence]) == 0
    assert "node node-7 is INVALID" in capsys.readouterr().out


def test_it_says_what_the_model_knows_and_what_it_never_saw() -> None:
    said = demo_words.describe_model(demo_network.PROMPTS)
    assert "heart" in said
    assert "never saw" not in said, "the demo's own prompts are within what the model knows"
    assert "it never saw 'cat', 'moon'" in demo_words.describe_model(["a red cat", "a small blue moon on sand"])


@pytest.mark.parametrize("cheat", [name for name in demo_node.CHEATS if name != "none"])
def test_every_cheat_runs_another_task(cheat: str) -> None:
    for prompt in (*demo_network.PROMPTS, demo_node.OTHER_PROMPT):
        task = cv.ImageTask(model=cv.ModelRef(digest="0" * 64), prompt=prompt, seed=3)
        assert demo_node.CHEATS[cheat][1](task).digest != task.digest


def test_tasks_take_the_openings_in_turn_with_a_seed_each() -> None:
    task = cv.TextTask(model=cv.ModelRef(digest="0" * 64), prompt="x")
    asked = demo_text._tasks(task.replace(prompt=None, messages=demo_text._asking("x")), ["a", "b"], 3)
    assert [demo_text._opening(one) for one in asked] == ["a", "b", "a"]
    assert len({one.seed for one in asked}) == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--kind", "text", "--cheat", "other-seed"], "--cheat is for images"),
        (["--kind", "text", "--threshold", "9"], "--threshold is for images"),
        (["--tasks", "0"], "1 to 24"),
        (["--threshold", "65"], "1 to 64"),
        (["--tasks", "99"], "99"),
    ],
)
def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str) -> None:
    code, out, err = demo(capsys, "--out", tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert word in err


def test_an_unknown_cheat_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--cheat", "luck"])
    assert caught.value.code == 2
    assert "fewer-steps" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("demo.db", "image"),
        ("demo.db-wal", "image"),
        ("demo.png", "image"),
        ("group-3/mine.txt", "image"),
        ("with-canary.db", "text"),
        ("without-pairing/mine.txt", "text"),
        ("evidence-node-7.json", "text"),
        ("demo-files.json", ""),
    ],
)
def test_what_no_demo_wrote_stays(
    kind: str,
    name: str,
    of: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is found before anything is started, and only where it is in the way."""

    def start(*_: object) -> None:
        raise PipelineError("started")

    monkeypatch.setattr(Processes, "_start", start)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = demo(capsys, "--kind", kind, "--out", tmp_path)
    assert code == 2
    assert ("started" in err) == (of not in ("", kind))
    assert (name.partition("/")[0] in err) == (of in ("", kind))
    assert file.read_text() == "mine"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_without_its_packages_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    code, _, err = demo(capsys, "--out", tmp_path / "x")
    assert code == 2
    assert "pip install 'crynux-validate[all]'" in err
    assert not (tmp_path / "x").exists()


def test_what_a_demo_wrote_is_replaced(tmp_path: Path) -> None:
    planned = ("demo.db", "group-*")
    demo_output.Output(tmp_path, planned).claim("demo.db").write_text("old")
    output = demo_output.Output(tmp_path, planned)
    assert output.claim("demo.db").read_text() == "old"
    (tmp_path / "group-1").mkdir()
    output.claim("group-1")  # an empty folder is nobody's
    (tmp_path / "group-2").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match="group-2 was not written by a demo"):
        demo_output.Output(tmp_path, planned)


def test_a_folder_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "small-sd").mkdir()
    (tmp_path / "small-sd" / "mine.txt").write_text("keep me")
    code, _, err = demo(capsys, "--out", tmp_path)
    assert code == 2
    assert "small-sd" in err
    assert (tmp_path / "small-sd" / "mine.txt").exists()
