"""Ways to damage bytes: anywhere, or within the structure of their JSON. The same number gives the same damage."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

STRANGE: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2, 3.0, 1e308, -0.0, 2**31, 2**53, 2**64, -(2**63), 10**19, "", "0", "-1", "1e3", "٣",
    "NaN", "\x00", "a\nb", "\x1b[31m", "\u202egnp", "🙂", "𝕒", "é" * 40, "A" * 300, "0x00", "00" * 32, "FF" * 32,
    "zz" * 32, [], {}, [[]], [None], ["a"], {"": None}, {"a": 1}, [0] * 20, "[]", "{}", float("inf"), float("nan"),
)  # fmt: skip
"""Values that a reader does not expect where they stand."""

_BYTES: Final = (
    b"\x00",
    b"\xff",
    b"\x80",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"0",
    b"e",
    b"-",
    b"\xed\xa0\x80",
)

Node = tuple[Any, Any]
"""An object or a list, and the key or place of one value in it."""


def damaged(seeds: Sequence[bytes], number: int, *, structured: bool) -> bytes:
    """Return one damaged input.

    Parameters
    ----------
    seeds
        Valid inputs.
    number
        Which one: each number gives another, and always the same.
    structured
        Whether the seeds are JSON, whose structure is damaged half of the time.
    """
    draw = random.Random(number)
    data = draw.choice(seeds)
    if structured and draw.random() < 0.5:
        return _in_structure(data, draw)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        data = draw.choice(_IN_BYTES)(data, draw, seeds)
    return data


def _flip(data: bytes, draw: random.Random, _seeds: Sequence[bytes]) -> bytes:
    if not data:
        return b"\x00"
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _replace(data: bytes, draw: random.Random, _seeds: Sequence[bytes]) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(_BYTES) * draw.choice((1, 1, 2, 40)) + data[at + draw.randrange(3) :]


def _cut(data: bytes, draw: random.Random, _seeds: Sequence[bytes]) -> bytes:
    first, last = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
    return draw.choice((data[:first], data[last:], data[:first] + data[last:]))


def _repeat(data: bytes, draw: random.Random, _seeds: Sequence[bytes]) -> bytes:
    first, last = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
    return data[:last] + data[first : min(last, first + 200)] * draw.choice((1, 2, 20)) + data[last:]


def _splice(data: bytes, draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    other = draw.choice(seeds)
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other) + 1) :]


def _length(data: bytes, draw: random.Random, _seeds: Sequence[bytes]) -> bytes:
    """Another number in four bytes, where a length may stand."""
    at = draw.randrange(len(data) + 1)
    size = draw.choice((0, 1, 8, 31, 33, 255, 65_536, 2**31 - 1, 2**31, 2**32 - 1, len(data)))
    return data[:at] + size.to_bytes(4, draw.choice(("big", "little"))) + data[at + 4 :]


_IN_BYTES: Final[tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...]] = (
    _flip, _replace, _cut, _repeat, _splice, _length,
)  # fmt: skip


def _in_structure(data: bytes, draw: random.Random) -> bytes:
    value = [json.loads(data)]
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = _places(value)
        inside, key = draw.choice(places)
        way = draw.randrange(6)
        if way == 0 and isinstance(inside, dict):
            del inside[key]
        elif way == 1 and isinstance(inside, dict):
            inside[draw.choice(("schema", "extra", key + " ", key.upper(), ""))] = inside.pop(key)
        elif way == 2:
            other, there = draw.choice(places)
            if there in other if isinstance(other, dict) else there < len(other):
                # A copy, so that nothing comes to contain itself.
                inside[key] = json.loads(json.dumps(other[there]))
        elif way == 3 and isinstance(inside[key], str):
            inside[key] = inside[key] + str(draw.choice(STRANGE))
        elif way == 4 and isinstance(inside, list) and inside is not value:
            inside.insert(draw.randrange(len(inside) + 1), inside[key])
        else:
            inside[key] = json.loads(json.dumps(draw.choice(STRANGE)))
    return json.dumps(value[0], ensure_ascii=draw.random() < 0.5, allow_nan=True).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[Node]:
    """Every place in a tree of JSON, as what holds it and where."""
    found: list[Node] = []
    waiting = [value]
    while waiting:
        inside = waiting.pop()
        keys = list(inside) if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ()
        for key in keys:
            found.append((inside, key))
            waiting.append(inside[key])
    return found
