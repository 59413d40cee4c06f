"""The benchmark of what two thresholds let through: it goes on where it was stopped."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks import thresholds

from crynux_validate import Calibration


def test_parts_of_one_photograph_are_one_picture() -> None:
    samples = thresholds.photographs()
    assert samples.roles.names == ("unrelated",)
    assert len(samples.tasks.names) == 58
    assert len(samples) == 58 * 29


@pytest.mark.long
@pytest.mark.torch
def test_a_calibration_of_two_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, saved, plot = tmp_path / "rows.jsonl", tmp_path / "calibration.json", tmp_path / "plot.png"
    command = ["--pictures", "2", "--save", str(rows), "--out", str(saved), "--plot", str(plot)]
    assert thresholds.main(command) == 0
    first, lines, printed = Calibration.load(saved), rows.read_text().splitlines(), capsys.readouterr().out
    assert set(thresholds.CHEATS) < set(first.pictures)
    assert str(first) in printed
    assert plot.stat().st_size > 10_000
    rows.write_text("\n".join(lines[: len(lines) // 2]) + "\n")  # it was stopped
    assert thresholds.main(command) == 0
    assert Calibration.load(saved) == first
    assert sorted(rows.read_text().splitlines()) == sorted(lines)
