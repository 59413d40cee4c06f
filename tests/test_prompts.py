"""Weights in prompts (protocol T9): what is read, and what is refused."""

import contextlib
import io
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import ImageTask, ModelRef, task_from_json
from crynux_validate.errors import InvalidTaskError
from crynux_validate.tasks.prompts import MAX_LOWERED, MAX_NESTED, MAX_WEIGHT, SYNTAXES, weighted

MODEL = ModelRef("owner/model", revision="0" * 40)


def compel(text: str) -> Any:
    return weighted("prompt", text, "compel")


def webui(text: str) -> Any:
    return weighted("prompt", text, "webui")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red cat", [("a red cat", 1.0)]),
        ("", [("", 1.0)]),
        (" \t", [("", 1.0)]),
        ("word++ cat", [("word", 1.1**2), ("cat", 1.0)]),
        ("word-- cat", [("word", 0.9**2), ("cat", 1.0)]),
        ("(two words)1.3 more", [("two words", 1.3), ("more", 1.0)]),
        ("(two words)+ more", [("two words", 1.1), ("more", 1.0)]),
        ('"two words"+', [("two words", 1.1)]),
        ("(a big cat).attend(0.5)", [("a big cat", 0.5)]),
        ("((a)1.2 b)1.5", [("a", 1.5 * 1.2), ("b", 1.5)]),
        ("(a) 0.5", [("a 0.5", 1.0)]),
        ("(a)0.5(b)2", [("a", 0.5), ("b", 2.0)]),
        ("co-op a+b 1-2", [("co-op a+b 1-2", 1.0)]),
        ("quality,masterpiece", [("quality, masterpiece", 1.0)]),
        ("a (b", [("a (b", 1.0)]),
        ("b) c", [("b) c", 1.0)]),
        (r"\(a\)+ b", [("(a)", 1.1), ("b", 1.0)]),
        ("<cat-toy>+ é-", [("<cat-toy>", 1.1), ("é", 0.9)]),
        ("(word:1.3)", [("word:1 . 3", 1.0)]),
    ],
)
def test_compel(text: str, expected: list[tuple[str, float]]) -> None:
    assert list(compel(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red cat", [("a red cat", 1.0)]),
        ("", [("", 1.0)]),
        ("a (big red:1.3) cat", [("a ", 1.0), ("big red", 1.3), (" cat", 1.0)]),
        ("(a) [b]", [("a", 1.1), (" ", 1.0), ("b", 1 / 1.1)]),
        ("((a))", [("a", 1.1 * 1.1)]),
        ("((a:2) b:1.5)", [("a", 3.0), (" b", 1.5)]),
        (r"\(a\) e:f \\", [("(a) e:f \\", 1.0)]),
        ("a, b: c.", [("a, b: c.", 1.0)]),
        ("word++", [("word++", 1.0)]),
    ],
)
def test_webui(text: str, expected: list[tuple[str, float]]) -> None:
    assert list(webui(text)) == expected


@pytest.mark.parametrize(
    ("syntax", "text", "code", "says"),
    [
        ("compel", '("a", "b").blend(1, 1)', "unsupported", ".blend("),
        ("compel", '("a", "b").and()', "unsupported", ".and("),
        ("compel", "a cat.swap(dog)", "unsupported", ".swap("),
        ("compel", "a cat withLora(toy, 0.5)", "unsupported", "withLora("),
        ("compel", r"a\\(b)", "unsupported", "\\"),
        ("compel", r'"a\n"', "unsupported", "backslash"),
        ("compel", "a \x0b", "unsupported", "control character"),
        ("compel", "()", "limits", "no words"),
        ("compel", "()1.2", "limits", "no words"),
        ("compel", "(a)11", "limits", "at most 10"),
        ("compel", "(a)" + "9" * 400, "limits", "at most 10"),
        ("compel", "a" + "+" * 26, "limits", "at most 10"),
        ("compel", "a" + "+" * 8_000, "limits", "signs"),
        ("compel", "(" * 8_000, "limits", "within each other"),
        ("compel", "a- b " * 33, "limits", "below 1"),
        ("webui", "(a", "limits", "not closed"),
        ("webui", "[a", "limits", "not closed"),
        ("webui", "a)", "limits", "without an opening one"),
        ("webui", "a:1.3)", "limits", "without an opening one"),
        ("webui", "(a]", "limits", "without an opening one"),
        ("webui", "[a:b:0.5]", "unsupported", "steps"),
        ("webui", "[a|b]", "unsupported", "steps"),
        ("webui", "a AND b", "unsupported", "AND"),
        ("webui", "a BREAK b", "unsupported", "BREAK"),
        ("webui", "((()))", "limits", "no words"),
        ("webui", "(a:11)", "limits", "at most 10"),
        ("webui", "(" * 8_000, "limits", "within each other"),
    ],
)
def test_what_is_refused(syntax: Any, text: str, code: str, says: str) -> None:
    with pytest.raises(InvalidTaskError, match=r"^negative_prompt") as caught:
        ImageTask(model=MODEL, prompt="a", negative_prompt=text, prompt_syntax=syntax)
    assert (caught.value.field, caught.value.code) == ("negative_prompt", code)
    assert says in str(caught.value)
    assert ImageTask(model=MODEL, prompt=text).prompt == text


def test_the_syntax_is_a_field_of_the_task() -> None:
    plain = ImageTask(model=MODEL, prompt="a (word:1.3)")
    assert plain.prompt_syntax == "plain"
    digests = {plain.replace(prompt_syntax=syntax).digest for syntax in SYNTAXES}
    assert len(digests) == len(SYNTAXES)
    for syntax in SYNTAXES:
        task = plain.replace(prompt_syntax=syntax, negative_prompt=None)
        assert task_from_json(task.to_json()) == task
    with pytest.raises(InvalidTaskError) as caught:
        ImageTask(model=MODEL, prompt="a", prompt_syntax="a1111")  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.code) == ("prompt_syntax", "unsupported")


SIGNS = [
    "a", "b c", "(", ")", "((", "))", "+", "++", "-", "--", "1.3", "0.5", ".5", "7", '"', '\\"', "\\(", "\\)", " ",
    ",", ".", "=", "é", "<x>", "\\", "\\+", ".attend(", "\t", ":", "x-y", "\n", '"a b"', "(c)", "()", '""', "[",
    "]", ":1.2)", "  ",
]  # fmt: skip


@given(st.lists(st.sampled_from(SIGNS), max_size=60).map("".join), st.sampled_from(SYNTAXES))
def test_any_text_is_read_or_refused(text: str, syntax: Any) -> None:
    try:
        found = weighted("prompt", text, syntax)
    except InvalidTaskError:
        return
    assert found
    assert all(0 <= weight <= MAX_WEIGHT for _, weight in found)
    assert sum(weight < 1 for _, weight in found) <= MAX_LOWERED


def test_reading_takes_time_in_proportion_to_the_prompt() -> None:
    """compel's own parser takes four times as long for each parenthesis: seconds for these, at 7 of them."""
    nested = "(" * MAX_NESTED + "a" + ")" * MAX_NESTED
    assert compel(nested) == (("a", 1.0),)
    open_ = "(a, " * MAX_NESTED
    assert compel(open_) == ((open_.strip(), 1.0),)
    assert len(compel("(a)+ b " * 1_000)) == 2_000


def test_compels_own_parser_reads_the_same() -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        parsing = pytest.importorskip("compel.prompt_parser")
    parser, chosen, read = parsing.PromptParser(), random.Random(20), 0
    for _ in range(250):
        text = "".join(chosen.choice(SIGNS) for _ in range(chosen.randint(1, 7)))
        try:
            ours = compel(text)
        except InvalidTaskError:
            continue
        (prompt,) = parser.parse_conjunction(text).prompts
        assert tuple((piece.text, piece.weight) for piece in prompt.children) == ours, text
        read += 1
    assert read > 200
