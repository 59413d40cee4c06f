"""Hashing and judging tables of Arrow, for Ray Data, Spark, Dask, DuckDB or Polars.

Each function takes a `pyarrow.RecordBatch` or `pyarrow.Table` and returns it with more columns. An engine can call it
for each batch of any number of rows. Needs the extra ``parquet`` (pyarrow).
"""

from typing import TYPE_CHECKING, Any, Final, TypeVar

from crynux_validate.algorithms import ImageAlgorithm
from crynux_validate.encoding import check_type, shorten
from crynux_validate.errors import InvalidImageError, InvalidInputError, needed_for
from crynux_validate.judging.centre import CentreRule
from crynux_validate.judging.verdict import GROUP_SIZES
from crynux_validate.tasks import MAX_IMAGES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Batch = TypeVar("Batch", pa.RecordBatch, pa.Table)
else:
    Batch = TypeVar("Batch")

__all__ = ["hash_table", "judge_table"]

HASH_BYTES: Final = 8
_ADDED: Final = ("outcome", "findings", "delivered")
_HASHED: Final = ("hash", "margin", "degenerate", "error")


def judge_table(table: "Batch", rule: CentreRule | None = None) -> "Batch":
    """Judge image groups, one in each row, like `judge`.

    Parameters
    ----------
    table
        One group in each row, with these columns. ``scores``: list of binary, one entry for each of the 3, 5, 7 or 9
        members: 8 bytes for each image (`ImageScore.hashes`), or null if there is no score. ``kinds``, optional: list
        of string, the names of `MemberKind` in any case; without this column a null score is ``ABSENT``. ``images``,
        optional: integer, the number of images of the group's task; 1 without this column. A score of another length
        is ``MALFORMED`` (protocol A3, C4). Other columns are kept.
    rule
        `CentreRule()` if left out.

    Returns
    -------
    RecordBatch or Table
        The table with the columns ``outcome`` (string), ``findings`` (list of string, in the order of the scores) and
        ``delivered`` (binary: the delivered score, protocol J6; null if none is delivered).

    Raises
    ------
    InvalidInputError
        For a column that is missing or has another type, a group of another size, an unknown kind, and a table that
        already has one of the new columns.
    MissingExtraError
        If pyarrow is not installed.
    """
    with needed_for("judge_table", "parquet"):
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from crynux_validate.judging.bulk import FINDINGS, OUTCOMES, judge_many
    _check(table, _ADDED)
    scores, sizes = _lists(table, "scores", pa.binary())
    images: npt.NDArray[np.int64] = _images(table)
    kinds = _kinds(table, scores, sizes, images)
    first = np.concatenate(([0], np.cumsum(sizes)))
    outcomes = np.zeros(len(sizes), np.uint8)
    findings = np.zeros(len(scores), np.uint8)
    chosen = np.full(len(sizes), -1, np.int64)
    shapes: set[tuple[int, int]] = set(zip(sizes.tolist(), images.tolist(), strict=True))
    for size, many in sorted(shapes):
        groups = np.flatnonzero((sizes == size) & (images == many))
        members = first[groups][:, None] + np.arange(size)
        found = judge_many(_hashes(scores, kinds, members, many), kinds[members], rule)
        outcomes[groups], findings[members] = found.outcomes, found.findings
        chosen[groups] = np.where(found.delivered >= 0, first[groups] + found.delivered, -1)
    names = [pa.array([one.value for one in ones], pa.string()) for ones in (OUTCOMES, FINDINGS)]
    return _with(
        table,
        {
            "outcome": names[0].take(pa.array(outcomes)),
            "findings": pa.ListArray.from_arrays(pa.array(first, pa.int32()), names[1].take(pa.array(findings))),
            "delivered": pc.take(scores, pa.array(chosen, mask=chosen < 0)),
        },
    )


def hash_table(
    table: "Batch", column: str = "image", algorithm: ImageAlgorithm = "phash/1", *, threads: int | None = 1
) -> "Batch":
    """Hash pictures, one in each row, like `image_hash`.

    Parameters
    ----------
    table
        Any columns.
    column
        The column with the pictures: binary (the bytes of a file) or string (the path of a file).
    algorithm
        As for `image_hash`.
    threads
        As for `image_hashes`. The default is one, since engines run many batches at once.

    Returns
    -------
    RecordBatch or Table
        The table with the columns ``hash`` (binary of 8 bytes), ``margin`` (float64), ``degenerate`` (bool) and
        ``error`` (string: why a picture could not be hashed; the other three are null then).

    Raises
    ------
    InvalidInputError
        For a column that is missing or has another type, and a table that already has one of the new columns.
    MissingExtraError
        If pyarrow, numpy or Pillow is not installed.
    """
    with needed_for("hash_table", "parquet"):
        import pyarrow as pa

        from crynux_validate.hashing import image_hashes
    _check(table, _HASHED)
    values = _column(table, column)
    if _is_text(values.type):
        pictures = values.to_pylist()
    else:
        pictures = [None if value is None else bytes(value) for value in _cast(values, column, pa.binary()).to_pylist()]
    there = [picture for picture in pictures if picture is not None]
    found = iter(image_hashes(there, algorithm, threads=threads, return_errors=True))
    results = [InvalidImageError("there is no picture") if picture is None else next(found) for picture in pictures]
    errors = [str(result) if isinstance(result, Exception) else None for result in results]
    hashes = [None if isinstance(result, Exception) else result for result in results]
    return _with(
        table,
        {
            "hash": pa.array([found and found.bits for found in hashes], pa.binary()),
            "margin": pa.array([found and found.margin for found in hashes], pa.float64()),
            "degenerate": pa.array([found and found.degenerate for found in hashes], pa.bool_()),
            "error": pa.array(errors, pa.string()),
        },
    )


def _check(table: object, added: tuple[str, ...]) -> None:
    import pyarrow as pa

    check_type(table, (pa.RecordBatch, pa.Table), "the table", "a pyarrow.RecordBatch or pyarrow.Table")
    taken = [name for name in added if name in table.schema.names]  # type: ignore[attr-defined]
    if taken:
        raise InvalidInputError(f"the table already has a column {taken[0]!r}: rename it")


def _with(table: "Batch", columns: dict[str, "pa.Array"]) -> "Batch":
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _column(table: Any, name: str) -> "pa.Array":
    import pyarrow as pa

    if name not in table.schema.names:
        raise InvalidInputError(f"the table has no column {shorten(name)}; it has {', '.join(table.schema.names)}")
    values = table.column(name)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _cast(values: "pa.Array", name: str, kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    try:
        return values.cast(kind)
    except pa.ArrowInvalid as error:
        raise InvalidInputError(f"the column {name!r} has the type {values.type}; expected {kind}") from error
    except pa.ArrowNotImplementedError as error:
        raise InvalidInputError(f"the column {name!r} has the type {values.type}; expected {kind}") from error


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _lists(table: Any, name: str, kind: "pa.DataType") -> tuple["pa.Array", "npt.NDArray[np.int64]"]:
    """The values of a column of lists, one after the other, and the length of each row's list."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _column(table, name)
    inner = getattr(values.type, "value_type", None)
    if inner is None or _is_text(inner) is not _is_text(kind):
        raise InvalidInputError(f"the column {name!r} has the type {values.type}; expected lists of {kind}")
    values = _cast(values, name, pa.list_(kind))
    if values.null_count:
        raise InvalidInputError(f"{values.null_count} rows of the column {name!r} are null; remove these rows")
    sizes = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    wrong = np.flatnonzero(~np.isin(sizes, GROUP_SIZES))
    if len(wrong):
        expected = ", ".join(map(str, GROUP_SIZES))
        raise InvalidInputError(f"row {wrong[0]} of {name!r} has {sizes[wrong[0]]} members; expected one of {expected}")
    return values.flatten(), sizes


def _images(table: Any) -> "npt.NDArray[np.int64]":
    import numpy as np
    import pyarrow as pa

    if "images" not in table.schema.names:
        return np.ones(len(table), np.int64)
    values = _cast(_column(table, "images"), "images", pa.int64())
    if values.null_count:
        raise InvalidInputError("the column 'images' has nulls; expected the number of images of each group's task")
    images: npt.NDArray[np.int64] = values.to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((images < 1) | (images > MAX_IMAGES))
    if len(wrong):
        raise InvalidInputError(f"row {wrong[0]} of 'images' is {images[wrong[0]]}; expected 1 to {MAX_IMAGES}")
    return images


def _kinds(
    table: Any, scores: "pa.Array", sizes: "npt.NDArray[np.int64]", images: "npt.NDArray[np.int64]"
) -> "npt.NDArray[np.uint8]":
    """The kind of each member."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from crynux_validate.judging.bulk import MemberKind

    given = scores.is_valid().to_numpy(zero_copy_only=False)
    if "kinds" in table.schema.names:
        names, of_kinds = _lists(table, "kinds", pa.string())
        if (of_kinds != sizes).any():
            row = int(np.flatnonzero(of_kinds != sizes)[0])
            raise InvalidInputError(
                f"row {row} has {sizes[row]} scores and {of_kinds[row]} kinds; expected one kind for each score"
            )
        known = pa.array([kind.name for kind in MemberKind])
        at = pc.index_in(pc.utf8_upper(names), known)
        if at.null_count:
            unknown = names.filter(at.is_null())[0].as_py()
            expected = ", ".join(known.to_pylist())
            raise InvalidInputError(f"the kind of a member is {shorten(unknown)}; expected one of {expected}")
        kinds: npt.NDArray[np.uint8] = at.to_numpy(zero_copy_only=False).astype(np.uint8)
        lacks = np.flatnonzero((kinds == MemberKind.SCORE) & ~given)
        if len(lacks):
            row = int(np.searchsorted(np.cumsum(sizes), lacks[0], side="right"))
            raise InvalidInputError(f"row {row} has a member of the kind SCORE without a score; expected its bytes")
    else:
        kinds = np.where(given, MemberKind.SCORE, MemberKind.ABSENT).astype(np.uint8)
    lengths = pc.fill_null(pc.binary_length(scores), 0).to_numpy(zero_copy_only=False)
    odd = (kinds == MemberKind.SCORE) & (lengths != HASH_BYTES * np.repeat(images, sizes))
    kinds[odd] = MemberKind.MALFORMED
    return kinds


def _hashes(
    scores: "pa.Array", kinds: "npt.NDArray[np.uint8]", members: "npt.NDArray[np.int64]", images: int
) -> "npt.NDArray[np.uint64]":
    """The hashes of the members, of shape (groups, members, images); zeros for a member without a score."""
    import numpy as np

    from crynux_validate.judging.bulk import MemberKind

    _, offsets, data = scores.buffers()
    starts = np.frombuffer(offsets, np.int32)[scores.offset : scores.offset + len(scores)]
    found = np.zeros((*members.shape, HASH_BYTES * images), np.uint8)
    scored = kinds[members] == MemberKind.SCORE
    if scored.any():
        places = starts[members[scored]][:, None] + np.arange(HASH_BYTES * images)
        found[scored] = np.frombuffer(data, np.uint8)[places]
    return found.view(">u8").astype(np.uint64)
