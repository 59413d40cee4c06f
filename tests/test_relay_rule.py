"""The live network's verdicts, row by row (protocol, "The live network, for comparison")."""

import itertools
import json
import math
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import CentreRule, ErrorReport, Finding, ImageScore, Outcome, TextScore, judge
from crynux_validate.answers import similarity_score
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import Absent, CrynuxRelayRule, Malformed, Member, Withheld

NODES = ("node-a", "node-b", "node-c")
PLAIN = 0xF0F0F0F00F0F0F0F


def images(agreeing: frozenset[str]) -> list[ImageScore]:
    """Three hashes of which exactly these pairs (by their places) are less than 24 apart.

    Three groups of 12 bits: a pair is 24 apart where each of the two has a group of its own, and 12 apart otherwise.
    """
    a, b, c = (((1 << 12) - 1) << (12 * at) for at in range(3))
    sets = {
        frozenset({"12", "13", "23"}): (0, 0, 0),
        frozenset({"12"}): (a, a, b),
        frozenset({"13"}): (a, b, a),
        frozenset({"23"}): (b, a, a),
        frozenset({"12", "13"}): (0, a, b),
        frozenset({"12", "23"}): (a, 0, b),
        frozenset({"13", "23"}): (a, b, 0),
        frozenset(): (a, b, c),
    }
    return [ImageScore((PLAIN ^ flips).to_bytes(8, "big")) for flips in sets[agreeing]]


SSS = [
    ({"12", "13", "23"}, "VRR"),
    ({"12"}, "VRI"),
    ({"13"}, "VIR"),
    ({"23"}, "IVR"),
    ({"12", "13"}, "VRR"),
    ({"12", "23"}, "VRI"),
    ({"13", "23"}, "VIR"),
    (set(), "AAA"),
]
"""What the table says of three scores in the order of time."""

TIMED_OUT: tuple[Member, ...] = (Absent(), Withheld(), Malformed("x"))
REPORTS: tuple[Member, ...] = (ErrorReport("schema"), ErrorReport("limits"), ErrorReport("failed", "out of memory"))


def finding(letter: str, member: Member) -> Finding:
    """What a letter of the table is here."""
    if letter in "VR":
        return Finding.VALID
    if letter == "I":
        return Finding.INVALID
    if isinstance(member, ErrorReport):
        return Finding.ERROR
    return Finding.UNDECIDED if isinstance(member, ImageScore | TextScore) else Finding.ABSENT


def check(in_order: list[Member], letters: str) -> None:
    """Judge members that finished in this order, under every assignment to nodes and in every order of the mapping."""
    for nodes in itertools.permutations(NODES):
        seconds = {
            node: 1.5 * at
            for at, (node, member) in enumerate(zip(nodes, in_order, strict=True))
            if not isinstance(member, Absent | Withheld | Malformed)
        }
        rule = CrynuxRelayRule(seconds=seconds)
        members = dict(zip(nodes, in_order, strict=True))
        expected = {
            node: finding(letter, member) for (node, member), letter in zip(members.items(), letters, strict=True)
        }
        validated = dict(zip(letters, in_order, strict=True)).get("V")
        for listed in itertools.permutations(members):
            verdict = judge({node: members[node] for node in listed}, rule)
            assert verdict.findings == expected
            assert tuple(verdict.findings) == listed
            assert verdict.delivered_score == validated
            assert (verdict.outcome is Outcome.VALIDATED) == ("V" in letters)


@pytest.mark.parametrize(("agreeing", "letters"), SSS)
def test_three_scores(agreeing: set[str], letters: str) -> None:
    scores = images(frozenset(agreeing))
    for a, b in itertools.combinations(range(3), 2):
        distance = similarity_score(scores[a], scores[b])
        assert distance is not None
        assert (distance < 24) == (f"{a + 1}{b + 1}" in agreeing), "the construction is wrong"
    check(list(scores), letters)


@pytest.mark.parametrize("report", REPORTS, ids=str)
@pytest.mark.parametrize("place", range(3))
def test_two_scores_and_a_report(report: Member, place: int) -> None:
    for agreeing, paid, reported in ((frozenset({"12", "13", "23"}), "VR", "I"), (frozenset[str](), "AA", "A")):
        scores: list[Member] = list(images(agreeing)[:2])
        letters = paid[:place] + reported + paid[place:]
        check([*scores[:place], report, *scores[place:]], letters)


@pytest.mark.parametrize("reports", list(itertools.product(REPORTS, repeat=2)), ids=str)
@pytest.mark.parametrize("place", range(3))
def test_two_reports_slash_a_lone_score(reports: tuple[Member, Member], place: int) -> None:
    score = images(frozenset())[0]
    check([*reports[:place], score, *reports[place:]], "A" * place + "I" + "A" * (2 - place))


@pytest.mark.parametrize("reports", list(itertools.combinations_with_replacement(REPORTS, 3)), ids=str)
def test_three_reports(reports: tuple[Member, ...]) -> None:
    check(list(reports), "AAA")


@pytest.mark.parametrize("out", TIMED_OUT, ids=str)
def test_one_timed_out(out: Member) -> None:
    first, second, _ = images(frozenset({"12"}))
    other = images(frozenset())[1]
    report = REPORTS[0]
    check([first, second, out], "VRA")
    check([first, other, out], "AAA")
    for finished in itertools.permutations((first, report)):
        check([*finished, out], "AAA")
    check([report, report, out], "AAA")


@pytest.mark.parametrize("out", list(itertools.combinations_with_replacement(TIMED_OUT, 2)), ids=str)
def test_two_or_three_timed_out(out: tuple[Member, Member]) -> None:
    check([images(frozenset())[0], *out], "AAA")
    check([REPORTS[0], *out], "AAA")
    check([Absent(), *out], "AAA")


def test_outcomes_without_a_validated_score() -> None:
    score, report = images(frozenset())[0], REPORTS[0]
    rule = CrynuxRelayRule(seconds=dict.fromkeys(NODES, 1.0))

    def outcome(*members: Member) -> Outcome:
        return judge(dict(zip(NODES, members, strict=True)), rule).outcome

    assert outcome(report, report, report) is Outcome.TASK_FAULT
    assert outcome(score, report, report) is Outcome.TASK_FAULT
    assert outcome(report, report, Absent()) is Outcome.NO_QUORUM
    assert outcome(*images(frozenset())) is Outcome.NO_QUORUM


def test_equal_times_are_ordered_by_id() -> None:
    outer, middle, other = images(frozenset({"12", "23"}))
    rule = CrynuxRelayRule(seconds=dict.fromkeys("abc", 2))
    assert judge({"b": middle, "a": outer, "c": other}, rule).findings["c"] is Finding.INVALID
    assert judge({"b": middle, "c": outer, "a": other}, rule).findings["c"] is Finding.INVALID


def test_four_of_six_orders_slash_who_another_vouches_for() -> None:
    scores = dict(zip(NODES, images(frozenset({"12", "23"})), strict=True))
    slashed = []
    for order in itertools.permutations(NODES):
        verdict = judge(scores, CrynuxRelayRule(seconds={node: at for at, node in enumerate(order)}))
        slashed += [(order, node) for node, found in verdict.findings.items() if found is Finding.INVALID]
    assert len(slashed) == 4
    assert all(node == max((NODES[0], NODES[2]), key=order.index) for order, node in slashed), "the later outer one"
    assert set(judge(scores, CentreRule(24)).findings.values()) == {Finding.VALID}


def test_text() -> None:
    one, other = TextScore(bytes(32)), TextScore(bytes(31) + b"\1")
    check([one, other, one], "VIR")
    check([one, other, TextScore(bytes(30) + b"\1\1")], "AAA")
    capitals = TextScore(bytes.fromhex("AB" * 32))
    assert capitals == TextScore(bytes.fromhex("ab" * 32)), "bytes have no letter case"


@given(st.lists(st.integers(0, 23), min_size=3, max_size=3), st.integers(1, 64))
def test_the_threshold_is_strict(flips: list[int], threshold: int) -> None:
    scores = [ImageScore((PLAIN ^ ((1 << count) - 1)).to_bytes(8, "big")) for count in flips]
    rule = CrynuxRelayRule(threshold, seconds={node: at for at, node in enumerate(NODES)})
    verdict = judge(dict(zip(NODES, scores, strict=True)), rule)
    near = any(abs(a - b) < threshold for a, b in itertools.combinations(flips, 2))
    assert (verdict.outcome is Outcome.VALIDATED) == near


def test_scores_of_other_lengths_differ() -> None:
    one = images(frozenset())[0]
    check([one, ImageScore(one.hashes * 2), one], "VIR")


@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        ({"node-a": 1, "node-b": 2}, "no execution time of node-c"),
        ({}, "no execution time"),
        (dict.fromkeys(NODES, math.nan), "node-a is nan"),
        (dict.fromkeys(NODES, math.inf), "finite"),
        (dict.fromkeys(NODES, -0.5), "-0.5"),
        (dict.fromkeys(NODES, True), "True"),
        (dict.fromkeys(NODES, "1"), "'1'"),
        (dict.fromkeys(NODES), "None"),
        ({"\n": 1.0}, "printable"),
        ([1.0, 2.0, 3.0], "mapping"),
    ],
)
def test_bad_seconds(seconds: Any, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        judge(dict(zip(NODES, images(frozenset()), strict=True)), CrynuxRelayRule(seconds=seconds))


@pytest.mark.parametrize("threshold", [0, 65, 24.0, True, None])
def test_bad_thresholds(threshold: Any) -> None:
    with pytest.raises(InvalidInputError, match="1 to 64"):
        CrynuxRelayRule(threshold, seconds={})


def test_bad_groups() -> None:
    score = images(frozenset())[0]
    rule = CrynuxRelayRule(seconds=dict.fromkeys("abcde", 1.0))
    with pytest.raises(InvalidInputError, match=r"has 5 members; .* needs 3"):
        judge(dict.fromkeys("abcde", score), rule)
    mixed: list[Mapping[str, Member]] = [
        {"a": score, "b": score, "c": TextScore(bytes(32))},
        {"a": TextScore(bytes(32)), "b": TextScore(bytes(32), algorithm="logits/1"), "c": Absent()},
    ]
    for members in mixed:
        with pytest.raises(InvalidInputError, match="expected one algorithm"):
            judge(members, rule)


def test_a_rule_is_a_value() -> None:
    times = {"a": 1.0}
    rule = CrynuxRelayRule(seconds=times)
    times["a"] = 2.0
    assert rule.seconds["a"] == 1.0
    assert rule == CrynuxRelayRule(24, seconds={"a": 1.0})
    assert hash(rule) == hash(CrynuxRelayRule(24, seconds={"a": 1.0}))
    assert pickle.loads(pickle.dumps(rule)) == rule


def test_its_verdict_reads_like_any_other() -> None:
    scores = dict(zip(NODES, images(frozenset({"13"})), strict=True))
    verdict = judge(scores, CrynuxRelayRule(seconds={"node-a": 1, "node-b": 0.5, "node-c": 10**400}))
    assert json.loads(verdict.to_json())["findings"] == {"node-a": "VALID", "node-b": "INVALID", "node-c": "VALID"}
    assert verdict.distances == {"node-a": 0, "node-b": 24, "node-c": 0}
