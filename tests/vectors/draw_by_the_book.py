"""The draw as the protocol words it, step by step, and once more with a sum tree, as a chain would keep one."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

from tests.vectors.reading import Vector, prefixed, sha256

Row = Sequence[Any]
"""A candidate: node id, owner, weight."""


def seed_of(ledger: str, group: str, beacon: bytes) -> bytes:
    """The draw seed."""
    return bytes.fromhex(sha256("draw/2", prefixed(ledger.encode(), group.encode(), beacon)))


def word(seed: bytes, number: int) -> int:
    """Word i."""
    return int.from_bytes(hashlib.sha256(seed + number.to_bytes(4, "big")).digest(), "big")


def find_one_by_one(rows: Sequence[Row]) -> Callable[[int], int]:
    """Return what finds the place of the first candidate whose running sum exceeds a number."""

    def find(number: int) -> int:
        running = 0
        for at, (_, _, weight) in enumerate(rows):
            running += weight
            if running > number:
                return at
        raise AssertionError("the number is not below the sum of all weights")

    return find


def find_in_a_tree(rows: Sequence[Row]) -> Callable[[int], int]:
    """The same with a Fenwick tree: entry k holds the sum of the k & -k weights that end at the k-th."""
    size = 1 << len(rows).bit_length()
    tree = [0] * (size + 1)
    for place, (_, _, weight) in enumerate(rows, 1):
        at = place
        while at <= size:
            tree[at] += weight
            at += at & -at

    def find(number: int) -> int:
        place, step = 0, size
        while step:
            if place + step <= size and tree[place + step] <= number:
                place += step
                number -= tree[place]
            step //= 2
        return place

    return find


def chosen(
    pool: Sequence[Row],
    size: int,
    seed: bytes,
    taken: Collection[str],
    find: Callable[[Sequence[Row]], Callable[[int], int]] = find_one_by_one,
) -> tuple[list[str] | None, list[str]]:
    """The members in the order of their hits, and the taken candidates that were hit; None for too few members."""
    rows = sorted(pool, key=lambda row: row[0].encode())
    total = sum(weight for _, _, weight in rows)
    place = find(rows)
    members: list[str] = []
    owners: set[str] = set()
    hit: list[str] = []
    for number in range(1024 if total else 0):
        node, owner, _ = rows[place(word(seed, number) % total)]
        if node in taken:
            hit += [node] if node not in hit else []
        elif owner not in owners:
            members.append(node)
            owners.add(owner)
            if len(members) == size:
                return members, hit
    return None, hit


def drawn_digest(draw: Vector) -> str:
    """The draw digest of a whole draw."""
    return sha256(
        "drawn/1",
        prefixed(draw["ledger"].encode(), draw["group"].encode()),
        bytes.fromhex(draw["task"]) + bytes.fromhex(draw["policy"]),
        prefixed(draw["fee"].encode()),
        draw["beacon_round"].to_bytes(8, "big"),
        prefixed(bytes.fromhex(draw["beacon"])),
        bytes([len(draw["members"])]),
        prefixed(*(node.encode() for node in draw["members"])),
    )


def repeats(draw: Vector) -> bool:
    """Whether a whole draw is what its beacon value gives."""
    seed = seed_of(draw["ledger"], draw["group"], bytes.fromhex(draw["beacon"]))
    members, hit = chosen(draw["pool"], len(draw["members"]), seed, draw["unavailable"])
    weights = {node: weight for node, _, weight in draw["pool"]}
    least = sum(weights.get(node, 0) for node in draw["unavailable"])
    return (
        members == draw["members"]
        and sorted(hit) == sorted(draw["unavailable"])
        and least <= int(draw["unavailable_weight"]) < sum(weights.values())
    )
