"""Samples as a table: CSV, JSON lines or Parquet, a row an answer, read and written."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, TextIO

from crynux_validate.calibration.samples import Sample, Samples
from crynux_validate.encoding import check_type, parse_json, shorten
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.files import write_or_refuse

NEEDED: Final = ("kind", "task", "model", "role", "algorithm", "score")
"""The columns that every table has."""

OPTIONAL: Final = ("margin", "degenerate", "pixels")
"""The columns that a table may lack, and whose values may be missing."""

COLUMNS: Final = NEEDED + OPTIONAL

MAX_LINE: Final = 65_536
"""Bytes of one line of JSON, characters of one line of CSV: a row has a thousand."""

_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False}
_BOM: Final = b"\xef\xbb\xbf"

Fields = Mapping[str, object]
"""A row: values by the names of their columns; None where one is missing."""

Numbered = tuple[int, Fields]
"""A row, and where it stands: a line of a text file, a row of a Parquet file, from 1."""


def read_rows(path: Path) -> Iterator[tuple[str, Sample]]:
    """Yield each row of a table, and before it where it stands, in words.

    Raises
    ------
    InvalidInputError
        For another suffix, a file that cannot be read, and columns that are missing or unknown.
    MissingExtraError
        For Parquet without the package pyarrow.
    """
    read, unit, _ = _FORMATS[suffix_of(path)]
    try:
        for number, fields in read(path):
            values: dict[str, Any] = {name: fields.get(name) for name in COLUMNS}
            yield f"{path}, {unit} {number}", Sample(**values)
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error


def write_samples(samples: Samples, path: str | PathLike[str]) -> Path:
    """Write samples as a table that `read_samples` reads again, all of it or nothing.

    Parameters
    ----------
    samples
        What is written, in this order.
    path
        Its suffix chooses the format: ``.csv``, ``.jsonl`` or ``.parquet``.

    Raises
    ------
    InvalidInputError
        For another suffix, and where the file cannot be written.
    MissingExtraError
        For Parquet without the package pyarrow.
    """
    check_type(samples, Samples, "samples", "Samples")
    check_type(path, (str, PathLike), "path", "the name of a file")
    target = Path(path)
    _, _, write = _FORMATS[suffix_of(target)]
    write_or_refuse(target, write(_rows(samples)))
    return target


def suffix_of(path: Path) -> str:
    """Return a table's suffix in lower case; raises `InvalidInputError` for one that no table has."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise InvalidInputError(f"{path} is no table; expected a file name that ends in {', '.join(_FORMATS)}")
    return suffix


def _check_columns(names: Iterable[object], what: str) -> None:
    found = [*names]
    for name in found:
        if name not in COLUMNS:
            raise InvalidInputError(f"{what}: no column is called {shorten(name)}; expected {', '.join(COLUMNS)}")
        if found.count(name) > 1:
            raise InvalidInputError(f"{what}: the column {name} is there twice; leave one out")
    if missing := [name for name in NEEDED if name not in found]:
        raise InvalidInputError(f"{what}: the column {missing[0]} is missing; expected {', '.join(NEEDED)}")


def _read_csv(path: Path) -> Iterator[Numbered]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(_lines(stream, path), strict=True)
            header = next(reader, None)
            if header is None:
                raise InvalidInputError(f"{path} is empty; expected a first line with the columns {', '.join(NEEDED)}")
            _check_columns(header, f"{path}, line 1")
            for values in reader:
                where = f"{path}, line {reader.line_num}"
                if not values:
                    continue
                if len(values) != len(header):
                    raise InvalidInputError(f"{where} has {len(values)} values; expected {len(header)}, as line 1 has")
                yield reader.line_num, _typed(dict(zip(header, values, strict=True)), where)
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8: {error.reason}; save it as UTF-8") from error
    except csv.Error as error:
        raise InvalidInputError(f"{path}, line {reader.line_num}: {error}; expected CSV with commas") from error


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    """Yield lines, none of which is longer than a row can be."""
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), ""), 1):
        if len(line) > MAX_LINE:
            raise InvalidInputError(f"{path}, line {number} has more than {MAX_LINE} characters; expected a row a line")
        yield line


def _typed(texts: Mapping[str, str], where: str) -> Fields:
    """Give the texts of a CSV row their types; an empty text is a missing value where one can be missing."""
    fields: dict[str, object] = {name: None if name in OPTIONAL and not text else text for name, text in texts.items()}
    if margin := texts.get("margin"):
        try:
            fields["margin"] = float(margin)
        except ValueError as error:
            raise InvalidInputError(f"{where}: margin is {shorten(margin)}; expected a number, or nothing") from error
    if flag := texts.get("degenerate"):
        if flag.lower() not in _FLAGS:
            raise InvalidInputError(f"{where}: degenerate is {shorten(flag)}; expected true, false or nothing")
        fields["degenerate"] = _FLAGS[flag.lower()]
    return fields


def _read_jsonl(path: Path) -> Iterator[Numbered]:
    with path.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), 1):
            where = f"{path}, line {number}"
            text = line.removeprefix(_BOM) if number == 1 else line
            if not text.strip():
                continue
            fields = parse_json(text, where, MAX_LINE)
            check_type(fields, dict, where, "an object: the columns and their values")
            _check_columns(fields, where)
            yield number, fields


def _read_parquet(path: Path) -> Iterator[Numbered]:
    with needed_for("Parquet", "parquet"):
        import pyarrow
        from pyarrow import parquet
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(file.schema_arrow.names, str(path))
            yield from enumerate((row for batch in file.iter_batches() for row in batch.to_pylist()), 1)
    # text that is none, dates beyond the calendar
    except (pyarrow.ArrowException, UnicodeError, OverflowError) as error:
        raise InvalidInputError(f"{path} cannot be read as Parquet: {shorten(str(error))}") from error


def _rows(samples: Samples) -> list[dict[str, Any]]:
    """Samples as rows; what is missing is None."""
    columns = {
        "kind": samples.kinds.list(),
        "task": samples.tasks.list(),
        "model": samples.models.list(),
        "role": samples.roles.list(),
        "algorithm": [samples.algorithm] * len(samples),
        "score": [blocks.astype(">u8").tobytes().hex() for blocks in samples.hashes],
        "margin": [None if math.isnan(margin) else float(margin) for margin in samples.margins],
        "degenerate": [bool(flag) for flag in samples.degenerate],
        "pixels": samples.pixels.list(),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _csv_bytes(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            "" if value is None else str(value).lower() if value in (True, False) else value
            for value in (row[name] for name in COLUMNS)
        )
    return text.getvalue().encode("utf-8")


def _jsonl_bytes(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8")


def _parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    with needed_for("Parquet", "parquet"):
        import pyarrow
        from pyarrow import parquet
    types = {"margin": pyarrow.float64(), "degenerate": pyarrow.bool_()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in COLUMNS])
    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), content)
    return content.getvalue()


_FORMATS: Final[
    Mapping[str, tuple[Callable[[Path], Iterator[Numbered]], str, Callable[[list[dict[str, Any]]], bytes]]]
] = {
    ".csv": (_read_csv, "line", _csv_bytes),
    ".jsonl": (_read_jsonl, "line", _jsonl_bytes),
    ".parquet": (_read_parquet, "row", _parquet_bytes),
}
"""For each suffix how a table is read, what its rows are counted in, and how it is written."""
