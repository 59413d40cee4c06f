"""What several commands share: the kind of the subparsers, and how results reach the reader."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from crynux_validate.errors import InvalidInputError

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
else:
    Commands = object


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def say(text: str) -> None:
    """Print a result, at once: a reader behind a pipe wants to see how far it is."""
    print(text, flush=True)


def say_json(value: Any) -> None:
    """Print a result as JSON."""
    print(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Tell progress, aside from the results."""
    print(text, file=sys.stderr, flush=True)


def show_progress(text: str) -> None:
    """Replace the line of progress, where somebody watches; an empty text wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def read_file(path: str, what: str, max_bytes: int) -> bytes:
    """Read a file, or standard input for ``-``, up to a limit.

    Raises
    ------
    InvalidInputError
        Where it cannot be read, or is larger.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with Path(path).open("rb") as stream:
                data = stream.read(max_bytes + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read {what} {path}: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise InvalidInputError(f"{what} {path} is larger than {max_bytes} bytes")
    return data
