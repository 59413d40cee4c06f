"""The built-in chance of agreement and the published table follow from the raw hashes of photographs."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.photographs.__main__ import main
from benchmarks.photographs.counting import Counts, count, most_of_one_part, upper_end
from benchmarks.photographs.record import Record, hash_picture, shipped
from benchmarks.photographs.sources import SETS, Found, Missing, find, parts
from benchmarks.photographs.tables import tables, upper_ends
from PIL import Image

from crynux_validate import hamming
from crynux_validate.algorithms import IMAGE_ALGORITHMS
from crynux_validate.stakes import false_accept_rate

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def record() -> Record:
    return shipped("photographs")


@pytest.mark.parametrize(("name", "many"), [("photographs", 58), ("drawings", 44)])
def test_the_records_are_of_all_pictures(name: str, many: int) -> None:
    pictures = shipped(name).pictures
    assert [(each.package, each.path) for each in pictures] == [(each.package, each.path) for each in SETS[name]]
    assert len(pictures) == len({each.sha256 for each in pictures}) == many
    for each in pictures:
        assert {name: len(hashes) for name, hashes in each.hashes.items()} == dict.fromkeys(IMAGE_ALGORITHMS, 29)


def test_pairs_are_of_different_photographs(record: Record) -> None:
    for name in IMAGE_ALGORITHMS:
        counts = count(record, name, degenerate=True)
        assert counts.pictures == 58 * 57 // 2 == 1_653
        assert counts.pairs == 1_653 * 29 * 29


def test_counts_beside_every_pair_one_by_one(record: Record) -> None:
    few = Record(record.versions, record.pictures[20:24])
    hashes = [each.hashes["phash/1"] for each in few.pictures]
    apart = [
        hamming(one, other)
        for at, own in enumerate(hashes)
        for others in hashes[:at]
        for one in own
        for other in others
    ]
    counts = count(few, "phash/1", degenerate=True)
    assert counts.below.tolist() == [sum(distance < at for distance in apart) for at in range(65)]


def test_the_built_in_chance(record: Record) -> None:
    """Each is the exact upper end at 95%, which resampling never exceeds, and nothing smaller."""
    found = [float(rate) for rate in upper_ends(record)]
    assert [false_accept_rate(at) for at in range(2, 66, 2)] == found
    counts = [count(record, name, degenerate=True) for name in IMAGE_ALGORITHMS]
    for at in range(1, 65):
        exact = max(each.interval(at)[1] for each in counts)
        assert upper_end(counts, at) == exact
        assert exact <= false_accept_rate(at) < exact + 1.01e-5
        assert all(each.resampled[1, at] <= false_accept_rate(at) for each in counts)


def test_the_part_that_agrees_most_often(record: Record) -> None:
    few = Record(record.versions, record.pictures[26:30])
    hashes = [(each.path, bits) for each in few.pictures for bits in each.hashes["phash/1"]]
    shares = [sum(hamming(own, other) < 24 for path, other in hashes if path != of) / (3 * 29) for of, own in hashes]
    assert most_of_one_part(few, "phash/1", 24) == max(shares) > 0


def test_alike_pictures_rule_out_less(record: Record) -> None:
    counts = count(record, "phash/1", degenerate=True)
    assert all(counts.alike(at) >= counts.interval(at)[1] for at in range(1, 65))
    assert all(counts.alike(at) > counts.interval(at)[1] for at in range(1, 17))


@pytest.mark.parametrize("name", SETS)
def test_the_published_tables(name: str) -> None:
    assert "\n".join(tables(shipped(name))) in (ROOT / "docs" / "measurements" / "chance.md").read_text("utf-8")


def test_intervals_of_known_counts() -> None:
    """Clopper and Pearson, by the textbook: 0 of 10, 1 of 10, 10 of 10; n is pairs of photographs."""
    at = np.zeros((5, 5, 65), np.int64)
    at[np.tril_indices(5, -1)] = np.eye(65, dtype=np.int64)[40] * 7
    at[1, 0] = np.eye(65, dtype=np.int64)[3] * 7
    counts = Counts(at)
    assert (counts.pictures, counts.pairs) == (10, 70)
    assert counts.interval(3) == pytest.approx((0, 0.3085), abs=1e-4)
    assert counts.interval(4) == pytest.approx((0.0025, 0.4450), abs=1e-4)
    assert counts.interval(41) == pytest.approx((0.6915, 1), abs=1e-4)


def test_without_degenerate_hashes(record: Record) -> None:
    plain = record.pictures[0].__class__("p", "1", "x", "0", dict.fromkeys(IMAGE_ALGORITHMS, ("00" * 8,) * 29))
    more = Record(record.versions, (*record.pictures[:3], plain, plain))
    both, telling = (count(more, "phash/1", degenerate=degenerate) for degenerate in (True, False))
    assert (both.pictures, telling.pictures) == (10, 3), "a photograph without a telling part is none"
    assert both.below[1] - telling.below[1] == 29 * 29
    text = "\n".join(tables(more))
    assert "`phash/1`: 58 of 145 parts have a degenerate hash" in text
    assert "Without degenerate hashes" in text


def test_parts() -> None:
    pieces = [piece.size for piece in parts(Image.new("L", (10, 7)))]
    assert len(pieces) == 29
    for first, many in ((0, 4), (4, 9), (13, 16)):
        assert sum(width * height for width, height in pieces[first : first + many]) == 70


def test_photographs_that_are_here(record: Record) -> None:
    """matplotlib and PyWavelets come with development; a newer version may have another file."""
    known = {each.path: each for each in record.pictures}
    here = [each for each in find(SETS["photographs"], Path("/nowhere")) if isinstance(each, Found)]
    assert {each.picture.package for each in here} >= {"matplotlib"}
    for each in here:
        hashed = hash_picture(each)
        if hashed.sha256 == known[hashed.path].sha256:
            assert hashed.hashes == known[hashed.path].hashes


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--debian", str(tmp_path), "--json", str(tmp_path / "some.json")]) == 0
    out, err = capsys.readouterr()
    missing = [each for each in find(SETS["photographs"], tmp_path) if isinstance(each, Missing)]
    assert len(missing) >= 36
    for each in missing:
        assert each.picture.path in err
    assert "apt-get download mate-backgrounds" in err
    assert out.startswith(f"{58 - len(missing)} of 58 photographs")
    assert Record.from_json((tmp_path / "some.json").read_text("utf-8")).pictures == tuple(
        each for each in shipped("photographs").pictures if each.path not in {one.picture.path for one in missing}
    )


def test_the_shipped_record_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--shipped", "--set", "drawings"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("44 of 44 drawings")
    assert err == ""
    assert main(["--set", "drawings", "--debian", "/nowhere"]) == 2
