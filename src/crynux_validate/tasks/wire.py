"""Tasks and models in pydantic: whatever reads, writes or describes them there does so in the wire format.

The wire format is what `task_from_json` reads and ``to_dict`` writes. Web frameworks and other models' fields use
pydantic's own functions; without this they would know the constructor's arguments instead, of which none is for
strangers: a path on this machine, a leave to run what can move.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from crynux_validate.encoding import parse_json, shorten
from crynux_validate.errors import InvalidInputError, InvalidTaskError
from crynux_validate.frozen import thaw

CONSTRUCTING: Final = object()
"""The context in which a constructor validates its arguments: anything else is the wire format."""


def parsed(value: str | bytes | Mapping[str, Any], what: str, max_bytes: int) -> dict[str, Any]:
    """Read a JSON object, or check a mapping as if it had been read from JSON.

    A mapping may come to twice `max_bytes` as it is written here: numbers like 1.0 are longer than in canonical JSON,
    by whose size a task is measured at the end.

    Raises
    ------
    InvalidTaskError
        For a value that is not a JSON object, and for text that `parse_json` refuses.
    """
    if not isinstance(value, str | bytes | Mapping):
        raise InvalidTaskError("", f"{what} is {shorten(value)}; expected a JSON object")
    try:
        if isinstance(value, str | bytes):
            found = parse_json(value, what, max_bytes)
        else:
            text = json.dumps(thaw(value), ensure_ascii=False, separators=(",", ":"))
            found = parse_json(text.encode("utf-8"), what, 2 * max_bytes)
    except UnicodeEncodeError as error:
        raise InvalidTaskError("", f"{what} has a lone surrogate in a string; expected valid Unicode") from error
    except InvalidTaskError:
        raise
    except (InvalidInputError, TypeError, ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, InvalidInputError) else f"{what} has no JSON: {error}"
        raise InvalidTaskError("", problem) from error
    if not isinstance(found, dict):
        raise InvalidTaskError("", f"{what} is {shorten(found)}; expected a JSON object")
    return found


def refused(title: str, value: object, error: InvalidTaskError) -> ValidationError:
    """Say in pydantic's way what is wrong: the place in the task, and the code that a node would report."""
    place = tuple(int(part) if part.isdecimal() else part for part in error.field.split(".") if part)
    found: Any = value
    for part in place:
        try:
            found = found[part]
        except (LookupError, TypeError):
            found = None
    problem = PydanticCustomError(f"task_{error.code}", "{problem}", {"problem": error.problem, "code": error.code})
    # As text, and not without end: servers write errors as JSON, which NaN and lone surrogates have no place in.
    return ValidationError.from_exception_data(title, [{"type": problem, "loc": place, "input": shorten(found)}])


def wire_schema(
    kind: type[Any], inner: CoreSchema, read: Callable[[Any], Any], form: type[Any] = Mapping
) -> CoreSchema:
    """Return pydantic's schema of a class: its own for the constructor, the wire format for everything else.

    Parameters
    ----------
    kind
        The class; it has ``to_dict``.
    inner
        What its constructor validates by, or what an argument of another's has to be.
    read
        Reads the wire format.
    form
        What that is in Python: an object or a text.
    """

    def validate(value: Any, handler: Any, info: Any) -> Any:
        if info.context is CONSTRUCTING:
            return handler(value)
        if isinstance(value, kind):
            return value
        try:
            if not isinstance(value, form):
                expected = "a JSON object" if form is Mapping else "text"
                raise InvalidTaskError("", f"is {shorten(value)}; expected {expected}")
            return read(value)
        except InvalidTaskError as error:
            raise refused(kind.__name__, value, error) from error

    validate.__name__ = validate.__qualname__ = kind.__name__  # where a union says which of its kinds refused
    serialization = core_schema.plain_serializer_function_ser_schema(lambda value: value.to_dict())
    return core_schema.with_info_wrap_validator_function(validate, inner, serialization=serialization)


def describe(
    kind: type[Any],
    schema_id: str,
    limits: Mapping[str, Mapping[str, Any]],
    schema: CoreSchema,
    handler: GetJsonSchemaHandler,
) -> dict[str, Any]:
    """Return the JSON Schema of a task's wire format, from that of its fields.

    It says which fields there are, of which types, within which limits, and what they mean. What must be given
    together, and what depends on another field, it leaves to validation: whatever a task can be fits it.

    Parameters
    ----------
    kind
        The class; its docstring says what the fields mean.
    schema_id
        The id under which the wire format is read.
    limits
        For fields that have some, keywords of JSON Schema.
    schema, handler
        Pydantic's.
    """
    inner: Any = schema
    found = handler.resolve_ref_schema(handler(inner["schema"]))
    about, meanings = _read_docstring(kind)
    fields = {"schema": {"const": schema_id, "title": "Schema", "type": "string"}} | found["properties"]
    meanings = {"schema": "The id of this form."} | meanings
    found["properties"] = {
        name: ({"description": meanings[name]} if name in meanings else {}) | field | limits.get(name, {})
        for name, field in fields.items()
    }
    if about:
        found["description"] = about
    found["additionalProperties"] = False
    found["required"] = ["schema", *(name for name in found.get("required", ()) if name != "schema")]
    return found


def _read_docstring(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """Return what a class is, and what each of its parameters means; nothing where docstrings are left out."""
    about, _, rest = (inspect.getdoc(kind) or "").partition("\nParameters\n----------\n")
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in rest.partition("\nRaises\n------\n")[0].splitlines():
        if line and not line.startswith(" "):
            names = line.split(", ")
        for name in names if line.startswith(" ") else ():
            meanings[name] = f"{meanings.get(name, '')} {line.strip()}".strip()
    return " ".join(about.split()), meanings


MODEL_SCHEMA: Final[Mapping[str, Any]] = {
    "title": "ModelRef",
    "description": "Which weights: a hub repository at a commit, or a local folder by its content digest.",
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "repository": {"type": "string", "description": "owner/name on the model hub"},
                "revision": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
                "variant": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["repository", "revision"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "variant": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["digest"],
            "additionalProperties": False,
        },
    ],
}
"""The JSON Schema of a model."""
