"""The files of test vectors: read them, copy them out."""

import codecs
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

SCHEMAS: Final = ("crynux-validate/vectors/2", "crynux-validate/phash-vectors/1")
"""The ids of files of vectors: the one of most kinds, and that of pictures."""

FILES: Final[Mapping[str, str]] = {
    "task": "tasks.json",
    "answer": "answers.json",
    "text-score": "text-scores.json",
    "pool": "pools.json",
    "draw": "draws.json",
    "policy": "policies.json",
    "drawn": "drawn.json",
    "verdict": "verdicts.json",
    "settlement": "settlements.json",
    "stake": "stakes.json",
    "audited-stake": "audited-stakes.json",
    "class": "classes.json",
    "attestation": "attestations.json",
    "keyed": "keyed.json",
    "keyed-values": "keyed-values.json",
    "signature": "signatures.json",
    "attestation-signature": "attestation-signatures.json",
    "key": "keys.json",
    "event": "events.json",
    "picture": "pictures.json",
    "tensor-core": "tensor-cores.json",
    "small-weights": "small-weights.json",
    "trace": "traces.json",
    "audit-steps": "audit-steps.json",
    "top": "tops.json",
    "phash": "phash/vectors.json",
}
"""For each kind of vector the file that holds it. A vector's id begins with its kind."""

ARCHITECTURE_SENSITIVE: Final = "architecture-sensitive"
"""The flag of a vector on which the original program itself differs from processor to processor."""


@dataclass(frozen=True)
class Vector:
    """One test vector.

    Parameters
    ----------
    id
        Its kind and its name: ``task/defaults``.
    reason
        What it is there for.
    flags
        What is special about it: ``architecture-sensitive``, ``infinite``.
    content
        All of it, as JSON values.
    folder
        Where its file lies; pictures lie below.
    """

    id: str
    reason: str
    flags: tuple[str, ...]
    content: Mapping[str, Any] = field(repr=False)
    folder: Traversable = field(repr=False)

    @property
    def kind(self) -> str:
        """What it is a vector of: a key of `FILES`."""
        return self.id.partition("/")[0]

    @property
    def aside(self) -> bool:
        """Whether a failure says nothing of this library."""
        return ARCHITECTURE_SENSITIVE in self.flags


def shipped() -> Traversable:
    """Return the folder of vectors that the package carries."""
    return files("crynux_validate") / "vectors"


def load_vectors(folder: Traversable | None = None) -> list[Vector]:
    """Read all vectors.

    Parameters
    ----------
    folder
        A folder as `export_vectors` writes it; the shipped vectors if left out.

    Raises
    ------
    InvalidInputError
        Where a file is missing, is not JSON, or holds something else than vectors.
    """
    root = shipped() if folder is None else folder
    found = [vector for kind, name in FILES.items() for vector in _read(root, kind, name)]
    seen: set[str] = set()
    for vector in found:
        if vector.id in seen:
            raise InvalidInputError(f"two vectors have the id {shorten(vector.id)}; an id names one")
        seen.add(vector.id)
    return found


def export_vectors(target: Path) -> int:
    """Copy the shipped vectors, their schema and pictures into a new or empty folder; returns how many files.

    Raises
    ------
    InvalidInputError
        Where the folder holds something already, or cannot be written; it is empty again then.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise InvalidInputError(f"{target} is not empty; name a new folder")
        try:
            return _copy(shipped(), target)
        except BaseException:
            for copied in target.iterdir():
                shutil.rmtree(copied) if copied.is_dir() else copied.unlink()
            raise
    except OSError as error:
        raise InvalidInputError(f"cannot write to {target}: {error.strerror or error}") from error


def _read(root: Traversable, kind: str, name: str) -> Iterator[Vector]:
    file = root.joinpath(*name.split("/"))
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read the vectors {file}: {error.strerror or error}") from error
    text = _utf8(file, raw)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the vectors {file} are not JSON: {error}") from error
    schema = SCHEMAS[kind == "phash"]
    if not isinstance(value, dict) or value.get("schema") != schema or not isinstance(value.get("vectors"), list):
        raise InvalidInputError(f"{file} holds no vectors: expected an object with schema {schema!r} and vectors")
    parent = root / "phash" if kind == "phash" else root
    for content in value["vectors"]:
        if not isinstance(content, dict):
            raise InvalidInputError(f"{file} holds {shorten(content)} among its vectors; expected objects")
        if kind == "phash":
            content = _picture(content)
        name, reason, flags = (content.get(part) for part in ("id", "reason", "flags"))
        if not isinstance(name, str) or not name.startswith(f"{kind}/"):
            raise InvalidInputError(f"{file} holds a vector with the id {shorten(name)}; expected {kind}/ and a name")
        if not isinstance(reason, str):
            raise InvalidInputError(f"the reason of {name} is {shorten(reason)}; expected text")
        if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
            raise InvalidInputError(f"the flags of {name} are {shorten(flags)}; expected a list of words")
        yield Vector(name, reason, tuple(flags), content, parent)


def _utf8(file: Traversable, raw: bytes) -> str:
    """Return the text of a file in the one encoding that vectors have, for whatever program reads them."""
    try:
        if raw.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InvalidInputError(f"the vectors {file} begin with a byte order mark; save them as UTF-8 without one")
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"the vectors {file} are not UTF-8 ({error}); save them as UTF-8") from error
    if "\0" in text:
        raise InvalidInputError(f"the vectors {file} hold zero bytes, as UTF-16 does; save them as UTF-8")
    return text


def _picture(content: dict[str, Any]) -> dict[str, Any]:
    """Give a vector of a picture what the others have: its file is its name, its recipe its reason."""
    flags = [ARCHITECTURE_SENSITIVE] if content.get("architecture_sensitive") else []
    return {"id": f"phash/{content.get('file')}", "reason": content.get("recipe"), "flags": flags, **content}


def _copy(source: Traversable, target: Path) -> int:
    count = 0
    for item in source.iterdir():
        if item.is_dir():
            if item.name != "__pycache__":
                (target / item.name).mkdir()
                count += _copy(item, target / item.name)
        else:
            (target / item.name).write_bytes(item.read_bytes())
            count += 1
    return count
