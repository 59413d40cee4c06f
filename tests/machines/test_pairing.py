"""Who can be drawn, and draws that anyone can repeat (protocol P2, P4, P5)."""

from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import GpuModel, ImageTask, ModelRef, Policy, verify_draw
from crynux_validate.errors import InvalidInputError, NotEnoughNodes
from crynux_validate.machines import Candidate, Draw, Node, Pool
from crynux_validate.machines.pairing import (
    MAX_WORDS,
    can_serve,
    choose_members,
    is_available,
    is_large_enough,
    supply_of,
    weight_among,
    weight_of,
)
from crynux_validate.machines.pool import MAX_WEIGHT
from tests.vectors.draw_by_the_book import chosen, find_in_a_tree, find_one_by_one, seed_of, word

NAMES = {"ledger": "l", "group": "g"}

weights = st.one_of(st.integers(1, 100), st.integers(1, MAX_WEIGHT))
pools = st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), weights), min_size=3, max_size=30).map(
    lambda rows: [Candidate(f"n{at}", f"o-{owner}", weight) for at, (owner, weight) in enumerate(rows)]
)
beacons = st.binary(min_size=1, max_size=40)

SURE = [Candidate(node, owner, 50) for node, owner in (("x", "o-x"), ("n5+", "o-y"), ("!", "o-z"))]
"""Three that words find soon, whoever else there is."""
roomy = st.lists(st.tuples(st.sampled_from("abcdefx"), st.integers(1, 50)), max_size=20).map(
    lambda rows: [*SURE, *(Candidate(f"n{at}", f"o-{owner}", weight) for at, (owner, weight) in enumerate(rows))]
)


def rows_of(pool: list[Candidate]) -> list[list[Any]]:
    return [[candidate.id, candidate.owner, candidate.weight] for candidate in pool]


# ------------------------------------------------------------------------------------------------ the draw


@given(pools, beacons, st.sampled_from([1, 3, 5]), st.data(), st.sampled_from([find_one_by_one, find_in_a_tree]))
def test_a_draw_is_what_the_protocol_says(
    pool: list[Candidate], beacon: bytes, size: int, data: st.DataObject, find: Any
) -> None:
    """With running sums, and with a Fenwick tree."""
    taken = data.draw(st.sets(st.sampled_from([c.id for c in pool])))
    members, hit = chosen(rows_of(pool), size, seed_of("l", "g", beacon), taken, find)
    if members is None:
        with pytest.raises(NotEnoughNodes) as caught:
            choose_members(Pool(pool), size, beacon=beacon, unavailable=taken, **NAMES)
        assert caught.value.needed == size
        assert caught.value.available < size
        return
    found = choose_members(Pool(pool), size, beacon=beacon, unavailable=taken, **NAMES)
    assert list(found.members) == members
    assert list(found.hit) == hit
    assert not taken.intersection(found.members)
    owners = {candidate.id: candidate.owner for candidate in pool}
    assert len({owners[member] for member in found.members}) == size


@given(roomy, beacons, st.randoms(use_true_random=False))
def test_the_order_of_candidates_means_nothing(pool: list[Candidate], beacon: bytes, random: Any) -> None:
    shuffled = pool.copy()
    random.shuffle(shuffled)
    assert drawn(pool, beacon) == drawn(shuffled, beacon) != ()


@given(roomy, beacons)
def test_a_longer_draw_begins_with_the_shorter(pool: list[Candidate], beacon: bytes) -> None:
    longest = drawn(pool, beacon, size=5) or drawn(pool, beacon, size=3)
    assert longest
    for size in range(1, len(longest)):
        assert drawn(pool, beacon, size=size) == longest[:size]


@given(pools, beacons, st.data())
def test_to_skip_is_to_remove(pool: list[Candidate], beacon: bytes, data: st.DataObject) -> None:
    """Who is unavailable leaves a gap: nobody else's place changes.

    The members are those that a draw without gaps finds in the same order, once who is unavailable is struck out.
    """
    taken = data.draw(st.sets(st.sampled_from([c.id for c in pool]), max_size=len(pool) - 1))
    apart = [Candidate(candidate.id, candidate.id, candidate.weight) for candidate in pool]
    order = hits(apart, beacon)
    owners = {candidate.id: candidate.owner for candidate in pool}
    expected: dict[str, str] = {}
    for node in order:
        if node not in taken:
            expected.setdefault(owners[node], node)
    members = tuple(expected.values())[:3]
    assert drawn(pool, beacon, taken=taken) == (members if len(members) == 3 else ())


def drawn(pool: list[Candidate], beacon: bytes, size: int = 3, taken: Any = ()) -> tuple[str, ...]:
    """The members; none where the group would be closed."""
    try:
        return choose_members(Pool(pool), size, beacon=beacon, unavailable=taken, **NAMES).members
    except NotEnoughNodes:
        return ()


def hits(pool: list[Candidate], beacon: bytes) -> list[str]:
    """Every node that one of the words hits, in the order of their first hits."""
    rows = sorted(rows_of(pool))
    find, total, seed = find_one_by_one(rows), sum(row[2] for row in rows), seed_of("l", "g", beacon)
    return list(dict.fromkeys(rows[find(word(seed, number) % total)][0] for number in range(MAX_WORDS)))


def test_draws_follow_the_weights() -> None:
    """Each ordered pair within 4 sigma of what drawing without replacement gives."""
    weights, draws = [1, 2, 3, 4], 20_000
    pool = Pool([Candidate(f"n{at}", f"o{at}", weight) for at, weight in enumerate(weights)])
    beacons = (at.to_bytes(4, "big") for at in range(draws))
    seen = Counter(choose_members(pool, 2, beacon=beacon, **NAMES).members for beacon in beacons)
    for first, second in permutations(range(4), 2):
        chance = weights[first] / 10 * weights[second] / (10 - weights[first])
        sigma = (draws * chance * (1 - chance)) ** 0.5
        assert abs(seen[f"n{first}", f"n{second}"] - draws * chance) < 4 * sigma, (first, second)


def test_who_is_unavailable_gives_its_chance_to_all_in_proportion() -> None:
    """Also where the owner of one has another node."""
    pool = Pool([
        Candidate("a1", "a", 4), Candidate("a2", "a", 1), Candidate("b", "b", 2), Candidate("c", "c", 3),
    ])  # fmt: skip
    draws = 20_000
    seen = Counter(
        choose_members(pool, 1, beacon=at.to_bytes(4, "big"), unavailable=["a1"], **NAMES).members[0]
        for at in range(draws)
    )
    assert "a1" not in seen
    for node, weight in (("a2", 1), ("b", 2), ("c", 3)):
        chance = weight / 6
        assert abs(seen[node] - draws * chance) < 4 * (draws * chance * (1 - chance)) ** 0.5, node


@pytest.mark.parametrize(("at", "found"), [(2_586, True), (3_902, False)])
def test_after_1024_words_a_draw_is_given_up(at: int, found: bool) -> None:
    """The one in a thousand is hit by the last word, and by the first that is not looked at."""
    pool = [Candidate("n0", "o0", 500), Candidate("n1", "o1", 500), Candidate("n2", "o2", 1)]
    beacon = at.to_bytes(4, "big")
    numbers = [word(seed_of("ledger-1", "group-7", beacon), number) % 1_001 for number in range(MAX_WORDS + 1)]
    assert numbers.index(1_000) == (MAX_WORDS - 1 if found else MAX_WORDS)
    if found:
        assert len(choose_members(Pool(pool), 3, beacon=beacon, ledger="ledger-1", group="group-7").members) == 3
        return
    with pytest.raises(NotEnoughNodes, match="1024 words of the draw found 2 owners") as caught:
        choose_members(Pool(pool), 3, beacon=beacon, ledger="ledger-1", group="group-7")
    assert (caught.value.available, caught.value.needed) == (2, 3)


def test_the_heaviest_pool_is_drawn_without_overflow() -> None:
    pool = [Candidate(f"n{at:05}", f"o{at}", MAX_WEIGHT) for at in range(10_000)]
    for beacon in (b"1", b"2", b"3"):
        assert list(drawn(pool, beacon, size=9)) == chosen(rows_of(pool), 9, seed_of("l", "g", beacon), ())[0]


@pytest.mark.parametrize(
    ("pool", "beacon"),
    [
        ([Candidate("a", "a", 1)] * 2, b"x"),
        ([Candidate("a", "a", 0)], b"x"),
        ([Candidate("a", "a", MAX_WEIGHT + 1)], b"x"),
        ([Candidate("a", "a", 1)], b""),
        ([Candidate("a", "a", 1)], "x"),
        ([Candidate("a", "a", 1.0)], b"x"),  # type: ignore[arg-type]
        ([Candidate("a", "a", True)], b"x"),
        ([Candidate("", "a", 1)], b"x"),
        ([Candidate("a", "a\n", 1)], b"x"),
        (["a"], b"x"),
    ],
)
def test_bad_input(pool: list[Candidate], beacon: bytes) -> None:
    with pytest.raises(InvalidInputError):
        choose_members(Pool(pool), 1, beacon=beacon, **NAMES)


@pytest.mark.parametrize("size", [0, -1, 3.0, True, None])
def test_bad_sizes_and_names(size: Any) -> None:
    pool = Pool([Candidate("a", "a", 1)])
    with pytest.raises(InvalidInputError, match="size is"):
        choose_members(pool, size, beacon=b"x", **NAMES)
    for names in ({"ledger": ""}, {"group": "g\n"}):
        with pytest.raises(InvalidInputError):
            choose_members(pool, 1, beacon=b"x", **{**NAMES, **names})
    with pytest.raises(InvalidInputError, match="the pool is"):
        choose_members([Candidate("a", "a", 1)], 1, beacon=b"x", **NAMES)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ checking a draw


TASK = ImageTask(model=ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
POLICY = Policy()


def whole(pool: list[Candidate], beacon: bytes = b"\1", taken: dict[str, str] | None = None, size: int = 3) -> Draw:
    """A draw with all that it is for."""
    taken = taken or {}
    found = choose_members(Pool(pool), size, beacon=beacon, unavailable=taken, **NAMES)
    return Draw(
        **NAMES,
        task=TASK.digest,
        policy=POLICY.digest,
        fee=100,
        beacon_round=7,
        beacon=beacon,
        pool=Pool(pool),
        unavailable={node: taken[node] for node in found.hit},
        unavailable_weight=weight_among(Pool(pool), taken),
        members=found.members,
    )


@given(roomy, beacons, st.data())
def test_a_draw_is_verified_and_so_are_its_candidates_in_any_order(
    pool: list[Candidate], beacon: bytes, data: st.DataObject
) -> None:
    taken = data.draw(st.sets(st.sampled_from([c.id for c in pool if c not in SURE] or ["nobody"])))
    found = whole(pool, beacon, dict.fromkeys(taken, "group-1"))
    assert verify_draw(found)
    assert verify_draw(replace(found, pool=pool[::-1]))
    assert verify_draw(found, task=TASK, beacon=beacon)
    free, all_of = found.pool.total_weight - found.unavailable_weight, found.pool.total_weight  # type: ignore[attr-defined]
    assert verify_draw(found, policy=POLICY) == (free * 10**6 >= POLICY.min_pool_ppm * all_of), "P4d, whatever the base"


PLAIN = [Candidate(f"n{at}", f"o{at}", 10 + at) for at in range(10)]


def test_a_forged_draw_is_found() -> None:
    found = whole(PLAIN, b"\3", {"n0": "group-1", "n9": "group-1"})
    assert verify_draw(found)
    assert set(found.unavailable) == {"n9"}, "one was hit, the other was not"
    changes: list[dict[str, Any]] = [
        {"members": found.members[::-1]},
        {"members": ("n0",) * 11},
        {"members": ()},
        {"beacon": b"\2"},
        {"beacon": b""},
        {"group": "h"},
        {"ledger": "m"},
        {"pool": [replace(c, weight=MAX_WEIGHT) if c.id == "n8" else c for c in found.pool]},
        {"pool": []},
        {"unavailable": {}},
        {"unavailable": {"n9": "group-1", "n0": "group-1"}},
        {"unavailable": {"n9": "group-1", "stranger": "group-1"}},
        {"unavailable_weight": 18},
        {"unavailable_weight": found.pool.total_weight},  # type: ignore[attr-defined]
    ]
    for change in changes:
        assert not verify_draw(replace(found, **change)), change


def test_a_draw_is_for_one_task_one_policy_and_one_beacon_value() -> None:
    found = whole(PLAIN)
    assert not verify_draw(found, task=TASK.replace(seed=1))
    assert not verify_draw(found, policy=Policy(min_stake=401))
    assert not verify_draw(found, policy=Policy.crynux())
    assert not verify_draw(found, beacon=b"\2")
    fewer = replace(found, members=found.members[:2])
    assert verify_draw(fewer), "nothing in a draw says how many members the policy asks for"
    assert not verify_draw(fewer, policy=POLICY)
    half = found.pool.total_weight // 2  # type: ignore[attr-defined]
    for weight, holds in ((half - 1, True), (half + 1, False)):
        busy = replace(found, unavailable_weight=weight)
        assert verify_draw(busy)
        assert verify_draw(busy, policy=POLICY) is holds
    with pytest.raises(InvalidInputError, match=r"the policy is .* expected a Policy"):
        verify_draw(found, policy=TASK)  # type: ignore[arg-type]


def test_the_digest_of_a_draw_is_over_what_it_is_for() -> None:
    found = whole(PLAIN, b"\3", {"n0": "group-1", "n9": "group-1"})
    changes: dict[str, Any] = {
        "ledger": "m", "group": "h", "task": "00" * 32, "policy": "00" * 32, "fee": 101, "beacon_round": 8,
        "beacon": b"\2", "members": found.members[::-1],
    }  # fmt: skip
    digests = {replace(found, **{name: value}).digest for name, value in changes.items()}
    assert len(digests | {found.digest}) == len(changes) + 1
    for name, value in {"pool": (), "unavailable": {}, "unavailable_weight": 0}.items():
        assert replace(found, **{name: value}).digest == found.digest, name  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ who can be drawn


def test_weights() -> None:
    assert weight_of(0, 10) == 1
    assert weight_of(99, 10) == 9
    assert weight_of(10**30, 10) == MAX_WEIGHT


CARD = GpuModel("card", 24)
NODES = [
    Node("fits", "o1", CARD, 500),
    Node("own", "creator", CARD, 500),
    Node("small", "o2", GpuModel("card", 8), 500),
    Node("poor", "o3", CARD, 399),
    Node("busy", "o4", CARD, 700, group="group-1"),
    Node("lazy", "o5", CARD, 500, suspended=True),
    Node("gone", "o6", CARD, 0, joined=False),
    Node("going", "o7", CARD, 500, leaving=3),
    Node("going-busy", "o8", CARD, 500, leaving=3, group="group-1"),
    Node("drawn-before", "o1", CARD, 600, drawn=(4, "group-2")),
]


def test_who_is_in_the_pool_and_who_in_its_base() -> None:
    """Who is in a group counts in the base alone; who leaves, in neither."""
    found = supply_of(NODES, creator="creator", min_stake=400, min_memory_gib=16, weight_unit=100)
    assert list(found.pool) == [Candidate("drawn-before", "o1", 6), Candidate("fits", "o1", 5)]
    assert (found.base, found.base_owners) == (5 + 6 + 7, 2)
    again = supply_of(NODES, creator="o1", min_stake=400, min_memory_gib=0, weight_unit=100)
    assert (again.base, again.base_owners, len(again.pool)) == (5 + 5 + 7, 3, 2), "who was asked before is not kept"


CHANGES: list[dict[str, Any]] = [
    {"id": "other"}, {"owner": "creator"}, {"owner": "o4"}, {"gpu": GpuModel("card", 8)}, {"stake": 399},
    {"stake": 900}, {"joined": False}, {"suspended": True}, {"leaving": 0}, {"group": "group-1"}, {"group": None},
    {"absences": 2}, {"drawn": (9, "group-9")},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("at", [0, 4, 9])
def test_what_was_asked_before_is_found_again_only_where_nothing_that_counts_has_changed(
    change: dict[str, Any], at: int
) -> None:
    """A roster in which one node is another, asked for after the one before."""
    asked: dict[str, Any] = {"creator": "creator", "min_stake": 400, "min_memory_gib": 16, "weight_unit": 100}
    changed = [replace(node, **change) if number == at else node for number, node in enumerate(NODES)]
    for nodes in (NODES, changed, NODES, NODES[:at], [*NODES], changed[::-1]):
        found = supply_of(nodes, **asked)
        able = [
            node for node in nodes if can_serve(node, 400) and node.owner != "creator" and node.gpu.memory_gib >= 16
        ]
        free = [Candidate(node.id, node.owner, node.stake // 100) for node in able if node.group is None]
        assert set(found.pool) == set(free)
        assert (found.base, found.base_owners) == (
            sum(node.stake // 100 for node in able),
            len({node.owner for node in able}),
        )


@pytest.mark.parametrize("change", [{"creator": "o1"}, {"min_stake": 501}, {"min_memory_gib": 0}, {"weight_unit": 1}])
def test_another_question_is_answered_anew(change: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"creator": "creator", "min_stake": 400, "min_memory_gib": 16, "weight_unit": 100}
    first, other = supply_of(NODES, **asked), supply_of(NODES, **{**asked, **change})
    assert (list(first.pool), first.base) != (list(other.pool), other.base)
    assert supply_of(NODES, **asked) == first


def test_who_can_serve_and_who_is_available() -> None:
    assert [node.id for node in NODES if can_serve(node, 400)] == ["fits", "own", "small", "busy", "drawn-before"]
    assert [node.id for node in NODES if is_available(node, 400)] == ["fits", "own", "small", "drawn-before"]


@given(st.integers(0, 2**64), st.integers(0, 2**64), st.integers(0, 10**6))
def test_a_pool_is_large_enough_where_its_share_is(weight: int, base: int, ppm: int) -> None:
    assert is_large_enough(weight, base, ppm) == (weight * 10**6 - ppm * base >= 0)
    assert is_large_enough(weight, base, 0)
    assert is_large_enough(base, base, ppm)


@pytest.mark.parametrize(("weight", "large"), [(332, False), (333, True), (334, True)])
def test_the_share_itself_is_large_enough(weight: int, large: bool) -> None:
    assert is_large_enough(weight, 1_000, 333_000) is large
    assert is_large_enough(weight * 10**30, 10**33, 333_000) is large


@given(pools, st.data())
def test_the_weight_among_some_counts_each_candidate_once(pool: list[Candidate], data: st.DataObject) -> None:
    some = data.draw(st.sets(st.sampled_from([c.id for c in pool])))
    expected = sum(candidate.weight for candidate in pool if candidate.id in some)
    assert weight_among(Pool(pool), [*some, "stranger"]) == expected
