"""Vectors of signatures, and of the keys that they are made with (protocol L8, P6)."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from crynux_validate.edwards import decode_point, has_small_order
from crynux_validate.errors import MissingExtraError, SignatureError
from crynux_validate.signatures import SigningKey, attestation_bytes, signed_bytes
from crynux_validate.vectors_check.draws import draw_from
from crynux_validate.vectors_check.files import Vector


def signature(vector: Vector) -> Iterator[tuple[str, Any]]:
    """Of a commitment to an answer; null where the key refuses to sign.

    The signature itself needs the extra ``sign``; without it what is signed is still checked.
    """
    given = vector.content
    draw, commitment = draw_from(given["draw"]), bytes.fromhex(given["commitment"])
    seed = None if given["seed"] is None else bytes.fromhex(given["seed"])
    bound_to, number = (draw.digest, 1) if seed is None else (seed.hex(), 2)
    yield "draw_digest", draw.digest
    yield "signed", signed_bytes(commitment, bound_to, node=given["node"], round=number).hex()
    with suppress(MissingExtraError):
        key = SigningKey(bytes.fromhex(given["secret"]))
        yield "public_key", key.public_key.hex()
        try:
            made = key.sign(commitment, draw, node=given["node"], seed=seed).hex()
        except SignatureError:
            made = None
        yield "signature", made


def attestation_signature(vector: Vector) -> Iterator[tuple[str, Any]]:
    """Of a commitment to an attestation; the signature itself needs the extra ``sign``."""
    given = vector.content
    ids = {name: given[name] for name in ("ledger", "epoch", "node")}
    commitment = bytes.fromhex(given["commitment"])
    yield "signed", attestation_bytes(commitment, **ids).hex()
    with suppress(MissingExtraError):
        key = SigningKey(bytes.fromhex(given["secret"]))
        yield "public_key", key.public_key.hex()
        yield "signature", key.sign_attestation(commitment, **ids).hex()


def key(vector: Vector) -> Iterator[tuple[str, Any]]:
    """Whether a node can join with it."""
    point = decode_point(bytes.fromhex(vector.content["key"]))
    yield "usable", point is not None and not has_small_order(point)
