"""Vectors of verdicts."""

from collections.abc import Mapping
from typing import Any

from tools.vectors.common import Vector, vector

from crynux_validate.vectors_check.groups import judged

A = 0xF0F0F0F00F0F0F0F
FLAT = 1 << 63

ABSENT: dict[str, Any] = {"answer": "absent"}
WITHHELD: dict[str, Any] = {"answer": "withheld"}
MALFORMED: dict[str, Any] = {"answer": "malformed", "reason": "another number of images"}
FAILED: dict[str, Any] = {"answer": "failed", "message": "out of memory"}


def score(*hashes: int) -> dict[str, Any]:
    """A member with the perceptual hashes of some images."""
    return {"answer": "score", "score": "".join(f"{value:016x}" for value in hashes)}


def far(bits: int, start: int = 0) -> int:
    """A hash that is so many bits away from A."""
    return A ^ (((1 << bits) - 1) << start)


def report(code: str) -> dict[str, Any]:
    """A member that says that the task is invalid."""
    return {"answer": "invalid_task", "code": code}


def text(byte: int) -> dict[str, Any]:
    """A member with a text score."""
    return {"answer": "score", "score": f"{byte:02x}" * 32}


def group(*members: Mapping[str, Any], **rule: Any) -> dict[str, Any]:
    """A group as ``crynux-validate judge`` reads it."""
    rule = {"algorithm": "phash/1", "rule": "centre"} | rule
    if rule["rule"] == "centre":
        rule = {"threshold": 16, "slash_threshold": 24, "safety_checker": False} | rule
    return rule | {"members": {f"node-{at}": dict(member) for at, member in enumerate(members, 1)}}


def centre_groups() -> list[tuple[str, str, dict[str, Any]]]:
    """Groups for the rule of this library (J1-J6)."""
    a = score(A)
    left, right = far(12), far(12, 12)
    link = far(12, 24)
    end, loner = link ^ (((1 << 12) - 1) << 36), far(24, 40)
    plain, other_plain = score(FLAT), score(0)
    return [
        ("all-equal", "three equal scores", group(a, a, a)),
        ("below-threshold", "15 bits away agrees at 16", group(a, a, score(far(15)))),
        ("at-threshold", "16 bits away does not agree at 16: neither paid nor slashed", group(a, a, score(far(16)))),
        ("below-slash-threshold", "23 bits away is not slashed at 24", group(a, a, score(far(23)))),
        ("at-slash-threshold", "24 bits away is slashed at 24", group(a, a, score(far(24)))),
        ("inverse", "all 64 bits differ", group(a, score(far(64)), a)),
        ("live-thresholds-near", "23 bits away agrees at 24",
         group(a, a, score(far(23)), threshold=24, slash_threshold=24)),
        ("live-thresholds-far", "24 bits away is slashed at 24",
         group(a, a, score(far(24)), threshold=24, slash_threshold=24)),
        ("strictest", "at 1 only equal scores agree; one bit is not slashed", group(a, a, score(far(1)), threshold=1)),
        ("strictest-slash", "at 1 and 1 one bit is slashed",
         group(a, a, score(far(1)), threshold=1, slash_threshold=1)),
        ("loosest", "at 64 only the inverse does not agree; one that agrees with both is the centre",
         group(a, score(far(63)), score(far(64)), threshold=64, slash_threshold=64)),
        ("chain", "the outer two do not agree, the middle one with both: it is the only centre",
         group(score(left), a, score(right), threshold=13)),
        ("chain-of-seven", "who is linked to a centre by agreements is not slashed, however far away",
         group(a, score(left), score(right), score(link), score(end), score(loner), ABSENT, threshold=13)),
        ("nobody-agrees", "three scores, no two agree", group(a, score(far(30)), score(far(30, 30)))),
        ("two-of-five", "two that agree are no quorum of five",
         group(a, a, score(far(30)), score(far(30, 30)), ABSENT)),
        ("quorum-counts-absent", "one score of three is no centre", group(a, ABSENT, ABSENT)),
        ("three-of-five", "three that agree, a cheat, a malformed answer",
         group(a, score(far(2)), score(far(40)), MALFORMED, a)),
        ("two-quorums-of-five", "three and three share a member: all that agree with a centre are valid",
         group(score(left), score(left), a, score(right), score(right), threshold=13)),
        ("everything-else", "with a centre: absent, withheld, failed", group(a, a, a, ABSENT, FAILED, WITHHELD, a)),
        ("false-report", "a report of an invalid task beside a centre is a false claim (J3)",
         group(a, report("schema"), a)),
        ("failed", "a machine that could not run it is not slashed", group(a, FAILED, a)),
        ("malformed", "a malformed answer beside a centre is slashed", group(MALFORMED, a, a)),
        ("withheld", "withholding has a finding of its own", group(a, a, WITHHELD)),
        ("withheld-no-quorum", "also where there is no quorum", group(a, WITHHELD, WITHHELD)),
        ("degenerate-delivered", "where the delivered picture is flat, no distance slashes",
         group(plain, plain, score(far(0)))),
        ("degenerate-other", "a flat picture beside two that are not is slashed", group(a, a, other_plain)),
        ("degenerate-block", "far in the flat block only", group(score(A, FLAT), score(A, FLAT), score(A, A))),
        ("degenerate-other-block", "far in the block that is not flat",
         group(score(A, FLAT), score(A, FLAT), score(far(40), FLAT))),
        ("checker-blank", "with a safety checker in the task a flat picture beside two that are not is not slashed",
         group(a, a, other_plain, safety_checker=True)),
        ("checker-blank-quorum", "nor is a picture beside two flat ones", group(plain, plain, a, safety_checker=True)),
        ("checker-cheat", "with a safety checker another picture is slashed as ever",
         group(a, a, score(far(24)), safety_checker=True)),
        ("checker-fewest-bits", "24 set bits are not flat: slashed",
         group(a, a, score(0x0F0F0F0F000F0F00), safety_checker=True)),
        ("checker-too-few-bits", "23 set bits are",
         group(a, a, score(0x0F0F0F0F000F0E00), safety_checker=True)),
        ("checker-other-block", "a flat block, and one in which neither picture is flat and they are far apart",
         group(score(A, A), score(A, A), score(0, far(40)), safety_checker=True)),
        ("checker-blank-and-near", "a flat block, and one below the slash threshold",
         group(score(A, A), score(A, A), score(0, far(23)), safety_checker=True)),
        ("checker-all-blank", "every block flat: as many pictures as there are",
         group(score(A, A, A), score(A, A, A), score(0, FLAT, 0), safety_checker=True)),
        ("checker-other-length", "a flat score that cannot be compared is slashed",
         group(a, a, score(0, 0), safety_checker=True)),
        ("checker-chain-of-blanks", "two of five blank: neither is slashed",
         group(a, a, a, plain, other_plain, safety_checker=True)),
        ("checker-text", "a safety checker means nothing for text",
         group(text(1), text(1), text(0), algorithm="tokens/1", safety_checker=True)),
        ("never-summed", "two blocks of 12 bits each are 12 apart, not 24",
         group(score(A, A), score(A, A), score(far(12), far(12)))),
        ("one-block-far", "one block of two decides", group(score(A, A), score(A, A), score(A, far(24)))),
        ("other-length", "scores of other lengths cannot be compared", group(a, a, score(A, A))),
        ("delivered-sum", "of two centres with as many agreements the one with the smaller sum of distances",
         group(score(far(6)), score(far(2)), a)),
        ("delivered-bytes", "of two with equal sums the smaller bytes",
         group(score(far(4)), a, score(far(4)), a, ABSENT)),
        ("delivered-agreements", "more agreements come before a smaller sum",
         group(a, a, a, score(left), score(left ^ (((1 << 12) - 1) << 12)), threshold=13)),
        ("task-fault", "two equal reports, and a score that is not slashed",
         group(report("schema"), a, report("schema"))),
        ("task-fault-of-five", "three reports of one code, one of another, a malformed answer",
         group(*[report("limits")] * 3, report("unsupported"), MALFORMED)),
        ("codes-differ", "reports of two codes do not agree", group(report("schema"), report("limits"), a)),
        ("all-failed", "failed agrees with nothing", group(FAILED, FAILED, FAILED)),
        ("nobody-there", "three that never committed", group(ABSENT, ABSENT, ABSENT)),
        ("go", "hashes of the other kind, by the same rule",
         group(a, score(far(3)), score(far(30)), algorithm="phash-go/1")),
        ("text", "text agrees where it is equal", group(text(1), text(1), text(2), algorithm="tokens/1")),
        ("text-no-quorum", "three texts", group(text(1), text(2), text(3), algorithm="tokens/1")),
        ("text-of-five", "thresholds mean nothing for text",
         group(*[text(7)] * 3, text(6), ABSENT, algorithm="logits/1", threshold=64, slash_threshold=64)),
    ]  # fmt: skip


def relay_groups() -> list[tuple[str, str, dict[str, Any]]]:
    """The live network's table, row by row; members stand in the order of time."""
    x, y, z = (A ^ (((1 << 12) - 1) << (12 * at)) for at in range(3))
    first, error, out = score(A), report("schema"), ABSENT
    rows = [
        ("SSS-all", "all agree: V R R", score(A), score(A), score(A)),
        ("SSS-12", "only 1~2: V R I", score(x), score(x), score(y)),
        ("SSS-13", "only 1~3: V I R", score(x), score(y), score(x)),
        ("SSS-23", "only 2~3: I V R", score(y), score(x), score(x)),
        ("SSS-12-13", "1~2 and 1~3: V R R", score(A), score(x), score(y)),
        ("SSS-12-23", "1~2 and 2~3: V R I, though the third agrees with the second", score(x), score(A), score(y)),
        ("SSS-13-23", "1~3 and 2~3: V I R", score(x), score(y), score(A)),
        ("SSS-none", "none agree: A A A", score(x), score(y), score(z)),
        ("SSE", "two that agree slash an error report", first, first, error),
        ("SES", "also where it came in between", first, error, first),
        ("ESS", "or first", error, first, first),
        ("SSE-differ", "two that differ: A A A", score(x), score(y), error),
        ("SEE", "two error reports slash a lone score", first, error, report("limits")),
        ("ESE", "whatever their order", error, first, FAILED),
        ("EES", "whatever their order", error, error, first),
        ("EEE", "A A A", error, error, error),
        ("SST", "two that agree: V R A", first, first, out),
        ("SST-differ", "two that differ: A A A", score(x), score(y), out),
        ("SET", "A for all", first, error, out),
        ("EET", "A for all", error, error, WITHHELD),
        ("STT", "A for all", first, out, MALFORMED),
        ("ETT", "A for all", error, out, out),
        ("TTT", "A for all", out, out, out),
    ]  # fmt: skip
    found = []
    for name, why, *members in rows:
        timed = [
            member | ({"seconds": 1.5 * at} if member["answer"] in ("score", "invalid_task", "failed") else {})
            for at, member in enumerate(members)
        ]
        found.append((name, why, group(*timed, rule="crynux-relay", threshold=24)))
    tie = [member | {"seconds": 2} for member in (score(x), score(A), score(y))]
    texts = [member | {"seconds": at} for at, member in enumerate((text(1), text(2), text(1)))]
    return [
        *found,
        ("same-time", "equal times: the smaller node id first", group(*tie, rule="crynux-relay", threshold=24)),
        ("strict", "at 5, as it was at first", group(
            *[member | {"seconds": at} for at, member in enumerate((score(A), score(far(4)), score(far(5))))],
            rule="crynux-relay", threshold=5)),
        ("text", "text agrees where it is equal", group(
            *texts, rule="crynux-relay", threshold=24, algorithm="tokens/1")),
    ]  # fmt: skip


def verdict_vectors() -> list[Vector]:
    """Groups as ``crynux-validate judge`` reads them, and what it says of them."""
    named = [(f"centre-{name}", why, found) for name, why, found in centre_groups()]
    named += [(f"relay-{name}", why, found) for name, why, found in relay_groups()]
    return [vector(f"verdict/{name}", why, group=found, verdict=judged(found).to_dict()) for name, why, found in named]
