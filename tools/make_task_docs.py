"""Write what is said of a task's fields: ``python -m tools.make_task_docs``.

The JSON Schemas beside ``crynux_validate.tasks``, and the tables of ``docs/task-fields.md``, all from the models. A
test says that they are up to date.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from crynux_validate.tasks.schema import TASK_KINDS, schema_text, task_schema

ROOT: Final = Path(__file__).parent.parent

ABOUT: Final = """# The fields of tasks

`python -m tools.make_task_docs` makes this page from the models, whose docstrings have the meanings.
`crynux-validate schema image-task` and `crynux-validate schema text-task` print the same as JSON Schemas, which lie in
the package as well. Some limits depend on other fields, and stand with their meaning. The default of a field that is
left out is written into the task, and so into its digest (T1). The tables are of tasks with a pinned model.
"""


def written() -> dict[Path, str]:
    """Return the content of each file."""
    schemas = {
        ROOT / "src" / "crynux_validate" / "tasks" / f"{kind}.schema.json": schema_text(kind) for kind in TASK_KINDS
    }
    page = "\n".join([ABOUT, *(line for kind in TASK_KINDS for line in _section(kind))])
    return {**schemas, ROOT / "docs" / "task-fields.md": page}


def _section(kind: str) -> Iterator[str]:
    schema = task_schema(kind)
    yield f"## {schema['title']}\n\n{schema['description']}\n"
    yield "| field | type | default | limits | meaning |\n|---|---|---|---|---|"
    for name, field in schema["properties"].items():
        default = f"`{json.dumps(field['default'])}`" if "default" in field else _missing(name, schema)
        cells = (f"`{name}`", _type(field), default, ", ".join(_limits(field)), field.get("description", ""))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('``', '`') for cell in cells)} |"
    yield ""


def _missing(name: str, schema: dict[str, Any]) -> str:
    return "required" if name in schema["required"] else "`{}`"


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(each) for each in field["anyOf"]))
    if "const" in field:
        return "string"
    kind = {"array": "list", "number": "number", "boolean": "true or false"}.get(field["type"], field["type"])
    items = field.get("items", {})
    return f"list of {_type(items)}s" if kind == "list" and "type" in items else str(kind)


def _limits(field: dict[str, Any]) -> Iterator[str]:
    if "const" in field:
        yield f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        yield "one of " + ", ".join(f"`{json.dumps(each)}`" for each in field["enum"])
    if "minimum" in field:
        yield f"{field['minimum']:,} to {field['maximum']:,}"
    if "multipleOf" in field:
        yield f"a multiple of {field['multipleOf']}"
    if "maxLength" in field:
        least = f"{field['minLength']} to " if "minLength" in field else "at most "
        yield f"{least}{field['maxLength']:,} bytes"
    if field.get("format") == "date":
        yield "a day like `2026-01-31`"
    if "minItems" in field:
        yield f"{field['minItems']} of them" if field.get("maxItems") == field["minItems"] else "not empty"
    if "items" in field:
        yield from (f"each {limit}" for limit in _limits(field["items"]))


def main() -> None:
    """Write the files."""
    for path, text in written().items():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
