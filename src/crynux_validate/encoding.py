"""How values are written as bytes and digested, so that every implementation gets the same (protocol, "Bytes").

Canonical JSON is RFC 8785. Every digest is SHA-256 over the length-prefixed tag ``crynux-validate/<thing>/<version>``
followed by its parts. Length prefixes are u32 big-endian; strings are UTF-8.
"""

import hashlib
import json
import math
import re
import struct
from functools import cache, lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, Literal

import rfc8785

from crynux_validate.errors import InvalidInputError
from crynux_validate.frozen import FrozenMapping, thaw

Thing = Literal[
    "task", "folder", "event", "commitment", "text-score", "pixels", "draw", "drawn", "keyed-seed", "canary",
    "signature", "environment", "logits", "class", "attestation", "attestation-signature", "pool", "policy",
    "keyed-score", "tree-node", "trace-leaf", "audit-steps", "top-leaf", "audit-positions",
]  # fmt: skip
"""The kind of thing that is digested. It is part of the tag, so that digests of two kinds never collide."""

_SECOND_VERSION: Final = frozenset({"draw", "commitment", "signature", "keyed-seed"})
"""Things whose tag ends with 2; all other tags end with 1."""

DIGEST_BYTES: Final = 32
MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer that canonical JSON carries without loss (RFC 8785, section 3.2.2.3)."""

MAX_DEPTH: Final = 32
"""How deeply JSON from others may be nested."""

_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]')
"""The quantifier is possessive: a string without an end is scanned once, not again from each of its quotes."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape that can give a lone surrogate; UTF-8 itself cannot."""
_QUOTE: Final = ord('"')
MAX_ID_LENGTH: Final = 128
_ID = re.compile(r"[\x21-\x7e]+")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,99}")
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")

_u32 = struct.Struct(">I").pack


def length_prefixed(part: bytes | str) -> bytes:
    """Prefix a part with its length as u32 big-endian; strings are encoded as UTF-8."""
    data = part.encode("utf-8") if isinstance(part, str) else part
    return _u32(len(data)) + data


@cache
def tag(thing: Thing) -> bytes:
    """Return the length-prefixed domain tag of a thing."""
    return length_prefixed(f"crynux-validate/{thing}/{2 if thing in _SECOND_VERSION else 1}")


def digest(thing: Thing, *parts: bytes) -> bytes:
    """Return the SHA-256 over the tag of `thing` and the parts, without length prefixes: 32 bytes."""
    return hashlib.sha256(b"".join((tag(thing), *parts))).digest()


def canonical_json(value: Any) -> bytes:
    """Encode as RFC 8785 canonical JSON.

    Parameters
    ----------
    value
        A JSON value; mappings are written as objects, tuples as arrays.

    Raises
    ------
    InvalidInputError
        For a value without a canonical form: NaN, infinities, integers beyond 2^53-1, lone surrogates, other types.
    """
    try:
        return _canonical_text(value).encode("utf-8")
    except (AttributeError, TypeError, ValueError, RecursionError):
        pass  # the reference implementation below says what is wrong
    try:
        return rfc8785.dumps(thaw(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise InvalidInputError(f"the value has no canonical JSON (RFC 8785): {error}") from error
    except (RecursionError, ValueError) as error:
        # Nesting beyond the stack, or integers of thousands of digits, which Python does not print.
        raise InvalidInputError("the value has no canonical JSON (RFC 8785): too deep or too large") from error


class Encoded:
    """A part of a value with its canonical JSON, which is known already; for `canonical_json` only."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _canonical_text(value: Any) -> str:
    """Return canonical JSON as text. Types that are not common here go to the reference implementation, which is slow.

    The caller finds lone surrogates when it encodes the text.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict or kind is FrozenMapping:
        names = tuple(value)
        parts = []
        for name, written in _IN_ORDER.get(names) or _in_order(names):
            item = value[name]
            parts.append(written + (encode_basestring(item) if type(item) is str else _canonical_text(item)))
        return f"{{{','.join(parts)}}}"
    if kind is list or kind is tuple:
        parts = []
        for item in value:
            parts.append(_canonical_text(item))  # a comprehension would be one more call
        return f"[{','.join(parts)}]"
    if kind is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is Encoded:
        return value.text  # type: ignore[no-any-return]
    return rfc8785.dumps(thaw(value)).decode("utf-8")


def _in_order(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The names of an object in canonical order, each with its JSON text."""
    # The order is that of UTF-16 code units; for ASCII that is the order of Python's strings.
    ordered = sorted(names, key=None if "".join(names).isascii() else _utf16)
    found = tuple((name, f"{encode_basestring(name)}:") for name in ordered)
    if len(_IN_ORDER) < _KEPT_ORDERS and sum(map(len, names)) <= _KEPT_ORDERS:
        _IN_ORDER[names] = found
    return found


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


_KEPT_ORDERS: Final = 1_000
_IN_ORDER: Final[dict[tuple[str, ...], tuple[tuple[str, str], ...]]] = {}
"""A cache of the orders of objects with short names: a log repeats a few of them."""


def parse_json(text: str | bytes, what: str, max_bytes: int) -> Any:
    """Parse JSON that somebody else wrote (protocol T3).

    Raises
    ------
    InvalidInputError
        For more than `max_bytes`, text that is not UTF-8 or not JSON, NaN, numbers too large for a float64, integers of
        more than 20 digits, lone surrogates, a key that is twice in one object, and more than 32 levels of nesting.
    """
    check_type(text, (str, bytes), what, "JSON as text or bytes")
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(raw) > max_bytes:
        raise InvalidInputError(f"{what} has {len(raw)} bytes; expected at most {max_bytes}")

    def refuse_constant(name: str) -> Any:
        raise InvalidInputError(f"{what} contains {name}, which JSON does not have; give a finite number")

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise InvalidInputError(
                f"{what} contains the number {shorten_name(number)}, which is too large for a float64"
            )
        return value

    def readable(number: str) -> int:
        if len(number) > 20:
            raise InvalidInputError(f"{what} contains an integer of {len(number)} digits; expected at most 2^53-1")
        return int(number)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise InvalidInputError(f"{what} has the key {shorten(twice)} twice in one object")
        return result

    check_depth(raw, what)
    try:
        value = json.loads(
            raw.decode("utf-8"),
            parse_constant=refuse_constant,
            parse_float=finite,
            parse_int=readable,
            object_pairs_hook=unique,
        )
        if _SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{what} is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{what} is not JSON: {error}") from error
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{what} has a lone surrogate in a string; expected valid Unicode") from error
    return value


def check_depth(raw: bytes, what: str) -> None:
    """Refuse JSON that is nested too deeply, before parsing it: a parser's own limit depends on its caller's stack."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(raw):
        first = raw[found.start()]
        if first == _QUOTE:
            continue
        depth += 1 if first in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidInputError(f"{what} has more than {MAX_DEPTH} levels of nested objects and arrays")


def shorten(value: object) -> str:
    """Return a value for an error message: one line of at most 80 characters."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def shorten_name(name: str) -> str:
    """Return a name for an error message, where it may come from anybody: printable, and not too long."""
    return name if name.isprintable() and len(name) <= 80 else shorten(name)


def check_type(value: object, kind: type | tuple[type, ...], what: str, expected: str) -> None:
    """Refuse a value of another type; `expected` names the type for the message, with its article."""
    if not isinstance(value, kind):
        raise InvalidInputError(f"{what} is {shorten(value)}; expected {expected}")


def check_flag(value: object, what: str) -> bool:
    """Return `value` if it is True or False; other values, also 0 and 1, are refused."""
    if type(value) is not bool:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected True or False")
    return value


def check_function(value: object, what: str, expected: str = "a function") -> None:
    """Refuse a value that is neither None nor a function."""
    if value is not None and not callable(value):
        raise InvalidInputError(f"{what} is {shorten(value)}; expected {expected}")


def summary(value: object, *parts: object) -> str:
    """Return a repr: the class and the parts, in one printable line of at most 280 characters.

    Bytes are written as hexadecimal digits. Parts that are None or empty are left out.
    """
    shown = []
    for part in parts:
        text = part.hex() if isinstance(part, bytes) else str(part)
        if part is not None and text:
            text = text if text.isprintable() else printable(text)
            shown.append(text if len(text) <= 80 else f"{text[:77]}...")
    line = ", ".join(shown)
    return f"<{type(value).__name__} {line if len(line) <= 280 else f'{line[:277]}...'}>"


@lru_cache(maxsize=10_000)
def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def check_id(value: object, what: str) -> str:
    """Return `value` if it can be the id of a node, group, owner or ledger: 1 to 128 characters of "!" to "~"."""
    if not isinstance(value, str) or len(value) > MAX_ID_LENGTH or not _is_id(value):
        raise InvalidInputError(
            f"{what} is {shorten(value)}; expected 1 to 128 printable ASCII characters without spaces"
        )
    return value


def printable(text: str) -> str:
    """Return a text with everything except printable ASCII escaped, so that it cannot control a terminal."""
    ascii_only = text.encode("ascii", "backslashreplace").decode("ascii")
    return _NOT_PRINTABLE.sub(lambda found: f"\\x{ord(found.group()):02x}", ascii_only)


def parse_decimal(text: object, what: str) -> int:
    """Read an amount of money from a decimal string, as JSON has it: no sign, no leading zero."""
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise InvalidInputError(f"{what} is {shorten(text)}; expected a string of decimal digits, like '100'")
    return int(text)


def check_integer(value: object, what: str, low: int = 0, high: int | None = MAX_SAFE_INTEGER) -> int:
    """Return `value` if it is an integer from `low` to `high`, not a bool; None as `high` is no upper limit."""
    if type(value) is not int or value < low or (high is not None and value > high):
        expected = f"of at least {low}" if high is None else f"from {low} to {_written(high)}"
        raise InvalidInputError(f"{what} is {shorten(value)}; expected an integer {expected}")
    return value


def _written(limit: int) -> str:
    """A limit for an error message: large powers of two are written as powers."""
    bits = limit.bit_length()
    if bits > 30 and limit & (limit + 1) == 0:
        return f"2^{bits}-1"
    return f"2^{bits - 1}" if bits > 30 and limit & (limit - 1) == 0 else str(limit)


def parse_hex(text: object, what: str, length: int | None = None) -> bytes:
    """Read hexadecimal digits of either case; `length` is the expected number of bytes."""
    if not isinstance(text, str):
        raise InvalidInputError(f"{what} is {shorten(text)}; expected a string of hexadecimal digits")
    if length is not None and len(text) != 2 * length:
        raise InvalidInputError(f"{what} has {len(text)} characters; expected {2 * length} hexadecimal digits")
    if len(text) % 2 or not re.fullmatch(r"[0-9a-fA-F]*", text):
        raise InvalidInputError(f"{what} is {text[:80]!r}; expected an even number of hexadecimal digits")
    return bytes.fromhex(text)


_SCORE_PREFIX: Final = re.compile(r"0[xX]|([a-z]+):")


def parse_score(text: object, what: str, length: int | None = None, *, perceptual: bool) -> bytes:
    """Read a score from hexadecimal digits, also after ``0x`` or, for a perceptual hash, after ``p:``.

    Parameters
    ----------
    text
        Digits of either case. Chains and the live network write ``0x`` before bytes, goimagehash writes ``p:`` before a
        perceptual hash.
    what
        The name of the value in an error message.
    length
        The expected number of bytes.
    perceptual
        Whether the score is made of perceptual hashes, which may have the prefix ``p:``.

    Raises
    ------
    InvalidInputError
        For other text, also hashes of other kinds (``a:``, ``d:``).
    """
    if isinstance(text, str) and (prefix := _SCORE_PREFIX.match(text)):
        if prefix[1] and (prefix[1] != "p" or not perceptual):
            expected = "hexadecimal digits, also after 0x" + (" or p: (a perceptual hash)" if perceptual else "")
            raise InvalidInputError(f"{what} is {shorten(text)}, another kind of hash; expected {expected}")
        text = text[prefix.end() :]
    return parse_hex(text, what, length)
