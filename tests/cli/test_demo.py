"""The demo, from the first process to the picture: four processes, real kernels, one cheat."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crynux_validate.cli import main

pytest.importorskip("torch")
pytest.importorskip("diffusers")


def demo(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = main(["demo", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64", reason="no other kernels to imitate"
)
def test_the_demo_finds_the_cheat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = demo(capsys, "--out", tmp_path, "--tasks", 1, "--cheat", "other-picture", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["balanced"]
    assert summary["replay_equal"]
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
    members = sorted(path.name for path in (tmp_path / "group-1").iterdir())
    assert len(members) == 3
    for name in members:
        assert (tmp_path / "group-1" / name / "image-0.png").exists()


@pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64", reason="no other kernels to imitate"
)
def test_the_text_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = demo(capsys, "--kind", "text", "--out", tmp_path, "--tasks", 2, "--json")
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
    assert len(set(last["texts"].values())) == 2
    assert summary["without_pairing"]["findings"]["node-4"] == "INVALID", "an honest node of the other GPU model"
    at = summary["without_pairing"]["first_difference"]
    assert 0 <= at < 200
    assert f"part at token {at + 1} of 200" in err
    assert "node-7 served nobody" in err
    assert (tmp_path / "with-canary" / "group-1").is_dir()


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


def test_a_folder_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny-sd").mkdir()
    (tmp_path / "tiny-sd" / "mine.txt").write_text("keep me")
    code, _, err = demo(capsys, "--out", tmp_path)
    assert code == 2
    assert "tiny-sd" in err
    assert (tmp_path / "tiny-sd" / "mine.txt").exists()
