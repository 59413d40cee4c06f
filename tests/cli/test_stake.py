"""stake, as a user or a program calls it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crynux_validate import required_stake
from crynux_validate.cli import main

POOL = ("stake", "--honest", "90", "--dishonest", "10")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, *POOL, "--threshold", "24", "--sampling-rate", "0.1", "--price", "1")
    assert (code, err) == (0, "")
    assert out.startswith("required stake 11.4233\n")
    for part in ("p  0.1744", "f  0.02503", "e  0.19506", "x  0.80494", "sealed", "9.26471"):
        assert part in out
    assert out.splitlines()[:-1] == str(required_stake(90, 10, threshold=24, sampling_rate=0.1)).splitlines()


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(
        capsys, *POOL, "--json", "--images", "2", "--price", "3", "--source", "binomial", "--slash-threshold", "30"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    expected = required_stake(90, 10, images=2, price=3, source="binomial", slash_threshold=30)
    live = required_stake(90, 10, price=3, threshold=None, view="network")
    assert found == {**expected.to_dict(), "live_network": live.to_dict()}
    assert (found["threshold"], found["slash_threshold"], found["presupposes"]) == (16, 30, None)


RULES = {
    "--group-size": 5, "--dishonest-weight": 4, "--absent": 0.1, "--slash-ppm": 500_000, "--slash-per-fee": 15,
}  # fmt: skip


def test_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    given: dict[str, Any] = {name.removeprefix("--").replace("-", "_"): value for name, value in RULES.items()}
    options = [text for name, value in RULES.items() for text in (name, str(value))]
    code, out, err = call(capsys, *POOL, "--sampling-rate", "0.1", *options)
    expected = required_stake(90, 10, sampling_rate=0.1, **given)
    assert (code, err) == (0, "")
    assert out.splitlines()[:-1] == str(expected).splitlines()
    assert "must take 17.1131" in out
    assert out.rstrip().endswith(" 9.26471"), "the live network knows none of it"
    code, out, _ = call(capsys, *POOL, "--sampling-rate", "0.1", *options, "--json")
    found = json.loads(out)
    assert (found["group_size"], found["dishonest_weight"], found["absent"], found["bound"]) == (5, 4, 0.1, 15)
    assert (found["s"], found["stake_per_fee"], found["slash_per_fee"]) == ("infinity", 18, 18)
    assert found["live_network"]["group_size"] == 3


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, *POOL, "--text", "--sampling-rate", "0.1", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["f"], found["threshold"]) == (0, None)
    assert found["s"] == pytest.approx(11.11, abs=5e-3)


def test_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "stake", "--honest", "1", "--dishonest", "5")
    assert code == 0
    assert out.startswith("required stake infinite")
    assert out.rstrip().endswith("infinite")
    code, out, _ = call(capsys, "stake", "--honest", "1", "--dishonest", "5", "--json")
    assert json.loads(out)["s"] == "infinity"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--threshold", "0"], "1 to 64"),
        (["--threshold", "65"], "1 to 64"),
        (["--slash-threshold", "8"], "below the threshold"),
        (["--sampling-rate", "0"], "above 0"),
        (["--sampling-rate", "1.5"], "at most 1"),
        (["--sampling-rate", "often"], "'often'"),
        (["--sampling-rate", "nan"], "nan"),
        (["--price", "-1"], "price"),
        (["--price", "1e999"], "inf"),
        (["--images", "0"], "1 to 16"),
        (["--dishonest", "-1"], "dishonest is -1"),
        (["--honest", "0", "--dishonest", "2"], "a group needs 3"),
        (["--text", "--plot", "x.png"], "--text"),
        (["--group-size", "4"], "--group-size is 4; expected one of"),
        (["--dishonest-weight", "0"], "--dishonest-weight is 0"),
        (["--dishonest-weight", "heavy"], "--dishonest-weight is 'heavy'"),
        (["--dishonest-weight", "-1"], "--dishonest-weight is -1"),
        (["--absent", "2"], "--absent is 2"),
        (["--absent", "nan"], "--absent is nan"),
        (["--slash-ppm", "1000001"], "--slash-ppm is 1000001"),
        (["--slash-per-fee", "-1"], "--slash-per-fee is -1"),
        (["--group-size", "9", "--honest", "3", "--dishonest", "5"], "8 nodes together; a group needs 9"),
        (["--text", "--slash-threshold", "30"], "--slash-threshold is 30"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], arguments: list[str], word: str) -> None:
    code, out, err = call(capsys, *POOL, *arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err


def test_missing_arguments() -> None:
    command = [sys.executable, "-m", "crynux_validate", "stake", "--honest", "9"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "--dishonest" in found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--threshold", "40", "--source", "binomial", "--images", "4", "--sampling-rate", "0.01"],
        ["--slash-threshold", "20"],
        ["--slash-threshold", "30", "--source", "binomial"],
        ["--honest", "1"],
        ["--threshold", "46"],
        ["--slash-threshold", "60"],
        ["--dishonest", "1", "--absent", "1"],
        ["--threshold", "60", "--source", "binomial"],
        ["--group-size", "9", "--dishonest-weight", "4", "--absent", "0.125", "--slash-per-fee", "1"],
        ["--slash-ppm", "0"],
        ["--slash-per-fee", "0"],
    ],
)
def test_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "stake.png"
    code, out, err = call(capsys, *POOL, *arguments, "--plot", str(path))
    assert code == 0
    assert out.startswith("required stake")
    assert str(path) in err
    with Image.open(path) as image:
        assert image.size == (1200, 750)
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 20, "nothing was drawn"


def test_what_a_plot_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    path = tmp_path / "stake.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text
        assert call(capsys, *POOL, "--sampling-rate", "0.1", "--plot", str(path))[0] == 0
        finite = path.read_text("utf-8")
        assert call(capsys, *POOL, "--honest", "1", "--plot", str(path))[0] == 0
        infinite = path.read_text("utf-8")
    for words in (
        "90 honest and 10 dishonest",
        "jobs sealed",
        f"threshold 16: stake {required_stake(90, 10, sampling_rate=0.1).s:.4g}",
        "required stake",
        "unrelated photographs, upper end",
        "tosses of a coin",
    ):
        assert words in finite
    assert "∞" not in finite
    assert "a slash takes no more" not in finite
    rules = ["--slash-per-fee", "5", "--group-size", "5", "--dishonest-weight", "4", "--absent", "0.1"]
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        assert call(capsys, *POOL, "--sampling-rate", "0.1", *rules, "--plot", str(path))[0] == 0
    bounded = path.read_text("utf-8")
    assert max(map(len, re.findall(r">([^<>\n]+)</text>", bounded))) <= 72, "a line of the title leaves the picture"
    for words in ("a slash takes no more", "groups of 5", "nodes of weight 4", "10% of the honest absent"):
        assert words in bounded
    assert "∞" in infinite
    assert "no stake" in infinite


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("stake.txt", [], ".png, .svg, .pdf"),
        ("missing/stake.png", [], "cannot write"),
        ("stake.png", ["--price", "0"], "logarithmic"),
    ],
)
def test_bad_plots(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, arguments: list[str], word: str
) -> None:
    pytest.importorskip("matplotlib")
    code, out, err = call(capsys, *POOL, *arguments, "--plot", str(tmp_path / name))
    assert (code, out) == (2, "")
    assert word in err
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path: Path) -> None:
    """A process that cannot import it says what to install, and does everything else."""
    program = "import sys; sys.modules['matplotlib'] = None; from crynux_validate.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *POOL]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stderr) == (0, "")
    found = subprocess.run([*command, "--plot", str(tmp_path / "x.png")], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "crynux-validate[plot]" in found.stderr
    assert "Traceback" not in found.stderr
