"""Vectors of pools and draws."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tools.vectors.common import HUB, ODD, Vector, vector
from tools.vectors.policies import EVERY_FIELD, PLAIN

import crynux_validate as cv
from crynux_validate.machines.pairing import choose_members, weight_among
from crynux_validate.machines.pool import MAX_WEIGHT

BEACON: Final = bytes([22]) * 32


def candidates(*weights: int) -> list[cv.machines.Candidate]:
    """Nodes n0, n1, ... of owners o0, o1, ..., with these weights."""
    return [cv.machines.Candidate(f"n{at}", f"o{at}", weight) for at, weight in enumerate(weights)]


def rows(pool: Sequence[cv.machines.Candidate]) -> list[list[Any]]:
    """A pool as vectors write it."""
    return [[candidate.id, candidate.owner, candidate.weight] for candidate in pool]


def pool_vectors() -> list[Vector]:
    """Pools and their digests."""
    cases: list[tuple[str, str, list[cv.machines.Candidate]]] = [
        ("three", "three nodes of three owners", candidates(1, 2, 3)),
        ("order", "the same in another order: the same digest", candidates(1, 2, 3)[::-1]),
        ("bytewise", "ids are sorted byte by byte", [
            cv.machines.Candidate(n, f"o-{n}", 3) for n in ("n10", "n9", "N1", "~", "a_b")]),
        ("weights", "the least and the largest weight", [
            cv.machines.Candidate("a", "o", 1), cv.machines.Candidate("b", "o", 2**32 - 1)]),
        ("empty", "nobody", []),
    ]  # fmt: skip
    return [
        vector(f"pool/{name}", why, pool=rows(pool), digest=cv.machines.Pool(pool).digest) for name, why, pool in cases
    ]


def draw_vectors() -> list[Vector]:
    """Draws of members."""
    names = ("n10", "n9", "N1", "~", "a_b")
    cases: list[tuple[str, str, list[cv.machines.Candidate], int, dict[str, Any]]] = [
        ("equal-weights", "five nodes of five owners", candidates(*[1] * 5), 3, {}),
        ("one", "one of one", candidates(7), 1, {}),
        ("weights", "weights from 1 to 2^32-1", candidates(1, 2**32 - 1, 7, 10**9, 10**9 + 1), 3, {}),
        ("uneven", "1,024 words do not find a third owner: the group is closed",
         candidates(1, 2**32 - 1, 7, 400, 10**9), 3, {}),
        ("heaviest", "sums beyond 2^32", candidates(*[MAX_WEIGHT] * 20), 5, {}),
        ("nine", "nine of twelve", candidates(*range(1, 13)), 9, {}),
        ("one-owner", "a hit of an owner that was taken already is skipped", [
            cv.machines.Candidate(f"n{i}", f"o{i // 3}", 10) for i in range(9)], 3, {}),
        ("taken", "a hit that another group has taken is skipped and noted; who was taken and not hit is not noted",
         candidates(8, 7, 6, 5, 4, 3, 2, 1), 5, {"taken": {"n0": "group-4", "n7": "group-5"}}),
        ("taken-of-an-owner", "a hit that was taken is noted also where its owner has a member already", [
            cv.machines.Candidate(f"n{i}", f"o{i % 3}", 10) for i in range(9)], 3,
         {"taken": {"n6": "group-4", "n7": "group-4", "n8": "group-4"}, "beacon": (16).to_bytes(4, "big")}),
        ("taken-strangers", "who was taken and is no candidate has no weight", candidates(*[5] * 4), 3,
         {"taken": {"n0": "group-6", "stranger": "group-6"}}),
        ("sorted", "the pool's order does not matter; ids are compared byte by byte", [
            cv.machines.Candidate(n, f"o-{n}", 3) for n in names], 3, {}),
        ("odd-names", "ids may have any sign that is not a space", [cv.machines.Candidate(n, ODD, 3) for n in names]
         + [cv.machines.Candidate(ODD, "a", 2), cv.machines.Candidate("!", "b", 1)], 3, {"ledger": ODD, "group": "!"}),
        ("last-word", "the word with the number 1,023 finds the third", candidates(500, 500, 1), 3,
         {"beacon": (2586).to_bytes(4, "big")}),
        ("too-late", "the word with the number 1,024 would: the group is closed", candidates(500, 500, 1), 3,
         {"beacon": (3902).to_bytes(4, "big")}),
        ("two-owners", "a third owner does not exist: no number of words finds one", [
            cv.machines.Candidate(f"n{i}", f"o{i % 2}", 1) for i in range(6)], 3, {}),
        ("all-taken", "nobody is left", candidates(1, 2, 3), 3, {"taken": {f"n{i}": "group-1" for i in range(3)}}),
        ("empty", "nobody could be drawn", [], 3, {}),
    ]  # fmt: skip
    vectors = []
    for name, why, pool, size, change in cases:
        given = {"ledger": "ledger-1", "group": "group-7", "beacon": BEACON, "taken": {}} | change
        vectors.append(vector(f"draw/{name}", why, **drawn_from(pool, size, **given)))
    return vectors


def drawn_from(
    pool: list[cv.machines.Candidate], size: int, *, ledger: str, group: str, beacon: bytes, taken: Mapping[str, str]
) -> Vector:
    """What is given, and what is drawn of it."""
    found: dict[str, Any] = {"members": None, "unavailable": {}}
    try:
        chosen = choose_members(
            cv.machines.Pool(pool), size, ledger=ledger, group=group, beacon=beacon, unavailable=taken
        )
        found = {"members": list(chosen.members), "unavailable": {node: taken[node] for node in chosen.hit}}
    except cv.errors.NotEnoughNodes:
        pass
    given = {"ledger": ledger, "group": group, "beacon": beacon.hex(), "size": size}
    weight = str(weight_among(cv.machines.Pool(pool), taken))
    return {**given, "pool": rows(pool), "taken": dict(taken), **found, "unavailable_weight": weight}


def plain_draw(
    size: int = 3, beacon: bytes = BEACON, *, ledger: str = "ledger-1", group: str = "group-7"
) -> cv.machines.Draw:
    """Return a draw from candidates two of which were taken by another group."""
    pool, taken = cv.machines.Pool(candidates(*range(10, 10 + 4 * size))), {"n1": "group-6", "n3": "group-6"}
    chosen = choose_members(pool, size, ledger=ledger, group=group, beacon=beacon, unavailable=taken)
    return cv.machines.Draw(
        ledger=ledger,
        group=group,
        task=cv.ImageTask(model=HUB, prompt="a red cat").digest,
        policy=replace(PLAIN, group_size=size).digest,
        fee=100,
        beacon_round=1_700_000_001,
        beacon=beacon,
        pool=pool,
        unavailable={node: taken[node] for node in sorted(chosen.hit)},
        unavailable_weight=weight_among(pool, taken),
        members=chosen.members,
    )


def draw_to_dict(draw: cv.machines.Draw) -> dict[str, Any]:
    """A whole draw as vectors write it."""
    return {
        "ledger": draw.ledger,
        "group": draw.group,
        "task": draw.task,
        "policy": draw.policy,
        "fee": str(draw.fee),
        "beacon_round": draw.beacon_round,
        "beacon": draw.beacon.hex(),
        "pool": rows(draw.pool),
        "unavailable": dict(draw.unavailable),
        "unavailable_weight": str(draw.unavailable_weight),
        "members": list(draw.members),
    }


def drawn_vectors() -> list[Vector]:
    """Whole draws, true and forged, and the digest that answers are bound to."""
    plain = plain_draw()
    (hit,) = plain.unavailable
    outsider = next(node for node in plain.pool if node.id not in (*plain.members, hit))
    heavier = [replace(node, weight=MAX_WEIGHT) if node == outsider else node for node in plain.pool]
    weight = plain.pool.total_weight  # type: ignore[attr-defined]
    other_draw = "another draw: another digest"
    bound = "bound, though it decides no member"
    forged = "forged: "
    cases = [
        ("plain", "a candidate was taken by another group, and a word hit it", plain),
        ("nine-members", "the number of members is a byte before them", plain_draw(9)),
        ("nobody-hit", "no word hit the one that was taken", plain_draw(beacon=b"\x05")),
        ("other-beacon", other_draw, plain_draw(beacon=bytes(256))),
        ("other-group", other_draw, plain_draw(group="group-8")),
        ("other-ledger", other_draw, plain_draw(ledger="ledger-2")),
        ("odd-names", "ids may have any sign that is not a space", plain_draw(ledger=ODD, group=ODD)),
        ("other-task", bound, replace(plain, task="00" * 32)),
        ("other-policy", bound, replace(plain, policy=EVERY_FIELD.digest)),
        ("largest-fee", "digits of a number beyond 64 bits", replace(plain, fee=2**256 - 1)),
        ("round-0", bound, replace(plain, beacon_round=0)),
        ("latest-round", "a u64", replace(plain, beacon_round=2**53 - 1)),
        ("other-taker", "which group took a candidate is in the log alone: neither bound nor repeated",
         replace(plain, unavailable={hit: "group-5"})),
        ("fewer", "how many there should be, the policy says", replace(plain, members=plain.members[:2])),
        ("order", forged + "the members in another order", replace(plain, members=plain.members[::-1])),
        ("other-company", forged + "a member for another",
         replace(plain, members=(*plain.members[:2], outsider.id))),
        ("heavier", forged + "another weight in the pool", replace(plain, pool=cv.machines.Pool(heavier))),
        ("hidden", forged + "a candidate that was hit could not be drawn, and that is not said",
         replace(plain, unavailable={})),
        ("invented", forged + "no word hit one that is said to be hit",
         replace(plain, unavailable={**plain.unavailable, "n0": "group-6"})),
        ("stranger", forged + "one that is said to be hit is no candidate",
         replace(plain, unavailable={**plain.unavailable, "stranger": "group-6"})),
        ("too-light", forged + "less weight unavailable than that of the candidates that were hit",
         replace(plain, unavailable_weight=1)),
        ("whole-pool", forged + "as much weight unavailable as there is", replace(plain, unavailable_weight=weight)),
    ]  # fmt: skip
    return [
        vector(f"drawn/{name}", why, draw=draw_to_dict(draw), digest=draw.digest, verified=cv.verify_draw(draw))
        for name, why, draw in cases
    ]
