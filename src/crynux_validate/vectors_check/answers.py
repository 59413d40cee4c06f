"""Vectors of tasks and answers: what is asked, what a node says, and what binds it (protocol T1, T2, A1, C1, C5)."""

from collections.abc import Iterator
from typing import Any

from crynux_validate.answers import TextScore, answer_from_bytes, logits_digest
from crynux_validate.commitment import Opening
from crynux_validate.keyed import KeyedScore, keyed_seed
from crynux_validate.tasks import task_from_json
from crynux_validate.vectors_check.files import Vector


def task(vector: Vector) -> Iterator[tuple[str, Any]]:
    """Its canonical bytes and digest."""
    found = task_from_json(vector.content["json"])
    yield "json", found.to_json()
    yield "digest", found.digest


def answer(vector: Vector) -> Iterator[tuple[str, Any]]:
    """Its bytes, the opening, and the commitment in each round."""
    given = vector.content
    read = answer_from_bytes(bytes.fromhex(given["answer"]))
    opening = Opening(read.to_bytes(), bytes.fromhex(given["nonce"]))
    yield "answer", read.to_bytes().hex()
    yield "opening", opening.to_bytes().hex()
    bound = {
        number: opening.commitment(
            given["draw_digest" if number == "1" else "seed"], node=given["node"], round=int(number)
        ).hex()
        for number in given["commitments"]
    }
    yield "commitments", bound


def text_score(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The score of tokens, with their logits where those are bound."""
    rows = vector.content["logits"]
    digests = None if rows is None else [[logits_digest(bytes.fromhex(row)) for row in some] for some in rows]
    score = TextScore.from_tokens(vector.content["token_ids"], digests)
    yield "algorithm", score.algorithm
    yield "score", score.hex
    yield "result_digest", score.result_digest.hex() if score.result_digest else None


def keyed(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The seed of a second round, and an answer to it."""
    given = vector.content
    seed = keyed_seed(given["draw_digest"], {node: bytes.fromhex(nonce) for node, nonce in given["nonces"].items()})
    score = KeyedScore.from_tokens(seed, given["token_ids"])
    yield "seed", seed.hex()
    yield "score", score.hex
    yield "answer", score.to_bytes().hex()
