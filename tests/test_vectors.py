"""The shipped vectors, recomputed from the protocol's text ("Bytes") without this library's own encoders."""

import hashlib
import json
from importlib.resources import files
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate.answers import logits_digest

Vector = dict[str, Any]


def load(name: str) -> list[Vector]:
    text = (files("crynux_validate") / "vectors" / f"{name}.json").read_text(encoding="utf-8")
    vectors: list[Vector] = json.loads(text)["vectors"]
    return vectors


def each(name: str) -> pytest.MarkDecorator:
    vectors = load(name)
    assert vectors
    return pytest.mark.parametrize("vector", vectors, ids=[vector["id"] for vector in vectors])


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@each("tasks")
def test_task(vector: Vector) -> None:
    task = cv.task_from_json(vector["json"])
    assert task.to_json() == vector["json"]
    assert task.digest.hex() == vector["digest"]
    shuffled = json.dumps(dict(reversed(json.loads(vector["json"]).items())), indent=3)
    assert cv.task_from_json(shuffled) == task, "the digest hangs on white space or on the order of the fields"
    preimage = prefixed(b"crynux-validate/task/1", vector["json"].encode())
    assert hashlib.sha256(preimage).hexdigest() == vector["digest"]


@each("answers")
def test_answer(vector: Vector) -> None:
    answer_bytes, nonce = bytes.fromhex(vector["answer"]), bytes.fromhex(vector["nonce"])
    answer = cv.answer_from_bytes(answer_bytes)
    assert answer.to_bytes() == answer_bytes
    opening = cv.Opening.from_bytes(bytes.fromhex(vector["opening"]))
    assert opening == cv.Opening(answer_bytes, nonce)
    assert opening.answer() == answer
    assert vector["opening"] == (prefixed(answer_bytes) + nonce).hex()
    ledger, group, node = (vector[name].encode() for name in ("ledger", "group", "node"))
    for number, commitment in vector["commitments"].items():
        head = prefixed(b"crynux-validate/commitment/1", ledger, group) + bytes([int(number)])
        assert hashlib.sha256(head + prefixed(node, answer_bytes) + nonce).hexdigest() == commitment
        names = {name: vector[name] for name in ("ledger", "group", "node")}
        assert opening.commitment(**names, round=int(number)).hex() == commitment


@each("text-scores")
def test_text_score(vector: Vector) -> None:
    ids, rows = vector["token_ids"], vector["logits"]
    digests = None if rows is None else [[logits_digest(bytes.fromhex(row)) for row in one] for one in rows]
    score = cv.TextScore.from_tokens(ids, digests)
    assert (score.algorithm, score.hex) == (vector["algorithm"], vector["score"])
    assert score.result_digest == bytes.fromhex(vector["result_digest"])
    assert text_score_by_the_book("tokens", ids, None).hex() == vector["result_digest"]
    binding = "tokens" if rows is None else "logits"
    assert text_score_by_the_book(binding, ids, rows).hex() == vector["score"]


def text_score_by_the_book(binding: str, ids: list[list[int]], rows: list[list[str]] | None) -> bytes:
    """The score as the protocol words it."""
    data = prefixed(b"crynux-validate/text-score/1", binding.encode()) + len(ids).to_bytes(4, "big")
    for number, sequence in enumerate(ids):
        data += len(sequence).to_bytes(4, "big")
        for step, token in enumerate(sequence):
            data += token.to_bytes(4, "little")
            if rows is not None:
                row = bytes.fromhex(rows[number][step])
                data += hashlib.sha256(prefixed(b"crynux-validate/logits/1") + row).digest()
    return hashlib.sha256(data).digest()


def test_text_scores_differ() -> None:
    scores = [vector["score"] for vector in load("text-scores")]
    assert len(set(scores)) == len(scores)


@each("draws")
def test_draw(vector: Vector) -> None:
    pool = tuple(cv.Candidate(*row) for row in vector["pool"])
    beacon = bytes.fromhex(vector["beacon"])
    names = {"ledger": vector["ledger"], "group": vector["group"]}
    found = cv.draw(pool, vector["size"], beacon=beacon, unavailable=vector["unavailable"], **names)
    assert list(found.members) == vector["members"]
    assert cv.verify_draw(found)
    assert by_the_book(vector, beacon) == vector["members"]


def by_the_book(vector: Vector, beacon: bytes) -> list[str]:
    """The draw as the protocol words it, step by step."""
    seed = prefixed(b"crynux-validate/draw/1", vector["ledger"].encode(), vector["group"].encode(), beacon)
    stream = hashlib.shake_256(seed).digest(8 * 1000)
    words = [int.from_bytes(stream[at : at + 8], "big") for at in range(0, len(stream), 8)]
    left = sorted(row for row in vector["pool"] if row[0] not in vector["unavailable"])
    members: list[str] = []
    while len(members) < vector["size"]:
        total = sum(weight for _, _, weight in left)
        word = words.pop(0)
        while word >= 2**64 // total * total:
            word = words.pop(0)
        target, running = word % total, 0
        for node, owner, weight in left:
            running += weight
            if running > target:
                members.append(node)
                left = [row for row in left if row[1] != owner]
                break
    return members
