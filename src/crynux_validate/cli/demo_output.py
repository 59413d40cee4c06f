"""The folder that a demo writes to: what it did not write itself, it does not touch."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from crynux_validate.errors import InvalidInputError
from crynux_validate.files import make_writable, write_whole

LIST: Final = "demo-files.json"
"""The file that lists what demos wrote into the folder."""

MODELS: Final = ("small-sd", "small-llama")
"""Folders of models, which check for themselves whether they are what is needed."""


class Output:
    """The folder of a demo.

    Parameters
    ----------
    path
        A folder, which is made if it is not there.
    planned
        Every name that the demo may write there, as `Path.glob` reads it.

    Raises
    ------
    InvalidInputError
        Where the folder cannot be written, or holds something under such a name that no demo wrote.
    """

    def __init__(self, path: Path, planned: Iterable[str]) -> None:
        self.path = path
        try:
            make_writable(path)
            self._names = self._read()
            found = [found.name for pattern in planned for found in path.glob(pattern)]
        except OSError as error:
            raise InvalidInputError(f"--out {path} cannot be written: {error.strerror or error}") from error
        for name in found:
            self._check(name)

    def claim(self, name: str) -> Path:
        """Return the path of a file or folder that is written now.

        Raises
        ------
        InvalidInputError
            Where there is one that no demo wrote.
        """
        self._check(name)
        if name not in self._names:
            self._names.add(name)
            text = json.dumps({"written_by": "crynux-validate demo", "names": sorted(self._names)}, indent=2)
            write_whole(self.path / LIST, f"{text}\n".encode())
        return self.path / name

    def _check(self, name: str) -> None:
        where = self.path / name
        empty = where.is_dir() and not where.is_symlink() and not any(where.iterdir())
        if name not in self._names and (where.exists() or where.is_symlink()) and not empty:
            raise InvalidInputError(f"{where} was not written by a demo, and would be replaced: name another --out")

    def _read(self) -> set[str]:
        file = self.path / LIST
        if not file.exists():
            return set()
        try:
            names = json.loads(file.read_text("utf-8"))["names"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInputError(f"{file} is no list of a demo's files: name another --out") from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidInputError(f"{file} is no list of a demo's files: name another --out")
        return set(names)
