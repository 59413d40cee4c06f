"""A ledger's parameters, and the epochs that follow from them (protocol P6, P7)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import InvalidInputError, MemoryLedger, Policy
from tests.ledger.helpers import POLICY


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """None of this is stored."""


def test_policies() -> None:
    assert Policy.from_dict(Policy.crynux().to_dict()) == Policy.crynux()
    assert (Policy.crynux().threshold, Policy.crynux().slash_threshold) == (24, 24)
    changes: list[dict[str, Any]] = [
        {"group_size": 4},
        {"threshold": 0},
        {"slash_threshold": 3},
        {"min_stake": 0},
        {"slash_ppm": 10**6 + 1},
        {"slash_ppm": 0},
        {"min_stake": 10**5000},
        {"weight_unit": 2**256},
        {"stake_per_fee": 2**53},
        {"epoch_seconds": 1},
        {"epoch_seconds": 7_199},
        {"epoch_seconds": 86_400.0},
        {"attest_commit_seconds": 0},
        {"attest_reveal_seconds": 82_801},
        {"attest_reveal_seconds": None},
        {"admitted_declarations": "00" * 32},
        {"admitted_declarations": ("00" * 31,)},
        {"admitted_declarations": ("zz" * 32,)},
        {"admitted_declarations": (bytes(32),)},
        {"admitted_declarations": None},
        {"min_class_owners": 0},
        {"min_class_owners": "3"},
        {"min_class_stake": -1},
        {"min_class_stake": 2**256},
        {"min_class_stake": True},
    ]
    for change in changes:
        with pytest.raises(InvalidInputError, match=next(iter(change))):
            replace(Policy(), **change)
    rich = Policy(admitted_declarations=["AB" * 32], min_class_stake=0, epoch_seconds=7_200)  # type: ignore[arg-type]
    assert Policy.from_dict(json.loads(json.dumps(rich.to_dict()))) == rich
    assert rich.admitted_declarations == ("ab" * 32,)
    assert (rich.least_class_stake, Policy().least_class_stake) == (0, 2_400)
    assert replace(Policy(), group_size=5).least_class_stake == 4_000


def test_without_slashes_no_stake_can_cover_a_fee() -> None:
    with pytest.raises(InvalidInputError, match="stake_per_fee=0"):
        replace(POLICY, slash_ppm=0)
    assert replace(POLICY, slash_ppm=0, stake_per_fee=0).slash_ppm == 0


@given(
    st.integers(0, 10**10), st.integers(1, 10**5), st.integers(1, 10**5), st.integers(0, 10**5), st.integers(0, 10**5)
)
def test_epochs_follow_from_the_clock(now: int, commit: int, reveal: int, rest: int, later: int) -> None:
    length = commit + reveal + rest
    policy = Policy(epoch_seconds=length, attest_commit_seconds=commit, attest_reveal_seconds=reveal)
    epoch = policy.epoch_at(now)
    assert epoch.starts == epoch.number * length <= now < epoch.starts + length
    assert (epoch.commit_deadline, epoch.reveal_deadline) == (epoch.starts + commit, epoch.starts + commit + reveal)
    assert epoch.in_force == epoch.number - (now < epoch.reveal_deadline)
    after = policy.epoch_at(now + later)
    assert 0 <= after.in_force - epoch.in_force <= after.number - epoch.number + 1, "never back"


def test_a_clock_gives_integers() -> None:
    with pytest.raises(InvalidInputError, match="integer seconds"):
        MemoryLedger(clock=lambda: 1.5)  # type: ignore[arg-type, return-value]
