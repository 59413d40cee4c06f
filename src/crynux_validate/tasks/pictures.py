"""Pictures of tasks, which are named by the SHA-256 of their files (protocol T1)."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from dataclasses import replace as dataclass_replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from pydantic_core import CoreSchema, core_schema

from crynux_validate.encoding import check_type, shorten, shorten_name, summary
from crynux_validate.errors import InvalidInputError, InvalidTaskError, PipelineError
from crynux_validate.frozen import thaw
from crynux_validate.tasks.wire import wire_schema

MAX_PICTURE_BYTES: Final = 1 << 24
"""The size of the largest file of a picture, in bytes."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PictureRef:
    """A picture of a task, named by the digest of its file. `PictureRef.local` and `PictureRef.of` make one.

    Parameters
    ----------
    digest
        The SHA-256 of the file's bytes, 64 lower-case hexadecimal digits.
    source
        The path of the file on this machine, or its bytes. It is not a part of the task.

    Raises
    ------
    InvalidTaskError
        For an invalid digest.
    """

    schema: ClassVar[Mapping[str, Any]] = {
        "title": "PictureRef",
        "description": "A picture, by the SHA-256 of its file.",
        "type": "object",
        "properties": {"digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
        "required": ["digest"],
        "additionalProperties": False,
    }
    """Its JSON Schema."""

    digest: str
    source: Path | bytes | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.digest, str) or not _SHA256.fullmatch(self.digest):
            raise InvalidTaskError(
                "digest", f"is {shorten(self.digest)}; expected the SHA-256 of the file, 64 lower-case hex digits"
            )

    @classmethod
    def local(cls, path: str | PathLike[str]) -> Self:
        """Return a reference to the picture in a file.

        Raises
        ------
        InvalidInputError
            If the file cannot be read, is empty, or is larger than 16 MiB.
        """
        check_type(path, (str, PathLike), "path", "the path of a picture")
        try:
            return cls(hashlib.sha256(_read(Path(path))).hexdigest(), Path(path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInputError(f"the picture {shorten(str(path))} cannot be read: {reason}") from error

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return a reference to the picture whose file has these bytes.

        Raises
        ------
        InvalidInputError
            For no bytes, or more than 16 MiB.
        """
        check_type(data, bytes, "data", "the bytes of a picture's file")
        _check_size(len(data))
        return cls(hashlib.sha256(data).hexdigest(), data)

    def data(self) -> bytes:
        """Return the bytes of the file, after a check of their digest.

        Raises
        ------
        PipelineError
            If this machine does not have the file, or has another file.
        """
        if self.source is None:
            raise PipelineError(f"the file of the picture {self} is not known on this machine; name it with task.at()")
        if isinstance(self.source, bytes):
            data = self.source
        else:
            try:
                data = _read(self.source)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise PipelineError(f"the picture {self} in {self.source} cannot be read: {reason}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.digest:
            raise PipelineError(f"{self.source!r:.200} is the picture {found}, but the task needs {self.digest}")
        return data

    def located(self, files: Mapping[str, Path]) -> Self:
        """Return this reference with the file of its digest, if `files` has this digest."""
        check_type(files, Mapping, "files", "a mapping of digests to paths")
        return dataclass_replace(self, source=files[self.digest]) if self.digest in files else self

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are in the task's canonical bytes."""
        return {"digest": self.digest}

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Read what `to_dict` writes; the value may come from anybody."""
        if not isinstance(value, Mapping):
            raise InvalidTaskError("", f"is {shorten(value)}; expected an object with the digest of a picture")
        for key in value:
            if key != "digest":
                raise InvalidTaskError(
                    shorten_name(str(key)), "no such field; a picture has only a digest", "unsupported"
                )
        if "digest" not in value:
            raise InvalidTaskError("digest", "is missing; expected the SHA-256 of the picture's file")
        return cls(value["digest"])

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        """Pydantic reads and writes the wire format, which has no file."""
        return wire_schema(cls, core_schema.is_instance_schema(cls), lambda value: cls.from_dict(thaw(value)))

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(cls.schema)

    def __repr__(self) -> str:
        return summary(self, self, f"in {self.source}" if isinstance(self.source, Path) else None)

    def __str__(self) -> str:
        return f"sha256:{self.digest}"


def _read(path: Path) -> bytes:
    """Read the file of a picture up to its largest size, since a pipe or a device may never end."""
    if not path.is_file():
        raise ValueError("it is not a file" if path.exists() else "there is no such file")
    with path.open("rb") as file:
        data = file.read(MAX_PICTURE_BYTES + 1)
    _check_size(len(data))
    return data


def _check_size(size: int) -> None:
    if not 1 <= size <= MAX_PICTURE_BYTES:
        found = "no bytes" if size == 0 else f"more than {MAX_PICTURE_BYTES} bytes"
        raise InvalidInputError(f"the picture has {found}; expected a PNG file of at most {MAX_PICTURE_BYTES}")


def without_pictures(value: Any) -> Any:
    """Return a field of a task with every picture in it replaced by the same one."""
    if isinstance(value, PictureRef):
        return PictureRef("0" * 64)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    own = {each.name: getattr(value, each.name) for each in fields(value)}
    return dataclass_replace(
        value, **{name: without_pictures(one) for name, one in own.items() if isinstance(one, PictureRef)}
    )
