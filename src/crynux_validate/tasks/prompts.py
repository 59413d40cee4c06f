"""Prompts with weights, read from the task's bytes alone (protocol T9)."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidTaskError

PromptSyntax = Literal["plain", "compel", "webui"]
SYNTAXES: Final[tuple[PromptSyntax, ...]] = ("plain", "compel", "webui")

Weighted = tuple[tuple[str, float], ...]
"""Pieces of a prompt with their weights, in order."""

MAX_WEIGHT: Final = 10.0
MAX_LOWERED: Final = 32
"""The most pieces with a weight below 1: each is encoded once more."""
MAX_NESTED: Final = 16

_Node = str | tuple[float, "list[_Node]"]
"""A text, or a weight and what it is of."""

_Found = tuple[list[_Node], int] | None
"""What was read and where it ends; None where it is something else."""


def weighted(field: str, prompt: str, syntax: PromptSyntax) -> Weighted:
    """Read the weights in a prompt.

    Parameters
    ----------
    field
        The prompt's name, for messages.
    prompt
        The text as the task has it.
    syntax
        ``compel``: ``word++``, ``word-``, ``(two words)1.3``, as compel 2.5 reads them. ``webui``: ``(two words:1.3)``,
        ``(word)`` for 1.1, ``[word]`` for 1/1.1. ``plain``: the whole prompt weighs 1.

    Raises
    ------
    InvalidTaskError
        Names the field: an operator that is not supported (``unsupported``), weights that are too large or too many, or
        nothing but signs (``limits``).
    """
    if syntax == "plain":
        return ((prompt, 1.0),)
    nodes, between = (_Compel(field, prompt).read(), " ") if syntax == "compel" else (_webui(field, prompt), "")
    found = tuple(_joined(_flat(nodes, 1.0), between))
    if not found:
        raise InvalidTaskError(
            field, f"is {shorten(prompt)}, which has no words; add some, or leave it empty", "limits"
        )
    for text, weight in found:
        if weight > MAX_WEIGHT:
            raise InvalidTaskError(
                field, f"gives {shorten(text)} the weight {weight:.4g}; expected at most {MAX_WEIGHT:g}", "limits"
            )
    lowered = sum(weight < 1 for _, weight in found)
    if lowered > MAX_LOWERED:
        raise InvalidTaskError(
            field, f"has {lowered} pieces with a weight below 1; expected at most {MAX_LOWERED}", "limits"
        )
    return found


def _flat(nodes: Sequence[_Node], scale: float) -> Iterator[tuple[str, float]]:
    for node in nodes:
        if isinstance(node, str):
            yield node, scale
        else:
            yield from _flat(node[1], scale * node[0])


def _joined(pieces: Iterator[tuple[str, float]], between: str) -> Iterator[tuple[str, float]]:
    """Join neighbours of one weight."""
    last: tuple[str, float] | None = None
    for text, weight in pieces:
        if last is not None and last[1] == weight:
            last = f"{last[0]}{between}{text}", weight
            continue
        if last is not None:
            yield last
        last = text, weight
    if last is not None:
        yield last


# ------------------------------------------------------------------------------------------------ compel

_SIGNS: Final = r'()",.+\-='
_WORD: Final = re.compile(rf"(?:\\[{_SIGNS}]|[+-](?![ \t\r\n{_SIGNS}]|\Z)|[^ \t\n\r\v\f{_SIGNS}])++")
"""A word without signs, except escaped ones, and + and - within it."""
_FREE: Final = re.compile(r"[^ \t\n\r\v\f]+")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_QUOTED: Final = re.compile(r'"((?:\\"|[^"\n\r])*)"')
_SIGN_WEIGHT: Final = re.compile(r"\++|-+")
_WEIGHT: Final = re.compile(r"\++|-+|\d+\.\d*|\.\d+|[0-9]+")
_ATTEND: Final = re.compile(r"[ \t\r\n]*\.attend[ \t\r\n]*\([ \t\r\n]*")
_CLOSE: Final = re.compile(r"[ \t\r\n]*\)")
_OPERATORS: Final = re.compile(r"\)\s*\.(?:blend|and|add)\s*\(|\.swap\s*\(|(?:use|with)Lora\s*\(|\\\\[()\"]")
"""What more compel has; and two backslashes, of which it drops one or two."""
_PLUS, _MINUS = 1.1, 0.9


class _Compel:
    """A reader of compel's syntax in time that grows with the prompt (compel's own takes four times as long for each
    parenthesis within others)."""

    def __init__(self, field: str, text: str) -> None:
        self._field = field
        self._text = text
        self._known: dict[int, _Found] = {}
        self._depth = 0

    def read(self) -> list[_Node]:
        """Read a whole prompt."""
        operator = _OPERATORS.search(self._text)
        if operator is not None:
            raise self._unsupported(f"has {shorten(operator[0])}")
        text = re.sub(r",(\S)", r", \1", self._text)
        if not text.strip():
            return [""]
        self._text = text.expandtabs()
        found: list[_Node] = []
        at = self._skip(0)
        while at < len(self._text):
            nodes, at = self._attention(at) or self._quoted(at) or self._parenthesized(at) or self._free(at)
            found += nodes
            at = self._skip(at)
        return found

    def _skip(self, at: int) -> int:
        return _SPACE.match(self._text, at).end()  # type: ignore[union-attr]  # it matches nothing, too

    def _free(self, at: int) -> tuple[list[_Node], int]:
        """A word with whatever signs."""
        found = _FREE.match(self._text, at)
        if found is None:
            raise self._unsupported(f"has the control character {self._text[at]!r}")
        return [_unescaped(found[0])], found.end()

    def _word(self, at: int) -> _Found:
        found = _WORD.match(self._text, at)
        return None if found is None else ([_unescaped(found[0])], found.end())

    def _attention(self, at: int) -> _Found:
        """A word, a quoted text or a parenthesis with a weight."""
        grouped = self._quoted(at) or self._parenthesized(at)
        target = grouped or self._word(at)
        if target is None:
            return None
        nodes, end = target
        asked = _ATTEND.match(self._text, end)
        explicit = None if asked is None else _WEIGHT.match(self._text, asked.end())
        if explicit is not None:
            closed = _CLOSE.match(self._text, explicit.end())
            if closed is not None:
                return [(self._weight(explicit[0]), nodes)], closed.end()
        written = (_SIGN_WEIGHT if grouped is None else _WEIGHT).match(self._text, end)
        return None if written is None else ([(self._weight(written[0]), nodes)], written.end())

    def _weight(self, written: str) -> float:
        if written[0] not in "+-":
            return float(written)
        base: float = _PLUS if written[0] == "+" else _MINUS
        if base > 1 and len(written) > 64:
            raise InvalidTaskError(self._field, f"has {len(written)} signs + in a row; expected at most 64", "limits")
        return float(pow(base, len(written)))

    def _quoted(self, at: int) -> _Found:
        found = _QUOTED.match(self._text, at)
        if found is None:
            return None
        inner = found[1]
        if not inner.strip():
            return [""], found.end()
        if re.search(rf"\\(?![{_SIGNS}])", inner):
            raise self._unsupported("has a backslash within quotes")
        read = _Compel(self._field, inner)
        nodes, end = read._content(0)
        return (nodes, found.end()) if end == len(inner) else None

    def _parenthesized(self, at: int) -> _Found:
        if not self._text.startswith("(", at):
            return None
        if at not in self._known:
            self._depth += 1
            if self._depth > MAX_NESTED:
                raise InvalidTaskError(
                    self._field, f"has more than {MAX_NESTED} parentheses within each other; remove some", "limits"
                )
            nodes, end = self._content(at + 1)
            self._depth -= 1
            self._known[at] = (nodes, end + 1) if self._text.startswith(")", end) else None
        return self._known[at]

    def _content(self, at: int) -> tuple[list[_Node], int]:
        """What stands in parentheses or quotes."""
        found: list[_Node] = []
        while True:
            at = self._skip(at)
            read = self._attention(at) or self._parenthesized(at) or self._quoted(at) or self._word(at)
            if read is None and self._text[at : at + 1] in (",", "."):
                read = [self._text[at]], at + 1
            if read is None:
                return found, at
            found += read[0]
            at = read[1]

    def _unsupported(self, problem: str) -> InvalidTaskError:
        return InvalidTaskError(
            self._field, f"{problem}, which is not supported; remove it (LoRAs are named in loras)", "unsupported"
        )


def _unescaped(text: str) -> str:
    for sign in '()"':
        text = text.replace(f"\\{sign}", sign)
    return text


# ------------------------------------------------------------------------------------------------ webui

_TOKEN: Final = re.compile(r"\\[()\[\]\\]|:\s*(?:\d+\.?\d*|\.\d+)\s*\)|[()\[\]]|[^\\()\[\]:]+|[\\:]", re.ASCII)
_OTHERS: Final = re.compile(r"\b(?:AND|BREAK)\b")
_STEP: Final = 1.1


def _webui(field: str, text: str) -> list[_Node]:
    """Read ``(text:1.3)``, ``(text)`` and ``[text]``; what is not closed, or is more than a weight, is refused."""
    other = _OTHERS.search(text)
    if other is not None:
        raise InvalidTaskError(field, f"has the operator {other[0]}, which is not supported; remove it", "unsupported")
    if not text.strip():
        return [""]
    open_: list[tuple[str, list[_Node]]] = [("", [])]
    for part in (found[0] for found in _TOKEN.finditer(text)):
        sign, into = open_[-1]
        if part in ("(", "["):
            if len(open_) > MAX_NESTED:
                raise InvalidTaskError(
                    field, f"has more than {MAX_NESTED} brackets within each other; remove some", "limits"
                )
            open_.append((part, []))
        elif part[-1] in ")]" and part[0] != "\\":
            if sign != ("(" if part[-1] == ")" else "["):
                raise InvalidTaskError(
                    field, f"has a {part[-1]} without an opening one; remove it, or write \\{part[-1]}", "limits"
                )
            open_.pop()
            weight = float(part[1:-1]) if len(part) > 1 else _STEP if sign == "(" else 1 / _STEP
            open_[-1][1].append((weight, into))
        elif sign == "[" and (part == ":" or "|" in part):
            raise InvalidTaskError(
                field,
                "has brackets with : or |, which change the prompt between steps and are not supported",
                "unsupported",
            )
        else:
            into.append(part[1:] if part[0] == "\\" and len(part) > 1 else part)
    if len(open_) > 1:
        raise InvalidTaskError(
            field, f"has a {open_[-1][0]} that is not closed; close it, or write \\{open_[-1][0]}", "limits"
        )
    return open_[0][1]
