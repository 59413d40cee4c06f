"""Whatever a stranger sends, a reader gives a value or one clear error, in time that is linear (protocol T3)."""

import json
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import CrynuxValidateError, task_from_json
from crynux_validate.encoding import MAX_DEPTH, check_depth, parse_json
from crynux_validate.errors import InvalidInputError
from tests.fuzz.damage import damaged
from tests.fuzz.readers import READERS, corpus

TIMES = 400
"""How many damaged inputs each reader gets here; `make soak` gives it a million."""

MEGABYTE = 2**20
SLOW = 5.0
"""Seconds for a megabyte: fifty times what it takes, and a third of what a reader took whose time was quadratic."""


@pytest.mark.parametrize("name", READERS)
def test_valid_input_is_read(name: str) -> None:
    reader = READERS[name]
    for seed in reader.seeds():
        assert reader.check(seed), seed[:200]


@pytest.mark.parametrize("name", READERS)
def test_damaged_input_gives_a_value_or_a_clear_error(name: str) -> None:
    reader = READERS[name]
    seeds = reader.seeds()
    for number in range(TIMES):
        reader.check(damaged(seeds, number, structured=reader.structured))


@pytest.mark.parametrize("name", READERS)
def test_what_was_once_read_wrongly(name: str) -> None:
    for path in corpus(name):
        READERS[name].check(path.read_bytes())


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "a string that never ends": lambda size: b'{"a":"' + b'\\"' * (size // 2),
    "backslashes": lambda size: b'"' + b"\\" * size,
    "quotes": lambda size: b'"' * size,
    "a backslash before each end of line": lambda size: b'"\\\n' * (size // 3),
    "empty strings": lambda size: b"[" + b'"",' * (size // 3) + b'""]',
    "empty lists": lambda size: b"[" + b"[]," * (size // 3) + b"[]]",
    "an integer without end": lambda size: b"1" * size,
    "a fraction without end": lambda size: b"0." + b"1" * size,
    "an exponent without end": lambda size: b"1e" + b"9" * size,
    "keys": lambda size: b"{" + b",".join(b'"%d":1' % number for number in range(size // 12)) + b"}",
    "the same key": lambda size: b"{" + b'"a":1,' * (size // 6) + b'"a":1}',
    "a long key, twice": lambda size: b'{"%b":1,"%b":2}' % (b"k" * (size // 2), b"k" * (size // 2)),
    "white space": lambda size: b" \n" * (size // 2),
}
"""A megabyte each, made to be slow to read."""


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_megabyte_is_read_at_once(what: str) -> None:
    data = HOSTILE[what](MEGABYTE)
    began = time.perf_counter()
    try:
        parse_json(data, "the input", 2 * MEGABYTE)
    except InvalidInputError as error:
        said = str(error)
    else:
        said = ""
    assert len(said) < 300, "an error does not repeat what it was sent"
    assert time.perf_counter() - began < SLOW


def test_a_task_that_never_ends_is_refused_at_once() -> None:
    began = time.perf_counter()
    with pytest.raises(CrynuxValidateError, match="not JSON"):
        task_from_json(HOSTILE["a string that never ends"](MEGABYTE - 10))
    assert time.perf_counter() - began < SLOW


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(json_values.filter(lambda value: _depth(value) <= MAX_DEPTH))
def test_depth_is_counted_outside_of_strings(value: object) -> None:
    """The same as the plain way to count: strings taken out first, then brackets counted."""
    text = json.dumps(value).encode()
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text)
    depths = [0]
    for bracket in re.findall(rb"[\[{\]}]", bare):
        depths.append(depths[-1] + (1 if bracket in b"[{" else -1))
    wrapped = b"[" * (MAX_DEPTH - max(depths)) + text + b"]" * (MAX_DEPTH - max(depths))
    check_depth(wrapped, "it")
    with pytest.raises(InvalidInputError, match="more than 32 levels"):
        check_depth(b"[" + wrapped + b"]", "it")
