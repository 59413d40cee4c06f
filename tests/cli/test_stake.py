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
from crynux_validate.stakes import AuditTerms

POOL = ("stake", "--honest", "90", "--dishonest", "10")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, *POOL, "--threshold", "24", "--sampling-rate", "0.1", "--price", "1")
    assert (code, err) == (0, "")
    assert out.startswith("required stake 11.4233 times the price of a task")
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


AUDITS = ("--audits", "slash", "--false-alarms", "0.001", "--sampling-rate", "0.1")
GROUP = ("--audits", "group", "--false-alarms", "0.001", "--detection", "0.9")


def test_audits(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--steps", "5", "--cheated", "0.5", "--audit-cost", "0.3", "--saves", "0.5", "--threshold", "24")
    code, out, err = call(capsys, *POOL, *AUDITS, *options, "--group-size", "5", "--price", "3")
    terms = AuditTerms(steps=5, cheated=0.5, false_alarms=0.001, cost=0.3, saves=0.5)
    found = required_stake(90, 10, audits=terms, sampling_rate=0.1, group_size=5, price=3)
    beside = required_stake(90, 10, threshold=24, sampling_rate=0.1, group_size=5, price=3)
    assert (code, err) == (0, "")
    assert out.splitlines()[:-1] == str(found).splitlines()
    assert "groups of 5 for the same share of tasks, against blind counterfeits" in out
    assert out.rstrip().endswith(f"stake {beside.s:.6g}, a task costs {beside.cost:.6g}")
    code, out, _ = call(capsys, *POOL, *AUDITS, *options, "--group-size", "5", "--price", "3", "--json")
    assert json.loads(out) == {**found.to_dict(), "groups": beside.to_dict()}


def test_audits_that_a_group_decides(capsys: pytest.CaptureFixture[str]) -> None:
    rules = ("--absent", "0.1", "--slash-ppm", "500000", "--dishonest-weight", "2", "--slash-per-fee", "9")
    given_ = {"absent": 0.1, "slash_ppm": 500_000, "dishonest_weight": 2, "slash_per_fee": 9}
    code, out, _ = call(capsys, *POOL, *GROUP, *rules, "--confirms", "0.8", "--confirms-falsely", "0.2", "--text")
    terms = AuditTerms(detection=0.9, false_alarms=0.001, then="group", confirms=0.8, confirms_falsely=0.2)
    assert code == 0
    assert out.splitlines()[:-1] == str(required_stake(90, 10, audits=terms, **given_)).splitlines()  # type: ignore[arg-type]
    assert "against texts that differ" in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--detection", "0.9"], "--detection is 0.9, but nothing is audited; give --audits as well"),
        (["--steps", "5"], "--steps is 5, but nothing is audited"),
        ([*AUDITS], "--audits needs --detection, or both --steps and --cheated"),
        ([*AUDITS, "--steps", "5"], "--audits needs --detection, or both --steps and --cheated"),
        ([*AUDITS, "--detection", "0.9", "--steps", "5"], "there is --detection 0.9, --steps 5"),
        ([*AUDITS, "--detection", "1.5"], "--detection is 1.5; expected a chance"),
        ([*AUDITS, "--detection", "often"], "--detection is 'often'; expected a number such as 0.1"),
        ([*AUDITS, "--detection", "0.9", "--audit-cost", "-1"], "--audit-cost is -1"),
        ([*AUDITS, "--detection", "0.9", "--confirms", "1"], "no group decides; give --audits group"),
        ([*AUDITS, "--steps", "0", "--cheated", "0.5"], "--steps is 0"),
        ([*AUDITS, "--detection", "0.9", "--saves", "0"], "--saves is 0"),
        (["--audits", "slash", "--detection", "0.9"], "--audits needs --false-alarms"),
        ([*GROUP, "--honest", "2", "--dishonest", "1"], "one node and a group need 4"),
    ],
)
def test_bad_audits(capsys: pytest.CaptureFixture[str], arguments: list[str], word: str) -> None:
    code, out, err = call(capsys, *POOL, *arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--detection", "0.9", "--audit-cost", "0.1"],
        ["--detection", "0"],
        ["--detection", "1", "--honest", "1"],
        ["--detection", "0.9", "--false-alarms", "0.9"],
        ["--steps", "3", "--cheated", "0.5", "--saves", "0.01", "--sampling-rate", "1"],
        ["--detection", "0.9", "--slash-per-fee", "1", "--text"],
    ],
)
@pytest.mark.parametrize("then", ["slash", "group"])
def test_plots_of_audits(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], then: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "cost.png"
    code, out, err = call(capsys, *POOL, *AUDITS, "--audits", then, *arguments, "--plot", str(path))
    assert code == 0
    assert out.startswith("required stake")
    assert str(path) in err
    with Image.open(path) as image:
        assert image.size == (1200, 750)


def test_what_a_plot_of_audits_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    path = tmp_path / "cost.svg"
    found = required_stake(90, 10, sampling_rate=0.1, audits=AuditTerms(detection=0.9, false_alarms=0.001))
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        assert call(capsys, *POOL, *AUDITS, "--detection", "0.9", "--plot", str(path))[0] == 0
        finite = path.read_text("utf-8")
        assert call(capsys, *POOL, *AUDITS, "--detection", "0", "--plot", str(path))[0] == 0
        infinite = path.read_text("utf-8")
    for words in (
        "slashed at once", "audits that find 90% of cheats", "groups of 3, sealed jobs", "blind counterfeits",
        f"10% audited: stake {found.s:.4g}, cost {found.cost:.4g}", "false alarms 0.1%", "a tenth",
    ):  # fmt: skip
        assert words in finite
    assert "audits that find 0% of cheats: infinite stake" in infinite
    assert call(capsys, *POOL, *AUDITS, "--detection", "0.9", "--plot", str(tmp_path / "cost.txt"))[0] == 2
    assert call(capsys, *POOL, *AUDITS, "--detection", "0.9", "--price", "0", "--plot", str(path))[0] == 2
