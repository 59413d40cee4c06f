"""Writing files whole or not at all, so that nobody sees a file that is half written."""

import contextlib
import os
import secrets
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from crynux_validate.errors import InvalidInputError


def write_whole(path: str | PathLike[str], content: bytes | Iterable[bytes]) -> None:
    """Write a file under another name, then rename it, so that an older file stays until the new one is complete.

    A link is followed. A device or a pipe is written to directly. Parts of `content` are written one after the other.

    Raises
    ------
    OSError
        If the file cannot be written. An older file is unchanged then.
    """
    target = Path(os.path.realpath(path))
    parts = [content] if isinstance(content, bytes) else content
    if target.exists() and not target.is_file():
        with target.open("wb") as stream:
            stream.writelines(parts)
        return
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            with contextlib.suppress(OSError):  # a file system without permissions
                beside.chmod(target.stat().st_mode)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_or_refuse(path: str | PathLike[str], content: bytes) -> None:
    """Write a file that a user named, whole or not at all; raises `InvalidInputError` if that fails."""
    try:
        write_whole(path, content)
    except (OSError, TypeError, ValueError) as error:  # ValueError: a name that no file can have
        raise InvalidInputError(f"cannot write {_shown(path)}: {_reason(error)}") from error


def read_limited(path: str | PathLike[str], most: int) -> bytes:
    """Read a file that a user named; raises `InvalidInputError` if that fails or it has more than `most` bytes."""
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(most + 1)
    except (OSError, TypeError, ValueError) as error:
        raise InvalidInputError(f"cannot read {_shown(path)}: {_reason(error)}") from error
    if len(content) > most:
        raise InvalidInputError(f"{_shown(path)} has more than {most} bytes, too many for such a file: check the name")
    return content


def _shown(path: object) -> str:
    return f"{path}" if isinstance(path, str | PathLike) and str(path).isprintable() else f"{path!r:.300}"


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


def make_writable(folder: str | PathLike[str]) -> Path:
    """Make a folder if it does not exist, write a file to it as a trial, and return the folder.

    Raises
    ------
    OSError
        If that fails. A folder that was made is removed again.
    """
    path = Path(folder)
    made = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        trial = path / f".{secrets.token_hex(4)}.part"
        try:
            trial.write_bytes(bytes(4096))
        finally:
            trial.unlink(missing_ok=True)
    except OSError:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    return path
