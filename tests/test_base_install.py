"""Without any extra there is pydantic and rfc8785: what works with them, and what the rest says to install."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate.cli import main

EXTRAS = ("numpy", "PIL", "imagehash", "scipy", "sqlalchemy", "torch", "diffusers", "transformers", "cryptography")
NO_PICTURES: Any = [b"no picture"]
SAME, OTHER = "e0690b4d6d66739b", "00ff00ff00ff00ff"
DRAW = cv.machines.Draw("l", "g", "00" * 32, "00" * 32, 3, 0, b"b", [cv.machines.Candidate("n", "o", 1)], {}, 0, ("n",))


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of any extra can be imported, and none that was imported before is seen."""
    for name in list(sys.modules):
        if name.partition(".")[0] in EXTRAS:
            monkeypatch.delitem(sys.modules, name)
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


def test_the_base_install_is_two_packages() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert [wanted.partition(">")[0] for wanted in project["dependencies"]] == ["pydantic", "rfc8785"]
    everything = "".join(project["optional-dependencies"]["all"])
    for extra in ("hash", "image", "text", "sql", "postgresql", "sign", "plot"):
        assert extra in everything
        assert "imagehash" not in "".join(project["optional-dependencies"][extra])


@pytest.mark.usefixtures("base")
def test_a_group_is_judged() -> None:
    model = cv.ModelRef("owner/name", revision="0" * 40)
    task = cv.task_from_json(cv.ImageTask(model=model, prompt="a red cat").to_json())
    score, other = cv.ImageScore.from_hex(SAME), cv.ImageScore.from_hex(OTHER)
    opening = cv.Opening.of(cv.ImageScore(score.hashes, bytes(32)))
    commitment = opening.commitment("00" * 32, node="node-1")
    assert len(bytes.fromhex(task.digest)) == len(commitment) == 32
    verdict = cv.judge({"node-1": score, "node-2": score, "node-3": other}, cv.CentreRule(threshold=16))
    assert "node-3" in str(verdict)
    assert cv.hamming(SAME, OTHER) == cv.hashing.block_distances(bytes.fromhex(SAME), bytes.fromhex(OTHER))[0]
    assert cv.answers.similarity_score(score, other) == cv.hamming(SAME, OTHER)


@pytest.mark.usefixtures("base")
def test_the_command_line_judges_and_compares(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", SAME, SAME]) == 0
    assert main(["compare", SAME, OTHER]) == 1
    capsys.readouterr()
    assert main(["hash", __file__]) == 2
    assert "pip install 'crynux-validate[hash]'" in capsys.readouterr().err
    assert main(["vectors", "--verify"]) == 2  # no verdict on what cannot be computed here
    assert "pip install 'crynux-validate[" in capsys.readouterr().err


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("call", "extra"),
    [
        (lambda: cv.image_hash(b"no picture"), "hash"),
        (lambda: cv.hashing.image_hashes([b"no picture"]), "hash"),
        (lambda: cv.hashing.image_hashes([b"no picture"], processes=1), "hash"),
        (lambda: cv.ImageScore.from_images(NO_PICTURES), "hash"),
        (lambda: cv.hashing.hash_array([SAME]), "ledger"),
        (lambda: cv.hashing.hamming_distances([SAME], [OTHER]), "ledger"),
        (lambda: cv.hashing.hamming_matrix([SAME]), "ledger"),
        (lambda: cv.hashing.hashes_within(SAME, [OTHER], 3), "ledger"),
        (lambda: cv.hashing.nearest_hashes(SAME, [OTHER], 1), "ledger"),
        (lambda: cv.machines.Pool([cv.machines.Candidate("n", "o", 1)]), "ledger"),
        (lambda: cv.verify_draw(DRAW), "ledger"),
    ],
    ids=range(11),
)
def test_what_is_missing_is_named(call: Callable[[], Any], extra: str) -> None:
    with pytest.raises(cv.errors.MissingExtraError, match=f"'crynux-validate.{extra}.'"):
        call()
