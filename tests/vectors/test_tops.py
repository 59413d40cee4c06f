"""The largest logits of texts, by the words of the protocol."""

import hashlib
import struct

from tests.vectors.reading import Vector, each, prefixed, sha256

Place = tuple[int, int]


def row_by_the_book(logits: str) -> bytes:
    values = [value for (value,) in struct.iter_unpack("<f", bytes.fromhex(logits))]
    order = sorted(range(len(values)), key=lambda token: (-values[token], token))
    return b"".join(struct.pack("<I", token) + struct.pack("<f", values[token]) for token in order[:8])


def leaves_by_the_book(task: str, rows: list[list[bytes]]) -> dict[Place, str]:
    digest = bytes.fromhex(sha256("task/1", prefixed(task.encode())))
    return {
        (sequence, at): sha256("top-leaf/1", digest, sequence.to_bytes(4, "big"), at.to_bytes(4, "big"), prefixed(row))
        for sequence, some in enumerate(rows)
        for at, row in enumerate(some)
    }


def tree(level: list[str], shown: set[int]) -> tuple[str, list[str]]:
    """The root, and the siblings of what is shown, level by level, from left to right."""
    siblings: list[str] = []
    while len(level) > 1:
        siblings += [node for at, node in enumerate(level) if at not in shown and at ^ 1 in shown]
        above = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [pair[0] if len(pair) == 1 else sha256("tree-node/1", *map(bytes.fromhex, pair)) for pair in above]
        shown = {at // 2 for at in shown}
    return level[0], siblings


def drawn_by_the_book(vector: Vector, places: list[Place]) -> list[Place]:
    task = bytes.fromhex(sha256("task/1", prefixed(vector["task"].encode())))
    seed = prefixed(bytes.fromhex(vector["seed"]))
    start = bytes.fromhex(sha256("audit-positions/1", seed, task, bytes.fromhex(vector["score"])))
    found: list[Place] = []
    word = 0
    while len(found) < min(vector["count"], len(places)):
        number = int(hashlib.sha256(start + word.to_bytes(4, "big")).hexdigest(), 16)
        place = places[number % len(places)]
        found += [place] if place not in found else []
        word += 1
    return sorted(found)


@each("tops")
def test_the_largest_logits_are_bound_and_opened(vector: Vector) -> None:
    rows = [[row_by_the_book(logits) for logits in some] for some in vector["logits"]]
    assert [[row.hex() for row in some] for some in rows] == vector["rows"]
    leaves = leaves_by_the_book(vector["task"], rows)
    drawn = drawn_by_the_book(vector, list(leaves))
    assert [list(place) for place in drawn] == vector["places"]
    root, siblings = tree(list(leaves.values()), {list(leaves).index(place) for place in drawn})
    assert (root, siblings) == (vector["root"], vector["siblings"])
    data = len(rows).to_bytes(4, "big")
    for ids in vector["token_ids"]:
        data += len(ids).to_bytes(4, "big") + b"".join(struct.pack("<I", token) for token in ids)
    assert sha256("text-score/1", prefixed(b"top"), data, bytes.fromhex(root)) == vector["score"]
