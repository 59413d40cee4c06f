"""Pools, draws and policies, by the words of the protocol."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate.machines.pairing import choose_members, weight_among
from tests.vectors.draw_by_the_book import (
    Row,
    chosen,
    drawn_digest,
    find_in_a_tree,
    find_one_by_one,
    repeats,
    seed_of,
    word,
)
from tests.vectors.reading import Vector, canonical, each, load, prefixed, sha256


@each("pools")
def test_pool(vector: Vector) -> None:
    rows = vector["pool"]
    for order in (rows, rows[::-1]):
        assert cv.machines.Pool(cv.machines.Candidate(*row) for row in order).digest == vector["digest"]
    rows = sorted(rows, key=lambda row: row[0].encode())
    ids, owners = ("\n".join(row[at] for row in rows).encode() for at in (0, 1))
    weights = b"".join(weight.to_bytes(4, "big") for _, _, weight in rows)
    assert sha256("pool/1", prefixed(ids, owners), weights) == vector["digest"]


@each("draws")
@pytest.mark.parametrize("find", [find_one_by_one, find_in_a_tree])
def test_draw(vector: Vector, find: Any) -> None:
    """With running sums, and with a Fenwick tree: a chain that keeps one finds the same members."""
    taken = vector["taken"]
    seed = seed_of(vector["ledger"], vector["group"], bytes.fromhex(vector["beacon"]))
    members, hit = chosen(vector["pool"], vector["size"], seed, taken, find)
    assert members == vector["members"]
    assert vector["unavailable"] == ({} if members is None else {node: taken[node] for node in hit})
    weights = {node: weight for node, _, weight in vector["pool"]}
    assert vector["unavailable_weight"] == str(sum(weights.get(node, 0) for node in taken))


@each("draws")
def test_draw_by_the_library(vector: Vector) -> None:
    beacon, taken = bytes.fromhex(vector["beacon"]), vector["taken"]
    names = {"ledger": vector["ledger"], "group": vector["group"]}
    for rows in (vector["pool"], vector["pool"][::-1]):
        pool = cv.machines.Pool(cv.machines.Candidate(*row) for row in rows)
        assert str(weight_among(pool, taken)) == vector["unavailable_weight"]
        if vector["members"] is None:
            with pytest.raises(cv.errors.NotEnoughNodes):
                choose_members(pool, vector["size"], beacon=beacon, unavailable=taken, **names)
            continue
        found = choose_members(pool, vector["size"], beacon=beacon, unavailable=taken, **names)
        assert list(found.members) == vector["members"]
        assert set(found.hit) == set(vector["unavailable"])


def draw_otherwise(
    vector: Vector,
    *,
    number: Callable[[bytes, int], int] = word,
    numbers: Sequence[int] = range(1024),
    total: Callable[[int], int] = lambda total: total,
    order: Callable[[Row], Any] = lambda row: row[0].encode(),
    exceeds: Callable[[int, int], bool] = lambda running, wanted: running > wanted,
    skip_owners: bool = True,
    note_all: bool = True,
    taken_stay: bool = True,
) -> tuple[list[str] | None, set[str]]:
    """The draw with one mistake."""
    taken = vector["taken"]
    rows = sorted((row for row in vector["pool"] if taken_stay or row[0] not in taken), key=order)
    whole = total(sum(weight for _, _, weight in rows))
    seed = seed_of(vector["ledger"], vector["group"], bytes.fromhex(vector["beacon"]))
    members: list[str] = []
    owners: set[str] = set()
    hit: set[str] = set()
    for at in numbers if whole else ():
        wanted, running = number(seed, at) % whole, itertools.accumulate(row[2] for row in rows)
        node, owner, _ = next(row for row, upto in zip(rows, running, strict=True) if exceeds(upto, wanted))
        if node in taken:
            hit |= {node} if note_all or owner not in owners else set()
        elif node not in members and not (skip_owners and owner in owners):
            members.append(node)
            owners.add(owner)
            if len(members) == vector["size"]:
                return members, hit
    return None, set()


MISTAKES: dict[str, dict[str, Any]] = {
    "words of 64 bits": {"number": lambda seed, at: word(seed, at) >> 192},
    "the last 64 bits": {"number": lambda seed, at: word(seed, at) % 2**64},
    "a sum that wraps at 2^32": {"total": lambda total: total % 2**32},
    "a word too few": {"numbers": range(1023)},
    "a word too many": {"numbers": range(1025)},
    "words from 1 on": {"numbers": range(1, 1025)},
    "the first sum that reaches the number": {"exceeds": lambda running, wanted: running >= wanted},
    "ids in the order of numbers": {"order": lambda row: (len(row[0]), row[0])},
    "ids without regard to case": {"order": lambda row: row[0].lower()},
    "two of an owner": {"skip_owners": False},
    "hits of a taken owner not noted": {"note_all": False},
    "who was taken removed before": {"taken_stay": False},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_fails_a_vector(mistake: str) -> None:
    vectors = load("draws")
    right = {vector["id"]: (vector["members"], set(vector["unavailable"])) for vector in vectors}
    assert {vector["id"]: draw_otherwise(vector) for vector in vectors} == right
    assert {vector["id"]: draw_otherwise(vector, **MISTAKES[mistake]) for vector in vectors} != right


@each("policies")
def test_policy(vector: Vector) -> None:
    assert sha256("policy/1", prefixed(canonical(vector["policy"]))) == vector["digest"]
    found = cv.Policy.from_dict(vector["policy"])
    assert (found.to_dict(), found.digest) == (vector["policy"], vector["digest"])


def test_every_field_of_a_policy_has_two_values() -> None:
    policies = [vector["policy"] for vector in load("policies")]
    names = {field.name for field in fields(cv.Policy)}
    for name in names:
        assert len({json.dumps(policy.get(name)) for policy in policies}) > 1, name
    assert {name for policy in policies for name in policy} == names
    assert {"second_algorithm" in policy for policy in policies} == {True, False}


@each("drawn")
def test_drawn(vector: Vector) -> None:
    assert drawn_digest(vector["draw"]) == vector["digest"]
    assert repeats(vector["draw"]) == vector["verified"]
    assert vector["verified"] == (not vector["reason"].startswith("forged"))


def test_whatever_a_draw_is_for_changes_its_digest() -> None:
    """Not the pool, which decides the members, nor what the log alone tells."""
    drawn = {vector["id"].partition("/")[2]: vector for vector in load("drawn")}
    plain = drawn.pop("plain")
    unbound = {"other-taker", "heavier", "hidden", "invented", "stranger", "too-light", "whole-pool"}
    same = {name for name, vector in drawn.items() if vector["digest"] == plain["digest"]}
    assert same == unbound
    assert len({vector["digest"] for vector in drawn.values()}) == len(drawn) - len(unbound) + 1
    changed: set[str] = set()
    for name, vector in drawn.items():
        differ = {field for field, value in vector["draw"].items() if value != plain["draw"][field]}
        if name not in unbound and len(differ) == 1:
            changed |= differ
    assert changed == {"task", "policy", "fee", "beacon_round", "members"}
