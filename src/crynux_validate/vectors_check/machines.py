"""Vectors of classes and attestations (protocol P2, P3, P6)."""

from collections.abc import Iterator
from typing import Any

from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.vectors_check.files import Vector


def node_class(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The class again, its digest, and its declaration."""
    found = NodeClass.from_dict(vector.content["class"])
    yield "class", found.to_dict()
    yield "digest", found.digest
    yield "declaration", found.declaration


def attestation(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The commitment to it."""
    given = vector.content
    found = Attestation.from_dict(given["attestation"])
    nonce = bytes.fromhex(given["nonce"])
    yield "commitment", found.commitment(ledger=given["ledger"], node=given["node"], nonce=nonce).hex()
