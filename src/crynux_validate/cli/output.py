"""How results, errors and progress reach the reader, whatever the terminal's encoding, and whether it is there."""

import errno
import json
import os
import sys
import unicodedata
from typing import Any, Final, TextIO

from crynux_validate.errors import CrynuxValidateError

_WIPE: Final = "\r\x1b[K"
"""Back to the start of the line, and wipe it."""

_watched = False
"""Whether a line of progress stands on the terminal; whatever else is printed wipes it away first."""

_TURNS_ROUND: Final = frozenset(map(chr, (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Marks that let a terminal show letters in another order than they stand in."""


class OutputError(CrynuxValidateError):
    """Standard output cannot be written to: the disk is full, the reader is gone, or it was closed."""


def printable(text: str, encoding: str | None = None) -> str:
    """Return a text as a terminal can show it.

    What would move the cursor or turn the line round, what is half a character, and what the encoding lacks is written
    as an escape: names of files and texts of strangers hold anything.
    """
    if not text.isprintable():
        text = "".join(letter if _harmless(letter) else _escaped(letter) for letter in text)
    return text if encoding is None else text.encode(encoding, "backslashreplace").decode(encoding)


def _harmless(letter: str) -> bool:
    if letter in "\n\t":
        return True
    return unicodedata.category(letter) not in {"Cc", "Cs", "Zl", "Zp"} and letter not in _TURNS_ROUND


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode() if not letter.isascii() else repr(letter)[1:-1]


def say(text: str, end: str = "\n") -> None:
    """Print a result, at once: a reader behind a pipe wants to see how far it is.

    Raises
    ------
    OutputError
        Where it cannot be printed.
    """
    show_progress("")
    stream = sys.stdout
    try:
        if stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        stream.write(printable(text + end, getattr(stream, "encoding", None)))
        stream.flush()
    except BrokenPipeError as error:
        raise OutputError("standard output: its reader is gone, so not all of it was read") from error
    except (OSError, ValueError) as error:  # ValueError: it was closed in this process
        raise OutputError(f"standard output cannot be written: {getattr(error, 'strerror', None) or error}") from error


def say_json(value: Any) -> None:
    """Print a result as JSON."""
    say(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Tell progress, aside from the results; where nobody can be told, nothing happens."""
    show_progress("")
    _tell(f"{text}\n")


def complain(text: str) -> None:
    """Print an error or a warning: one line, whatever is in it."""
    show_progress("")
    _tell(f"crynux-validate: {' '.join(text.split())}\n")


def show_progress(text: str) -> None:
    """Replace the line of progress, where somebody watches; an empty text wipes it away.

    It is cut to the terminal's width: of a line that goes on in the next, only a part could be wiped.
    """
    global _watched
    if (text or _watched) and _is_terminal(sys.stderr):
        _watched = bool(text)
        _tell(printable(text, sys.stderr.encoding)[: _columns(sys.stderr)], _WIPE)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _columns(stream: TextIO) -> int | None:
    """How much of a line a terminal shows in one row; None where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns - 1 or None
    except (OSError, ValueError):
        return None


def _tell(text: str, before: str = "") -> None:
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.write(before + printable(text, getattr(stream, "encoding", None)))
        stream.flush()
    except (OSError, ValueError):
        return  # the result and the exit code still say what came of it
