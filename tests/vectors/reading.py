"""The shipped vectors, read without the library, and the few bytes that every digest is made of."""

import hashlib
import json
from importlib.resources import files
from typing import Any

import pytest

Vector = dict[str, Any]


def load(name: str) -> list[Vector]:
    """All vectors of a file."""
    text = (files("crynux_validate") / "vectors" / f"{name}.json").read_text(encoding="utf-8")
    vectors: list[Vector] = json.loads(text)["vectors"]
    return vectors


def each(name: str) -> pytest.MarkDecorator:
    """A test for each vector of a file."""
    vectors = load(name)
    assert vectors
    return pytest.mark.parametrize("vector", vectors, ids=[vector["id"] for vector in vectors])


def prefixed(*parts: bytes) -> bytes:
    """Each part after its length."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def sha256(tag: str, *parts: bytes) -> str:
    """The digest with a tag over parts as they are."""
    return hashlib.sha256(prefixed(f"crynux-validate/{tag}".encode()) + b"".join(parts)).hexdigest()


def canonical(value: Any) -> bytes:
    """RFC 8785 for what these vectors hold: ASCII, and numbers that are written alike but for whole ones."""
    return json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _whole(value: Any) -> Any:
    """RFC 8785 writes 1.0 as 1."""
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
