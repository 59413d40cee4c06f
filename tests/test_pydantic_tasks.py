"""Tasks in pydantic's hands: one form, the wire format, wherever it reads, writes or describes them."""

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from crynux_validate import ImageTask, ModelRef, TextTask, task_from_json
from crynux_validate.errors import InvalidInputError, InvalidTaskError
from crynux_validate.frozen import FrozenMapping, freeze
from crynux_validate.tasks import Task
from tests import test_tasks, test_text_tasks

MODEL = ModelRef("owner/name", revision="0" * 40)
LOCAL = ModelRef(digest="ab" * 32, variant="fp16")
TEXT = TextTask(model=MODEL, messages=[{"role": "user", "content": "what is the sea?"}])
IMAGE = ImageTask(model=LOCAL, prompt="a red cat", scheduler="LCMScheduler", steps=4)


class Order(BaseModel):
    """A model of somebody else's with a task in it, as the body of a request."""

    task: Task
    text: TextTask | None = None
    model: ModelRef | None = None
    tasks: list[Task] = []


any_task = st.one_of(test_text_tasks.tasks, test_tasks.tasks())


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(any_task)
def test_every_way_there_and_back_is_the_wire_format(task: Task) -> None:
    kind: Any = type(task)
    adapter: Any = TypeAdapter(kind)
    both: Any = TypeAdapter(Task)
    order = Order(task=task, tasks=[task])
    written = [
        task.to_json(), task.model_dump_json(), json.dumps(task.model_dump()), json.dumps(task.model_dump(mode="json")),
        adapter.dump_json(task), json.dumps(adapter.dump_python(task)), both.dump_json(task),
        task.model_dump_json(indent=2), json.dumps(json.loads(order.model_dump_json())["task"]),
        json.dumps(order.model_dump()["tasks"][0]),
    ]  # fmt: skip
    for text in written:
        assert json.loads(text) == task.to_dict()
        value = json.loads(text)
        for again in (
            task_from_json(text), task_from_json(value), kind.model_validate_json(text), kind.model_validate(value),
            adapter.validate_json(text), adapter.validate_python(value), both.validate_python(value),
            Order.model_validate({"task": value}).task, Order.model_validate_json(order.model_dump_json()).tasks[0],
        ):  # fmt: skip
            assert type(again) is kind
            assert (again, again.digest) == (task, task.digest)
    assert task.model_dump_json() == task.to_json()


@given(any_task)
def test_the_schema_describes_every_task(task: Task) -> None:
    jsonschema.validate(task.to_dict(), _schema(type(task)), jsonschema.Draft202012Validator)


def _schema(kind: Any, found: dict[Any, Any] = {}) -> Any:  # noqa: B006 - made once
    if kind not in found:
        found[kind] = kind.model_json_schema()
    return found[kind]


@pytest.mark.parametrize("task", [TEXT, IMAGE])
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_schema_names_every_field_of_the_wire_format(task: Task, mode: Any) -> None:
    for schema in (type(task).model_json_schema(mode=mode), TypeAdapter(type(task)).json_schema(mode=mode)):
        assert schema["properties"].keys() == task.to_dict().keys()
        assert schema["properties"]["schema"]["const"] == task.schema_id
        assert {"schema", "model"} <= set(schema["required"])
        assert schema["additionalProperties"] is False
        assert "allow_unpinned" not in json.dumps(schema["properties"])
        for change in (
            {"seed": "1"},
            {"model": {"repository": "a/b", "revision": "main"}},
            {"lora": "x"},
            {"schema": 1},
        ):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(task.to_dict() | change, schema)
    whole = Order.model_json_schema(mode=mode)
    jsonschema.validate({"task": task.to_dict()}, whole)


@pytest.mark.parametrize(
    ("change", "place", "code"),
    [
        ({"seed": -1}, ("seed",), "limits"),
        ({"seed": "1"}, ("seed",), "schema"),
        ({"dtype": "int8"}, ("dtype",), "unsupported"),
        ({"lora": "x"}, ("lora",), "unsupported"),
        ({"schema": "crynux-validate/image-task/1"}, ("schema",), "schema"),
        ({"schema": None}, ("schema",), "schema"),
        ({"schema": "crynux-validate/text-task-unpinned/1"}, ("schema",), "schema"),
        ({"model": {"repository": "a/b", "revision": "main"}}, ("model", "revision"), "schema"),
        ({"model": {"digest": "ab" * 32, "path": "/etc"}}, ("model", "path"), "unsupported"),
        ({"model": {"repository": "a/b", "revision": "x", "allow_unpinned": True}}, ("model", "allow_unpinned"),
         "unsupported"),
        ({"messages": [{"role": "robot", "content": "a"}]}, ("messages", 0, "role"), "unsupported"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, (), "schema"),
        ({"temperature": float("nan")}, (), "schema"),
        ({"seed": float("inf")}, (), "schema"),
        ({"seed": 10**30}, (), "schema"),
        ({"tools": [object()]}, (), "schema"),
        ({"prompt": "a" * 1_100_000}, (), "schema"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_pydantics_way_with_our_place_and_code(
    change: dict[str, Any], place: tuple[Any, ...], code: str
) -> None:
    """As a server says it to its client: in JSON, which neither NaN nor a lone surrogate has."""
    value = TEXT.to_dict() | change
    with pytest.raises(InvalidTaskError) as ours:
        task_from_json(value)
    readers: list[tuple[Callable[[], object], tuple[Any, ...]]] = [
        (lambda: TextTask.model_validate(value), ()),
        (lambda: TypeAdapter(TextTask).validate_python(value), ()),
        (lambda: Order(task=TEXT, text=value), ("text",)),
    ]
    for read, at in readers:
        with pytest.raises(ValidationError) as caught:
            read()
        (error,) = caught.value.errors()
        assert (error["loc"], error["type"]) == (at + place, f"task_{code}")
        assert error["msg"] == ours.value.problem or "schema" in change
        said = json.dumps(error, allow_nan=False, ensure_ascii=False).encode("utf-8")
        assert len(said) < 2_000
    if "schema" not in change:  # which says of what kind the task is, where every kind is read
        assert (ours.value.code, ours.value.field) == (code, ".".join(map(str, place)))


@pytest.mark.parametrize("value", [None, 5, True, "x", b"x", TEXT.to_json(), TEXT.to_json().encode(), [], IMAGE, MODEL])
def test_what_is_no_object_is_no_task(value: Any) -> None:
    for read in (TextTask.model_validate, TypeAdapter(TextTask).validate_python):
        with pytest.raises(ValidationError, match="expected a JSON object"):
            read(value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (TEXT.to_json().replace('"seed":0', '"seed":0,"seed":0'), "twice"),
        (TEXT.to_json().replace('"seed":0', '"seed":NaN'), "NaN"),
        (TEXT.to_json().replace('"seed":0', '"seed":1e999'), "too large"),
        ("[" * 60_000, "nested"),
        (b"\xff", "UTF-8"),
        ("", "not JSON"),
        (bytearray(b"[]"), "JSON object"),
    ],
)
def test_json_is_read_as_strictly_as_by_the_library(text: Any, word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        TextTask.model_validate_json(text)


def test_mappings_are_read_as_if_they_were_json() -> None:
    frozen = freeze(TEXT.to_dict())
    assert isinstance(frozen, FrozenMapping)
    values: list[Mapping[str, Any]] = [TEXT.to_dict(), frozen, {**TEXT.to_dict(), "stop": ()}]
    for value in values:
        assert task_from_json(value) == TEXT
    before = json.dumps(given := TEXT.to_dict())
    task_from_json(given)
    assert json.dumps(given) == before
    for wrong in (None, 5, [TEXT.to_dict()], TEXT, {1: 2}, {"schema": TEXT.schema_id, "model": MODEL}):
        with pytest.raises(InvalidTaskError):
            task_from_json(wrong)  # type: ignore[arg-type]
    unpinned = TEXT.replace(model=ModelRef("owner/name", revision="main", allow_unpinned=True))
    assert task_from_json(unpinned.to_dict(), allow_unpinned=True) == unpinned
    with pytest.raises(InvalidTaskError, match="can change"):
        task_from_json(unpinned.to_dict())


@pytest.mark.parametrize(
    "task",
    [
        TEXT.replace(messages=None, prompt="水" * 345_000),
        TEXT.replace(tools=[{"a": [1.0] * 520_000}]),
        IMAGE.replace(prompt="\x01" * 8_192, negative_prompt="\x01" * 2_600),
        IMAGE.replace(prompt="😀" * 2_048, negative_prompt="😀" * 2_048),
    ],
)
def test_a_task_of_the_greatest_size_is_read_in_every_way(task: Task) -> None:
    assert len(task.canonical_bytes) > 0.98 * task.max_bytes or "😀" in task.to_json()
    as_written: Any = task.to_dict()
    if task.to_dict().get("tools"):
        as_written["tools"] = [{"a": [1.0] * 520_000}]
    for again in (
        task_from_json(task.to_json()),
        task_from_json(as_written),
        type(task).model_validate(as_written),
        type(task).model_validate_json(task.model_dump_json()),
        TypeAdapter(type(task)).validate_python(as_written),
    ):
        assert again.digest == task.digest


def test_models_alone_are_in_the_wire_format_too() -> None:
    adapter = TypeAdapter(ModelRef)
    for model in (MODEL, LOCAL):
        assert json.loads(adapter.dump_json(model)) == model.to_dict()
        assert adapter.validate_json(adapter.dump_json(model)) == model
        assert adapter.validate_python(model) is model
        jsonschema.validate(model.to_dict(), adapter.json_schema())
    for wrong, place in (
        ({"digest": "ab" * 32, "path": "/etc"}, ("path",)),
        ({"repository": "a/b", "revision": "main", "allow_unpinned": True}, ("allow_unpinned",)),
        ({"repository": "a/b", "revision": "main"}, ("revision",)),
        ({}, ()),
        ("owner/name", ()),
    ):
        with pytest.raises(ValidationError) as caught:
            adapter.validate_python(wrong)
        assert caught.value.errors()[0]["loc"] == place


def test_no_way_around_validation_and_no_part_of_a_task() -> None:
    construct: Any = TextTask.model_construct
    constructor: Any = TextTask
    for make in (construct, constructor):
        assert make(**{name: getattr(TEXT, name) for name in TextTask.model_fields}) == TEXT
        with pytest.raises(InvalidTaskError):
            make(model=MODEL, prompt="a", seed=-1)
        with pytest.raises(InvalidTaskError, match=r"model: is .*; input should be an instance of ModelRef"):
            make(model=MODEL.to_dict(), prompt="a")
        with pytest.raises(InvalidTaskError, match="schema: no such field"):
            make(model=MODEL, prompt="a", schema=TEXT.schema_id)
    for copied in (TEXT.model_copy(update={"seed": 3}), TEXT.copy(update={"seed": 3})):
        assert copied == TEXT.replace(seed=3)
    for change in (TEXT.model_copy, TEXT.copy):
        with pytest.raises(InvalidTaskError):
            change(update={"seed": -1})
    for leave_out in ({"exclude_none": True}, {"exclude": {"seed"}}, {"include": {"seed"}}, {"exclude_defaults": True}):
        for write in (TEXT.model_dump, TEXT.model_dump_json):
            with pytest.raises(InvalidInputError, match="a task is always written with all fields"):
                write(**leave_out)
    assert TEXT.model_dump(mode="json", exclude_none=False, by_alias=True) == TEXT.to_dict()
    for task in (TEXT, IMAGE):
        assert pickle.loads(pickle.dumps(task)) == copy.deepcopy(task) == task
