"""The measurement of distances: its prompts, its cheats, and what it makes of hashes. Nothing is drawn here."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from attacks import ATTACKS
from benchmarks.distances import plan, record, sheet, tables, work
from PIL import Image

from crynux_validate import ImageTask, ModelRef
from crynux_validate.hashing import image_hash
from crynux_validate.schedulers import NOISE_SCHEDULERS

MODEL = ModelRef(digest="ab" * 32)
HONEST = "00000000ffffffff"
PLAIN = "8000000000000000"
NO_SENSE = "enlarged-from-128"

Drawn = tuple[list[ImageTask], Mapping[tuple[str, str], work.Drawn]]


def far(bits: int) -> str:
    """A hash of 32 set bits so many bits away from `HONEST`; an even number."""
    half = bits // 2
    return f"{int(HONEST, 16) ^ ((1 << half) - 1) ^ ((1 << half) - 1 << 32):016x}"


def cheated(distances: list[int]) -> record.Cheated:
    return record.Cheated("a cheat", "a group", [far(distance) for distance in distances], [HONEST] * len(distances))


def honest(kind: str, setting: plan.Setting, distances: list[int]) -> record.Honest:
    count = len(distances)
    hashes = [far(distance) for distance in distances]
    dtype, scheduler, steps = setting.dtype, setting.scheduler, setting.steps
    return record.Honest(
        kind, dtype, "native", dtype, scheduler, steps, hashes, [HONEST] * count, [0.5] * count, [0.25] * count,
        [9] * count,
    )  # fmt: skip


def test_native_draws_the_cheats_too_and_nothing_twice() -> None:
    asked = plan.tasks(MODEL, 3)
    found = plan.plan(asked, ["native", "aten-default", "oldest"], ATTACKS)
    settings = len(plan.MAIN) + len(plan.VARIED)
    assert len(found["oldest"]) == 3 * len(plan.MAIN)
    assert len(found["aten-default"]) == 3 * settings
    assert len(found["native"]) == 3 * (settings + len(ATTACKS))
    for drawn in found.values():
        assert len({(name, task.digest) for name, task in drawn}) == len(drawn)


def test_every_allowed_scheduler_is_in_a_setting() -> None:
    assert {setting.scheduler for setting in (*plan.MAIN, *plan.VARIED)} == set(NOISE_SCHEDULERS)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.05, 1), (0.051, 2), (0.5, 10), (0.95, 19), (0.951, 20), (1.0, 20), (0.001, 1)]
)
def test_rank(share: float, expected: int) -> None:
    assert tables.rank([*range(20, 0, -1)], share) == expected


def test_distances_and_what_they_lead_to() -> None:
    pairs = cheated([0, 8, 14, 16, 22, 24, 40, 64])
    assert tables.distances(pairs) == [0, 8, 14, 16, 22, 24, 40, 64]
    shares = [tables.below(tables.distances(pairs), threshold) for threshold in (8, 9, 16, 24)]
    assert shares == [1 / 8, 2 / 8, 3 / 8, 5 / 8]
    assert tables.slashed(pairs) == 3 / 8


def test_a_small_share_is_not_shown_as_none() -> None:
    pairs = dataclasses.replace(honest("oldest", plan.MAIN[0], [0]), differ=[0.000023], mean=[0.0000234])
    shown = tables.tables(record.Record({}, [pairs], [cheated([0])]))
    assert "| float32, oldest | 0.0023% | 2.3e-05 | 9 |" in shown


def test_nobody_is_slashed_where_the_honest_picture_is_too_plain() -> None:
    pairs = record.Cheated("a cheat", "a group", [HONEST, PLAIN], [PLAIN, HONEST])
    assert tables.slashed(pairs) == 1 / 2
    assert tables.degenerate([HONEST, PLAIN, PLAIN]) == 2


def test_tables() -> None:
    main, other = plan.MAIN[0], plan.Setting(steps=10)
    measured = record.Record(
        {"model": "abc"},
        [
            honest("oldest", main, [0, 2]),
            honest("aten-default", main, [0, 16]),
            honest("oldest", other, [8, 24]),
        ],
        [cheated([10, 30])],
    )
    assert record.Record.from_json(measured.to_json()) == measured
    lines = tables.tables(measured).splitlines()
    assert "| float32, oldest | 50.0% | 0.25 | 9 | 1.00 | 2 | 2 | 0 | 0 | 0 |" in lines
    assert "| float32, aten-default | 50.0% | 0.25 | 9 | 8.00 | 16 | 16 | 1 | 1 | 0 |" in lines
    # Only kinds that drew in every setting are compared across settings.
    assert "| DDIMScheduler, 25 steps | 2 | 50.0% | 0.25 | 9 | 1.00 | 2 | 2 | 0 | 0 | 0 |" in lines
    assert "| DDIMScheduler, 10 steps | 2 | 50.0% | 0.25 | 9 | 16.00 | 24 | 24 | 2 | 1 | 1 |" in lines
    assert "| a cheat | 20.0 | 10 | 10 | 0% | 50% | 50% | 50% | 50% | 50% | 0 |" in lines
    heads = [line for line in lines if line.startswith(("| cheat", "| honest"))]
    assert len(heads) == 3
    assert all(lines[lines.index(head) + 1] == "|---" * (head.count("|") - 1) + "|" for head in heads)


@pytest.fixture(name="drawn", scope="module")
def _drawn() -> Drawn:
    """Pictures that nobody's model drew, one for each that would be drawn; one cheat means nothing for these tasks."""
    asked = plan.tasks(MODEL, 2)
    found = {}
    for kind, drawn in plan.plan(asked, ["native", "aten-default"], ATTACKS).items():
        for number, (name, task) in enumerate(drawn):
            if name != NO_SENSE:
                picture = np.random.default_rng(number).integers(1, 200, (task.height, task.width, 3), dtype=np.uint8)
                picture[:10] += kind == "aten-default"
                found[name, task.digest] = work.Drawn(picture, image_hash(picture).hex, 1.0)
    return asked, found


def test_what_was_drawn_is_compared_with_native(
    drawn: Drawn,
) -> None:
    asked, found = drawn
    measured = record.record(asked, found, ["native", "aten-default"], {})
    pairs = measured.honest[0]
    assert (pairs.kind, pairs.beside, pairs.dtype, pairs.most) == ("aten-default", "native", "float32", [1, 1])
    assert pairs.differ == pairs.mean == [10 / 128] * 2
    dtypes = measured.honest[len(plan.MAIN)]
    assert (dtypes.kind, dtypes.dtype, dtypes.beside, dtypes.beside_dtype) == (
        "native",
        "bfloat16",
        "native",
        "float32",
    )
    assert min(dtypes.most) > 100  # other pictures, of another task
    assert len(measured.honest) == len(plan.MAIN) + 1 + len(plan.VARIED)
    cheats = [cheat for name, cheat in ATTACKS.items() if name != NO_SENSE]
    assert [pairs.name for pairs in measured.cheats] == [cheat.words for cheat in cheats]
    assert all(len(pairs.hashes) == 2 for pairs in measured.cheats)
    assert tables.tables(measured).count("\n| ") == 3 + len(measured.honest) - len(plan.MAIN) + 3 + len(cheats)


def test_the_sheet_shows_every_cheat(drawn: Drawn, tmp_path: Path) -> None:
    asked, found = drawn
    path = sheet.draw_sheet(tmp_path / "sheet.png", asked, found, ["native", "aten-default"])
    with Image.open(path) as image:
        assert image.size[0] > 1000


def test_the_plot_has_a_row_for_every_cheat() -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.distances import plot

    pairs = [honest("oldest", plan.MAIN[0], [0, 2]), honest("aten-default", plan.MAIN[0], [4, 4])]
    measured = record.Record({}, pairs, [cheated([10, 30])])
    assert plot.rows(measured) == [
        ("honest", [("another machine, float32", [0, 2, 4, 4])]),
        ("a group", [("a cheat", [10, 30])]),
    ]
