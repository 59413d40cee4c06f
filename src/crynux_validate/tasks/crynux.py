"""Reading the live Crynux network's task arguments (protocol T4): what is common to image and text tasks.

Names, defaults and ranges are the live network's; errors name a field as it is spelled there. What has no counterpart
here is refused, never left out in silence: the task would be another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.base import DTYPES, BaseTask, Dtype
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.wire import parsed

MAX_ARGUMENT_BYTES: Final = 4_194_304
"""The most bytes of JSON that are read as task arguments; pictures for a ControlNet stand in some, as text."""

T = TypeVar("T", bound=BaseTask)

_OTHER_TASKS: Final = {
    "image_dataurl": "preprocess or tag a picture, or remove its background",
    "train_args": "train a model",
}
"""What the live network's other kinds of tasks name, and no task that makes images or text does."""


@dataclass(frozen=True)
class Field:
    """A field of the live network's that has a counterpart here.

    Parameters
    ----------
    here
        What it is called here.
    kind
        Its type; a float may be written as an integer.
    default
        What holds there where it is not named; None where nothing does.
    low, high
        Its range there, where there is one.
    """

    here: str
    kind: type[bool] | type[int] | type[float] | type[str] | type[list[Any]]
    default: Any = None
    low: float | None = None
    high: float | None = None


_KINDS: Final = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list"}


def parse(value: str | bytes | Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """Read JSON, or check a dictionary as if it were; refuse fields that nobody knows."""
    arguments = parsed(value, "the live network's object of arguments", MAX_ARGUMENT_BYTES)
    for name, does in _OTHER_TASKS.items():
        if name in arguments and name not in known:
            raise InvalidTaskError(
                name,
                f"is for tasks that {does}; expected a task that makes images or text",
                "unsupported",
            )
    object_of(arguments, "", known)
    return arguments


def dtype_of(arguments: Mapping[str, Any], auto: Dtype) -> Dtype:
    """The dtype, with what stands for ``auto``."""
    found = arguments.get("dtype", "auto")
    if found == "auto":
        return auto
    if isinstance(found, str) and found not in DTYPES:
        raise InvalidTaskError(
            "dtype", f"is {shorten(found)}; expected one of auto, {', '.join(DTYPES)}", "unsupported"
        )
    dtype: Dtype = typed(found, "dtype", str)
    return dtype


def read(value: Any, name: str, table: Mapping[str, Field]) -> dict[str, Any]:
    """Check an object's fields and return them by their names here; null is as good as not named."""
    found = {}
    object_of(value, name, tuple(table))
    for key, field in table.items():
        item = value.get(key)
        if item is None:
            item = field.default
        if item is None:
            continue
        full = f"{name}.{key}" if name else key
        typed(item, full, field.kind)
        if field.low is not None and field.high is not None and not field.low <= item <= field.high:
            raise InvalidTaskError(full, f"is {shorten(item)}; expected {field.low} to {field.high}", "limits")
        found[field.here] = item
    return found


def typed(value: Any, name: str, kind: type[Any]) -> Any:
    """Return a value of this JSON type: true is no number, and 1.0 no integer."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected {_KINDS[kind]}")
    return value


def text_of(value: Mapping[str, Any], name: str, parent: str = "") -> str:
    """Return a text that must be there, and not be empty."""
    if name not in value:
        raise InvalidTaskError(f"{parent}{name}", "is missing; expected text")
    found: str = typed(value[name], f"{parent}{name}", str)
    if not found:
        raise InvalidTaskError(f"{parent}{name}", "is empty; expected text", "limits")
    return found


def list_of(value: Any, name: str) -> list[Any]:
    if value is None:
        raise InvalidTaskError(name, "is missing; expected a list")
    found: list[Any] = typed(value, name, list)
    return found


def object_of(value: Any, name: str, known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """Return a JSON object of known fields only."""
    if not isinstance(value, dict):
        raise InvalidTaskError(name, f"is {shorten(value)}; expected a JSON object")
    for key in value if known is not None else ():
        if key not in (known or ()):
            raise InvalidTaskError(
                f"{name}.{key}" if name else key,
                f"no such field; the live network has {', '.join(known or ())}",
                "unsupported",
            )
    return value


def build(
    kind: type[T],
    fields: Mapping[str, Any],
    names: Mapping[str, str],
    repository: str,
    variant: str | None,
    revision: str,
    allow_unpinned: bool,
) -> T:
    """Make the task; whatever it refuses is named as the live network spells it."""
    try:
        model = ModelRef(repository, revision=revision, variant=variant, allow_unpinned=allow_unpinned)
        return kind(model=model, **fields)
    except InvalidTaskError as error:
        parts = error.field.split(".")
        for length in range(len(parts), 0, -1):
            there = names.get(".".join(parts[:length]))
            if there is not None:
                raise InvalidTaskError(".".join([there, *parts[length:]]), error.problem, error.code) from error
        raise
