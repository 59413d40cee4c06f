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


def test_compare_says_what_differs_and_what_to_do() -> None:
    one = Environment({"torch": {"version": "2.13.0", "git": "abc"}, "packages": {}}, {"tf32": False}, {"batch": 1})
    other = Environment({"torch": {"version": "2.14.0", "git": "abc"}, "packages": {"triton": "3"}}, {"tf32": True})
    assert one.compare(one) == ()
    torch, recipe = (
        "kernel.torch.version: '2.13.0' here, '2.14.0' there; install the same build of torch",
        "recipe.batch",
    )
    found = one.compare(other)
    assert torch in found
    assert any(line.startswith("kernel.packages.triton: nothing here, '3' there; install") for line in found)
    assert any(line.startswith("numerics.tf32: False here, True there") for line in found)
    assert any(line.startswith(f"{recipe}: 1 here, nothing there") for line in found)
    assert len([line for line in found if "git" in line]) == 0


def test_compare_finds_a_difference_where_a_digest_does() -> None:
    one = Environment({"a": {}}, {}, {})
    for other in (
        Environment({"a": None}, {}, {}),
        Environment({"a": {"b": 1}}, {}, {}),
        Environment({"a": {}}, {}, None),
    ):
        assert one.compare(other)
        assert other.compare(one)


def test_compare_tells_true_from_one_as_the_digest_does() -> None:
    assert Environment({"a": True}, {}).compare(Environment({"a": 1}, {}))
    assert Environment({"a": 1.0}, {}).compare(Environment({"a": 1}, {})) == ()
    assert Environment({"a": 1.0}, {}).kernel_digest == Environment({"a": 1}, {}).kernel_digest
