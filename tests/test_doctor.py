"""doctor: what it says of a machine that is fit, and of machines on which one thing is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from crynux_validate.cli import main
from crynux_validate.doctor import Check, Status, examine, examining, work
from crynux_validate.doctor.checks import CHECKS
from crynux_validate.errors import CrynuxValidateError, ModelError, PipelineError
from crynux_validate.vectors_check import load_vectors

REFERENCE = json.loads(examining.REFERENCE.read_text("utf-8"))


def computed(**changes: Any) -> dict[str, Any]:
    """What a fit machine computes, with something changed."""
    found = {
        "picture": "aa", "picture_again": "aa", "text": "bb", "text_again": "bb", "hash": REFERENCE["hash"],
        "token_ids": REFERENCE["token_ids"], "canary": ["cc", "cc"],
        "seconds": {"loading": 1.0, "picture": 1.0, "text": 1.0},
    }  # fmt: skip
    return found | changes


def examined(monkeypatch: pytest.MonkeyPatch, here: Any, elsewhere: Any) -> dict[str, Check]:
    """The checks of a machine that computes these in this process and in another."""

    def answer(found: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    few = [vector for vector in load_vectors(None) if vector.kind == "task"]
    monkeypatch.setattr(examining, "load_vectors", lambda _: few)
    monkeypatch.setattr(work, "computed", lambda *_: answer(here))
    monkeypatch.setattr(examining, "_in_another_process", lambda *_: answer(elsewhere))
    return {check.name: check for check in examine("cpu").checks}


def test_a_machine_that_repeats_itself_is_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = examined(monkeypatch, computed(), computed())
    assert [*checks] == ["system", "room", "guard", "vectors", "picture", "text", "canary", "reference"]
    assert len(checks) == CHECKS
    assert {check.status for name, check in checks.items() if name != "room"} == {Status.OK}
    assert all(check.todo for check in checks.values() if check.status is not Status.OK)


@pytest.mark.parametrize(
    ("here", "elsewhere", "fails", "words"),
    [
        ({"picture_again": "ab"}, {}, "picture", "with other tasks between"),
        ({}, {"picture": "ab"}, "picture", "in another process"),
        ({"text_again": "ab"}, {}, "text", "with other tasks between"),
        ({}, {"text": "ab"}, "text", "in another process"),
        ({"canary": ["cc", "dd"]}, {}, "canary", "several"),
        ({}, {"canary": ["dd", "dd"]}, "canary", "several"),
        ({"hash": f"{int(REFERENCE['hash'], 16) ^ 0xFFFFFF:016x}"}, {}, "reference", "24 of 64 bits"),
    ],
)
def test_a_machine_that_does_not_is_not(
    monkeypatch: pytest.MonkeyPatch, here: dict[str, Any], elsewhere: dict[str, Any], fails: str, words: str
) -> None:
    checks = examined(monkeypatch, computed(**here), computed(**elsewhere))
    assert [name for name, check in checks.items() if check.status is Status.FAILED] == [fails]
    assert words in checks[fails].found
    assert checks[fails].todo


def test_a_few_bits_and_another_text_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    near = computed(hash=f"{int(REFERENCE['hash'], 16) ^ 0b111111:016x}", token_ids=[1])
    assert examined(monkeypatch, near, near)["reference"].status is Status.ADVICE


def test_what_cannot_be_computed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = examined(monkeypatch, ModelError("no weights"), computed())
    assert (checks["computing"].status, checks["computing"].found) == (Status.FAILED, "no weights")
    checks = examined(monkeypatch, computed(), ModelError("it died"))
    assert (checks["picture"].status, checks["picture"].found) == (Status.FAILED, "it died")


def test_another_process_that_dies_is_told(tmp_path: Path) -> None:
    (tmp_path / "image").write_text("in the way of the model")
    with pytest.raises(PipelineError, match=r"a second process could not compute the tasks: .*image"):
        examining._in_another_process(tmp_path, "cpu")


def test_a_guard_that_does_not_hold_ends_it() -> None:
    from torch.overrides import TorchFunctionMode

    class Watching(TorchFunctionMode):
        """A program that looks at every operation."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    with Watching():
        checks = {check.name: check for check in examine("cpu").checks}
    assert [*checks][-1] == "guard"
    assert checks["guard"].status is Status.FAILED
    assert "Watching" in checks["guard"].found


def test_the_device_must_exist() -> None:
    with pytest.raises(CrynuxValidateError, match="cuda"):
        examine("cuda:7")


@pytest.mark.long  # it loads two models in two processes; the others above stand for its parts
def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cpu", "--out", str(tmp_path / "seen.json")]) == 0
    assert "this machine is fit" in capsys.readouterr().out
    seen = json.loads((tmp_path / "seen.json").read_text("utf-8"))
    assert seen["fit"] is True
    assert {"kernel", "numerics"} <= set(seen["environment"])
    assert str(tmp_path) not in json.dumps(seen)
