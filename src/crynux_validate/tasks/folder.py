"""The content of a model folder: its files, their digest (protocol, "Bytes"), and whether they changed."""

import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple

from crynux_validate.encoding import canonical_json, check_function, check_type, digest, length_prefixed
from crynux_validate.errors import ModelError
from crynux_validate.tasks.digest_cache import DigestCache

_log = logging.getLogger(__name__)

_CHUNK: Final = 1 << 20
_LOG_EVERY: Final = 5.0
_REPORT_EVERY: Final = 0.1
"""Seconds."""


class FileState(NamedTuple):
    """What tells that a file is still the same, without reading it.

    Parameters
    ----------
    device, inode
        Where its bytes are.
    size
        How many there are.
    modified, changed
        When content, and when content or anything else of it was changed last: nanoseconds since 1970. (On Windows
        the second is when it was made.)
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> "FileState":
        """Take what matters of what the system says."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True)
class DigestProgress:
    """How far the reading of a folder is.

    Parameters
    ----------
    done, total
        Bytes. What is known from the cache is no part of either.
    seconds
        Since it began.
    """

    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes in a second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that it will take, if it goes on as fast; None before anything was read."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def __str__(self) -> str:
        percent = 100 * self.done // self.total if self.total else 100
        left = "" if self.left is None else f", {self.left:.0f} s left"
        return f"{percent}% of {self.total / 1e9:.1f} GB, {self.rate / 1e6:.0f} MB/s{left}"


OnDigest = Callable[[DigestProgress], None]
"""Called while a folder is read, some times a second, and once it is."""


def folder_digest(path: str | PathLike[str], on_progress: OnDigest | None = None) -> str:
    """Digest the content of a model folder (protocol, "Bytes"): 64 hexadecimal digits.

    The names and the SHA-256 of all files below it count, links followed; dot-files and dot-folders do not, nor do
    dates or owners. Digests of large files are remembered in the user's cache folder (`DigestCache`), so that a folder
    that nobody touched is read once only.

    Parameters
    ----------
    path
        The folder.
    on_progress
        Called while files are read. The logger ``crynux_validate.tasks.folder`` tells the same every five seconds.

    Raises
    ------
    ModelError
        Where there is no such folder, no file in it, one that cannot be read, or something that is neither a file nor
        a folder; and where a file changes while it is read.
    InvalidInputError
        For a value that is not a path, and a `progress` that is not a function.
    """
    check_type(path, (str, PathLike), "the folder", "its path")
    check_function(on_progress, "on_progress")
    folder = Path(path)
    return digest_of_states(folder, folder_states(folder), on_progress)


def digest_of_states(folder: Path, states: Mapping[str, FileState], on_progress: OnDigest | None = None) -> str:
    """Digest a folder of which `folder_states` was just taken; see `folder_digest`."""
    cache = DigestCache(folder)
    sums = {name: found for name, state in states.items() if (found := cache.find(state)) is not None}
    for name, found in sums.items():
        cache.keep(states[name], found)
    unknown = [name for name in states if name not in sums]
    reading = _Reading(folder, sum(states[name].size for name in unknown), on_progress)
    try:
        for name in unknown:
            sums[name] = reading.sha256(name, states[name])
            cache.keep(states[name], sums[name])
    finally:
        # Also what was read before somebody interrupted it.
        cache.save()
    reading.end()
    return digest("folder", length_prefixed(canonical_json(sums))).hex()


def folder_states(path: str | PathLike[str]) -> dict[str, FileState]:
    """Return the state of each file whose content a folder's digest covers, by its posix path below the folder.

    Raises
    ------
    ModelError
        As in `folder_digest`.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; give the folder with model_index.json or config.json")
    states: dict[str, FileState] = {}
    try:
        _walk(folder, "", (), states)
    except OSError as error:
        raise ModelError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error
    if not states:
        raise ModelError(f"{folder} has no files; give the folder with model_index.json or config.json")
    return dict(sorted(states.items()))


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...], states: dict[str, FileState]) -> None:
    """Add the files of a folder and of those in it. Links are followed, as loading follows them."""
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        raise ModelError(f"{folder} is a link to a folder above it; remove the link")
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        name = prefix + file.name
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ModelError(f"the name of {str(file)!r} is not valid Unicode; rename the file") from error
        found = os.stat(file)
        if stat.S_ISDIR(found.st_mode):
            _walk(file, f"{name}/", (*above, (here.st_dev, here.st_ino)), states)
        elif stat.S_ISREG(found.st_mode):
            states[name] = FileState.of(found)
        else:
            raise ModelError(f"{file} is neither a file nor a folder; remove it")


def check_unchanged(folder: Path, states: Mapping[str, FileState]) -> None:
    """Check that nobody touched a folder since its states were taken.

    Raises
    ------
    ModelError
        Names a file that was changed, added or removed.
    """
    now = folder_states(folder)
    if now != dict(states):
        name = min(name for name in {*now, *states} if now.get(name) != states.get(name))
        raise ModelError(
            f"{folder / name} changed while the model was loaded; load it again without writing to the folder"
        )


class _Reading:
    """Reads files, and tells how far it is."""

    def __init__(self, folder: Path, total: int, on_progress: OnDigest | None) -> None:
        self._folder = folder
        self._total = total
        self._on_progress = on_progress
        self._done = 0
        self._start = time.monotonic()
        self._reported = self._logged = self._start

    def sha256(self, name: str, state: FileState) -> str:
        """Return the digest of a file that is in the given state before and after."""
        file = self._folder / name
        hashed = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK))
        try:
            with file.open("rb", buffering=0) as stream:
                before = FileState.of(os.fstat(stream.fileno()))
                while count := stream.readinto(buffer):
                    hashed.update(buffer[:count])
                    self._add(count)
                after = FileState.of(os.fstat(stream.fileno()))
        except OSError as error:
            raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
        if not before == after == state:
            raise ModelError(f"{file} changed while it was read; try again, and do not write to it meanwhile")
        return hashed.hexdigest()

    def _add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY:
            self._logged = now
            _log.info("reading %s: %s", self._folder, self._progress(now))
        if self._on_progress is not None and now - self._reported >= _REPORT_EVERY:
            self._reported = now
            self._on_progress(self._progress(now))

    def end(self) -> None:
        """Tell that all is read."""
        if self._total and self._on_progress is not None:
            self._on_progress(self._progress(time.monotonic()))

    def _progress(self, now: float) -> DigestProgress:
        return DigestProgress(min(self._done, self._total), self._total, now - self._start)
