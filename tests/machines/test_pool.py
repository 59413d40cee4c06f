"""Pools: candidates as columns, checked once (protocol P4)."""

import hashlib
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate.errors import InvalidInputError
from crynux_validate.machines import Candidate, Pool
from crynux_validate.machines.pool import MAX_WEIGHT

ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
candidates = st.lists(
    st.builds(Candidate, ids, st.sampled_from("abcd"), st.integers(1, MAX_WEIGHT)),
    max_size=20,
    unique_by=lambda c: c.id,
)


@given(candidates, st.randoms(), ids)
def test_a_pool_is_its_candidates_sorted(found: list[Candidate], random: Any, stranger: str) -> None:
    pool = Pool(found)
    ordered = sorted(found, key=lambda candidate: candidate.id.encode())
    assert list(pool) == ordered
    assert [pool[at] for at in range(len(pool))] == ordered
    assert pool[1:5] == tuple(ordered[1:5])
    assert pool.owner_count == len({candidate.owner for candidate in found})
    assert [pool.position(candidate.id) for candidate in ordered] == list(range(len(ordered)))
    assert all(candidate in pool for candidate in found)
    assert (pool.position(stranger) is None) == (stranger not in {candidate.id for candidate in found})
    random.shuffle(found)
    again = Pool.from_columns([c.id for c in found], [c.owner for c in found], [c.weight for c in found])
    copy = pickle.loads(pickle.dumps(pool))
    for same in (again, copy):
        assert same == pool
        assert hash(same) == hash(pool)
        assert not same.weights.flags.writeable
        assert not same.running_sums.flags.writeable


@given(candidates)
def test_the_digest_is_over_the_columns(found: list[Candidate]) -> None:
    ordered = sorted(found, key=lambda candidate: candidate.id)
    parts = (
        b"crynux-validate/pool/1",
        "\n".join(candidate.id for candidate in ordered).encode(),
        "\n".join(candidate.owner for candidate in ordered).encode(),
    )
    told = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    weights = b"".join(candidate.weight.to_bytes(4, "big") for candidate in ordered)
    assert Pool(found).digest == hashlib.sha256(told + weights).hexdigest()


def test_another_weight_owner_or_id_is_another_pool() -> None:
    pool = Pool([Candidate("a", "b", 1), Candidate("b", "b", 1)])
    others = [
        Pool([Candidate("a", "b", 1), Candidate("b", "b", 2)]),
        Pool([Candidate("a", "b", 1), Candidate("b", "c", 1)]),
        Pool([Candidate("a", "b", 1), Candidate("c", "b", 1)]),
        Pool([Candidate("a", "b", 1)]),
        Pool(),
    ]
    assert pool not in others
    assert len({pool, *others}) == 6
    assert len({pool.digest, *(other.digest for other in others)}) == 6
    assert pool != (Candidate("a", "b", 1), Candidate("b", "b", 1))
    assert Candidate("a", "b", 2) not in pool
    with pytest.raises(ValueError, match="read-only"):
        pool.weights[0] = np.uint64(7)


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ((["a", "a"], ["x", "y"], [1, 1]), "node a is twice"),
        ((["b", "a", "b"], ["x", "y", "z"], [1, 1, 1]), "node b is twice"),
        ((["a", ""], ["x", "y"], [1, 1]), "node id is ''"),
        ((["a", "a" * 129], ["x", "y"], [1, 1]), "node id is 'aaa"),
        ((["a", "\u00e9"], ["x", "y"], [1, 1]), "printable"),
        ((["a", "b"], ["x", "y\n"], [1, 1]), "owner is"),
        ((["a", None], ["x", "y"], [1, 1]), "node id is None"),
        ((["a", b"b"], ["x", "y"], [1, 1]), "node id is b'b'"),
        ((["a", "b"], ["x", []], [1, 1]), "owner is \\[\\]"),
        ((["a", "b"], ["x", "y"], [1, 0]), "weight of b is 0"),
        ((["a", "b"], ["x", "y"], [2**32, 1]), "weight of a is 4294967296"),
        ((["a", "b"], ["x", "y"], [1, 1.0]), "weight of b is 1.0"),
        ((["a", "b"], ["x", "y"], [1, True]), "weight of b is True"),
        ((["a", "b"], ["x"], [1, 1]), "1 owners"),
    ],
)
def test_bad_columns(columns: tuple[Any, Any, Any], match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        Pool.from_columns(*columns)


def test_bad_candidates() -> None:
    with pytest.raises(InvalidInputError, match="expected a Candidate"):
        Pool([("a", "b", 1)])  # type: ignore[list-item]
