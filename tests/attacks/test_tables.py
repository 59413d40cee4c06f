"""What was measured is kept, gone on with, and counted right."""

import hashlib
import importlib.util
from contextlib import nullcontext
from pathlib import Path

import pytest

from crynux_validate.calibration.reading import read_samples
from crynux_validate.calibration.tables import write_samples
from crynux_validate.errors import InvalidInputError
from crynux_validate.testing import fake_hardware

if not all(map(importlib.util.find_spec, ("torch", "diffusers", "transformers"))):
    pytest.skip("needs the extra 'image'", allow_module_level=True)

from attacks import table, work
from attacks.__main__ import main
from attacks.record import HONEST, NATIVE, Record, Row

ABOUT = {"model": "abc", "torch": "2.13"}
RIGHT = "00000000ffffffff"
PLAIN = "8000000000000000"


def far(bits: int) -> str:
    """A hash of 32 set bits so many bits away from `RIGHT`; an even number."""
    half = bits // 2
    return f"{int(RIGHT, 16) ^ ((1 << half) - 1) ^ ((1 << half) - 1 << 32):016x}"


def row(attack: str, number: int, score: str, kind: str = NATIVE, cost: float = 1.0) -> Row:
    pixels = hashlib.sha256(f"{number} {score}".encode()).hexdigest()  # equal pixels have one hash
    return Row(attack, kind, f"{number:064x}", "phash/1", score, 1.5, score == PLAIN, pixels, cost)


def filled(path: Path | None = None) -> Record:
    record = Record(ABOUT, path)
    for number, distance in enumerate([0, 6, 8, 14, 16, 22, 24, 40]):
        record.add(row(HONEST, number, RIGHT))
        record.add(row("half-the-steps", number, far(distance), cost=0.5))
        record.add(row(HONEST, number, far(2), "oldest"))
    return record


def test_tables() -> None:
    lines = table.tables(filled()).splitlines()
    assert lines[0] == "Measured on: model abc; torch 2.13."
    (cheat,) = [line for line in lines if line.startswith("| half the steps")]
    cells = [cell.strip() for cell in cheat.split("|")[1:-1]]
    assert cells[:4] == ["half the steps", "0.50", "8", "16.2"]
    assert [cell.split()[0] for cell in cells[4:10]] == ["25%", "38%", "38%", "50%", "62%", "75%"]
    assert cells[10] == "25% (≥ 3.2%)"
    (honest,) = [line for line in lines if line.startswith("| oldest beside native")]
    assert honest.split("|")[5:-2] == [*[" 100% (≥ 63.1%) "] * 6, " 0% (≤ 36.9%) "]
    heads = [at for at, line in enumerate(lines) if line.startswith(("| attack", "| honest machines"))]
    assert len(heads) == 2
    for at in heads:
        assert lines[at + 1].count("|") == lines[at].count("|") == lines[at + 2].count("|")


def test_nobody_is_slashed_beside_a_plain_picture() -> None:
    pairs = [(row("noise", 0, far(40)), row(HONEST, 0, RIGHT)), (row("noise", 1, far(40)), row(HONEST, 1, PLAIN))]
    assert table.slashed(pairs) == 1


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 30, 0.0, 0.1157), (30, 30, 0.8843, 1.0), (0, 100, 0.0, 0.0362), (5, 10, 0.1871, 0.8129)],
)
def test_intervals_are_those_of_clopper_and_pearson(count: int, n: int, low: float, high: float) -> None:
    assert table.interval(count, n) == pytest.approx((low, high), abs=5e-5)


def test_a_record_is_read_again_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    first = filled(path)
    again = Record(ABOUT, path)
    assert [*again] == [*first]
    again.add(row("noise", 3, far(30)))
    assert Record(ABOUT, path).get("noise", NATIVE, f"{3:064x}") == row("noise", 3, far(30))


def test_a_line_that_was_not_finished_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"attack": "noise", "ki')
    record = Record(ABOUT, path)
    record.add(row("noise", 3, far(30)))
    assert path.read_bytes().startswith(whole + b'{"attack": "noise", "kind": "native"')
    assert len([*Record(ABOUT, path)]) == len([*record])


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    filled(path)
    with pytest.raises(InvalidInputError, match=r"measured with torch '2\.13', now it is '2\.14'"):
        Record({**ABOUT, "torch": "2.14"}, path)
    path.write_text("| attack | cost |\n")
    with pytest.raises(InvalidInputError, match="is no record"):
        Record(ABOUT, path)


def test_a_row_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    filled(path)
    path.write_bytes(path.read_bytes() + b'{"attack": "noise"}\n')
    with pytest.raises(InvalidInputError, match=r"line 26 is no row"):
        Record(ABOUT, path)


def test_samples_are_read_by_a_calibration(tmp_path: Path) -> None:
    record = filled()
    record.add(Row("fragile-task", NATIVE, "ab" * 32, "phash/1", RIGHT, 0.1, False, "ef" * 32, 8.0, "{}"))
    found = read_samples(write_samples(table.samples(record, "abc"), tmp_path / "samples.jsonl"))
    assert len(found) == 24
    assert (found.roles.names, found.kinds.names) == (("cheat:half-the-steps", "honest"), (NATIVE, "oldest"))
    assert (found.models.names, len(found.tasks.names), found.margins[0]) == (("abc",), 8, 1.5)


def test_the_command_measures_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fake_hardware_workers: fake_hardware.Workers,
) -> None:
    monkeypatch.setattr(work, "Worker", lambda kind: nullcontext(fake_hardware_workers[kind.name]))
    path, samples = tmp_path / "record.jsonl", tmp_path / "samples.jsonl"
    arguments = [
        "--pictures",
        "2",
        "--steps",
        "1",
        "--side",
        "64",
        "--kinds",
        "--save",
        str(path),
        "--samples",
        str(samples),
    ]
    assert main([*arguments, "--attacks", "plain-grey", "enlarged-from-128"]) == 0
    first = path.read_bytes()
    assert first.count(b"\n") == 1 + 2 * 2  # two honest answers, two greys; 128x128 cannot be enlarged from 128
    assert main([*arguments, "--attacks", "noise"]) == 0
    assert path.read_bytes().startswith(first)
    assert len(samples.read_text("utf-8").splitlines()) == 6
    assert "| noise | 0.00 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--attacks", "half"], "--attacks names half; there are noise"),
        (["--kinds", "abacus"], "--kinds names abacus; this machine imitates native"),
        (["--pictures", "1"], "expected 2 to 3,000"),
        (["--dtype", "int8"], "dtype"),
        (["--save", "."], "Is a directory"),
        (["--samples", "rows.txt"], "rows.txt"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--save", "--samples"])
def test_a_folder_that_is_not_there_is_named_before_anything_is_measured(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([option, "no/such/folder/rows.jsonl"])
    assert "there is no folder no/such/folder to write rows.jsonl into" in capsys.readouterr().err
