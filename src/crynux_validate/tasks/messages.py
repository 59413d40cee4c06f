"""The messages and tools of a text task: one form of each, and what a chat template can be given."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crynux_validate.encoding import MAX_SAFE_INTEGER, canonical_json, shorten, shorten_name
from crynux_validate.errors import InvalidInputError, InvalidTaskError
from crynux_validate.frozen import FrozenMapping, freeze, thaw

FIELDS: Final = ("role", "content", "name", "tool_calls", "tool_call_id")
ROLES: Final = ("system", "developer", "user", "assistant", "tool")

_BLOCKS: Final[Mapping[str, tuple[str, ...]]] = {"text": ("type", "text"), "image": ("type",)}
"""The types of blocks of content, and the fields of each."""

_PICTURE: Final = FrozenMapping({"type": "image"})


def canonical(name: str, values: Sequence[Mapping[str, Any]] | None) -> Any:
    """Bring JSON objects into the order and the numbers of canonical JSON: a chat template may write them as they are.

    Refused is what has no canonical form: NaN, large integers, lone surrogates, other types.
    """
    return None if values is None else tuple(canonical_object(f"{name}.{at}", value) for at, value in enumerate(values))


def canonical_object(name: str, value: Mapping[str, Any]) -> Any:
    """Bring one JSON object into the order and the numbers of canonical JSON; see `canonical`."""
    try:
        return freeze(json.loads(canonical_json(thaw(value)), parse_int=_integer))
    except InvalidInputError as error:
        raise InvalidTaskError(name, str(error)) from error
    except RecursionError as error:
        raise InvalidTaskError(name, "is nested too deeply", "limits") from error


def _integer(digits: str) -> int:
    """Read what canonical JSON writes as an integer: a float like 1e18 as well, which others could not read back."""
    if len(digits) > 20 or abs(int(digits)) > MAX_SAFE_INTEGER:
        raise InvalidInputError(f"has the number {digits}; expected integers of at most 2^53-1")
    return int(digits)


def normal_messages(messages: Sequence[Mapping[str, Any]] | None) -> Any:
    """Bring messages into the one form that their task is named by.

    Clients write one message in several ways: with null fields, with an empty list of calls, with its text in blocks.
    A chat template is to see one of them. Only content with pictures stays in blocks.

    Parameters
    ----------
    messages
        Frozen values; None where the task has none.

    Raises
    ------
    InvalidTaskError
        For blocks that are neither text nor a picture.
    """
    if messages is None:
        return None
    return tuple(_normal(f"messages.{at}", message) for at, message in enumerate(messages))


def _normal(name: str, message: Mapping[str, Any]) -> Mapping[str, Any]:
    empty = {"name": (None,), "tool_call_id": (None,), "tool_calls": (None, ())}
    found = {key: value for key, value in message.items() if key not in empty or value not in empty[key]}
    if isinstance(found.get("content"), tuple):
        found["content"] = _content(f"{name}.content", found["content"])
    if found.get("tool_calls"):
        found.setdefault("content", None)
    return FrozenMapping(dict(sorted(found.items())))


def _content(name: str, blocks: Sequence[Any]) -> Any:
    """Put blocks of text that follow each other together: they are pieces of one text. Text alone is no block."""
    if not blocks:
        raise InvalidTaskError(name, "is empty; expected text, or at least one block of text")
    found: list[list[str] | None] = []
    for at, block in enumerate(blocks):
        text = _text_of(f"{name}.{at}", block)
        last = found[-1] if found else None
        if text is not None and last is not None:
            last.append(text)
        else:
            found.append(None if text is None else [text])
    if len(found) == 1 and found[0] is not None:
        return "".join(found[0])
    return freeze([_PICTURE if each is None else {"text": "".join(each), "type": "text"} for each in found])


def _text_of(name: str, block: Any) -> str | None:
    """The text of a block; None for a picture."""
    if not isinstance(block, Mapping):
        raise InvalidTaskError(
            name, f"is {shorten(thaw(block))}; expected a block like {{'type': 'text', 'text': 'hello'}}"
        )
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in _BLOCKS:
        raise InvalidTaskError(
            f"{name}.type",
            f"is {shorten(thaw(kind))}; expected 'text', or 'image' for one of the task's pictures (video and "
            "audio are not supported)",
            "unsupported" if isinstance(kind, str) else "schema",
        )
    for key in block:
        if key not in _BLOCKS[kind]:
            hint = "; name the picture in the task's pictures" if kind == "image" else ""
            raise InvalidTaskError(
                f"{name}.{shorten_name(str(key))}",
                f"no such field; a block of this type has {', '.join(_BLOCKS[kind])}{hint}",
                "unsupported",
            )
    if kind == "image":
        return None
    if not isinstance(block.get("text"), str):
        raise InvalidTaskError(f"{name}.text", f"is {shorten(thaw(block.get('text')))}; expected text")
    return str(block["text"])


def count_pictures(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return how many pictures messages in their one form show."""
    contents = [content for message in messages if isinstance(content := message.get("content"), tuple)]
    return sum(block == _PICTURE for content in contents for block in content)


def check_message(name: str, message: Mapping[str, Any]) -> None:
    """Refuse what no chat template can be given; what a template makes of the rest is its own business."""
    for key in message:
        if key not in FIELDS:
            raise InvalidTaskError(
                f"{name}.{shorten_name(str(key))}", f"no such field; a message has {', '.join(FIELDS)}", "unsupported"
            )
    role, content, calls = (message.get(key) for key in ("role", "content", "tool_calls"))
    if not isinstance(role, str):
        raise InvalidTaskError(f"{name}.role", f"is {shorten(role)}; expected one of {', '.join(ROLES)}")
    if role not in ROLES:
        raise InvalidTaskError(f"{name}.role", f"is {shorten(role)}; expected one of {', '.join(ROLES)}", "unsupported")
    if calls is not None and (role != "assistant" or not isinstance(calls, tuple) or not calls):
        raise InvalidTaskError(
            f"{name}.tool_calls", f"is {shorten(thaw(calls))}; expected a list, in a message with the role assistant"
        )
    if not isinstance(content, str | tuple) and not (content is None and calls):
        raise InvalidTaskError(f"{name}.content", f"is {shorten(thaw(content))}; expected text")
    for key in ("name", "tool_call_id"):
        if key in message and not isinstance(message[key], str):
            raise InvalidTaskError(f"{name}.{key}", f"is {shorten(message[key])}; expected text")
