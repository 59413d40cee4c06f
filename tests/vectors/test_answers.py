"""Tasks and answers, by the words of the protocol."""

import json

import crynux_validate as cv
from crynux_validate.answers import logits_digest
from tests.vectors.reading import Vector, each, load, prefixed, sha256


@each("tasks")
def test_task(vector: Vector) -> None:
    task = cv.task_from_json(vector["json"])
    assert task.to_json() == vector["json"]
    assert task.digest == vector["digest"]
    shuffled = json.dumps(dict(reversed(json.loads(vector["json"]).items())), indent=3)
    assert cv.task_from_json(shuffled) == task, "the digest depends on white space or on the order of the fields"
    assert sha256("task/1", prefixed(vector["json"].encode())) == vector["digest"]


@each("answers")
def test_answer(vector: Vector) -> None:
    answer_bytes, nonce = bytes.fromhex(vector["answer"]), bytes.fromhex(vector["nonce"])
    answer = cv.answers.answer_from_bytes(answer_bytes)
    assert answer.to_bytes() == answer_bytes
    opening = cv.Opening.from_bytes(bytes.fromhex(vector["opening"]))
    assert opening == cv.Opening(answer_bytes, nonce)
    assert opening.answer() == answer
    assert vector["opening"] == (prefixed(answer_bytes) + nonce).hex()
    for number, commitment in vector["commitments"].items():
        bound_to = vector["draw_digest" if number == "1" else "seed"]
        head = bytes.fromhex(bound_to) + bytes([int(number)])
        assert sha256("commitment/2", head, prefixed(vector["node"].encode(), answer_bytes), nonce) == commitment
        assert opening.commitment(bound_to, node=vector["node"], round=int(number)).hex() == commitment


@each("text-scores")
def test_text_score(vector: Vector) -> None:
    ids, rows = vector["token_ids"], vector["logits"]
    digests = None if rows is None else [[logits_digest(bytes.fromhex(row)) for row in one] for one in rows]
    score = cv.TextScore.from_tokens(ids, digests)
    assert (score.algorithm, score.hex) == (vector["algorithm"], vector["score"])
    assert score.result_digest == bytes.fromhex(vector["result_digest"])
    assert text_score_by_the_book("tokens", ids, None) == vector["result_digest"]
    binding = "tokens" if rows is None else "logits"
    assert text_score_by_the_book(binding, ids, rows) == vector["score"]


def text_score_by_the_book(binding: str, ids: list[list[int]], rows: list[list[str]] | None) -> str:
    """The score as the protocol words it."""
    data = prefixed(binding.encode()) + len(ids).to_bytes(4, "big")
    for number, sequence in enumerate(ids):
        data += len(sequence).to_bytes(4, "big")
        for step, token in enumerate(sequence):
            data += token.to_bytes(4, "little")
            if rows is not None:
                row = bytes.fromhex(rows[number][step])
                data += bytes.fromhex(sha256("logits/1", row))
    return sha256("text-score/1", data)


def test_text_scores_differ() -> None:
    scores = [vector["score"] for vector in load("text-scores")]
    assert len(set(scores)) == len(scores)


@each("keyed")
def test_keyed(vector: Vector) -> None:
    nonces = b"".join(bytes.fromhex(nonce) for _, nonce in sorted(vector["nonces"].items()))
    assert sha256("keyed-seed/2", bytes.fromhex(vector["draw_digest"]), nonces) == vector["seed"]
    result = len(vector["token_ids"]).to_bytes(4, "big")
    for sequence in vector["token_ids"]:
        result += len(sequence).to_bytes(4, "big") + b"".join(token.to_bytes(4, "little") for token in sequence)
    assert sha256("keyed-score/1", bytes.fromhex(vector["seed"]), prefixed(result)) == vector["score"]
    assert vector["answer"] == (b"\x04" + prefixed(b"digest/1", bytes.fromhex(vector["score"]))).hex()
