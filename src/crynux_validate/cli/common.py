"""What several commands share: the kind of the subparsers, the files that they read, and the way to the reader."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from crynux_validate.cli.output import complain, note, say, say_json, show_progress
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

__all__ = [
    "Commands",
    "add_device_flag",
    "add_json_flag",
    "complain",
    "note",
    "number_of",
    "read_file",
    "say",
    "say_json",
    "show_progress",
]

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
else:
    Commands = object

_DEVICE: Final = re.compile("cpu|mps|cuda(:[0-9]{1,3})?")
_UTF_8: Final = ("utf-8", "utf-8-sig")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def number_of(text: str, option: str) -> float:
    """Read the number that was given for an option; raises `InvalidInputError` for what is none."""
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInputError(f"{option} is {shorten(text)}; expected a number such as 0.1") from error


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--device``."""
    parser.add_argument(
        "--device",
        type=_device,
        metavar="DEVICE",
        help="cpu, cuda, cuda:1 (and so on, the second card) or mps; default: cuda, then mps, then cpu",
    )


def _device(text: str) -> str:
    if _DEVICE.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no device; expected cpu, cuda, cuda:<number> or mps")


def read_file(path: str, what: str, max_bytes: int) -> bytes:
    """Read a JSON file, or standard input for ``-``, up to a limit.

    What editors and shells on Windows write is read as well: a byte order mark is left out, and UTF-16 and UTF-32
    become UTF-8. The library's own readers take UTF-8 alone (protocol T3).

    Returns
    -------
    bytes
        UTF-8, or what was there where it is no text.

    Raises
    ------
    InvalidInputError
        Where it cannot be read, or is larger.
    """
    try:
        if path == "-":
            data = _standard_input(4 * max_bytes + 4)
        else:
            with Path(path).open("rb") as stream:
                data = stream.read(4 * max_bytes + 4)
    except OSError as error:
        raise InvalidInputError(f"cannot read {what} {path}: {error.strerror or error}") from error
    except ValueError as error:  # a name that no file can have
        raise InvalidInputError(f"cannot read {what} {path!r}: {error}") from error
    data = _utf_8(data, f"{what} {path}")
    if len(data) > max_bytes:
        raise InvalidInputError(f"{what} {path} is larger than {max_bytes} bytes")
    return data


def _standard_input(size: int) -> bytes:
    stream = sys.stdin
    if stream is None:
        raise InvalidInputError("standard input is closed; name a file, or send the text through a pipe")
    if hasattr(stream, "buffer"):
        return bytes(stream.buffer.read(size))
    return stream.read(size).encode("utf-8", "surrogatepass")  # in a program that put a text of its own there


def _utf_8(data: bytes, what: str) -> bytes:
    encoding = json.detect_encoding(data)
    if encoding in _UTF_8:
        return data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{what} looks like {encoding.upper()}, and is not: {error.reason} at byte {error.start}; save it as UTF-8"
        ) from error
    note(f"{what} is {encoding.upper()}; it is read as the same text in UTF-8")
    return text.encode("utf-8")
