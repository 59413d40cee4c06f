"""Remembers the SHA-256 of large files, so that a model of some gigabytes is read once and not in every run.

A digest is taken from here only for a file of the same device, inode, size, modification and change time. A file that
changed within the last two seconds is not remembered: another change could have the same times. On Windows, which tells
no change time, and on drives that keep wrong times, whoever sets a file's modification time back can hide a change;
there, and where others can write to the user's cache folder, switch it off with
``CRYNUX_VALIDATE_DIGEST_CACHE=off``.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from crynux_validate.errors import InvalidInputError

_log = logging.getLogger(__name__)

_VARIABLE: Final = "CRYNUX_VALIDATE_DIGEST_CACHE"
_FORMAT: Final = "crynux-validate/digests/1"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

LARGE: Final = 8 << 20
"""Bytes. Smaller files are read every time: it takes a twentieth of a second."""

RECENT: Final = 2_000_000_000
"""Nanoseconds. Some file systems count time in steps of two seconds."""

State = tuple[int, int, int, int, int]
"""Device, inode, size, modification and change time: a `FileState`."""


def cache_folder() -> Path | None:
    """Return where digests are kept, or None where they are not.

    ``crynux-validate/digests`` in ``XDG_CACHE_HOME``; without that variable in ``~/.cache``, on macOS in
    ``~/Library/Caches``, on Windows in ``%LOCALAPPDATA%``. It can be deleted at any time.

    Raises
    ------
    InvalidInputError
        Where ``CRYNUX_VALIDATE_DIGEST_CACHE`` is set to anything but ``off``.
    """
    switch = os.environ.get(_VARIABLE, "")
    if switch not in ("", "off"):
        raise InvalidInputError(f"{_VARIABLE} is {switch!r}; expected 'off', or no such variable")
    if switch == "off":
        return None
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given, "crynux-validate", "digests")
    try:
        home = Path.home()
    except RuntimeError:
        _log.warning("there is no home folder to keep digests of models in; set XDG_CACHE_HOME")
        return None
    place = {"darwin": home / "Library" / "Caches", "win32": home / "AppData" / "Local"}.get(sys.platform)
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    return (place or home / ".cache") / "crynux-validate" / "digests"


class DigestCache:
    """The remembered digests of the files in one folder.

    A cache that cannot be read or written is as good as none: files are read again, and the log says why.

    Parameters
    ----------
    folder
        The folder that the files lie in.
    """

    def __init__(self, folder: Path) -> None:
        place = cache_folder()
        self._file: Path | None = None
        if place is not None:
            name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
            self._file = place / f"{name}.json"
        self._now = time.time_ns()
        self._old = self._read()
        self._new: dict[str, str] = {}

    def find(self, state: State) -> str | None:
        """Return the digest of a file in this state, or None."""
        return self._old.get(_key(state)) if self._file is not None and state[2] >= LARGE else None

    def keep(self, state: State, sha256: str) -> None:
        """Remember a digest, where the file was last changed long enough before this cache was opened."""
        if self._file is not None and state[2] >= LARGE and max(state[3], state[4]) <= self._now - RECENT:
            self._new[_key(state)] = sha256

    def save(self) -> None:
        """Write what was kept, in place of what was there, where that differs."""
        if self._file is None or not self._new or self._new == self._old:
            return
        try:
            # All for its owner alone; the file is moved to its place whole.
            for place in (self._file.parent.parent, self._file.parent):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self._file.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    json.dump({"format": _FORMAT, "files": self._new}, stream)
                os.replace(name, self._file)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            _log.warning("digests of models cannot be kept in %s: %s", self._file.parent, error)

    def _read(self) -> dict[str, str]:
        if self._file is None:
            return {}
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("%s cannot be read, the model is: %s", self._file, error)
            return {}
        files = found.get("files") if isinstance(found, dict) and found.get("format") == _FORMAT else None
        if not isinstance(files, dict) or not all(
            isinstance(value, str) and _SHA256.fullmatch(value) for value in files.values()
        ):
            _log.warning("%s is damaged; the model is read", self._file)
            return {}
        return files


def _key(state: State) -> str:
    return ":".join(map(str, state))
