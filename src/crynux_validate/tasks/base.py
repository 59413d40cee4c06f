"""The common part of all tasks: a model, canonical bytes, a digest, and errors that name the field."""

import json
from collections.abc import Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NoReturn, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from crynux_validate.encoding import (
    canonical_json,
    check_depth,
    check_flag,
    check_integer,
    check_type,
    digest,
    length_prefixed,
    shorten,
    shorten_name,
    summary,
)
from crynux_validate.errors import InvalidInputError, InvalidTaskError, ModelError, ReportCode
from crynux_validate.tasks.folder import OnDigest, folder_digest
from crynux_validate.tasks.model import ModelRef, in_folder
from crynux_validate.tasks.pictures import PictureRef
from crynux_validate.tasks.wire import CONSTRUCTING, describe, parsed, refused, wire_schema

Dtype = Literal["float32", "float16", "bfloat16"]
DTYPES: Final[tuple[Dtype, ...]] = ("float32", "float16", "bfloat16")


MAX_TASK_BYTES: Final = 1_048_576
"""The size of the largest JSON that is read as a task, in bytes."""


class BaseTask(BaseModel):
    """The common part of image and text tasks.

    Pydantic's own functions read, write and describe the wire format (``model_validate_json``, ``model_dump_json``,
    ``model_json_schema``, and a task as a field of another model or as the body of a request). They accept pinned
    models only, and raise pydantic's ``ValidationError``, with the fields and codes of `InvalidTaskError`.

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names; its `code` is what a node reports (protocol A1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    schemas: ClassVar[tuple[str, str]]
    """The schema ids of the kind: for pinned models, and for models whose revision can change (T1)."""

    max_bytes: ClassVar[int]
    """The largest number of canonical bytes."""

    choices: ClassVar[Mapping[str, tuple[str, ...]]]
    """The known ids, for the fields that are ids. Another id is ``unsupported``, not a wrong type."""

    limits: ClassVar[Mapping[str, Mapping[str, Any]]]
    """The limits of fields, by their names in JSON Schema. `_check_ranges` checks those of numbers."""

    model: ModelRef

    def __init__(self, **fields: Any) -> None:
        try:
            self.__pydantic_validator__.validate_python(fields, self_instance=self, context=CONSTRUCTING)
        except ValidationError as error:
            _raise_first(type(self), error)
        self._complete()
        try:
            check_depth(self.canonical_bytes, "the task")
        except InvalidInputError as error:
            raise InvalidTaskError("", str(error), "limits") from error
        size = len(self.canonical_bytes)
        if size > self.max_bytes:
            raise InvalidTaskError(
                "", f"the task has {size} canonical bytes; expected at most {self.max_bytes}", "limits"
            )

    def _complete(self) -> None:
        """Check what types alone do not check, and bring fields into normal form."""

    def _check_ranges(self) -> None:
        """Refuse numbers outside their limits."""
        for name, limit in self.limits.items():
            value = getattr(self, name)
            if "minimum" in limit and value is not None:
                check_range(name, value, limit["minimum"], limit["maximum"])

    @property
    def schema_id(self) -> str:
        """The schema id in the canonical bytes."""
        return self.schemas[0] if self.pinned else self.schemas[1]

    @property
    def pinned(self) -> bool:
        """Whether every node loads the same files for the task."""
        return all(model.pinned for model in self.references().values())

    def references(self) -> dict[str, ModelRef]:
        """Return all models that are loaded for the task, by the name of their field."""
        return {"model": self.model}

    def pictures_named(self) -> dict[str, PictureRef]:
        """Return the task's pictures, by the name of their field."""
        return {}

    @property
    def loads(self) -> str:
        """The model as one text, which a calibration records."""
        return str(self.model)

    def at(self, *paths: str | PathLike[str], on_progress: OnDigest | None = None) -> Self:
        """Return this task with the paths, on this machine, of the models and pictures that it names by digest.

        Parameters
        ----------
        paths
            Folders of models and files of pictures, in any order. They are read completely, and recognised by their
            digests (`folder_digest`).
        on_progress
            Called while folders are read.

        Raises
        ------
        ModelError
            If a folder cannot be read, or the task does not name its digest.
        InvalidInputError
            If the file of a picture cannot be read, or the task does not name its digest.
        """
        files = {PictureRef.local(path).digest: Path(path) for path in paths if Path(path).is_file()}
        folders = {folder_digest(path, on_progress): Path(path) for path in paths if not Path(path).is_file()}
        named: dict[str, ModelRef | PictureRef] = {**self.references(), **self.pictures_named()}
        for found, kind in ((folders, ModelRef), (files, PictureRef)):
            wanted = {name: reference for name, reference in named.items() if isinstance(reference, kind)}
            for content, path in found.items():
                if not any(reference.digest == content for reference in wanted.values()):
                    names = ", ".join(f"{name} {reference}" for name, reference in wanted.items() if reference.digest)
                    what = "folder" if kind is ModelRef else "file"
                    raise (ModelError if kind is ModelRef else InvalidInputError)(
                        f"the {what} {path} holds {content}; the task asks for {names or f'no such {what}'}"
                    )
        return self.replace(**self._located({**folders, **files}))

    def _located(self, paths: Mapping[str, Path]) -> dict[str, Any]:
        """The fields whose references have the digest of one of these folders and files."""
        return {"model": in_folder(self.model, paths)}

    @cached_property
    def canonical_bytes(self) -> bytes:
        """The task as RFC 8785 JSON, with every field and the schema id (protocol T2)."""
        return canonical_json(self.to_dict())

    @cached_property
    def digest(self) -> str:
        """The digest that names the task: 64 lower-case hexadecimal digits (protocol T2)."""
        return digest("task", length_prefixed(self.canonical_bytes)).hex()

    def to_dict(self) -> dict[str, Any]:
        """Return the task as Python values of the JSON that `task_from_json` reads."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return fields | {"model": self.model.to_dict(), "schema": self.schema_id}

    def to_json(self) -> str:
        """Return the canonical bytes as text."""
        return self.canonical_bytes.decode("utf-8")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values, validated again."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(fields | changes))

    @classmethod
    def from_fields(cls, value: Mapping[str, Any], *, allow_unpinned: bool = False) -> Self:
        """Make a task of this kind from a JSON object that was already parsed; `task_from_json` reads every kind."""
        if not isinstance(value, Mapping):
            raise InvalidTaskError("", f"the task is {shorten(value)}; expected an object")
        check_flag(allow_unpinned, "allow_unpinned")
        fields = dict(value)
        schema = fields.pop("schema", None)
        if schema not in cls.schemas:
            raise InvalidTaskError("schema", f"is {shorten(schema)}; expected {cls.schemas[0]!r}")
        unpinned = schema == cls.schemas[1]
        if unpinned and not allow_unpinned:
            raise InvalidTaskError(
                "schema",
                f"is {schema!r}, a task with a model revision that can change; name the commit (40 hex digits), "
                "or pass allow_unpinned=True to run it on this machine only",
            )
        if "model" not in fields:
            raise InvalidTaskError("model", "is missing; expected an object with a repository or a digest")
        fields["model"] = ModelRef.from_dict(fields["model"], allow_unpinned=unpinned)
        cls._read_parts(fields, allow_unpinned=unpinned)
        task = cls(**fields)
        if task.schema_id != schema:
            raise InvalidTaskError(
                "schema", f"is {schema!r}, but all revisions are commits; expected {task.schema_id!r}"
            )
        return task

    @classmethod
    def _read_parts(cls, fields: dict[str, Any], *, allow_unpinned: bool) -> None:
        """Read the fields of this kind that are objects, from JSON that others wrote."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return wire_schema(
            cls, handler(source), lambda value: cls.from_fields(parsed(value, "the task", MAX_TASK_BYTES))
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return describe(cls, cls.schemas[0], cls.limits, schema, handler)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **_settings: Any) -> Self:
        """Pydantic's function that reads JSON; as strict as `task_from_json`: no key twice, no NaN."""
        check_type(json_data, (str, bytes, bytearray), "the task", "JSON as text or bytes")
        text = json_data if isinstance(json_data, str) else bytes(json_data)
        try:
            return cls.from_fields(parsed(text, "the task", MAX_TASK_BYTES))
        except InvalidTaskError as error:
            raise refused(cls.__name__, None, error) from error

    def model_dump_json(self, *, indent: int | None = None, **settings: Any) -> str:
        """Pydantic's function that writes JSON: the canonical text with all fields, or the same with line breaks."""
        _check_whole(settings)
        if indent is not None:
            check_integer(indent, "indent", 0, 100)
        return self.to_json() if indent is None else json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def model_dump(self, **settings: Any) -> dict[str, Any]:
        """Pydantic's function that returns Python values: `to_dict`, with all fields."""
        _check_whole(settings)
        return self.to_dict()

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:  # type: ignore[override]
        """Pydantic's function that skips validation; a task is validated all the same."""
        return cls(**values)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """Pydantic's function that copies; the copy is validated, as by `replace`."""
        return self.replace(**_changes(update))

    def copy(self, *, update: Mapping[str, Any] | None = None, **settings: Any) -> Self:
        """Pydantic's older function that copies; see `model_copy`."""
        _check_whole(settings)
        return self.replace(**_changes(update))

    def __repr__(self) -> str:
        return summary(self, self.digest[:12], *self._told(), f"model {self.model}")

    def __str__(self) -> str:
        return repr(self)

    def _told(self) -> tuple[str, ...]:
        """Short texts that describe the task, for people."""
        return ()

    def __hash__(self) -> int:
        return hash(self.canonical_bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseTask) and self.canonical_bytes == other.canonical_bytes


def utf8_size(name: str, text: str) -> int:
    """Return the size of a text in bytes of UTF-8; a text with a lone surrogate is refused."""
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidTaskError(name, f"has a lone surrogate at position {error.start}; give valid Unicode") from error


def check_size(name: str, text: str, most: int) -> None:
    """Refuse a text of more than `most` bytes of UTF-8."""
    size = utf8_size(name, text)
    if size > most:
        raise InvalidTaskError(name, f"has {size} bytes of UTF-8; expected at most {most}", "limits")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside `low` to `high`."""
    if not low <= value <= high:
        raise InvalidTaskError(name, f"is {shorten(value)}; expected {low} to {high}", "limits")


def in_range(low: float, high: float) -> dict[str, float]:
    """Return the limits of a number, as of `BaseTask.limits`."""
    return {"minimum": low, "maximum": high}


def _changes(update: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the fields that a copy changes; they have names."""
    if update is None:
        return {}
    if not isinstance(update, Mapping) or not all(isinstance(name, str) for name in update):
        raise InvalidInputError(f"update is {shorten(update)}; expected the fields to change, by their names")
    return update


def _check_whole(settings: Mapping[str, Any]) -> None:
    """Refuse options that leave out fields, since the rest would be another task."""
    for name, value in settings.items():
        if name.startswith(("include", "exclude")) and value not in (None, False):
            raise InvalidInputError(
                f"{name} is {shorten(value)}; a task is always written with all fields: leave it out"
            )


def _raise_first(kind: type[BaseTask], error: ValidationError) -> NoReturn:
    """Return the error for pydantic's first problem; a wrong type comes before an unknown value."""
    problems = []
    for item in error.errors(include_url=False, include_context=False):
        name = shorten_name(".".join(str(part) for part in item["loc"][:2]))
        code: ReportCode = "schema"
        problem = f"is {shorten(item['input'])}; {item['msg'][:1].lower()}{item['msg'][1:]}"
        if item["type"] == "missing":
            problem = "is missing; a task needs it"
        elif item["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            problem, code = f"no such field; a task has {known}", "unsupported"
        elif item["loc"][0] in kind.choices and isinstance(item["input"], str):
            known = ", ".join(map(repr, kind.choices[str(item["loc"][0])]))
            problem, code = f"is {shorten(item['input'])}; expected one of {known}", "unsupported"
        elif item["loc"][0] == "scheduler_args":
            problem = f"is {shorten(item['input'])}; expected an object of booleans, numbers and strings"
        problems.append(InvalidTaskError(name, problem, code))
    raise min(problems, key=lambda found: found.code != "schema") from error
