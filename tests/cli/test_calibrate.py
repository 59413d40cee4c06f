"""calibrate, and stake --calibration, as a user or a program calls them."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crynux_validate import Calibration, calibrate, required_stake
from crynux_validate.calibration import NotEnough, Samples, draw_plot, write_samples
from crynux_validate.cli import main
from tests.calibration.by_hand import calibration
from tests.calibration.synthetic import answers

LOOSE = ("--false-reject-rate", "0.2", "--false-slash-rate", "0.2")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples.of(answers(30, unrelated=40))


@pytest.fixture(scope="module")
def table(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(samples, tmp_path_factory.mktemp("table") / "samples.csv")


def test_for_people(table: Path, samples: Samples, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "calibrate", table, *LOOSE)
    found = calibrate(samples, false_reject_rate=0.2, false_slash_rate=0.2)
    assert (code, out) == (0, f"{found}\n")
    assert "recommended: threshold" in out
    assert re.match(r"read [0-9,]+ answers\n", err)


def test_too_few_pictures_are_exit_code_1(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "calibrate", table)
    assert code == 1
    assert re.search(r"not enough data: [\d,]+ more pictures are needed", out)


def test_for_programs_and_saved(
    table: Path, samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {
        "group_size": 5, "confidence": 0.9, "false_reject_rate": 0.3, "false_slash_rate": 0.25, "seed": 7,
    }  # fmt: skip
    given = [str(part) for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    saved = tmp_path / "calibration.json"
    code, out, _ = call(capsys, "calibrate", table, *given, "--no-safety-checker", "--json", "--out", saved)
    found = calibrate(samples, **options, safety_checker=False)
    assert code == isinstance(found.recommendation, NotEnough)
    assert json.loads(out) == found.to_dict() == json.loads(saved.read_text())
    assert Calibration.load(saved) == found


def test_the_order_of_rows_and_files_changes_nothing(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = table.read_text().splitlines()
    order = np.random.default_rng(1).permutation(len(rows))
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("\n".join([head, *(rows[at] for at in order[:50])]))
    second.write_text("\n".join([head, *(rows[at] for at in order[50:])]))
    _, whole, _ = call(capsys, "calibrate", table, "--json", *LOOSE)
    _, shuffled, _ = call(capsys, "calibrate", second, first, "--json", *LOOSE)
    assert shuffled == whole


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_plot(suffix: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"plot{suffix}"
    code, _, err = call(capsys, "calibrate", table, *LOOSE, "--plot", path)
    assert (code, f"wrote {path}" in err) == (0, True)
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.size == (1500, 1080)
    if suffix == ".svg":
        assert "slash threshold" in path.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"recommendation": NotEnough("false_slash_rate", 58, 2_938)},
        {"recommendation": NotEnough("false_slash_rate", 58, None)},
        {"cheats": {}},
        {"cheats": {f"cheat-{at}-{'x' * 50}": (at / 40, 1 - at / 40) for at in range(40)}},
    ],
)
def test_every_calibration_can_be_drawn(changes: dict[str, Any], tmp_path: Path) -> None:
    cheats = changes.pop("cheats", {"half-steps": (1.0, 0.0)})
    assert draw_plot(calibration(cheats, **changes), tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no.csv",), "no.csv is not there"),
        (("TABLE", "--group-size", "4"), "--group-size is 4"),
        (("TABLE", "--confidence", "much"), "--confidence is 'much'; expected a number such as 0.1"),
        (("TABLE", "--confidence", "2"), "--confidence is 2"),
        (("TABLE", "--false-slash-rate", "0"), "--false-slash-rate is 0"),
        (("TABLE", "--false-reject-rate", "nan"), "--false-reject-rate is nan"),
        (("TABLE", "--plot", "plot.jpg"), "plot.jpg; expected a file name that ends with .png, .svg, .pdf"),
        (("TABLE", "--out", "nowhere/c.json"), "--out is 'nowhere/c.json'; there is no folder nowhere"),
        (("TABLE", "--plot", "nowhere/c.png"), "there is no folder nowhere"),
        (("TABLE", "--state", "."), "--state is '.', which is a folder"),
        (("TABLE", "--out", "TABLE"), "which is read as well; name another file"),
        (("TABLE", "--state", "TABLE"), "which is read as well; name another file"),
        (("TABLE", "--out", "x.png", "--plot", "./x.png"), "which is --out as well; name another file"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], problem: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(table) if argument == "TABLE" else argument for argument in arguments]
    code, out, err = call(capsys, "calibrate", *given)
    assert (code, out) == (2, "")
    assert problem in err
    assert err.count("\n") <= 2


def test_one_kind_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lonely = write_samples(Samples.of(answers(5, kinds=("card",))), tmp_path / "lonely.csv")
    code, _, err = call(capsys, "calibrate", lonely)
    assert code == 2
    assert "of one kind of machine only" in err


def test_stake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "calibration.json"
    made = calibration({"half-steps": (1.0, 0.0), "other-seed": (0.4, 0.5), "noise": (0.03, 0.97)})
    made.save(saved)
    pool = ("stake", "--honest", "90", "--dishonest", "10", "--calibration", saved)
    code, out, _ = call(capsys, *pool)
    assert (code, out.splitlines()[:-1]) == (0, str(required_stake(90, 10, calibration=made)).splitlines())
    assert "no stake helps against half-steps" in out
    code, out, _ = call(capsys, *pool, "--cheat", "other-seed", "--cheat", "noise", "--json")
    found = json.loads(out)
    assert (code, found["cheat"], set(found["cheats"])) == (0, "other-seed", {"other-seed", "noise"})
    assert found["s"] == required_stake(90, 10, calibration=made, cheats=["other-seed", "noise"]).s
    for options, problem in (
        (("--cheat", "grey"), "'grey' was not measured; this calibration has half-steps, other-seed, noise"),
        (("--group-size", "5"), "made with --group-size 3, not 5"),
        (("--source", "binomial"), "--source is 'binomial', and there is a calibration"),
        (("--text",), "--calibration is of images, and --text of text tasks"),
        (("--plot", str(tmp_path / "p.png")), "--plot draws blind counterfeits"),
    ):
        code, out, err = call(capsys, *pool, *options)
        assert (code, out) == (2, "")
        assert problem in err
    code, _, err = call(capsys, "stake", "--honest", "90", "--dishonest", "10", "--cheat", "noise")
    assert (code, "--cheat 'noise' needs --calibration FILE" in err) == (2, True)
    code, _, err = call(capsys, *pool[:-1], tmp_path / "no.json")
    assert (code, "no.json" in err, "Errno" in err, "expected a file that crynux" in err) == (2, True, False, True)


def test_a_stake_says_what_limits_its_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cheat that could not be measured is not silently left out."""
    saved = tmp_path / "calibration.json"
    calibration({"noise": (0.03, 0.97)}, warnings=("the cheat grey has no rates",), group_size=5).save(saved)
    pool = ("stake", "--honest", "90", "--dishonest", "10", "--calibration", saved)
    code, _, err = call(capsys, *pool)
    assert (code, "the cheat grey has no rates" in err) == (0, True)
    _, out, _ = call(capsys, *pool, "--audits", "group", "--detection", "0.9", "--false-alarms", "0.001", "--json")
    assert json.loads(out)["group_size"] == json.loads(out)["groups"]["group_size"] == 5


@pytest.mark.long
def test_what_was_compared_is_kept_after_ctrl_c(tmp_path: Path) -> None:
    """A process is interrupted as soon as it has kept something, and the next one goes on from there."""
    table = write_samples(Samples.of(answers(3)), tmp_path / "honest.csv")
    generator = np.random.default_rng(0)
    count = 60_000  # 1.8 billion pairs
    photographs = Samples.from_columns(
        algorithm="phash/1", hashes=generator.integers(0, 2**64, count, np.uint64, endpoint=False), role="unrelated",
        task=[f"photo-{at}" for at in range(count)],
    )  # fmt: skip
    unrelated = write_samples(photographs, tmp_path / "photographs.csv")
    state = tmp_path / "state"
    command = [sys.executable, "-m", "crynux_validate", "calibrate", str(table), str(unrelated), "--state", str(state)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not state.exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, ""), err
    assert f"{state} holds what was compared; the same command goes on from there" in err
