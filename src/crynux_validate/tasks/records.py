"""Objects in a task's fields: how they are read, written and described (protocol T1)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self, TypeVar

from pydantic_core import CoreSchema, core_schema

from crynux_validate.encoding import shorten, shorten_name
from crynux_validate.errors import InvalidTaskError
from crynux_validate.frozen import thaw
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.pictures import PictureRef
from crynux_validate.tasks.wire import wire_schema

T = TypeVar("T")


class Record:
    """A frozen dataclass that is an object of its own in a task's JSON; a kind adds fields, checks and a schema."""

    schema: ClassVar[Mapping[str, Any]]
    """Its JSON Schema."""

    reads: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """For the fields that are no plain JSON values, besides ``model``: what reads them."""

    def to_dict(self) -> dict[str, Any]:
        """Return what is canonical of it."""
        return {each.name: _wire(getattr(self, each.name)) for each in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, value: object, *, allow_unpinned: bool = False) -> Self:
        """Read what `to_dict` writes; the value may come from anybody."""
        known = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]
        if not isinstance(value, Mapping):
            raise InvalidTaskError("", f"is {shorten(value)}; expected an object with {', '.join(known)}")
        for key in value:
            if key not in known:
                name = shorten_name(str(key))
                raise InvalidTaskError(name, f"no such field; it has {', '.join(known)}", "unsupported")
        for name, each in known.items():
            if name not in value and each.default is MISSING:
                raise InvalidTaskError(name, "is missing; it has no default")
        found = dict(value)
        if "model" in found:
            found["model"] = ModelRef.from_dict(found["model"], allow_unpinned=allow_unpinned)
        for name, read in cls.reads.items():
            if found.get(name) is not None:
                found[name] = read_part(name, found[name], read)
        return cls(**found)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        """In pydantic's models it is read and written in the wire format too."""
        return wire_schema(cls, core_schema.is_instance_schema(cls), lambda value: cls.from_dict(thaw(value)))

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(cls.schema)


def record_schema(title: str, about: str, **properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a record; what has a default may be left out."""
    return {
        "title": title,
        "description": about,
        "type": "object",
        "properties": properties,
        "required": [key for key, value in properties.items() if "default" not in value],
        "additionalProperties": False,
    }


def or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a value that may be null, which is its default."""
    return {"anyOf": [dict(schema), {"type": "null"}], "default": None}


def check_number(name: str, value: object, low: float, high: float) -> float:
    """Return a number as a float, or refuse what is none or outside `low` to `high`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or (isinstance(value, float) and math.isnan(value)):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected a number")
    if not low <= value <= high:  # type: ignore[operator]  # a number
        raise InvalidTaskError(name, f"is {shorten(value)}; expected {low:g} to {high:g}", "limits")
    return float(value)  # type: ignore[arg-type]  # a number


def check_model(value: object) -> None:
    """Refuse a value that is not a `ModelRef`."""
    if not isinstance(value, ModelRef):
        raise InvalidTaskError("model", f"is {shorten(value)}; expected a ModelRef")


def check_picture(name: str, value: object) -> None:
    """Refuse a value that is not a `PictureRef`."""
    if not isinstance(value, PictureRef):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected a PictureRef (PictureRef.local(path))")


def read_part(name: str, value: Any, read: Callable[[Any], T]) -> T:
    """Read one; what it refuses is named after the field."""
    try:
        return read(value)
    except InvalidTaskError as error:
        raise InvalidTaskError(f"{name}.{error.field}".rstrip("."), error.problem, error.code) from error


def _wire(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value
