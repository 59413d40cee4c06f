"""Environments and their digests."""

import pytest

from crynux_validate import Environment, InvalidInputError


def test_digests_follow_the_records() -> None:
    one = Environment({"torch": "2.13"}, {"tf32": False}, {"dtype": "float32"})
    same = Environment({"torch": "2.13"}, {"tf32": False}, {"dtype": "float32"})
    other = Environment({"torch": "2.14"}, {"tf32": False}, {"dtype": "float32"})
    assert one.kernel_digest == same.kernel_digest != other.kernel_digest
    assert one.numerics_digest == other.numerics_digest
    assert Environment({}, {}).kernel_digest != Environment({}, {}).numerics_digest
    assert Environment({}, {}).recipe_digest is None


def test_there_and_back() -> None:
    one = Environment({"torch": "2.13"}, {"threads": 1}, {"files": {"a": "b"}})
    assert Environment.from_dict(one.to_dict()) == one
    forged = one.to_dict() | {"kernel": {"torch": "9"}}
    with pytest.raises(InvalidInputError, match="kernel_digest"):
        Environment.from_dict(forged)
    with pytest.raises(InvalidInputError, match="kernel"):
        Environment.from_dict({"numerics": {}})
