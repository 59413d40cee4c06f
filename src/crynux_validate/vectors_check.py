"""Check test vectors: does this machine, with this library, compute what they say?

The wheel carries vectors for everything that two implementations must have alike (``docs/vectors.md``). They can be
checked where the library is installed, without a model and without torch, and copied out for another implementation.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.algorithms import TEXT_ALGORITHMS
from crynux_validate.answers import ErrorReport, ImageScore, TextScore, answer_from_bytes, logits_digest
from crynux_validate.commitment import Opening
from crynux_validate.edwards import decode_point, has_small_order
from crynux_validate.encoding import shorten
from crynux_validate.errors import CrynuxValidateError, InvalidInputError, MissingExtraError, needed_for
from crynux_validate.hashing import image_hash
from crynux_validate.judging import (
    Absent,
    CentreRule,
    CrynuxRelayRule,
    Malformed,
    Member,
    Rule,
    Verdict,
    Withheld,
    judge,
)
from crynux_validate.keyed import KeyedScore, keyed_seed
from crynux_validate.ledger.log import Event, verify_chain
from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.machines.pairing import draw
from crynux_validate.machines.pool import Candidate, Pool
from crynux_validate.signatures import SigningKey, signed_bytes
from crynux_validate.stakes import expected_gain, required_stake
from crynux_validate.tasks import task_from_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

SCHEMAS: Final = ("crynux-validate/vectors/1", "crynux-validate/phash-vectors/1")
"""The ids of files of vectors: the one of most kinds, and that of pictures."""

FILES: Final[Mapping[str, str]] = {
    "task": "tasks.json",
    "answer": "answers.json",
    "text-score": "text-scores.json",
    "draw": "draws.json",
    "verdict": "verdicts.json",
    "stake": "stakes.json",
    "class": "classes.json",
    "attestation": "attestations.json",
    "keyed": "keyed.json",
    "signature": "signatures.json",
    "key": "keys.json",
    "pool": "pools.json",
    "event": "events.json",
    "picture": "pictures.json",
    "tensor-core": "tensor-cores.json",
    "phash": "phash/vectors.json",
}
"""For each kind of vector the file that holds it. A vector's id begins with its kind."""

ARCHITECTURE_SENSITIVE: Final = "architecture-sensitive"
"""The flag of a vector on which the original program itself differs from processor to processor."""

_WRONG: Final = (CrynuxValidateError, AttributeError, LookupError, OSError, TypeError, ValueError, ZeroDivisionError)
"""What a vector that somebody broke can raise when it is checked."""


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


def check_vector(vector: Vector) -> str | None:
    """Compute what a vector says; return None where it holds, otherwise what differs.

    Raises
    ------
    MissingExtraError
        Where computing it needs an extra that is not installed.
    """
    try:
        for name, computed in _CHECKS[vector.kind](vector):
            said = vector.content[name]
            if said != computed:
                return f"{name} is {_shown(said, computed)}, this library computes {_shown(computed, said)}"
    except MissingExtraError:
        raise
    except _WRONG as error:
        return f"it cannot be checked: {type(error).__name__}: {error}"
    return None


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


def judged(group: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a group as a vector, or ``crynux-validate judge``, writes it."""
    members = {node: _member(member, group["algorithm"]) for node, member in group["members"].items()}
    seconds = {node: member["seconds"] for node, member in group["members"].items() if "seconds" in member}
    rule: Rule
    if group["rule"] == "crynux-relay":
        rule = CrynuxRelayRule(group["threshold"], seconds=seconds)
    elif group["rule"] == "centre":
        rule = CentreRule(
            group["threshold"], group["slash_threshold"], safety_checker=group.get("safety_checker", True)
        )
    else:
        raise InvalidInputError(f"rule is {shorten(group['rule'])}; expected centre or crynux-relay")
    return judge(members, rule)


def made_picture(*, width: int, height: int, channels: int, grain: int, seed: str) -> "NDArray[np.uint8]":
    """Return the picture that a vector describes: squares of `grain` pixels, shades from SHAKE-128 of the seed.

    The squares are in rows from the top left; those at the right and at the bottom may be cut. A square of colour takes
    three bytes, for red, green and blue; one of grey takes one.
    """
    import numpy as np

    columns, rows = -(-width // grain), -(-height // grain)
    shades = hashlib.shake_128(seed.encode()).digest(columns * rows * channels)
    coarse = np.frombuffer(shades, np.uint8).reshape(rows, columns, channels)
    samples = coarse.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    return samples if channels == 3 else samples[:, :, 0]


def _read(root: Traversable, kind: str, name: str) -> Iterator[Vector]:
    file = root.joinpath(*name.split("/"))
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"cannot read the vectors {file}: {error.strerror or error}") from error
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


def _shown(value: object, other: object) -> str:
    """A value in one line; of objects only what differs."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {name: item for name, item in value.items() if name not in other or other[name] != item}
    return shorten(value)


# ------------------------------------------------------------------------------------------------ what is computed

Computed = Iterator[tuple[str, Any]]
"""Fields of a vector with what they should be."""


def _task(vector: Vector) -> Computed:
    task = task_from_json(vector.content["json"])
    yield "json", task.to_json()
    yield "digest", task.digest


def _answer(vector: Vector) -> Computed:
    given = vector.content
    answer = answer_from_bytes(bytes.fromhex(given["answer"]))
    opening = Opening(answer.to_bytes(), bytes.fromhex(given["nonce"]))
    names = {name: given[name] for name in ("ledger", "group", "node")}
    yield "answer", answer.to_bytes().hex()
    yield "opening", opening.to_bytes().hex()
    yield (
        "commitments",
        {number: opening.commitment(**names, round=int(number)).hex() for number in given["commitments"]},
    )


def _text_score(vector: Vector) -> Computed:
    rows = vector.content["logits"]
    digests = None if rows is None else [[logits_digest(bytes.fromhex(row)) for row in some] for some in rows]
    score = TextScore.from_tokens(vector.content["token_ids"], digests)
    yield "algorithm", score.algorithm
    yield "score", score.hex
    yield "result_digest", score.result_digest.hex() if score.result_digest else None


def _draw(vector: Vector) -> Computed:
    given = vector.content
    names = {"ledger": given["ledger"], "group": given["group"], "beacon": bytes.fromhex(given["beacon"])}
    found = draw(_pool(given["pool"]), given["size"], **names, unavailable=given["unavailable"])
    yield "members", list(found.members)


def _verdict(vector: Vector) -> Computed:
    group = vector.content["group"]
    yield "verdict", judged(group).to_dict()
    yield "verdict", judged(group | {"members": dict(reversed(group["members"].items()))}).to_dict()


def _stake(vector: Vector) -> Computed:
    said = vector.content
    given = said["given"] | {name: Fraction(said["given"][name]) for name in ("sampling_rate", "price")}
    tolerance = Fraction(said["tolerance"])
    required = required_stake(**given)
    for name in ("p", "f", "e", "x", "s"):
        yield name, _near(said[name], getattr(required, name), tolerance)
    gains = {stake: expected_gain(Fraction(stake), **given).gain for stake in said["gains"]}
    yield "gains", {stake: _near(said["gains"][stake], gain, tolerance) for stake, gain in gains.items()}


def _near(said: str, computed: float, tolerance: Fraction) -> str:
    """What the vector says, where the computed number is near enough; otherwise the computed number."""
    if said == "infinity" or computed == float("inf"):
        return "infinity" if computed == float("inf") else repr(computed)
    number = Fraction(said)
    return said if abs(Fraction(computed) - number) <= tolerance * abs(number) else repr(computed)


def _class(vector: Vector) -> Computed:
    found = NodeClass.from_dict(vector.content["class"])
    yield "class", found.to_dict()
    yield "digest", found.digest
    yield "declaration", found.declaration


def _attestation(vector: Vector) -> Computed:
    given = vector.content
    found = Attestation.from_dict(given["attestation"])
    nonce = bytes.fromhex(given["nonce"])
    yield "commitment", found.commitment(ledger=given["ledger"], node=given["node"], nonce=nonce).hex()


def _keyed(vector: Vector) -> Computed:
    given = vector.content
    seed = keyed_seed(given["group"], {node: bytes.fromhex(nonce) for node, nonce in given["nonces"].items()})
    score = KeyedScore.from_tokens(seed, given["token_ids"])
    yield "seed", seed.hex()
    yield "score", score.hex
    yield "answer", score.to_bytes().hex()


def _signature(vector: Vector) -> Computed:
    """The signature itself needs the extra ``sign``; without it what is signed is still checked."""
    given = vector.content
    ids = {name: given[name] for name in ("ledger", "group", "node", "round")}
    commitment = bytes.fromhex(given["commitment"])
    yield "signed", signed_bytes(commitment, **ids).hex()
    with suppress(MissingExtraError):
        key = SigningKey(bytes.fromhex(given["secret"]))
        yield "public_key", key.public_key.hex()
        yield "signature", key.sign(commitment, **ids).hex()


def _key(vector: Vector) -> Computed:
    point = decode_point(bytes.fromhex(vector.content["key"]))
    yield "usable", point is not None and not has_small_order(point)


def _pool_digest(vector: Vector) -> Computed:
    yield "digest", _pool(vector.content["pool"]).digest


def _event(vector: Vector) -> Computed:
    events = [Event(**event) for event in vector.content["events"]]
    yield "digests", [event.digest for event in events]
    yield "head", events[-1].digest
    verify_chain(events, vector.content["head"])


def _made(vector: Vector) -> Computed:
    given = {name: vector.content[name] for name in ("width", "height", "channels", "grain", "seed")}
    with needed_for("a vector of a picture", "hash"):
        picture = made_picture(**given)
    yield "phash", image_hash(picture, "phash/1").hex


def _tensor_core(vector: Vector) -> Computed:
    with needed_for("a vector of tensor cores", "ledger"):
        from crynux_validate.testing.gpu.arithmetic import from_hex, multiply
    given = vector.content
    dtype = given["dtype"]
    row, column, begin = from_hex(given["a"], dtype)[None], from_hex(given["b"], dtype)[:, None], given["c"]
    found = {}
    for name in given["result"]:
        c = from_hex(begin, "float32")[None]
        product = multiply(row, column, c, architecture=name, dtype=dtype, splits=given["splits"])
        found[name] = product.astype(">f4").tobytes().hex()
    yield "result", found


def _phash(vector: Vector) -> Computed:
    picture = vector.folder.joinpath("images", vector.content["file"]).read_bytes()
    yield "go", image_hash(picture, "phash-go/1").hex
    yield "imagehash", image_hash(_opaque(picture), "phash/1").hex


def _opaque(picture: bytes) -> "bytes | Image":
    """The picture as ImageHash sees it, which drops alpha without a word; phash/1 refuses it."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        if not image.has_transparency_data:
            return picture
        grey = image.convert("L")
    grey.info.clear()
    return grey


def _pool(rows: list[list[Any]]) -> Pool:
    return Pool(Candidate(*row) for row in rows)


def _member(value: Mapping[str, Any], algorithm: Any) -> Member:
    match value["answer"]:
        case "score" if algorithm in TEXT_ALGORITHMS:
            return TextScore.from_hex(value["score"], algorithm)
        case "score":
            return ImageScore.from_hex(value["score"], algorithm)
        case "invalid_task":
            return ErrorReport(value["code"])
        case "failed":
            return ErrorReport("failed", value.get("message", ""))
        case "malformed":
            return Malformed(value.get("reason", ""))
        case "absent":
            return Absent()
        case "withheld":
            return Withheld()
        case other:
            raise InvalidInputError(f"an answer is {shorten(other)}; no member gives it")


_CHECKS: Final[Mapping[str, Callable[[Vector], Computed]]] = {
    "task": _task,
    "answer": _answer,
    "text-score": _text_score,
    "draw": _draw,
    "verdict": _verdict,
    "stake": _stake,
    "class": _class,
    "attestation": _attestation,
    "keyed": _keyed,
    "signature": _signature,
    "key": _key,
    "pool": _pool_digest,
    "event": _event,
    "picture": _made,
    "tensor-core": _tensor_core,
    "phash": _phash,
}
