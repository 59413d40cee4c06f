"""Nodes, groups and verdicts as rows of a database, and back."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from crynux_validate.commitment import Opening
from crynux_validate.encoding import canonical_json
from crynux_validate.errors import StorageError
from crynux_validate.frozen import FrozenMapping
from crynux_validate.judging import Verdict
from crynux_validate.ledger.group_json import (
    transfers_from_list,
    transfers_to_list,
    verdict_from_dict,
    verdict_to_dict,
)
from crynux_validate.ledger.interface import Group, Round, Signature, Transfer
from crynux_validate.ledger.sql.tables import NODES
from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import Task

NODE_COLUMNS: Final = tuple(
    NODES.c[name]
    for name in (
        "id", "owner", "gpu", "stake", "joined", "suspended", "absences", "leaving", "group_id", "drawn_at", "drawn_by",
        "attest_epoch", "attest_commitment", "attestations", "public_key",
    )
)  # fmt: skip

_ATTESTATION_BYTES: Final = 8 + 3 * 32


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Say what could not be read where the content of a row is not what this library writes."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise StorageError(f"{what} cannot be read: the database was damaged or edited ({error})") from error


def task_key(task: Task) -> bytes:
    """Return what names a task in the database: its digest, as 32 bytes."""
    return bytes.fromhex(task.digest)


def node_to_row(node: Node) -> dict[str, Any]:
    """Return the columns of a node, all but its number."""
    epoch, commitment = (None, None) if node.attest_commitment is None else node.attest_commitment
    drawn_at, drawn_by = (None, None) if node.drawn is None else node.drawn
    return {
        "id": node.id,
        "owner": node.owner,
        "gpu": _gpu_text(node.gpu),
        "stake": str(node.stake),
        "joined": node.joined,
        "suspended": node.suspended,
        "absences": node.absences,
        "leaving": node.leaving,
        "group_id": node.group,
        "drawn_at": drawn_at,
        "drawn_by": drawn_by,
        "attest_epoch": epoch,
        "attest_commitment": commitment,
        "attestations": b"".join(
            made.epoch.to_bytes(8, "big") + made.kernel + made.numerics + made.canary for made in node.attestations
        ),
        "public_key": node.public_key,
    }


def node_from_row(row: Sequence[Any]) -> Node:
    """Read a node; its row has the columns of `NODE_COLUMNS`, in their order."""
    with readable("the row of a node"):
        (name, owner, gpu, stake, joined, suspended, absences, leaving, group, drawn_at, drawn_by,
         epoch, commitment, attested, key) = row  # fmt: skip
        return Node(
            name,
            owner,
            _gpu(gpu),
            int(stake),
            bool(joined),
            bool(suspended),
            absences,
            leaving,
            group,
            None if drawn_at is None else (drawn_at, drawn_by),
            None if epoch is None else (epoch, commitment),
            _attestations(attested) if attested else (),
            key,
        )


def group_progress(group: Group) -> dict[str, Any]:
    """Return the columns of a group that change after it opened."""
    return {
        "status": group.status.value,
        "keeps_task": group.keeps_task,
        "escrow": str(group.escrow) if group.escrow else None,
        "beacon": None if group.draw is None else group.draw.beacon,
        "unavailable": None if group.draw is None else _text(group.draw.unavailable),
        "unavailable_weight": None if group.draw is None else str(group.draw.unavailable_weight),
        "members": None if group.draw is None else "\n".join(group.members),
        "deadlines": _text([[one.commit_deadline, one.reveal_deadline] for one in group.rounds]),
        "verdict": None if group.verdict is None else _text(verdict_to_dict(group.verdict)),
        "delivered_by": group.delivered_by,
        "transfers": _text(transfers_to_list(group.transfers)),
    }


def answers_to_rows(group: str, before: Sequence[Round], after: Sequence[Round]) -> Iterator[Mapping[str, Any]]:
    """Return the rows of the answers that are new or changed in a group."""
    for number, new in enumerate(after, 1):
        old = before[number - 1] if before else _NOTHING
        if new is old:
            continue
        for node, commitment in new.commitments.items():
            opening = new.openings.get(node)
            if node in old.commitments and (opening is None or node in old.openings):
                continue
            signature = new.signatures.get(node)
            yield {
                "group_id": group,
                "round": number,
                "node": node,
                "commitment": commitment,
                "public_key": None if signature is None else signature.public_key,
                "signature": None if signature is None else signature.value,
                "opening": None if opening is None else opening.to_bytes(),
            }


_NOTHING: Final = Round(0, 0)


def rounds_from_rows(deadlines: str, answers: Iterable[Any]) -> tuple[Round, ...]:
    """Read the rounds of a group; an answer's row has its round, node, commitment, key, signature and opening."""
    commitments: dict[int, dict[str, bytes]] = {}
    signatures: dict[int, dict[str, Signature]] = {}
    openings: dict[int, dict[str, Opening]] = {}
    for number, node, commitment, key, signature, opening in answers:
        commitments.setdefault(number, {})[node] = commitment
        if signature is not None:
            signatures.setdefault(number, {})[node] = Signature(key, signature)
        if opening is not None:
            openings.setdefault(number, {})[node] = Opening.from_bytes(opening)
    return tuple(
        Round(
            commit,
            reveal,
            FrozenMapping(commitments.get(number)),
            FrozenMapping(openings.get(number)),
            FrozenMapping(signatures.get(number)),
        )
        for number, (commit, reveal) in enumerate(json.loads(deadlines), 1)
    )


def class_to_text(node_class: NodeClass | None) -> str | None:
    """Return a class as JSON."""
    return None if node_class is None else _text(node_class.to_dict())


def class_from_text(text: str | None) -> NodeClass | None:
    """Read what `class_to_text` writes."""
    return None if text is None else NodeClass.from_dict(json.loads(text))


def unavailable_from_text(text: str) -> FrozenMapping[str, str]:
    """Read the candidates that could not be drawn, each with the group that took it."""
    return FrozenMapping(json.loads(text))


def lines(text: str | None) -> tuple[str, ...]:
    """Return the ids that a column holds, one a line; an id has no line feed."""
    return tuple(text.split("\n")) if text else ()


def verdict_from_text(text: str | None) -> Verdict | None:
    """Read a verdict."""
    return None if text is None else verdict_from_dict(json.loads(text))


def transfers_from_text(text: str) -> tuple[Transfer, ...]:
    """Read the movements of money of a settlement."""
    return transfers_from_list(json.loads(text))


@lru_cache(maxsize=1_024)
def _gpu(text: str) -> GpuModel:
    return GpuModel.from_dict(json.loads(text))


@lru_cache(maxsize=1_024)
def _gpu_text(gpu: GpuModel) -> str:
    return _text(gpu.to_dict())


def _attestations(body: bytes) -> tuple[Attestation, ...]:
    parts = [body[at : at + _ATTESTATION_BYTES] for at in range(0, len(body), _ATTESTATION_BYTES)]
    return tuple(Attestation(int.from_bytes(part[:8], "big"), part[8:40], part[40:72], part[72:104]) for part in parts)


def _text(value: Any) -> str:
    return canonical_json(value).decode("utf-8")
