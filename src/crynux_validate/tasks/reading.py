"""Reading a stranger's task (protocol T3)."""

from typing import Final

from crynux_validate.encoding import parse_json, shorten
from crynux_validate.errors import InvalidInputError, InvalidTaskError
from crynux_validate.tasks.image import ImageTask
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.text import TextTask

Task = ImageTask | TextTask
"""Every kind of task."""

_KINDS: Final[tuple[type[ImageTask] | type[TextTask], ...]] = (ImageTask, TextTask)

MAX_TASK_BYTES: Final = max(kind.max_bytes for kind in _KINDS)
"""The most bytes of JSON that are read as a task."""


def task_from_json(text: str | bytes, *, allow_unpinned: bool = False) -> Task:
    """Read a task from a stranger's JSON (protocol T3).

    Parameters
    ----------
    text
        JSON of at most 1,048,576 bytes, canonical or not; ``schema`` says which kind of task it is.
    allow_unpinned
        Accept a task whose model's revision can move; for runs on this machine alone.

    Raises
    ------
    InvalidTaskError
        Names the field, the value and what was expected. Its code follows from the bytes alone, so that all nodes
        report the same (A1).
    """
    try:
        value = parse_json(text, "the task", MAX_TASK_BYTES)
    except InvalidTaskError:
        raise
    except InvalidInputError as error:
        raise InvalidTaskError("", str(error)) from error
    if not isinstance(value, dict):
        raise InvalidTaskError("", f"the task is {shorten(value)}; expected a JSON object")
    fields = dict(value)
    schema = fields.pop("schema", None)
    kind = next((kind for kind in _KINDS if schema in kind.schemas), None)
    if kind is None:
        known = " or ".join(repr(kind.schemas[0]) for kind in _KINDS)
        raise InvalidTaskError("schema", f"is {shorten(schema)}; expected {known}")
    unpinned = schema == kind.schemas[1]
    if unpinned and not allow_unpinned:
        raise InvalidTaskError(
            "schema",
            f"{schema!r}: the model's revision can move; name its commit (40 hexadecimal digits), or pass "
            "allow_unpinned=True for a run on this machine alone",
        )
    if "model" not in fields:
        raise InvalidTaskError("model", "is missing; expected an object with a repository or a digest")
    fields["model"] = ModelRef.from_dict(fields["model"], allow_unpinned=unpinned)
    task = kind(**fields)
    if task.schema_id != schema:
        raise InvalidTaskError(
            "schema", f"is {schema!r}, but the model's revision is pinned; expected {task.schema_id!r}"
        )
    return task
