"""Many groups at once have the verdicts that `judge` gives each of them (protocol J1-J6)."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crynux_validate import CentreRule, ErrorReport, Finding, ImageScore, Outcome, judge
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import Absent, CrynuxRelayRule, Malformed, Member, MemberKind, Withheld, bulk, judge_many
from tests.test_judging import OTHERS, RULE, all_groups

Hashes = npt.NDArray[np.uint64]
Group = Sequence[Member]

A, FAR = 0xF0F0F0F00F0F0F0F, 0x0F0F0F0FF0F0F0F0

WITHOUT_SCORE = (*OTHERS, ErrorReport("unsupported"))


def arrays(groups: Sequence[Group], images: int) -> tuple[Hashes, npt.NDArray[np.uint8]]:
    """Put groups of one size into arrays; where there is no score stands something that must not matter."""
    hashes = np.full((len(groups), len(groups[0]), images), 0xF0F0F0F00F0F0F0F, np.uint64)
    kinds = np.array([[MemberKind.of(member) for member in group] for group in groups], np.uint8)
    for at, group in enumerate(groups):
        for place, member in enumerate(group):
            if isinstance(member, ImageScore):
                hashes[at, place] = member.blocks
    return hashes, kinds


def check(groups: Sequence[Group], images: int, rule: CentreRule) -> bulk.Verdicts:
    verdicts = judge_many(*arrays(groups, images), rule)
    assert len(verdicts) == len(groups)
    for at, group in enumerate(groups):
        expected = judge({f"n{place}": member for place, member in enumerate(group)}, rule)
        assert bulk.OUTCOMES[verdicts.outcomes[at]] is expected.outcome
        assert [bulk.FINDINGS[number] for number in verdicts.findings[at]] == list(expected.findings.values())
        delivered = int(verdicts.delivered[at])
        if expected.delivered_score is None:
            assert delivered == -1
        else:
            hexes = [member.hex if isinstance(member, ImageScore) else None for member in group]
            assert delivered == hexes.index(expected.delivered_score.hex), "not the first with the delivered score"
    return verdicts


@st.composite
def many_groups(draw: st.DrawFn) -> tuple[list[list[Member]], int]:
    """Groups of scores near a few pictures, plain ones among them, so that every relation occurs."""
    size = draw(st.sampled_from((3, 5, 7, 9)))
    images = draw(st.integers(1, 3))
    block = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1 << 63, 2**64 - 1, 0xFF << 20]))
    pictures = draw(st.lists(st.lists(block, min_size=images, max_size=images), min_size=1, max_size=3))

    def score(picture: list[int], flips: list[set[int]]) -> Member:
        blocks = [block ^ sum(1 << bit for bit in bits) for block, bits in zip(picture, flips, strict=True)]
        return ImageScore(b"".join(block.to_bytes(8, "big") for block in blocks))

    nothing: set[int] = set()
    noise = st.one_of(
        st.just(nothing), st.sets(st.integers(0, 63), max_size=3), st.sets(st.integers(0, 63), max_size=26)
    )
    scores = st.builds(score, st.sampled_from(pictures), st.lists(noise, min_size=images, max_size=images))
    member = st.one_of(scores, scores, scores, scores, st.sampled_from(WITHOUT_SCORE))
    group = st.lists(member, min_size=size, max_size=size)
    return draw(st.lists(group, min_size=1, max_size=5)), images


@given(many_groups(), st.integers(1, 64), st.integers(0, 20), st.booleans())
@settings(max_examples=300)
def test_as_judge_says(groups: tuple[list[list[Member]], int], threshold: int, extra: int, checker: bool) -> None:
    check(*groups, CentreRule(threshold, min(64, threshold + extra), safety_checker=checker))


def test_blank_pictures_beside_two_equal_ones() -> None:
    """Every number of blank pictures, with and without a safety checker in the task."""
    picture = ImageScore(A.to_bytes(8, "big") * 3)
    blanks = [ImageScore(bytes(8) * blank + picture.hashes[8 * blank :]) for blank in range(4)]
    groups: list[list[Member]] = [[picture, blank, picture] for blank in blanks]
    slashed = [
        check(groups, 3, CentreRule(safety_checker=checker)).found(Finding.INVALID)[:, 1].tolist()
        for checker in (True, False)
    ]
    assert slashed == [[False] * 4, [False, True, True, True]]


@st.composite
def trees(draw: st.DrawFn) -> list[Member]:
    """Scores that each differ from an earlier one in one or two bits of their own, so that chains of them occur."""
    size = draw(st.sampled_from((7, 9)))
    values = [A]
    for at in range(1, size):
        near = draw(st.integers(0, min(at - 1, 2)) | st.integers(0, at - 1))
        values.append(values[near] ^ draw(st.sampled_from([0, 1, 3])) << 2 * at)
    members: list[Member] = [ImageScore(value.to_bytes(8, "big")) for value in values]
    for at in draw(st.sets(st.integers(1, size - 1), max_size=2)):
        members[at] = Absent()
    return draw(st.permutations(members))


@given(st.lists(trees(), min_size=1, max_size=1), st.integers(3, 9))
@settings(max_examples=500)
def test_chains_of_agreements(groups: list[list[Member]], slash_threshold: int) -> None:
    check(groups, 1, CentreRule(3, slash_threshold))


def test_a_chain_protects_from_a_slash() -> None:
    """Six of nine agree around one; from one of them a chain leads on, farther than the slash threshold."""
    chain = [A ^ sum(3 << 2 * at for at in range(steps)) for steps in range(5)]
    around = [A ^ 3 << 2 * at for at in range(10, 14)]
    values = [*around, *chain[::-1]]
    members: list[Member] = [ImageScore(value.to_bytes(8, "big")) for value in values]
    verdicts = check([members], 1, CentreRule(3, 4))
    assert verdicts.found(Finding.BORDERLINE).sum() == 3
    assert verdicts.found(Finding.VALID).sum() == 6


def test_agreements_count_before_distances() -> None:
    """The middle one agrees with all five, though the three equal ones are nearer together."""
    middle = A ^ 0xFFF
    members: list[Member] = [ImageScore(value.to_bytes(8, "big")) for value in (A, A, A, middle, middle ^ 0xFFF000)]
    assert check([members], 1, CentreRule(13)).delivered.tolist() == [3]


@pytest.mark.parametrize("size", [3, 5])
def test_enumerated_groups(size: int) -> None:
    every = 1 if size == 3 else 11  # of the 63,000 groups of five, which `judge` takes half a minute for
    groups = [list(group.values()) for group in itertools.islice(all_groups(size), 0, None, every)]
    if size == 3:
        groups = [list(order) for group in groups for order in itertools.permutations(group)]
    verdicts = check(groups, 1, RULE)
    seen = verdicts.count()
    assert all(seen[name] for name in (*Outcome, *Finding)), "a kind of verdict never occurred"


def test_more_groups_than_are_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [list(group.values()) for group in all_groups(3)]
    whole = judge_many(*arrays(groups, 1), RULE)
    monkeypatch.setattr(bulk, "_AT_ONCE", 7)
    parts = judge_many(*arrays(groups, 1), RULE)
    for name in ("outcomes", "findings", "delivered"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_what_comes_out() -> None:
    hashes = np.array([[[A], [A ^ 1], [FAR]], [[A], [FAR], [A ^ 0xFFFF << 20]]], np.uint64)
    verdicts = judge_many(hashes)
    assert verdicts.ended(Outcome.VALIDATED).tolist() == [True, False]
    assert verdicts.found(Finding.INVALID).tolist() == [[False, False, True], [False] * 3]
    assert verdicts.delivered.tolist() == [1, -1]
    assert str(verdicts) == "2 groups: VALIDATED 1, NO_QUORUM 1, VALID 2, INVALID 1, UNDECIDED 3"
    empty = judge_many(np.empty((0, 3, 1), np.uint64))
    assert len(empty) == 0
    assert str(empty) == "0 groups"


@pytest.mark.parametrize("images", [1, 16])
def test_the_inputs_are_left_alone(images: int) -> None:
    hashes = np.random.default_rng(1).integers(0, 2**63, (4, 9, images)).astype(np.uint64)
    before = hashes.copy()
    hashes.flags.writeable = False
    judge_many(hashes, np.zeros((4, 9), np.int64))
    assert np.array_equal(hashes, before)


def test_arrays_that_are_views() -> None:
    hashes = np.random.default_rng(1).integers(0, 2**63, (2, 3, 40)).astype(np.uint64)
    seen = judge_many(hashes.transpose(2, 1, 0))
    copied = judge_many(np.ascontiguousarray(hashes.transpose(2, 1, 0)))
    assert np.array_equal(seen.findings, copied.findings)


GOOD = np.zeros((2, 3, 1), np.uint64)


@pytest.mark.parametrize(
    ("hashes", "kinds", "rule", "word"),
    [
        ([[["f0"]]], None, None, "a list"),
        (GOOD.astype(np.int64), None, None, "array of int64"),
        (GOOD[0], None, None, r"shape \(3, 1\)"),
        (np.zeros((2, 4, 1), np.uint64), None, None, "3, 5, 7, 9 members"),
        (np.zeros((2, 3, 0), np.uint64), None, None, "1 to 16 images"),
        (np.zeros((2, 3, 17), np.uint64), None, None, "1 to 16 images"),
        (GOOD, np.zeros((3, 3), np.uint8), None, r"shape \(2, 3\)"),
        (GOOD, np.zeros((2, 3), np.float64), None, "float64"),
        (GOOD, [[0, 0, 0]] * 2, None, "list"),
        (GOOD, np.array([[0, 0, 0], [0, 8, 0]]), None, r"kinds\[1, 1\] is 8"),
        (GOOD, np.array([[0, 0, -1], [0, 0, 0]]), None, r"kinds\[0, 2\] is -1"),
        (GOOD, None, CrynuxRelayRule(seconds={}), "CrynuxRelayRule"),
    ],
)
def test_bad_input(hashes: Any, kinds: Any, rule: Any, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        judge_many(hashes, kinds, rule)


def test_kinds() -> None:
    members: list[Member] = [
        ImageScore(bytes(8)), Malformed(), ErrorReport("schema"), ErrorReport("limits"), ErrorReport("unsupported"),
        ErrorReport("failed"), Absent(), Withheld(),
    ]  # fmt: skip
    assert [MemberKind.of(member) for member in members] == list(MemberKind)
