"""A ledger's parameters, and the epochs that follow from them (protocol P6, P7)."""

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import MemoryLedger, Policy
from crynux_validate.errors import InvalidInputError
from crynux_validate.keyed import KeyedTolerance
from crynux_validate.tasks import ImageSetting
from crynux_validate.testing.conformance.by_hand import shortest
from tests.ledger.helpers import TASK


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """None of this is stored."""


SETTING = ImageSetting.of(TASK.replace(guidance_scale=1.25), TASK.replace(steps=TASK.steps + 9))
EVERY_FIELD = Policy(
    group_size=5,
    threshold=9,
    slash_threshold=40,
    min_stake=10**24 + 1,
    min_fee=10**21 + 7,
    stake_per_fee=3,
    slash_per_fee=11,
    weight_unit=10**18 + 3,
    min_pool_ppm=123_457,
    slash_ppm=900_001,
    withheld_ppm=800_003,
    no_quorum_ppm=300_007,
    fault_fee_ppm=200_009,
    slash_account="treasury",
    suspend_after=2,
    beacon_delay_seconds=31,
    draw_seconds=77,
    commit_seconds=101,
    reveal_seconds=51,
    epoch_seconds=1_001,
    attest_commit_seconds=103,
    attest_reveal_seconds=107,
    admitted_declarations=("ab" * 32, "cd" * 32),
    min_class_owners=4,
    min_class_stake=10**25,
    second_algorithm="keyed/1",
    keyed_tolerances=(KeyedTolerance(SETTING, (3, 5, 8)),),
)
"""No field is the default's."""

NAMES = tuple(field.name for field in fields(Policy))
BOUNDS = {
    "min_stake": (1, 2**256 - 1),
    "min_fee": (5, 2**256 - 1),
    "stake_per_fee": (0, 11),
    "slash_per_fee": (3, 2**31),
    "weight_unit": (1, 2**256 - 1),
    "min_pool_ppm": (0, 10**6),
    "slash_ppm": (1, 10**6),
    "withheld_ppm": (1, 10**6),
    "no_quorum_ppm": (0, 10**6 - 200_009),
    "fault_fee_ppm": (0, 10**6 - 300_007),
    "suspend_after": (1, 2**31),
    "beacon_delay_seconds": (0, 76),
    "draw_seconds": (32, 2**31),
    "commit_seconds": (1, 2**31),
    "reveal_seconds": (1, 2**31),
    "epoch_seconds": (210, 2**31),
    "attest_commit_seconds": (1, 1_001 - 107),
    "attest_reveal_seconds": (1, 1_001 - 103),
    "min_class_owners": (1, 2**31),
    "min_class_stake": (0, 2**256 - 1),
}
"""From the least to the largest that a field can be beside all others of `EVERY_FIELD`."""

MAY_BE_NONE = {
    "slash_threshold",
    "min_fee",
    "slash_per_fee",
    "slash_account",
    "min_class_stake",
    "second_algorithm",
}


def test_every_field_is_written_and_read() -> None:
    assert all(getattr(EVERY_FIELD, name) != getattr(Policy(), name) for name in NAMES)
    for policy in (Policy(), Policy.crynux(), EVERY_FIELD):
        again = Policy.from_dict(json.loads(json.dumps(policy.to_dict())))
        assert again == policy
        assert again.digest == policy.digest
        assert set(NAMES) - set(policy.to_dict()) <= {"second_algorithm", "keyed_tolerances"}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_field_is_an_integer_within_its_bounds(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low, high):
        change: dict[str, Any] = {name: value}
        assert getattr(replace(EVERY_FIELD, **change), name) == value
    wrong: list[Any] = [low - 1, high + 1, -1, 2**256, 10**5000, float(high), str(high), True, [high], b"7"]
    for value in wrong if name in MAY_BE_NONE else [*wrong, None]:
        with pytest.raises(InvalidInputError, match=f"{name}|slash_per_fee"):  # which bounds stake_per_fee
            replace(EVERY_FIELD, **{name: value})


def test_other_fields() -> None:
    assert set(BOUNDS) | {"group_size", "threshold", "slash_threshold", "slash_account", "admitted_declarations"} | {
        "second_algorithm",
        "keyed_tolerances",
    } == set(NAMES)
    changes: list[dict[str, Any]] = [
        {"group_size": 4},
        {"group_size": 11},
        {"group_size": 5.0},
        {"threshold": 0},
        {"threshold": 41},
        {"threshold": "9"},
        {"slash_threshold": 8},
        {"slash_account": ""},
        {"slash_account": "two words"},
        {"slash_account": b"treasury"},
        {"admitted_declarations": "00" * 32},
        {"admitted_declarations": ("00" * 31,)},
        {"admitted_declarations": ("zz" * 32,)},
        {"admitted_declarations": (bytes(32),)},
        {"admitted_declarations": None},
        {"second_algorithm": "digest/2"},
        {"second_algorithm": ["digest/1"]},
        {"second_algorithm": ""},
        {"second_algorithm": "digest/1"},  # which has no tolerances
        {"keyed_tolerances": ()},  # which keyed/1 needs
        {"keyed_tolerances": None},
        {"keyed_tolerances": ("a model",)},
        {"keyed_tolerances": 2 * EVERY_FIELD.keyed_tolerances},
    ]
    for change in changes:
        with pytest.raises(InvalidInputError, match=next(iter(change))):
            replace(EVERY_FIELD, **change)


def test_what_is_left_out_follows_from_the_rest() -> None:
    for stake, size, fee in (
        (1, 3, 3),
        (399, 3, 3),
        (400, 3, 3),
        (799, 3, 3),
        (800, 3, 6),
        (400 * 10**18, 9, 9 * 10**18),
    ):
        policy = Policy(min_stake=stake, group_size=size)
        assert policy.min_fee == policy.least_fee == fee == size * max(1, stake // 400)
        assert policy.to_dict()["min_fee"] == str(fee), "a number, never null"
    assert replace(Policy(), min_stake=4_000).min_fee == 3, "what the constructor worked out once, a copy keeps"
    assert Policy(min_fee=3).min_fee == 3
    assert (Policy().threshold, Policy().slash_threshold) == (16, 24)
    assert (Policy(min_class_stake=0).least_class_stake, Policy().least_class_stake) == (0, 2_400)
    assert Policy(group_size=5).least_class_stake == 4_000
    listed = Policy(admitted_declarations=["AB" * 32])  # type: ignore[arg-type]
    assert listed.admitted_declarations == ("ab" * 32,)
    assert listed == Policy(admitted_declarations=("ab" * 32,))
    assert listed.digest == Policy(admitted_declarations=("ab" * 32,)).digest


def test_the_live_network() -> None:
    policy = Policy.crynux()
    assert (policy.threshold, policy.slash_threshold, policy.min_stake) == (24, 24, 400 * 10**18)
    assert (policy.slash_per_fee, policy.no_quorum_ppm, policy.min_fee) == (None, 0, 3 * 10**18)


def test_a_slash_is_not_below_what_covers_the_fee() -> None:
    """P7 asks a member for `stake_per_fee` times its share: what can be slashed is not less."""
    with pytest.raises(
        InvalidInputError, match="slash_per_fee is 9; expected an integer from 10, which is stake_per_fee, to"
    ):
        Policy(stake_per_fee=10, slash_per_fee=9)
    assert Policy(stake_per_fee=10, slash_per_fee=10).slash_per_fee == 10
    assert Policy(stake_per_fee=2**31, slash_per_fee=None).slash_per_fee is None
    assert Policy(stake_per_fee=0, slash_per_fee=0).slash_per_fee == 0


@pytest.mark.parametrize("name", ["slash_ppm", "withheld_ppm"])
def test_without_slashes_no_stake_can_cover_a_fee(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is 0, .* stake_per_fee=0"):
        Policy(**{name: 0})  # type: ignore[arg-type]
    policy = Policy(**{name: 0}, stake_per_fee=0)  # type: ignore[arg-type]
    assert policy.least_slash_ppm == 0
    assert Policy(slash_ppm=7, withheld_ppm=8).least_slash_ppm == Policy(slash_ppm=8, withheld_ppm=7).least_slash_ppm


def test_no_more_than_the_fee_is_burnt_and_paid() -> None:
    assert Policy(no_quorum_ppm=600_000, fault_fee_ppm=400_000).fault_fee_ppm == 400_000
    with pytest.raises(InvalidInputError, match="no_quorum_ppm and fault_fee_ppm are 600000 and 400001, together"):
        Policy(no_quorum_ppm=600_000, fault_fee_ppm=400_001)


def test_a_group_is_not_closed_before_its_round_can_be_public() -> None:
    with pytest.raises(
        InvalidInputError, match="draw_seconds is 600, not more than beacon_delay_seconds, which is 600"
    ):
        Policy(beacon_delay_seconds=600)
    assert Policy(beacon_delay_seconds=599).draw_seconds == 600


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_read_with_all_of_its_fields_and_no_other(name: str) -> None:
    value = EVERY_FIELD.to_dict()
    del value[name]
    if name == "second_algorithm":
        del value["keyed_tolerances"]
        assert Policy.from_dict(value) == replace(EVERY_FIELD, second_algorithm=None, keyed_tolerances=())
        return
    words = "0 keyed_tolerances" if name == "keyed_tolerances" else f"has no {name}"
    with pytest.raises(InvalidInputError, match=words):
        Policy.from_dict(value)


def test_what_is_no_policy() -> None:
    value = EVERY_FIELD.to_dict()
    for unknown in ("mystery", "min_stakes", "group_sizes", "x" * 10_000):
        with pytest.raises(InvalidInputError, match=f"has '{unknown[:20]}.*which no policy has") as caught:
            Policy.from_dict({**value, unknown: 1})
        assert len(str(caught.value)) < 500
    wrong: list[Any] = [None, [], "policy", 7, {}, {1: 2, "a": 3}, {**value, 1: 2}, {**value, None: 2, "z": 3}]
    for one in wrong:
        with pytest.raises(InvalidInputError, match="polic"):
            Policy.from_dict(one)
    for name in ("min_stake", "min_fee", "weight_unit"):
        with pytest.raises(InvalidInputError, match=name):
            Policy.from_dict({**value, name: None})
    for name in ("min_stake", "min_fee", "weight_unit", "min_class_stake"):
        odd: list[Any] = [400, "0400", "4e2", "-1", " 400", "", "٤", True, ["400"]]
        for money in odd:
            with pytest.raises(InvalidInputError, match=name):
                Policy.from_dict({**value, name: money})


def test_the_digest_names_every_field() -> None:
    changes: dict[str, Any] = {name: low for name, (low, _) in BOUNDS.items()} | {
        "group_size": 3,
        "threshold": 8,
        "slash_threshold": 41,
        "slash_account": None,
        "admitted_declarations": (),
        "keyed_tolerances": (KeyedTolerance(SETTING, (3, 5, 9)),),
    }
    assert {*changes, "second_algorithm"} == set(NAMES)
    digests = {replace(EVERY_FIELD, **{name: value}).digest for name, value in changes.items()} | {EVERY_FIELD.digest}
    for second in (None, "digest/1"):
        digests.add(replace(EVERY_FIELD, second_algorithm=second, keyed_tolerances=()).digest)
    assert len(digests) == len(changes) + 3
    written = json.dumps(shortest(EVERY_FIELD.to_dict()), sort_keys=True, separators=(",", ":")).encode()
    tag = b"crynux-validate/policy/1"
    parts = b"".join(len(part).to_bytes(4, "big") + part for part in (tag, written))
    assert EVERY_FIELD.digest == hashlib.sha256(parts).hexdigest()


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
