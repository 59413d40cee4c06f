"""Reading tasks, which may come from anybody (protocol T3)."""

from collections.abc import Mapping
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.base import MAX_TASK_BYTES
from crynux_validate.tasks.image import ImageTask
from crynux_validate.tasks.text import TextTask
from crynux_validate.tasks.wire import parsed

Task = ImageTask | TextTask
"""Every kind of task."""

_KINDS: Final[tuple[type[ImageTask] | type[TextTask], ...]] = (ImageTask, TextTask)


def task_from_json(value: str | bytes | Mapping[str, Any], *, allow_unpinned: bool = False) -> Task:
    """Read a task from JSON, which may come from anybody (protocol T3).

    Parameters
    ----------
    value
        JSON of at most 1,048,576 bytes, canonical or not, or the mapping that it stands for, which is checked as if it
        had been read from JSON; ``schema`` says which kind of task it is.
    allow_unpinned
        Accept a task whose model's revision can move; for runs on this machine alone.

    Raises
    ------
    InvalidTaskError
        Names the field, the value and what was expected. Its code follows from the bytes alone, so that all nodes
        report the same (A1).
    """
    fields = parsed(value, "the task", MAX_TASK_BYTES)
    schema = fields.get("schema")
    kind = next((kind for kind in _KINDS if schema in kind.schemas), None)
    if kind is None:
        known = " or ".join(repr(kind.schemas[0]) for kind in _KINDS)
        raise InvalidTaskError("schema", f"is {shorten(schema)}; expected {known}")
    return kind.from_fields(fields, allow_unpinned=allow_unpinned)
