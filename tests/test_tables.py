"""Arrow's record batches: the verdicts of `judge`, the hashes of `image_hash`, in any engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import crynux_validate as cv
from crynux_validate.errors import InvalidInputError

pa = pytest.importorskip("pyarrow")

from crynux_validate.tables import hash_table, judge_table  # noqa: E402

NEAR = st.integers(0, 2**64 - 1).map(lambda bits: bits & bits >> 3) | st.just(0xE386C8E9641CDB96)
KINDS: dict[str, Callable[[bytes], Any]] = {
    "SCORE": lambda hashes: cv.ImageScore(hashes),
    "absent": lambda _: cv.judging.Absent(),
    "withheld": lambda _: cv.judging.Withheld(),
    "failed": lambda _: cv.ErrorReport("failed"),
    "limits": lambda _: cv.ErrorReport("limits"),
}


@st.composite
def groups(draw: st.DrawFn) -> tuple[int, list[tuple[str, bytes]]]:
    """How many images, and for each member its kind and its hashes."""
    images, size = draw(st.integers(1, 2)), draw(st.sampled_from([3, 5]))
    score = st.lists(NEAR, min_size=images, max_size=images).map(
        lambda blocks: b"".join(block.to_bytes(8, "big") for block in blocks)
    )
    kind = st.just("SCORE") | st.sampled_from([*KINDS])
    return images, draw(st.lists(st.tuples(kind, score), min_size=size, max_size=size))


@given(st.lists(groups(), max_size=6))
def test_each_row_is_judged_as_judge_would(rows: list[tuple[int, list[tuple[str, bytes]]]]) -> None:
    table = pa.table(
        {
            "images": pa.array([images for images, _ in rows], pa.int8()),
            "scores": pa.array(
                [[score if kind == "SCORE" else None for kind, score in members] for _, members in rows],
                pa.large_list(pa.large_binary()),
            ),
            "kinds": pa.array([[kind for kind, _ in members] for _, members in rows], pa.list_(pa.string())),
        }
    )
    judged = judge_table(table)
    assert judged.schema.names == ["images", "scores", "kinds", "outcome", "findings", "delivered"]
    for (_, members), row in zip(rows, judged.to_pylist(), strict=True):
        group = {f"node-{at}": KINDS[kind](score) for at, (kind, score) in enumerate(members)}
        verdict = cv.judge(group)
        assert row["outcome"] == verdict.outcome
        assert row["findings"] == [verdict.findings[node] for node in group]
        delivered = verdict.delivered_score
        assert row["delivered"] == (delivered.hashes if isinstance(delivered, cv.ImageScore) else None)


def batch(scores: list[list[bytes | None]], **more: list[Any]) -> Any:
    return pa.record_batch({"scores": pa.array(scores, pa.list_(pa.binary())), **more})


HASH = bytes.fromhex("e386c8e9641cdb96")


def test_a_part_of_a_batch_and_an_empty_one() -> None:
    whole = batch([[HASH] * 3, [HASH, HASH, bytes(8)], [HASH, None, None], [HASH, HASH[:7], HASH]])
    found = judge_table(whole).to_pylist()
    assert judge_table(whole.slice(1, 2)).to_pylist() == found[1:3]
    assert judge_table(whole.slice(0, 0)).to_pylist() == []
    assert found[2]["findings"] == ["UNDECIDED", "ABSENT", "ABSENT"]
    assert (found[2]["outcome"], found[2]["delivered"]) == ("NO_QUORUM", None)
    assert found[3]["findings"] == ["VALID", "INVALID", "VALID"]  # 7 bytes are malformed


def test_the_rule_counts() -> None:
    near = (int.from_bytes(HASH, "big") ^ 0b111111).to_bytes(8, "big")
    groups = batch([[HASH, HASH, near]])
    assert judge_table(groups).to_pylist()[0]["findings"][2] == "VALID"
    assert judge_table(groups, cv.CentreRule(threshold=4, slash_threshold=5)).to_pylist()[0]["findings"][2] == "INVALID"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"a": [1]}), "no column 'scores'; it has a"),
        (batch([[HASH] * 4]), "row 0 of 'scores' has 4 members; expected one of 3, 5, 7, 9"),
        (batch([[HASH] * 3], images=pa.array([17])), "row 0 of 'images' is 17; expected 1 to"),
        (batch([[HASH] * 3], kinds=pa.array([["SCORE", "SCORE"]])), "expected"),
        (batch([[HASH] * 3], kinds=pa.array([["SCORE", "SCORE", "COPY"]])), "the kind of a member is 'COPY'"),
        (batch([[HASH, HASH, None]], kinds=pa.array([["SCORE"] * 3])), "row 0 has a member of the kind SCORE without"),
        (batch([[HASH] * 3], outcome=pa.array(["VALID"])), "already has a column 'outcome'"),
        (pa.table({"scores": [["e386c8e9641cdb96"] * 3]}), "expected lists of binary"),
        (pa.table({"scores": [HASH]}), "expected lists of binary"),
        (pa.table({"scores": pa.array([None], pa.list_(pa.binary()))}), "1 rows? of the column 'scores' are null"),
        ({"scores": []}, "expected a pyarrow.RecordBatch"),
    ],
)
def test_what_cannot_be_judged_is_said(table: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        judge_table(table)


def test_pictures_are_hashed_as_image_hash_does(tmp_path: Any) -> None:
    pictures = [Image.radial_gradient("L").rotate(angle).convert("RGB") for angle in (0, 20, 40)]
    for at, picture in enumerate(pictures):
        picture.save(tmp_path / f"{at}.png")
    paths = [str(tmp_path / f"{at}.png") for at in range(3)]
    expected = [cv.image_hash(picture) for picture in pictures]
    by_path = hash_table(pa.table({"path": paths}), "path")
    files = [Path(path).read_bytes() for path in paths]
    by_bytes = hash_table(pa.record_batch({"image": files}))
    for found in (by_path, by_bytes):
        assert found.column("hash").to_pylist() == [one.bits for one in expected]
        assert found.column("margin").to_pylist() == [one.margin for one in expected]
        assert found.column("degenerate").to_pylist() == [one.degenerate for one in expected]
        assert found.column("error").null_count == 3


def test_a_picture_that_is_none_has_an_error_in_its_row() -> None:
    found = hash_table(pa.table({"image": pa.array([b"no picture", None], pa.binary())})).to_pylist()
    assert [row["hash"] for row in found] == [None, None]
    assert all(row["error"] for row in found)


def test_in_duckdb_and_polars() -> None:
    """The engines give and take Arrow; what they call is the same function."""
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    wide = duckdb.sql(
        "select g, list(unhex('e386c8e9641cdb96') order by m) as scores from range(5) a(g), range(3) b(m) group by g"
    )
    assert set(judge_table(wide.to_arrow_table()).column("outcome").to_pylist()) == {"VALIDATED"}
    frame = polars.DataFrame({"scores": [[HASH] * 3] * 4})
    assert polars.from_arrow(judge_table(frame.to_arrow()))["outcome"].to_list() == ["VALIDATED"] * 4
