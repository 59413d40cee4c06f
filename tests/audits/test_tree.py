"""The tree: what is shown ties to the root, and nothing else does."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate.audits.tree import count_of_siblings, root_from, root_of, siblings_of
from crynux_validate.errors import InvalidInputError

LEAVES = [hashlib.sha256(bytes([at])).digest() for at in range(40)]


@given(st.data())
def test_any_leaves_and_their_siblings_give_the_root(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(LEAVES)))
    places = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    leaves = LEAVES[:count]
    shown, siblings = {at: leaves[at] for at in places}, siblings_of(leaves, places)
    assert root_from(count, shown, siblings) == root_of(leaves)
    assert len(siblings) == count_of_siblings(count, places)
    changed = data.draw(st.sampled_from(sorted(places)))
    assert root_from(count, {**shown, changed: bytes(32)}, siblings) != root_of(leaves)


@given(st.integers(1, 39))
def test_another_number_or_order_of_leaves_is_another_root(count: int) -> None:
    leaves = LEAVES[:count]
    assert root_of(leaves) != root_of(LEAVES[: count + 1])
    if count > 1:
        assert root_of(leaves) != root_of(leaves[::-1])


@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_siblings_is_refused(change: int) -> None:
    siblings = [*siblings_of(LEAVES, [3]), bytes(32)][: 6 + change]
    with pytest.raises(InvalidInputError, match="siblings"):
        root_from(40, {3: LEAVES[3]}, siblings)


def test_a_shown_leaf_needs_no_sibling_that_is_shown() -> None:
    assert siblings_of(LEAVES, range(40)) == []
    assert count_of_siblings(40, range(40)) == 0
