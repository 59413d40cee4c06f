"""The JSON Schemas of tasks, as pydantic makes them. Files with the same content are next to this module."""

import json
from collections.abc import Mapping
from typing import Any, Final

from crynux_validate.tasks.base import BaseTask
from crynux_validate.tasks.image import ImageTask
from crynux_validate.tasks.text import TextTask

TASK_KINDS: Final[Mapping[str, type[BaseTask]]] = {"image-task": ImageTask, "text-task": TextTask}
"""The kinds of tasks by the names of their schemas: ``image-task.schema.json`` is the file of the first."""


def task_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind's wire format, one of `TASK_KINDS`.

    Every task fits it. What must be given together, and what depends on another field, only `task_from_json` checks.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TASK_KINDS[kind].model_json_schema()}


def schema_text(kind: str) -> str:
    """Return the same as text, as it lies beside this file."""
    return json.dumps(task_schema(kind), indent=2, ensure_ascii=False, sort_keys=False) + "\n"
