"""The verdict's properties, exhaustively for groups of 3 and 5, and by random search up to 9 (protocol J1-J6)."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crynux_validate import CentreRule, ErrorReport, Finding, ImageScore, Outcome, TextScore, Verdict, judge
from crynux_validate.answers import Score, agree, similarity_score
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import Absent, Malformed, Member, Withheld

WEIGHT = 8
RULE = CentreRule(threshold=13, slash_threshold=16, safety_checker=False)
AGREE, BETWEEN, FAR = 2, 1, 0
"""How many bits a pair shares: its distance is 2 * (8 - shared), so 12 agrees, 14 is in between, 16 is far."""

OTHERS: tuple[Member, ...] = (
    Malformed("x"),
    ErrorReport("schema"),
    ErrorReport("limits"),
    ErrorReport("failed", "out of memory"),
    Absent(),
    Withheld(),
)


def scores_with(relations: Mapping[tuple[int, int], int], count: int) -> list[ImageScore]:
    """Real hashes whose pairs agree, are in between, or are far, as asked.

    Each hash has 8 bits of the low 40; a pair shares as many as its relation says. The other 24 bits are set in all, so
    that no hash is degenerate.
    """
    hashes = [((1 << 24) - 1) << 40] * count
    bit = 0
    used = [0] * count
    for (a, b), shared in relations.items():
        for _ in range(shared):
            hashes[a] |= 1 << bit
            hashes[b] |= 1 << bit
            used[a] += 1
            used[b] += 1
            bit += 1
    for at in range(count):
        for _ in range(WEIGHT - used[at]):
            hashes[at] |= 1 << bit
            bit += 1
    return [ImageScore(value.to_bytes(8, "big")) for value in hashes]


def test_the_construction_gives_every_relation() -> None:
    pairs = list(itertools.combinations(range(5), 2))
    relations = {pair: at % 3 for at, pair in enumerate(pairs)}
    scores = scores_with(relations, 5)
    for (a, b), shared in relations.items():
        assert similarity_score(scores[a], scores[b]) == 2 * (WEIGHT - shared)
    assert not any(score.degenerate for score in scores)


def all_groups(size: int) -> Iterator[dict[str, Member]]:
    """Every kind of member and every graph of agree, in between and far."""
    for count in range(size + 1):
        pairs = list(itertools.combinations(range(count), 2))
        for shared in itertools.product((FAR, BETWEEN, AGREE), repeat=len(pairs)):
            scores = scores_with(dict(zip(pairs, shared, strict=True)), count)
            for others in itertools.combinations_with_replacement(OTHERS, size - count):
                yield {f"n{at}": member for at, member in enumerate((*scores, *others))}


def linked(members: Mapping[str, Member], rule: CentreRule) -> list[tuple[str, str]]:
    return [
        (a, b)
        for a, b in itertools.combinations(members, 2)
        if isinstance(members[a], Score)
        and isinstance(members[b], Score)
        and agree(members[a], members[b], rule.threshold)  # type: ignore[arg-type]
    ]


def check_properties(members: dict[str, Member], verdict: Verdict, rule: CentreRule) -> None:
    quorum = len(members) // 2 + 1
    findings = verdict.findings
    links = linked(members, rule)
    component = {node: {node} for node in members}
    for a, b in links:
        joined = component[a] | component[b]
        for node in joined:
            component[node] = joined
    for node, finding in findings.items():
        if finding is Finding.INVALID:
            others = {findings[other] for other in component[node] if other != node}
            assert Finding.VALID not in others, "a slashed member agrees with a valid one, directly or through others"
            assert verdict.outcome is Outcome.VALIDATED, "slashed without a quorum"
    degree = {node: 1 + sum(node in link for link in links) for node in members if isinstance(members[node], Score)}
    has_centre = any(count >= quorum for count in degree.values())
    assert (verdict.outcome is Outcome.VALIDATED) == has_centre
    assert (verdict.delivered_score is not None) == has_centre
    pairs = {frozenset(link) for link in links}
    for clique in itertools.combinations(degree, quorum):
        if all(frozenset(pair) in pairs for pair in itertools.combinations(clique, 2)):
            assert all(findings[node] is Finding.VALID for node in clique), "an agreeing quorum is not all valid"
    for node, member in members.items():
        assert (findings[node] is Finding.ABSENT) == isinstance(member, Absent)
        assert (findings[node] is Finding.WITHHELD) == isinstance(member, Withheld)
        if isinstance(member, ErrorReport) and member.code == "failed":
            assert findings[node] is Finding.ERROR


def slashed(verdict: Verdict) -> set[str]:
    return {node for node, finding in verdict.findings.items() if finding is Finding.INVALID}


@pytest.mark.parametrize("size", [3, pytest.param(5, marks=pytest.mark.long)])
def test_every_group(size: int) -> None:
    lenient = CentreRule(RULE.threshold, 17, safety_checker=False)
    for members in all_groups(size):
        verdict = judge(members, RULE)
        check_properties(members, verdict, RULE)
        assert judge(dict(reversed(members.items())), RULE) == verdict, "the order of members matters"
        assert slashed(judge(members, lenient)) <= slashed(verdict), "a higher slash threshold slashed more"
        absent = judge({**members, "a": Absent(), "b": Absent()}, RULE)
        assert slashed(absent) <= slashed(verdict), "two absent members created a slash"
        if size == 3:
            for order in itertools.permutations(members):
                assert judge({node: members[node] for node in order}, RULE) == verdict


def check_checker(members: dict[str, Member], verdict: Verdict, rule: CentreRule) -> None:
    """A safety checker in the task only ever spares a member whose score is degenerate, and changes nothing else."""
    checked = judge(members, replace(rule, safety_checker=True))
    assert (checked.outcome, checked.delivered_score) == (verdict.outcome, verdict.delivered_score)
    for node, finding in checked.findings.items():
        member = members[node]
        if finding is not verdict.findings[node]:
            assert (verdict.findings[node], finding) == (Finding.INVALID, Finding.BORDERLINE)
            assert isinstance(member, ImageScore)
            assert member.degenerate
    one = verdict.delivered_score
    if isinstance(one, ImageScore) and len(one.blocks) == 1:
        for node in slashed(checked):
            member = members[node]
            assert not (isinstance(member, ImageScore) and len(member.blocks) == 1 and member.degenerate)


def flips_of(bits: Iterable[int]) -> int:
    return sum(1 << bit for bit in bits)


@st.composite
def groups(draw: st.DrawFn, sizes: tuple[int, ...]) -> dict[str, Member]:
    """Groups of hashes near a few real pictures, so that every relation occurs."""
    size = draw(st.sampled_from(sizes))
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))

    def score() -> st.SearchStrategy[Member]:
        flips = st.sets(st.integers(0, 63), max_size=26)
        return st.builds(
            lambda at, bits, digest: ImageScore(
                (centres[at] ^ sum(1 << bit for bit in bits)).to_bytes(8, "big"), digest
            ),
            st.integers(0, len(centres) - 1),
            flips | st.just(set()),
            st.sampled_from([bytes(32), bytes(31) + b"\1", None]),
        )

    member = st.one_of(score(), score(), score(), st.sampled_from(OTHERS))
    return {f"n{at}": draw(member) for at in range(size)}


@given(groups((3, 5, 7, 9)), st.integers(1, 64), st.integers(0, 20), st.randoms())
@settings(max_examples=400)
def test_random_groups(members: dict[str, Member], threshold: int, extra: int, random: object) -> None:
    rule = CentreRule(threshold, min(64, threshold + extra), safety_checker=False)
    verdict = judge(members, rule)
    check_properties(members, verdict, rule)
    check_checker(members, verdict, rule)
    order = list(members)
    random.shuffle(order)  # type: ignore[attr-defined]
    assert judge({node: members[node] for node in order}, rule) == verdict
    higher = CentreRule(threshold, min(64, threshold + extra + 5), safety_checker=False)
    assert slashed(judge(members, higher)) <= slashed(verdict)
    if len(members) < 9:
        assert slashed(judge({**members, "a": Absent(), "b": Absent()}, rule)) <= slashed(verdict)


A = ImageScore.from_hex("f0f0f0f00f0f0f0f")
NEAR_A = ImageScore.from_hex("f0f0f0f00f0f0f0e")
FAR_FROM_A = ImageScore.from_hex("0f0f0f0ff0f0f0f0")
FLAT = ImageScore.from_hex("8000000000000000")


def test_two_agree_and_one_cheats() -> None:
    verdict = judge({"a": A, "b": NEAR_A, "c": FAR_FROM_A})
    assert verdict.outcome is Outcome.VALIDATED
    assert verdict.findings == {"a": Finding.VALID, "b": Finding.VALID, "c": Finding.INVALID}
    assert verdict.delivered_score == NEAR_A, "the smallest bytes break the tie (J6)"
    assert verdict.distances == {"a": 1, "b": 0, "c": 63}


def test_a_slash_needs_a_block_in_which_the_delivered_picture_is_not_degenerate() -> None:
    verdict = judge({"a": FLAT, "b": FLAT, "c": FAR_FROM_A})
    assert verdict.findings["c"] is Finding.BORDERLINE
    two = [ImageScore(FLAT.hashes + A.hashes)] * 2
    assert judge({"a": two[0], "b": two[1], "c": ImageScore(FAR_FROM_A.hashes + A.hashes)}).findings["c"] is (
        Finding.BORDERLINE
    )
    assert judge({"a": two[0], "b": two[1], "c": ImageScore(FLAT.hashes + FAR_FROM_A.hashes)}).findings["c"] is (
        Finding.INVALID
    )


def test_a_blank_picture_is_slashed_only_where_no_safety_checker_can_have_made_it() -> None:
    """Near its limit a safety checker blanks the picture of one honest machine, and not that of another."""
    black = ImageScore.from_images([Image.new("RGB", (64, 64))])
    members: dict[str, Member] = {"a": A, "b": A, "c": black}
    without, unknown = CentreRule(safety_checker=False), CentreRule()
    assert judge(members, without).findings["c"] is Finding.INVALID
    assert judge(members, unknown).findings["c"] is judge(members).findings["c"] is Finding.BORDERLINE
    assert judge({"a": black, "b": black, "c": A}).findings["c"] is Finding.BORDERLINE
    assert judge({"a": A, "b": A, "c": FAR_FROM_A}).findings["c"] is Finding.INVALID
    three: dict[str, Member] = {node: ImageScore(A.hashes * 3) for node in "ab"}
    blanked = judge({**three, "c": ImageScore(A.hashes + black.hashes * 2)})
    assert blanked.findings["c"] is Finding.BORDERLINE, "two of three pictures were blanked"
    mixed = judge({**three, "c": ImageScore(FAR_FROM_A.hashes + black.hashes * 2)})
    assert mixed.findings["c"] is Finding.INVALID, "the picture that was not blanked is another one"


@pytest.mark.parametrize("value", [None, 1, 0, "yes"])
def test_a_safety_checker_is_there_or_not(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"safety_checker is .*; expected True or False"):
        CentreRule(safety_checker=value)  # type: ignore[arg-type]


def test_scores_that_cannot_be_compared_with_the_delivered_one_are_invalid() -> None:
    longer = ImageScore(A.hashes * 2)
    text = TextScore(bytes(32))
    assert judge({"a": A, "b": A, "c": longer}).findings["c"] is Finding.INVALID
    assert judge({"a": FLAT, "b": FLAT, "c": text}).findings["c"] is Finding.INVALID


def test_text_agrees_only_where_it_is_equal() -> None:
    one, other = TextScore(bytes(32)), TextScore(bytes(31) + b"\1")
    verdict = judge({"a": one, "b": one, "c": other}, CentreRule(64, 64))
    assert verdict.findings == {"a": Finding.VALID, "b": Finding.VALID, "c": Finding.INVALID}
    logits = TextScore(bytes(32), algorithm="logits/1")
    assert judge({"a": one, "b": logits, "c": other}).outcome is Outcome.NO_QUORUM


def test_reports() -> None:
    schema, limits = ErrorReport("schema"), ErrorReport("limits")
    fault = judge({"a": schema, "b": schema, "c": A})
    assert fault.outcome is Outcome.TASK_FAULT
    assert fault.findings == {"a": Finding.ERROR, "b": Finding.ERROR, "c": Finding.UNDECIDED}
    assert judge({"a": schema, "b": limits, "c": A}).outcome is Outcome.NO_QUORUM
    failed = ErrorReport("failed", "out of memory")
    assert judge({"a": failed, "b": failed, "c": failed}).outcome is Outcome.NO_QUORUM
    assert judge({"a": A, "b": A, "c": schema}).findings["c"] is Finding.INVALID, "a false claim (J3)"


def test_the_middle_of_a_chain_is_delivered() -> None:
    left, middle, right = scores_with({(0, 1): AGREE, (1, 2): AGREE, (0, 2): FAR}, 3)
    verdict = judge({"left": left, "middle": middle, "right": right}, RULE)
    assert set(verdict.findings.values()) == {Finding.VALID}
    assert verdict.delivered_score == middle


def flipped(score: ImageScore, bits: range) -> ImageScore:
    return ImageScore((score.blocks[0] ^ sum(1 << bit for bit in bits)).to_bytes(8, "big"))


def test_agreements_count_before_distances_in_what_is_delivered() -> None:
    middle = flipped(A, range(12))
    outer = flipped(middle, range(12, 24))
    members: dict[str, Member] = {"a": A, "b": A, "c": A, "middle": middle, "outer": outer}
    verdict = judge(members, CentreRule(threshold=13))
    assert set(verdict.findings.values()) == {Finding.VALID}
    assert verdict.delivered_score == middle, "it agrees with all five, though the three equal ones are nearer together"


def test_a_chain_of_agreements_protects_from_a_slash() -> None:
    first, second, link = (flipped(A, range(start, start + 12)) for start in (0, 12, 24))
    end = flipped(link, range(36, 48))
    loner = flipped(A, range(40, 64))
    members: dict[str, Member] = {
        "centre": A,
        "first": first,
        "second": second,
        "link": link,
        "end": end,
        "loner": loner,
        "absent": Absent(),
    }
    verdict = judge(members, CentreRule(threshold=13, slash_threshold=24))
    assert verdict.delivered_score == A, "the only one that four of seven agree with"
    assert verdict.findings["link"] is Finding.VALID
    assert verdict.findings["end"] is Finding.BORDERLINE, "24 bits away, but linked through a valid score"
    assert verdict.findings["loner"] is Finding.INVALID, "24 bits away, and linked to nobody"


@pytest.mark.parametrize(
    ("threshold", "slash", "word"),
    [
        (0, None, "threshold is 0"),
        (65, None, "65"),
        (True, None, "True"),
        (24, 16, "expected at least the threshold"),
        (16, 65, "slash_threshold"),
    ],
)
def test_bad_thresholds(threshold: int, slash: int | None, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        CentreRule(threshold, slash)


def test_the_slash_threshold_is_at_least_24_by_default() -> None:
    assert CentreRule(5).slash_threshold == 24
    assert CentreRule(40).slash_threshold == 40


def test_equal_scores_of_other_pixels_give_one_verdict() -> None:
    digests = {node: bytes([at]) * 32 for at, node in enumerate("abc")}
    members: dict[str, Member] = {node: ImageScore(A.hashes, digest) for node, digest in digests.items()}
    verdict = judge(members)
    assert judge(dict(reversed(members.items()))) == verdict
    assert verdict.delivered_score == ImageScore(A.hashes)


def test_bad_groups() -> None:
    with pytest.raises(InvalidInputError, match="expected node ids with their answers"):
        judge([A, A, A])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="has 2 members"):
        judge({"a": A, "b": A})
    with pytest.raises(InvalidInputError, match="of c is 'f0f0'; expected a score"):
        judge({"a": A, "b": A, "c": "f0f0"})  # type: ignore[dict-item]
    with pytest.raises(InvalidInputError, match="printable"):
        judge({"a": A, "b": A, "\n": A})


def test_a_verdict_reads_well() -> None:
    text = str(judge({"node-1": A, "node-2": NEAR_A, "node-3": FAR_FROM_A}))
    assert "VALIDATED" in text
    assert "node-3  INVALID     distance 63" in text
