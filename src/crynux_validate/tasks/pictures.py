"""Pictures that a task names: by the SHA-256 of their files, which are handed to a machine beside the task (T1)."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self

from pydantic_core import CoreSchema, core_schema

from crynux_validate.encoding import check_type, shorten, summary
from crynux_validate.errors import InvalidTaskError, ModelError
from crynux_validate.tasks.wire import wire_schema

MAX_PICTURE_BYTES: Final = 2**26
"""The most bytes of a picture's file: 64 MiB, more than a PNG of 4,096 x 4,096 pixels has."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")

PICTURE_SCHEMA: Final[Mapping[str, Any]] = {
    "title": "Picture",
    "description": "The SHA-256 of a PNG file.",
    "type": "string",
    "pattern": "^[0-9a-f]{64}$",
}
"""The JSON Schema of a picture."""


@dataclass(frozen=True)
class Picture:
    """A picture that a task is given: a PNG file, 8-bit RGB or grey, without alpha.

    Other formats are refused, since machines decode JPEG to other pixels.

    Parameters
    ----------
    digest
        The SHA-256 of the file, 64 lower-case hexadecimal digits, as ``sha256sum`` prints it.
    data
        The file, where this machine has it. It is no part of the task: the digest says what it is.

    Raises
    ------
    InvalidTaskError
        For another digest, and for data of another one.
    """

    digest: str
    data: bytes | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.digest, str) or not _SHA256.fullmatch(self.digest):
            expected = "64 lower-case hexadecimal digits, the SHA-256 of a PNG file (see Picture.local)"
            raise InvalidTaskError("", f"is {shorten(self.digest)}; expected {expected}")
        if self.data is not None:
            check_type(self.data, bytes, "data", "the bytes of a PNG file, or None")
            if hashlib.sha256(self.data).hexdigest() != self.digest:
                raise InvalidTaskError("", f"the data is not that of {self.digest[:16]}...; use Picture.of(data)")

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Name the picture in the bytes of a file."""
        check_type(data, bytes, "the picture", "the bytes of a PNG file")
        if len(data) > MAX_PICTURE_BYTES:
            raise ModelError(f"the picture has {len(data)} bytes; expected at most {MAX_PICTURE_BYTES}")
        return cls(hashlib.sha256(data).hexdigest(), data)

    @classmethod
    def local(cls, path: str | PathLike[str]) -> Self:
        """Name the picture in a file; `ModelError` where it cannot be read or is larger than 64 MiB."""
        check_type(path, (str, PathLike), "the picture", "the path of a PNG file")
        try:
            if not Path(path).is_file():
                raise ModelError(f"{path} is no file; expected a PNG file")
            with Path(path).open("rb") as file:
                data = file.read(MAX_PICTURE_BYTES + 1)
        except OSError as error:
            raise ModelError(f"the picture {path} cannot be read: {error.strerror or error}") from error
        if len(data) > MAX_PICTURE_BYTES:
            raise ModelError(f"the picture {path} has more than {MAX_PICTURE_BYTES} bytes; make it smaller")
        return cls.of(data)

    def to_dict(self) -> str:
        """Return what is canonical of it."""
        return self.digest

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        """In pydantic's models it is read and written in the wire format too."""
        return wire_schema(cls, core_schema.is_instance_schema(cls), cls, form=str)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(PICTURE_SCHEMA)

    def __str__(self) -> str:
        return f"sha256:{self.digest}"

    def __repr__(self) -> str:
        return summary(self, self.digest[:12], None if self.data is None else f"{len(self.data)} bytes")


def check_picture(name: str, value: object) -> None:
    """Refuse what is no `Picture`."""
    if not isinstance(value, Picture):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected a Picture (Picture.local(path))")


def found_in(picture: Picture, pictures: Mapping[str, Picture]) -> Picture:
    """Return a picture with its data, where that is among `pictures`, by digest."""
    there = pictures.get(picture.digest)
    return picture if there is None else replace(picture, data=there.data)
