"""The record of audits: one line of JSON for each, which is not measured again."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from crynux_validate.audits.image import Errors

COLUMNS: Final = ("length", "prediction", "smooth", "latent", "guidance", "reuse", "against")
"""What is kept of a step, of those with other bits."""
KEY: Final = ("dtype", "scheduler", "side", "count", "picture_number", "cheat", "node", "auditor")


def row_of(errors: Errors) -> list[float | None] | None:
    """The numbers of a step, to four digits; None for equal bits."""
    if errors.equal:
        return None
    return [None if (value := errors.of(name)) is None else float(f"{value:.4g}") for name in COLUMNS]


def values(rows: Iterable[list[float | None] | None], name: str) -> Iterator[float]:
    """One statistic of the steps that have it."""
    at = COLUMNS.index(name)
    for row in rows:
        if row is not None and (value := row[at]) is not None:
            yield value


class Record:
    """Lines that are appended; several files can be read as one."""

    def __init__(self, paths: list[Path]) -> None:
        self._path = paths[0]
        lines = [line for path in paths if path.exists() for line in path.read_text("utf-8").splitlines()]
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._known = {self._key(row) for row in self.rows}

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in KEY)

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it was measured."""
        return self._key(row) in self._known

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows.append(row)
        self._known.add(self._key(row))
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
