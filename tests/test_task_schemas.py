"""The JSON Schemas of tasks: every task fits, limits are the models', and what is written of them is up to date."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools.make_task_docs import ROOT, written

from crynux_validate import ImageTask, TextTask, task_from_json
from crynux_validate.cli import main
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks import Task
from crynux_validate.tasks.schema import TASK_KINDS, task_schema
from tests import test_tasks, test_text_tasks

BASES: dict[str, Task] = {
    "image-task": ImageTask(model=test_tasks.MODEL, prompt="a"),
    "text-task": TextTask(model=test_tasks.MODEL, token_ids=[1], do_sample=True),
}
SCHEMAS = {kind: task_schema(kind) for kind in TASK_KINDS}
VALIDATORS = {kind: jsonschema.Draft202012Validator(schema) for kind, schema in SCHEMAS.items()}


def fits(kind: str, value: Any) -> bool:
    return bool(VALIDATORS[kind].is_valid(value))


def accepted(value: Any) -> bool:
    try:
        task_from_json(json.dumps(value))
    except InvalidTaskError:
        return False
    return True


@pytest.mark.parametrize("path", written(), ids=lambda path: path.name)
def test_up_to_date(path: Any) -> None:
    assert path.read_text("utf-8") == written()[path], "python -m tools.make_task_docs"
    assert path.is_relative_to(ROOT)


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])
    properties = SCHEMAS[kind]["properties"]
    assert set(properties) == {"schema", *TASK_KINDS[kind].model_fields}
    for name, field in properties.items():
        assert field.get("description"), f"{name} has no meaning: say it in the docstring"
    assert set(TASK_KINDS[kind].limits) <= set(properties)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.one_of(test_text_tasks.tasks, test_tasks.tasks()))
def test_every_task_fits(task: Task) -> None:
    kind = "image-task" if isinstance(task, ImageTask) else "text-task"
    VALIDATORS[kind].validate(json.loads(task.to_json()))


def _edges() -> list[Any]:
    found = []
    for kind, schema in SCHEMAS.items():
        for name, field in schema["properties"].items():
            step = field.get("multipleOf", 1 if field.get("type") == "integer" else 1e-7)
            if "minimum" in field:
                low, high = field["minimum"], field["maximum"]
                found += [
                    pytest.param(kind, name, inside, outside, id=f"{name} {outside}")
                    for inside, outside in ((low, low - step), (high, high + step))
                ]
            for choice in field.get("enum", ()):
                found.append(pytest.param(kind, name, choice, f"{choice}x", id=f"{name} {choice}"))
    return found


@pytest.mark.parametrize(("kind", "name", "inside", "outside"), _edges())
def test_limits_are_the_models(kind: str, name: str, inside: Any, outside: Any) -> None:
    base = BASES[kind].to_dict()
    if name == "beams":
        base["do_sample"] = False
    if name == "scheduler":
        base["scheduler_args"], base["steps"] = {}, 4
    good, bad = base | {name: inside}, base | {name: outside}
    assert fits(kind, good)
    assert accepted(good)
    assert not fits(kind, bad)
    assert not accepted(bad)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("image-task", {"width": 100}),
        ("image-task", {"prompt": "a" * 8193}),
        ("image-task", {"prompt": None}),
        ("image-task", {"lora": "x"}),
        ("image-task", {"scheduler_args": {"a": [1]}}),
        ("image-task", {"model": {"repository": "a/b"}}),
        ("text-task", {"token_ids": []}),
        ("text-task", {"token_ids": [-1]}),
        ("text-task", {"token_ids": [2**31]}),
        ("text-task", {"stop": [""]}),
        ("text-task", {"stop": ["a" * 257]}),
        ("text-task", {"eos_token_ids": [-1]}),
        ("text-task", {"warper_order": ["top_k"]}),
        ("text-task", {"warper_order": ["heat"] * 6}),
        ("text-task", {"token_ids": None, "messages": []}),
        ("text-task", {"schema": "crynux-validate/text-task/2"}),
    ],
)
def test_what_does_not_fit_is_no_task(kind: str, changes: dict[str, Any]) -> None:
    value = BASES[kind].to_dict() | changes
    assert not fits(kind, value)
    assert not accepted(value)


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_the_command_prints_what_is_shipped(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", kind]) == 0
    printed = capsys.readouterr().out
    shipped = ROOT / "src" / "crynux_validate" / "tasks" / f"{kind}.schema.json"
    assert printed == shipped.read_text("utf-8")
    assert json.loads(printed)["$schema"].startswith("https://json-schema.org/draft/2020-12/")


def test_an_unknown_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["schema", "video-task"])
    assert "video-task" in capsys.readouterr().err
