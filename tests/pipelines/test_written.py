"""Text that grows by tokens: what is told, what stands in the result, and how long it takes."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crynux_validate.pipelines.text.written import Written
from crynux_validate.tasks import ModelRef

LETTERS = "ab\n"


def spelled(ids: Sequence[int]) -> str:
    """A tokenizer of three letters and pairs of them."""
    return "".join(LETTERS[token] if token < 3 else LETTERS[token % 3] + LETTERS[token // 3 % 3] for token in ids)


def bytewise(ids: Sequence[int]) -> str:
    """A tokenizer of bytes, as many models have one, which knows ids that write nothing."""
    return bytes(token for token in ids if token < 256).decode("utf-8", "replace")


def tell(written: Written, ids: Sequence[int]) -> tuple[list[str], int]:
    """What is told token by token, and how many tokens there were."""
    pieces = []
    for number, token in enumerate(ids, start=1):
        pieces.append(written.add(token))
        if written.stopped:
            return pieces, number
    return [*pieces, written.end()], len(ids)


@given(
    st.lists(st.integers(0, 11), min_size=1, max_size=30),
    st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=4),
)
def test_stop_strings_as_if_the_whole_text_were_searched_after_each_token(ids: list[int], stops: list[str]) -> None:
    written = Written(spelled, stops)
    pieces, used = tell(written, ids)
    ends = [n for n in range(1, len(ids) + 1) if any(stop in spelled(ids[:n]) for stop in stops)]
    whole = spelled(ids[: ends[0]] if ends else ids)
    cut = min((whole.find(stop) for stop in stops if stop in whole), default=len(whole))
    assert (used, written.stopped) == (ends[0] if ends else len(ids), bool(ends))
    assert written.text == "".join(pieces) == whole[:cut]


@given(st.text(max_size=40), st.lists(st.integers(0, 40), max_size=3))
def test_characters_are_told_when_they_are_whole(text: str, places: list[int]) -> None:
    encoded = list(text.replace("\ufffd", "").encode("utf-8", "ignore"))
    for place in places:
        encoded.insert(place, 300)  # a token that writes nothing
    written = Written(bytewise)
    pieces, _ = tell(written, encoded)
    assert "".join(pieces) == written.text == bytewise(encoded)
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_become_characters_are_told_too() -> None:
    written = Written(bytewise)
    pieces, _ = tell(written, [0xE2] * 100 + [0x41])
    assert written.text == "".join(pieces)
    assert written.text.endswith("A")
    assert set(written.text) == {"A", "\ufffd"}


def test_the_end_is_told_whole_and_searched_for_nothing() -> None:
    written = Written(bytewise, ["stop"])
    assert [written.add(token) for token in b"a sto"] == ["a", " ", "", "", ""]
    assert written.end(ord("p")) == "stop"
    assert (written.text, written.stopped) == ("a stop", False)
    cut = Written(bytewise)
    assert cut.add(0xE2) + cut.end(0x82) == "\ufffd"


@pytest.mark.parametrize("token", [0x41, 0xE2, 300], ids=["letters", "no characters", "nothing"])
def test_the_time_of_a_token_does_not_grow_with_the_text(token: int) -> None:
    decoded = 0

    def counted(ids: Sequence[int]) -> str:
        nonlocal decoded
        decoded += len(ids)
        return bytewise(ids)

    written = Written(counted, ["A" * 50 + "B"])
    for _ in range(2000):
        written.add(token)
    assert decoded <= 2000 * 40


@settings(max_examples=40)
@given(st.data())
def test_a_real_tokenizer(text_model: ModelRef, data: Any) -> None:
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = _TOKENIZERS.setdefault(text_model, transformers.AutoTokenizer.from_pretrained(text_model.path))
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=60))

    def decode(window: Sequence[int]) -> str:
        return str(tokenizer.decode(list(window), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    written = Written(decode)
    pieces, _ = tell(written, ids)
    assert written.text == "".join(pieces)
    whole = decode(ids)
    if "\ufffd" * 4 not in whole:
        assert written.text == whole


_TOKENIZERS: dict[ModelRef, Any] = {}
