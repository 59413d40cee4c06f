"""Canonical JSON: what is encoded quickly is what the reference encodes, to the byte, and refused where it refuses."""

import math
from enum import IntEnum, StrEnum
from typing import Any

import hypothesis.strategies as st
import pytest
import rfc8785
from hypothesis import example, given

from crynux_validate.encoding import MAX_SAFE_INTEGER, Encoded, canonical_json
from crynux_validate.errors import InvalidInputError
from crynux_validate.frozen import FrozenMapping, freeze


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


texts = st.text(st.characters(), max_size=8)  # with lone surrogates
integers = st.one_of(
    st.integers(-100, 100),
    st.sampled_from([MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 1, -MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER - 1, 10**400]),
)
others = st.sampled_from([Colour.RED, Number.ONE, b"bytes", {1}, 1j])
scalars = st.one_of(st.none(), st.booleans(), integers, st.floats(), texts, others)
names = st.one_of(
    texts, st.sampled_from(["\U00010000", "\uffff", "\ue000", "z"]), st.sampled_from([Colour.RED, 1, None])
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=12,
)


def reference(value: Any) -> bytes | None:
    """What the reference gives; None where it refuses."""
    try:
        return rfc8785.dumps(value)
    except (ValueError, UnicodeEncodeError):
        return None


def ours(value: Any) -> bytes | None:
    try:
        return canonical_json(value)
    except InvalidInputError:
        return None


@given(values)
@example({"\U00010000": 1, "\uffff": 2, "a": {"\ue000": 3, "\U0001f600": 4}})
@example({"\ud800": 1})
@example(["\ud800"])
@example({"a": "\ud800", "b": math.nan})
@example({1: 2})
@example({1: 2, "a": 3})
@example([True, 1, 1.0, -0.0, 1e21, 1e-7, '\x7f\u2028\x1f\\"'])
def test_every_value_is_encoded_as_the_reference_does(value: Any) -> None:
    assert ours(value) == reference(value)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_cannot_be_changed_is_encoded_like_what_can(value: dict[str, Any]) -> None:
    assert ours(freeze(value)) == reference(value)


def test_a_refusal_says_what_is_wrong() -> None:
    with pytest.raises(InvalidInputError, match="9007199254740992 exceeds safe integer domain"):
        canonical_json({"a": [2**53]})
    with pytest.raises(InvalidInputError, match="object keys must be strings"):
        canonical_json({"a": {1: 2, "b": 3}})
    with pytest.raises(InvalidInputError, match="non-UTF-8"):
        canonical_json(FrozenMapping({"a": "\ud800"}))
    with pytest.raises(InvalidInputError, match="too large"):
        canonical_json([10**5_000])
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidInputError, match="too deep"):
        canonical_json(nested)


def test_a_part_that_is_encoded_already() -> None:
    value = {"b": Encoded(canonical_json({"z": 7.5, "a": "é"}).decode()), "a": [1]}
    assert canonical_json(value) == rfc8785.dumps({"b": {"z": 7.5, "a": "é"}, "a": [1]})
