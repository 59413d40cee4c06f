"""What was measured, a line of JSON each, in a file that can be read again and added to."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

HONEST: Final = "honest"
NATIVE: Final = "native"

_FORMAT: Final = "attacks/1"


@dataclass(frozen=True)
class Row:
    """One answer to one task.

    Parameters
    ----------
    attack
        The name of an attack, or ``honest``.
    kind
        The kind of machine that computed it.
    asked
        The digest of the task.
    algorithm
        The perceptual hash.
    score
        The hashes, 16 hexadecimal digits for each image.
    margin
        The smallest margin of the hashes.
    degenerate
        Whether one of the hashes is degenerate.
    pixels
        The result digest, in hexadecimal digits.
    cost
        Evaluations of the model, relative to those of the honest answer.
    instead
        The task that was answered, as canonical JSON, where it is not the one that was asked for.
    """

    attack: str
    kind: str
    asked: str
    algorithm: str
    score: str
    margin: float
    degenerate: bool
    pixels: str
    cost: float
    instead: str | None = None


class Record:
    """All rows, by attack, kind and task; what is added to a record of a file is in the file at once.

    Parameters
    ----------
    about
        What the rows were measured with, in words. A file that says otherwise is refused: its rows would be compared
        with others than they were made beside.
    path
        The file; None keeps everything in memory.

    Raises
    ------
    InvalidInputError
        For a file that holds something else, or was measured with something else.
    """

    def __init__(self, about: Mapping[str, str], path: Path | None = None) -> None:
        self.about = dict(about)
        self._path = path
        self._rows: dict[tuple[str, str, str], Row] = {}
        if path is None:
            return
        lines = _whole_lines(path)
        if lines:
            self._check(lines[0])
            for number, line in enumerate(lines[1:], 2):
                self._keep(_row(line, f"{path}, line {number}"))
        else:
            self._write({"record": _FORMAT, "about": self.about})

    def add(self, row: Row) -> None:
        """Add a row, to the file as well."""
        self._keep(row)
        self._write({name: value for name, value in dataclasses.asdict(row).items() if value is not None})

    def get(self, attack: str, kind: str, asked: str) -> Row | None:
        """Return a row, or None where it has not been measured."""
        return self._rows.get((attack, kind, asked))

    def of(self, attack: str, kind: str = NATIVE) -> list[Row]:
        """Return the rows of an attack that a kind computed."""
        return [row for row in self if (row.attack, row.kind) == (attack, kind)]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def _keep(self, row: Row) -> None:
        self._rows[row.attack, row.kind, row.asked] = row

    def _write(self, line: Mapping[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _check(self, line: str) -> None:
        try:
            head = json.loads(line)
            known = head["record"] == _FORMAT
            about = dict(head["about"])
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise InvalidInputError(f"{self._path} is no record of {_FORMAT}: name another file")
        for name in sorted({*about, *self.about}):
            if about.get(name) != self.about.get(name):
                raise InvalidInputError(
                    f"{self._path} was measured with {name} {shorten(about.get(name))}, now it is "
                    f"{shorten(self.about.get(name))}: name another file"
                )


def _row(line: str, where: str) -> Row:
    try:
        fields: dict[str, Any] = json.loads(line)
        return Row(**fields)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{where} is no row: {shorten(line)}; remove the line") from error


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file; what follows the last end of a line is cut off: a run was killed while it wrote."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return whole.decode("utf-8", "replace").splitlines()
