"""Text tasks: complete, canonical, and strict with strangers (protocol T1-T3)."""

import copy
import json
import math
import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import ImageTask, ModelRef, TextTask, task_from_json
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks import WARPERS, PictureRef

MODEL = ModelRef("owner/name", revision="0" * 40)
ASKED = [{"role": "user", "content": "what is the sea?"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"b": 1, "a": 2.0}}}
TASK = TextTask(model=MODEL, messages=ASKED)

floats = st.floats(allow_nan=False, allow_infinity=False).filter(
    # Integers fit 2^53-1, and a float that canonical JSON writes as an integer is one.
    lambda value: not 2**53 <= abs(value) < 1e21
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | floats | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]), "content": st.text(max_size=50)},
    optional={"name": st.text(max_size=5), "tool_call_id": st.text(max_size=5)},
)
inputs = (
    st.fixed_dictionaries(
        {"messages": st.lists(messages, min_size=1, max_size=4)},
        optional={"tools": st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=3), max_size=2)},
    )
    | st.fixed_dictionaries({"prompt": st.text(max_size=50)})
    | st.fixed_dictionaries({"token_ids": st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9)})
)
samplings: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.fixed_dictionaries(
    {"do_sample": st.just(True)},
    optional={
        "temperature": st.floats(0.01, 100),
        "top_k": st.integers(0, 10_000_000),
        "top_p": st.floats(1e-6, 1),
        "min_p": st.floats(0, 1),
        "typical_p": st.floats(1e-6, 1),
    },
)
others = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**53 - 1),
        "max_new_tokens": st.integers(1, 65_536),
        "sequences": st.integers(1, 16),
        "repetition_penalty": st.floats(0.1, 10),
        "warper_order": st.permutations(WARPERS),
        "stop": st.lists(st.text(min_size=1, max_size=9), max_size=3),
        "eos_token_ids": st.none() | st.lists(st.integers(0, 2**31 - 1), max_size=3),
        "date": st.none() | st.dates().map(lambda day: day.isoformat()),
        "dtype": st.sampled_from(["float32", "float16", "bfloat16"]),
        "binding": st.sampled_from(["tokens", "logits", "top"]),
    },
)


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


tasks = st.builds(lambda *parts: TextTask(model=MODEL, **{k: v for p in parts for k, v in p.items()}), inputs,
                  samplings, others)  # fmt: skip


@given(tasks)
def test_json_and_back(task: TextTask) -> None:
    again = task_from_json(task.to_json())
    assert again == task
    assert isinstance(again, TextTask)
    assert (again.messages, again.tools) == (task.messages, task.tools)
    assert repr(again.tools) == repr(task.tools), "the order of keys, which a chat template sees, is canonical"
    assert again.digest == task.digest
    assert hash(again) == hash(task)
    assert json.loads(task.to_json())["schema"] == "crynux-validate/text-task/1"


def test_every_field_counts() -> None:
    sampled = TASK.replace(do_sample=True)
    changes: dict[str, Any] = {
        "model": ModelRef("owner/name", revision="1" * 40), "messages": [{"role": "user", "content": "no"}],
        "prompt": "what", "token_ids": [1], "tools": [TOOL], "date": "2026-01-31", "seed": 1, "max_new_tokens": 9,
        "sequences": 2, "do_sample": False, "temperature": 0.5, "top_k": 5, "top_p": 0.5, "min_p": 0.5,
        "typical_p": 0.5, "repetition_penalty": 2.0, "warper_order": WARPERS[::-1], "beams": 2, "stop": ["."],
        "eos_token_ids": [1], "dtype": "float32", "binding": "logits", "template_args": {"think": False},
        "quantize_bits": 4, "pictures": [PictureRef.of(b"a")],
    }  # fmt: skip
    assert set(changes) == set(TextTask.model_fields)
    digests = {sampled.digest}
    for name, value in changes.items():
        without: dict[str, Any] = {"messages": None} if name in ("prompt", "token_ids") else {}
        greedy = {"do_sample": False} if name == "beams" else {}
        if name == "pictures":
            without = {"messages": [{"role": "user", "content": [{"type": "image"}]}]}
        digests.add(sampled.replace(**without, **greedy, **{name: value}).digest)
    assert len(digests) == len(changes) + 1


def test_keys_and_numbers_are_canonical_before_a_template_sees_them() -> None:
    task = TASK.replace(tools=[{"b": 1.0, "a": [{"d": 1, "c": 2}]}])
    assert json.dumps(task.to_dict()["tools"]) == '[{"a": [{"c": 2, "d": 1}], "b": 1}]'


def blocks(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


CALL = {"function": {"name": "f", "arguments": {}}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"role": "user", "content": "hello"}, {"role": "user", "content": blocks("hello")}),
        ({"role": "user", "content": "hello"}, {"role": "user", "content": blocks("hel", "", "lo")}),
        ({"role": "user", "content": ""}, {"role": "user", "content": blocks("")}),
        ({"role": "user", "content": "a"}, {"content": "a", "tool_calls": [], "role": "user"}),
        ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "a", "tool_calls": []}),
        ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "a", "tool_calls": None}),
        ({"role": "tool", "content": "a"}, {"role": "tool", "content": "a", "tool_call_id": None, "name": None}),
        ({"role": "assistant", "tool_calls": [CALL]}, {"role": "assistant", "tool_calls": [CALL], "content": None}),
    ],
)
def test_one_message_has_one_form_however_clients_write_it(one: dict[str, Any], other: dict[str, Any]) -> None:
    task, same = (TASK.replace(messages=[*ASKED, message]) for message in (one, other))
    assert (task, task.digest, task.messages) == (same, same.digest, same.messages)
    assert task_from_json(same.to_json()) == task
    text = json.loads(TASK.to_json()) | {"messages": [*ASKED, other]}
    assert task_from_json(json.dumps(text)).digest == task.digest


@given(st.lists(st.text(max_size=9), min_size=1, max_size=4))
def test_blocks_of_text_are_the_text_that_they_are_together(texts: list[str]) -> None:
    task = TASK.replace(messages=[{"role": "user", "content": blocks(*texts)}])
    assert (task.messages or ())[0]["content"] == "".join(texts)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), max_size=6),
    st.lists(st.integers(0, 20), max_size=6),
    st.randoms(),
)
def test_what_ends_a_text_has_one_form_in_whatever_order_it_comes(
    stop: list[str], ids: list[int], source: random.Random
) -> None:
    task = TASK.replace(stop=stop, eos_token_ids=ids)
    shuffled, others = stop + stop[:2], ids + ids[:2]
    source.shuffle(shuffled)
    source.shuffle(others)
    same = TASK.replace(stop=shuffled, eos_token_ids=others)
    assert (task, task.digest, task.stop, task.eos_token_ids) == (same, same.digest, same.stop, same.eos_token_ids)
    assert list(task.stop) == sorted(set(stop), key=lambda text: text.encode("utf-8"))
    assert list(task.eos_token_ids or ()) == sorted(set(ids))
    text = json.loads(TASK.to_json()) | {"stop": shuffled, "eos_token_ids": others}
    assert task_from_json(json.dumps(text)).digest == task.digest


@pytest.mark.parametrize("name", ["owner/name", "Owner/Name", "OWNER/NAME", "owner/Name"])
def test_a_model_has_one_name_whatever_the_case(name: str) -> None:
    """The hub does not tell names apart by case, and the live relay writes them in lower case."""
    model = ModelRef(name, revision="0" * 40)
    task = TASK.replace(model=model)
    assert (model, model.to_dict(), str(model)) == (MODEL, MODEL.to_dict(), str(MODEL))
    assert hash(model) == hash(MODEL)
    assert (task, task.digest) == (TASK, TASK.digest)
    as_written = json.loads(TASK.to_json()) | {"model": {"repository": name, "revision": "0" * 40, "variant": None}}
    assert task_from_json(json.dumps(as_written)).digest == TASK.digest
    picture = ImageTask(model=model, prompt="a")
    assert picture.digest == ImageTask(model=MODEL, prompt="a").digest
    assert ModelRef("owner/name", revision="0" * 40, variant="FP16") != ModelRef(
        "owner/name", revision="0" * 40, variant="fp16"
    )


def test_nothing_in_a_task_can_be_changed() -> None:
    tools = [copy.deepcopy(TOOL)]
    task = TASK.replace(tools=tools)
    tools[0]["type"] = "other"
    assert task.tools[0]["type"] == "function"
    with pytest.raises(TypeError):
        task.messages[0]["role"] = "system"  # type: ignore[index]
    for again in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task), task.model_copy()):
        assert again == task


def test_numbers_beyond_integers_and_names_without_end() -> None:
    task = TASK.replace(tools=[{"maximum": 1e21, "a": 2.0**53 - 1, "b": -1e300}])
    assert task_from_json(task.to_json()) == task
    for value in (1e18, 2.0**53, -1e20):
        with pytest.raises(InvalidTaskError) as caught:
            TASK.replace(tools=[{"maximum": value}])
        assert (caught.value.field, caught.value.code) == ("tools.0", "schema")
    for changes in ({"\x1b[31m" + "k" * 500_000: 1}, {"messages": [{"\x1b" * 999: 1, "role": "user", "content": ""}]}):
        with pytest.raises(InvalidTaskError) as caught:
            TASK.replace(**changes)
        assert len(str(caught.value)) < 900
        assert "\x1b" not in str(caught.value)
    with pytest.raises(InvalidTaskError):
        TASK.replace(tools=[deep(5000)])


def test_kinds_of_tasks_are_never_equal() -> None:
    assert TextTask(model=MODEL, prompt="a") != ImageTask(model=MODEL, prompt="a")
    assert TASK.algorithm == "tokens/1"
    assert TASK.replace(binding="logits").algorithm == "logits/1"
    assert TASK.replace(binding="top").algorithm == "top/1"


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"messages": None}, "", "schema"),
        ({"prompt": "a"}, "", "schema"),
        ({"messages": None, "token_ids": []}, "token_ids", "schema"),
        ({"messages": None, "token_ids": [1, -1]}, "token_ids.1", "limits"),
        ({"messages": None, "token_ids": [2**31]}, "token_ids.0", "limits"),
        ({"messages": None, "token_ids": ["1"]}, "token_ids.0", "schema"),
        ({"messages": None, "token_ids": [True]}, "token_ids.0", "schema"),
        ({"messages": None, "prompt": "\ud800"}, "prompt", "schema"),
        ({"messages": None, "prompt": "a", "tools": [TOOL]}, "tools", "schema"),
        ({"messages": []}, "messages", "schema"),
        ({"messages": "hello"}, "messages", "schema"),
        ({"messages": ["hello"]}, "messages.0", "schema"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "schema"),
        ({"messages": [{"content": "a"}]}, "messages.0.role", "schema"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages.0.role", "unsupported"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages.0.content.0", "schema"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content", "schema"),
        ({"messages": [{"role": "user", "content": {"type": "text", "text": "a"}}]}, "messages.0.content", "schema"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text", "schema"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, "messages.0.content.0.text",
         "schema"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages.0.content.0.type", "schema"),
        ({"messages": [{"role": "user", "content": [*blocks("a"), {"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages.0.content.1.type", "unsupported"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}]},
         "messages.0.content.0.cache_control", "unsupported"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": {}}]}, "messages.0.tool_calls", "schema"),
        ({"messages": [{"role": "user", "content": "a", "image": "b"}]}, "messages.0.image", "unsupported"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": [{}]}]}, "messages.0.tool_calls", "schema"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages.0.content", "schema"),
        ({"messages": [{"role": "tool", "content": "a", "tool_call_id": 5}]}, "messages.0.tool_call_id", "schema"),
        ({"messages": [{"role": "user", "content": "\udfff"}]}, "messages.0", "schema"),
        ({"tools": [{"a": math.nan}]}, "tools.0", "schema"),
        ({"tools": [{"a": 2**53}]}, "tools.0", "schema"),
        ({"tools": [{"a": 10**5000}]}, "tools.0", "schema"),
        ({"tools": [deep(40)]}, "", "limits"),
        ({"messages": [{"role": "r" * 500_000, "content": "a"}]}, "messages.0.role", "unsupported"),
        ({"tools": [{"a": object()}]}, "tools.0", "schema"),
        ({"tools": "weather"}, "tools", "schema"),
        ({"date": "1.2.2026"}, "date", "schema"),
        ({"date": "20260131"}, "date", "schema"),
        ({"seed": -1}, "seed", "limits"),
        ({"seed": 2**53}, "seed", "limits"),
        ({"max_new_tokens": 0}, "max_new_tokens", "limits"),
        ({"max_new_tokens": 65_537}, "max_new_tokens", "limits"),
        ({"sequences": 17}, "sequences", "limits"),
        ({"do_sample": 1}, "do_sample", "schema"),
        ({"do_sample": True, "temperature": 0.0}, "temperature", "limits"),
        ({"temperature": 0.0}, "temperature", "limits"),
        ({"do_sample": True, "temperature": math.nan}, "temperature", "schema"),
        ({"temperature": 0.7}, "temperature", "limits"),
        ({"do_sample": True, "top_p": 0.0}, "top_p", "limits"),
        ({"do_sample": True, "top_p": 2.0}, "top_p", "limits"),
        ({"do_sample": True, "top_k": -1}, "top_k", "limits"),
        ({"do_sample": True, "min_p": 1.1}, "min_p", "limits"),
        ({"do_sample": True, "typical_p": 0.0}, "typical_p", "limits"),
        ({"repetition_penalty": 0.0}, "repetition_penalty", "limits"),
        ({"warper_order": ["top_k"]}, "warper_order", "limits"),
        ({"warper_order": [*WARPERS[1:], "magic"]}, "warper_order", "unsupported"),
        ({"warper_order": [*WARPERS, "top_k"]}, "warper_order", "limits"),
        ({"stop": "."}, "stop", "schema"),
        ({"stop": [""]}, "stop.0", "limits"),
        ({"stop": ["a" * 257]}, "stop.0", "limits"),
        ({"stop": [f"{at}" for at in range(17)]}, "stop", "limits"),
        ({"eos_token_ids": [-1]}, "eos_token_ids.0", "limits"),
        ({"beams": 0}, "beams", "limits"),
        ({"beams": 2, "do_sample": True}, "do_sample", "limits"),
        ({"beams": 2, "stop": ["."]}, "stop", "limits"),
        ({"beams": 2, "binding": "logits"}, "binding", "limits"),
        ({"beams": 2, "binding": "top"}, "binding", "limits"),
        ({"beams": 2, "sequences": 3}, "sequences", "limits"),
        ({"beams": 2, "warper_order": WARPERS[::-1]}, "warper_order", "limits"),
        ({"dtype": "int8"}, "dtype", "unsupported"),
        ({"dtype": None}, "dtype", "schema"),
        ({"binding": "text"}, "binding", "unsupported"),
        ({"quantize_bits": 3}, "quantize_bits", "schema"),
        ({"num_beams": 4}, "num_beams", "unsupported"),
        ({"messages": [{"role": "user", "content": "a" * 1_100_000}]}, "", "limits"),
    ],
)  # fmt: skip
def test_bad_fields(changes: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        TASK.replace(**changes)
    assert (caught.value.field, caught.value.code) == (field, code)
    if field:
        assert str(caught.value).startswith(f"{field}: ")


def test_a_stranger_gets_the_same_code_from_json() -> None:
    fields = TASK.to_dict()
    for changes, code in (
        ({"temperature": 0}, "limits"),
        ({"dtype": "int4"}, "unsupported"),
        ({"schema": "crynux-validate/text-task-unpinned/1"}, "schema"),
        ({"messages": None}, "schema"),
    ):
        with pytest.raises(InvalidTaskError) as caught:
            task_from_json(json.dumps(fields | changes))
        assert caught.value.code == code


def test_a_model_that_can_move_is_for_this_machine_alone() -> None:
    task = TASK.replace(model=ModelRef("owner/name", revision="main", allow_unpinned=True))
    assert task.schema_id == "crynux-validate/text-task-unpinned/1"
    assert task_from_json(task.to_json(), allow_unpinned=True) == task
    with pytest.raises(InvalidTaskError, match="can change"):
        task_from_json(task.to_json())
