"""Make the test vectors that the wheel carries: ``python tools/make_vectors.py``.

Each vector has an id, a reason and flags, so that a failure explains itself. What is written is what this library
computes; `tests/test_vectors.py` recomputes the same from the protocol's text alone. Values that were published do not
change: other bits are a new id. The perceptual hashes in ``vectors/phash`` are of other programs, and made elsewhere.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import crynux_validate as cv
from crynux_validate.answers import logits_digest
from crynux_validate.keyed import keyed_seed
from crynux_validate.signatures import signed_bytes
from crynux_validate.tasks import WARPERS
from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES, from_hex, multiply
from crynux_validate.vectors_check import judged, made_picture

FOLDER = Path(__file__).parent.parent / "src" / "crynux_validate" / "vectors"

HUB = cv.ModelRef("stabilityai/sdxl-turbo", revision="0123456789abcdef0123456789abcdef01234567")
LOCAL = cv.ModelRef(digest="ab" * 32)


def task_vectors() -> list[dict[str, Any]]:
    """Tasks, their canonical bytes and digests."""
    plain = cv.ImageTask(model=HUB, prompt="a red cat")
    tasks = [
        ("defaults", "every default is written into the canonical bytes", plain),
        ("local-folder", "a model that its content digest names", plain.replace(model=LOCAL)),
        ("variant", "fp16 weights, computed in float16", plain.replace(
            model=cv.ModelRef(HUB.repository, revision=HUB.revision, variant="fp16"), dtype="float16")),
        ("unicode", "escapes, beyond the basic plane, composed and decomposed, a control character",
         plain.replace(prompt="Katze \u00e9 e\u0301 \U0001f408 \u2028 \"\\\n\x01")),
        ("numbers", "the largest seed; numbers as RFC 8785 writes them",
         plain.replace(seed=2**53 - 1, guidance_scale=0.1 + 0.2)),
        ("whole-float", "a float without a fraction is written without one", plain.replace(guidance_scale=5.0)),
        ("tiny-float", "an exponent", plain.replace(guidance_scale=1e-7)),
        ("scheduler-default", "LCM's limit of steps is written in", plain.replace(scheduler="LCMScheduler", steps=4)),
        ("scheduler-args", "arguments, sorted", plain.replace(
            scheduler="DPMSolverMultistepScheduler",
            scheduler_args={"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++", "solver_order": 2})),
        ("every-field", "nothing is left at its default", cv.ImageTask(
            model=HUB, prompt="a", negative_prompt="b", seed=1, steps=2, width=64, height=4096, guidance_scale=1.5,
            images=16, scheduler="PNDMScheduler", scheduler_args={"skip_prk_steps": True}, dtype="bfloat16",
            safety_checker=True, algorithm="phash/1")),
    ]  # fmt: skip
    said = cv.TextTask(model=HUB, messages=[{"role": "user", "content": "what is the sea?"}])
    texts = [
        ("text-defaults", "every default of a text task is written into the canonical bytes", said),
        ("text-prompt", "plain text as the input", said.replace(messages=None, prompt="Once \u00e9 upon")),
        ("text-tokens", "token ids as the input", said.replace(messages=None, token_ids=[0, 5, 2**31 - 1])),
        ("text-tools", "the keys of tools are sorted and their numbers canonical, before a template sees them",
         said.replace(tools=[{"type": "function", "function": {"name": "f", "b": 2.0, "a": [1e21, -0.0]}}])),
        ("text-conversation", "every role, and a call of a tool", said.replace(messages=[
            {"role": "system", "content": "brief"}, {"role": "developer", "content": ""},
            {"role": "user", "content": "rain?", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "content": "yes", "tool_call_id": "1"}])),
        ("text-every-field", "nothing that can be combined is left at its default", said.replace(
            date="2026-01-31", seed=1, max_new_tokens=2, sequences=3, do_sample=True, temperature=0.7, top_k=50,
            top_p=0.95, min_p=0.05, typical_p=0.9, repetition_penalty=1.1, warper_order=WARPERS[::-1],
            stop=["\n\n", "END"], eos_token_ids=[2, 7], dtype="float16", binding="logits")),
        ("text-beams", "a beam search, and no token that ends a sequence", said.replace(beams=4, eos_token_ids=[])),
    ]  # fmt: skip
    return [
        {"id": f"task/{name}", "reason": why, "flags": [], "json": task.to_json(), "digest": task.digest}
        for name, why, task in [*tasks, *texts]
    ]


def text_score_vectors() -> list[dict[str, Any]]:
    """Scores of generated tokens; the rows of logits are given as float32 in hexadecimal digits, little-endian."""
    cases: list[tuple[str, str, list[list[int]], list[list[list[float]]] | None]] = [
        ("one-sequence", "ids are little-endian, lengths big-endian", [[1, 2, 70_000]], None),
        ("two-sequences", "where one ends and the next begins is in the score", [[1, 2], [3]], None),
        ("two-other-sequences", "the same ids, cut elsewhere, are another score", [[1], [2, 3]], None),
        ("largest-id", "ids are u32", [[0, 2**32 - 1]], None),
        ("logits", "each id is followed by the digest of its row", [[1, 0]], [[[0.5, -1.25], [3.0, -0.0]]]),
        ("infinite-logits", "a row may hold minus infinity", [[0], [1]], [[[1.0, -math.inf]], [[-math.inf, 1e-40]]]),
    ]
    vectors = []
    for name, why, ids, logits in cases:
        rows = None if logits is None else [[struct.pack(f"<{len(row)}f", *row) for row in rows] for rows in logits]
        digests = None if rows is None else [[logits_digest(row) for row in sequence] for sequence in rows]
        score = cv.TextScore.from_tokens(ids, digests)
        result = score.result_digest.hex() if score.result_digest else None
        given = {"token_ids": ids, "logits": None if rows is None else [[row.hex() for row in rs] for rs in rows]}
        found = {"algorithm": score.algorithm, "score": score.hex, "result_digest": result}
        vectors.append({"id": f"text-score/{name}", "reason": why, "flags": [], **given, **found})
    return vectors


def answer_vectors() -> list[dict[str, Any]]:
    """Answers, openings and commitments."""
    two = bytes.fromhex("f0f0f0f00f0f0f0f8123456789abcdef")
    answers: list[tuple[str, str, cv.Answer]] = [
        ("image-score", "two images", cv.ImageScore(two, bytes(range(32)))),
        ("text-score", "tokens", cv.TextScore(bytes(range(32)), bytes(range(32)))),
        ("logits-score", "logits, with the tokens' score as result digest", cv.TextScore(
            bytes(range(32, 64)), bytes(range(32)), "logits/1")),
        ("invalid-task", "a report that anyone can check has no message", cv.ErrorReport("limits")),
        ("failed", "a report with a message in UTF-8", cv.ErrorReport("failed", "Speicher voll \u2014 8 GiB")),
    ]  # fmt: skip
    nonce = bytes(range(100, 132))
    names = {"ledger": "ledger-1", "group": "group-7", "node": "node-2"}
    vectors = []
    for name, why, answer in answers:
        opening = cv.Opening(answer.to_bytes(), nonce)
        commitments = {str(r): opening.commitment(**names, round=r).hex() for r in (1, 2)}
        fields = {"answer": answer.to_bytes().hex(), "nonce": nonce.hex(), "opening": opening.to_bytes().hex()}
        vectors.append(
            {"id": f"answer/{name}", "reason": why, "flags": [], **names, **fields, "commitments": commitments}
        )
    return vectors


def draw_vectors() -> list[dict[str, Any]]:
    """Draws of groups."""
    cases: list[tuple[str, str, list[cv.Candidate], int, list[str]]] = [
        ("equal-weights", "five nodes of five owners", [cv.Candidate(f"n{i}", f"o{i}", 1) for i in range(5)], 3, []),
        ("weights", "weights from 1 to 2^32-1", [
            cv.Candidate(f"n{i}", f"o{i}", w) for i, w in enumerate([1, 2**32 - 1, 7, 400, 10**9])], 3, []),
        ("one-owner", "an owner's other nodes leave with the one that is drawn", [
            cv.Candidate(f"n{i}", f"o{i // 3}", 10) for i in range(9)], 3, []),
        ("unavailable", "two of the pool cannot serve any more", [
            cv.Candidate(f"n{i}", f"o{i}", i + 1) for i in range(8)], 5, ["n0", "n7"]),
        ("sorted", "the pool's order does not matter; ids are compared byte by byte", [
            cv.Candidate(n, f"o-{n}", 3) for n in ("n10", "n9", "N1", "~", "a_b")], 3, []),
    ]  # fmt: skip
    vectors = []
    for name, why, pool, size, unavailable in cases:
        beacon = bytes(range(32))
        found = cv.draw(pool, size, ledger="ledger-1", group="group-7", beacon=beacon, unavailable=unavailable)
        given = {"ledger": "ledger-1", "group": "group-7", "beacon": beacon.hex(), "size": size}
        rows = [[candidate.id, candidate.owner, candidate.weight] for candidate in pool]
        vectors.append(
            {
                "id": f"draw/{name}",
                "reason": why,
                "flags": [],
                **given,
                "pool": rows,
                "unavailable": unavailable,
                "members": list(found.members),
            }
        )
    return vectors


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


def verdict_vectors() -> list[dict[str, Any]]:
    """Groups as ``crynux-validate judge`` reads them, and what it says of them."""
    named = [(f"centre-{name}", why, found) for name, why, found in centre_groups()]
    named += [(f"relay-{name}", why, found) for name, why, found in relay_groups()]
    return [
        {"id": f"verdict/{name}", "reason": why, "flags": [], "group": found, "verdict": judged(found).to_dict()}
        for name, why, found in named
    ]


def stake_vectors() -> list[dict[str, Any]]:
    """Required stakes with their parts, and what a counterfeit gains with other stakes; decimal strings."""
    live: dict[str, Any] = {"threshold": None, "view": "network"}
    drawn: dict[str, Any] = {"threshold": None}
    cases: list[tuple[str, str, int, int, dict[str, Any]]] = [
        ("live-1", "the live network's first example: s = 9.2647", 90, 10, live | {"sampling_rate": "0.1"}),
        ("live-2", "its second: s = 110.2411", 80, 20, live | {"sampling_rate": "0.01"}),
        ("live-3", "its third: s = 332.3333", 2, 3, live | {"sampling_rate": "0.01"}),
        ("drawn-1", "the first as a node sees it that is drawn: s = 11.11", 90, 10, drawn | {"sampling_rate": "0.1"}),
        ("drawn-2", "the second: s = 152.5", 80, 20, drawn | {"sampling_rate": "0.01"}),
        ("drawn-3", "the third: s = 599 exactly", 2, 3, drawn | {"sampling_rate": "0.01"}),
        ("measured-24", "a counterfeit that agrees by chance: s = 11.33", 90, 10,
         {"threshold": 24, "sampling_rate": "0.1"}),
        ("defaults", "threshold 16, slashed from 24 on, every task validated", 90, 10, {}),
        ("slash-threshold", "slashed from the threshold on", 90, 10, {"threshold": 20, "slash_threshold": 20}),
        ("between", "13 counts as 16, the next that was measured", 90, 10, {"threshold": 13}),
        ("images", "three independent pictures", 90, 10, {"threshold": 24, "images": 3}),
        ("binomial", "64 tosses of a fair coin", 90, 10, {"threshold": 32, "source": "binomial"}),
        ("binomial-64", "almost anything agrees: large, not infinite", 90, 10,
         {"threshold": 64, "source": "binomial"}),
        ("price", "the stake has the unit of the price", 50, 5, {"price": "12.5", "sampling_rate": "0.25"}),
        ("no-honest", "nobody can disagree: no stake helps", 0, 5, {}),
        ("one-honest", "two colluders are in every group: no stake helps", 1, 5, {}),
        ("free", "nothing is gained, no stake is needed", 1, 5, {"price": "0"}),
        ("no-collusion", "one dishonest node in the live network's count", 9, 1, live),
    ]  # fmt: skip
    vectors = []
    for name, why, honest, dishonest, changes in cases:
        given = {
            "honest": honest, "dishonest": dishonest, "threshold": 16, "slash_threshold": None, "images": 1,
            "sampling_rate": "1", "price": "1", "source": "measured", "view": "drawn",
        } | changes  # fmt: skip
        exact = given | {name: Fraction(given[name]) for name in ("sampling_rate", "price")}
        required = cv.required_stake(**exact)
        gains = {stake: cv.expected_gain(Fraction(stake), **exact).gain for stake in ("0", "1", "1000")}
        vectors.append(
            {
                "id": f"stake/{name}",
                "reason": why,
                "flags": ["infinite"] if math.isinf(required.s) else [],
                "given": given,
                "tolerance": "1e-12",
                **{part: decimal(getattr(required, part)) for part in ("p", "f", "e", "x", "s")},
                "gains": {stake: decimal(gain) for stake, gain in gains.items()},
            }
        )
    return vectors


def decimal(value: float) -> str:
    """The shortest decimal that is read back as this float64."""
    return "infinity" if math.isinf(value) else repr(float(value))


def class_vectors() -> list[dict[str, Any]]:
    """Classes, their digests and declarations."""
    card = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)
    digests = {name: bytes([at]) * 32 for at, name in enumerate(("kernel", "numerics", "canary"), 1)}
    cases = [
        ("plain", "one card", cv.NodeClass(card, **digests)),
        ("other-canary", "another canary: another digest, the same declaration",
         cv.NodeClass(card, **digests | {"canary": bytes(32)})),
        ("other-memory", "memory is part of the identity",
         cv.NodeClass(cv.GpuModel("NVIDIA GeForce RTX 4090", 48), **digests)),
        ("platform", "a platform", cv.NodeClass(cv.GpuModel("NVIDIA GeForce RTX 4090", 24, "docker"), **digests)),
        ("two-cards", "two cards, each with layers of its own",
         cv.NodeClass(cv.GpuModel("NVIDIA GeForce RTX 4090", 24, "docker", 2), **digests)),
        ("tensor-parallel", "two cards that share each layer: only then is tensor_parallel written",
         cv.NodeClass(cv.GpuModel("2x NVIDIA GeForce RTX 4090 TP+docker", 24), **digests)),
    ]  # fmt: skip
    return [
        {
            "id": f"class/{name}", "reason": why, "flags": [], "class": found.to_dict(),
            "digest": found.digest, "declaration": found.declaration,
        }
        for name, why, found in cases
    ]  # fmt: skip


def attestation_vectors() -> list[dict[str, Any]]:
    """Attestations and the commitments to them."""
    digests = {name: bytes([at]) * 32 for at, name in enumerate(("kernel", "numerics", "canary"), 1)}
    first = cv.Attestation(0, **digests)
    nonce = bytes(range(100, 132))
    cases = [
        ("first-epoch", "epoch 0", first, "node-1"),
        ("last-epoch", "the largest epoch", cv.Attestation(2**53 - 1, **digests), "node-1"),
        ("other-node", "a commitment is its node's alone", first, "node-2"),
        ("odd-name", "ids are printable ASCII without spaces", first, "!~"),
        ("other-canary", "the canary is bound", cv.Attestation(0, **digests | {"canary": bytes(32)}), "node-1"),
    ]
    vectors = []
    for name, why, attestation, node in cases:
        commitment = attestation.commitment(ledger="ledger-1", node=node, nonce=nonce).hex()
        given = {"ledger": "ledger-1", "node": node, "attestation": attestation.to_dict(), "nonce": nonce.hex()}
        vectors.append({"id": f"attestation/{name}", "reason": why, "flags": [], **given, "commitment": commitment})
    return vectors


def keyed_vectors() -> list[dict[str, Any]]:
    """Seeds of second rounds, and keyed scores of text."""
    nonces = {f"n{at}": bytes([at]) * 32 for at in (1, 2, 3)}
    cases: list[tuple[str, str, dict[str, bytes], list[list[int]]]] = [
        ("three", "three members revealed", nonces, [[1, 2, 70_000]]),
        ("two", "one withheld: another seed", {node: nonces[node] for node in ("n1", "n3")}, [[1, 2, 70_000]]),
        ("bytewise", "nonces stand in the order of the node ids, byte by byte",
         {"n9": bytes([9]) * 32, "n10": bytes([10]) * 32, "N1": bytes([1]) * 32}, [[1, 2, 70_000]]),
        ("two-sequences", "where one sequence ends and the next begins is in the score", nonces, [[1, 2], [70_000]]),
    ]  # fmt: skip
    vectors = []
    for name, why, revealed, ids in cases:
        seed = keyed_seed("group-7", revealed)
        made = cv.KeyedScore.from_tokens(seed, ids)
        given = {"group": "group-7", "nonces": {node: nonce.hex() for node, nonce in revealed.items()}}
        found = {"seed": seed.hex(), "score": made.hex, "answer": made.to_bytes().hex()}
        vectors.append({"id": f"keyed/{name}", "reason": why, "flags": [], **given, "token_ids": ids, **found})
    return vectors


def signature_vectors() -> list[dict[str, Any]]:
    """Signed commitments; Ed25519 signatures are the same every time."""
    key = cv.SigningKey(bytes(range(32)))
    commitment = bytes(range(100, 132))
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("first-round", "a commitment of the first round", {"round": 1}),
        ("second-round", "the round is signed", {"round": 2}),
        ("other-group", "the group is signed", {"round": 1, "group": "group-8"}),
    ]
    vectors = []
    for name, why, change in cases:
        ids: dict[str, Any] = {"ledger": "ledger-1", "group": "group-7", "node": "node-2"} | change
        given = {"secret": key.secret.hex(), **ids, "commitment": commitment.hex()}
        found = {"public_key": key.public_key.hex(), "signed": signed_bytes(commitment, **ids).hex()}
        made = key.sign(commitment, **ids).hex()
        vectors.append({"id": f"signature/{name}", "reason": why, "flags": [], **given, **found, "signature": made})
    return vectors


def key_vectors() -> list[dict[str, Any]]:
    """Public keys that a node can join with, and bytes that are none: written down, not computed here."""
    eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc"
    other_eighth = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03"
    small = "a point of small order, "
    cases = [
        ("rfc8032-1", "the key of RFC 8032, 7.1, test 1",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", True),
        ("rfc8032-2", "the key of RFC 8032, 7.1, test 2",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", True),
        ("base", "the base point", "58" + "66" * 31, True),
        ("order-1", small + "1: the identity", "01" + "00" * 31, False),
        ("order-2", small + "2", "ec" + "ff" * 30 + "7f", False),
        ("order-4", small + "4", "00" * 32, False),
        ("order-4-sign", small + "4, with a sign", "00" * 31 + "80", False),
        ("order-8", small + "8", eighth + "05", False),
        ("order-8-sign", small + "8, with a sign", eighth + "85", False),
        ("order-8-other", small + "8", other_eighth + "7a", False),
        ("order-8-other-sign", small + "8, with a sign", other_eighth + "fa", False),
        ("sign-of-zero", "no point: x is 0 and has a sign (the identity)", "01" + "00" * 30 + "80", False),
        ("sign-of-zero-2", "no point: x is 0 and has a sign (order 2)", "ec" + "ff" * 31, False),
        ("y-is-p", "no point: y is 2^255-19, which stands for 0", "ed" + "ff" * 30 + "7f", False),
        ("y-is-p-sign", "no point: the same with a sign", "ed" + "ff" * 31, False),
        ("y-is-p-plus-1", "no point: y is 2^255-18, which stands for 1", "ee" + "ff" * 30 + "7f", False),
        ("y-is-p-plus-1-sign", "no point: the same with a sign", "ee" + "ff" * 31, False),
        ("no-x", "no point: no x fits y = 2", "02" + "00" * 31, False),
        ("all-ones", "no point: y is 2^255-1", "ff" * 32, False),
    ]  # fmt: skip
    return [
        {"id": f"key/{name}", "reason": why, "flags": [], "key": key, "usable": usable}
        for name, why, key, usable in cases
    ]


def pool_vectors() -> list[dict[str, Any]]:
    """Pools and their digests."""
    cases: list[tuple[str, str, list[cv.Candidate]]] = [
        ("three", "three nodes of three owners", [cv.Candidate(f"n{i}", f"o{i}", i + 1) for i in range(3)]),
        ("order", "the same in another order: the same digest",
         [cv.Candidate(f"n{i}", f"o{i}", i + 1) for i in (2, 0, 1)]),
        ("bytewise", "ids are sorted byte by byte", [
            cv.Candidate(n, f"o-{n}", 3) for n in ("n10", "n9", "N1", "~", "a_b")]),
        ("weights", "the least and the largest weight", [cv.Candidate("a", "o", 1), cv.Candidate("b", "o", 2**32 - 1)]),
        ("empty", "nobody", []),
    ]  # fmt: skip
    return [
        {
            "id": f"pool/{name}", "reason": why, "flags": [],
            "pool": [[candidate.id, candidate.owner, candidate.weight] for candidate in pool],
            "digest": cv.Pool(pool).digest,
        }
        for name, why, pool in cases
    ]  # fmt: skip


def event_vectors() -> list[dict[str, Any]]:
    """Logs of ledgers from genesis on, and the digest of each event."""
    cases = [
        ("membership", "deposits, a node that joins, tops up and leaves", membership_log()),
        ("settled-group", "a group of three with a cheat, from its opening to its settlement", settled_log()),
    ]
    return [
        {
            "id": f"event/{name}", "reason": why, "flags": [],
            "events": [event.to_dict() for event in log],
            "digests": [event.digest for event in log], "head": log[-1].digest,
        }
        for name, why, log in cases
    ]  # fmt: skip


def membership_log() -> list[cv.Event]:
    """A ledger with one node."""
    ledger = cv.MemoryLedger(ledger_id="ledger-1", clock=lambda: 1_700_000_000, beacon=cv.LocalBeacon(bytes(32)))
    ledger.deposit("owner-1", 10**30)
    ledger.join("node-1", owner="owner-1", gpu=cv.GpuModel("NVIDIA GeForce RTX 4090", 24), stake=400)
    ledger.top_up("node-1", 100)
    ledger.leave("node-1")
    ledger.withdraw("owner-1", 10**30)
    return list(ledger.events())


def settled_log() -> list[cv.Event]:
    """A ledger with a settled group, two of whose members agree."""
    time = iter(range(1_700_000_000, 1_700_001_000))
    ledger = cv.MemoryLedger(ledger_id="ledger-1", clock=lambda: next(time), beacon=cv.LocalBeacon(bytes(32)))
    ledger.deposit("app", 1_000)
    for at in (1, 2, 3):
        ledger.deposit(f"owner-{at}", 500)
        ledger.join(f"node-{at}", owner=f"owner-{at}", gpu=cv.GpuModel("NVIDIA GeForce RTX 4090", 24), stake=500)
    task = cv.ImageTask(model=HUB, prompt="a red cat")
    opened = ledger.open_group(task, creator="app", fee=100)
    drawn = ledger.draw(opened.id)
    for at, node in enumerate(drawn.members):
        answer = cv.ImageScore((far(30) if at == 2 else A).to_bytes(8, "big"), bytes([at]) * 32)
        opening = cv.Opening(answer.to_bytes(), bytes([at]) * 32)
        ledger.commit(opened.id, node, opening.commitment(ledger=ledger.id, group=opened.id, node=node))
    for at, node in enumerate(drawn.members):
        answer = cv.ImageScore((far(30) if at == 2 else A).to_bytes(8, "big"), bytes([at]) * 32)
        ledger.reveal(opened.id, node, cv.Opening(answer.to_bytes(), bytes([at]) * 32))
    ledger.settle(opened.id)
    return list(ledger.events())


def picture_vectors() -> list[dict[str, Any]]:
    """Pictures of squares of one shade, whose shades are the bytes of SHAKE-128 of a seed."""
    cases = [
        ("tall", "the width is reduced first, and each pass rounds: Pillow 13 by itself reduces the height first",
         60, 200, 1, 3, "1"),
        ("taller", "the same of a picture sixteen times as high as it is wide", 64, 1024, 1, 8, "15"),
        ("tall-colour", "grey comes before either pass", 96, 256, 3, 5, "10"),
        ("tall-coarse", "half as wide as high, as portraits are", 512, 1024, 1, 24, "8"),
        ("square", "as many rows as columns", 100, 100, 3, 7, "0"),
        ("wide", "wider than high: every Pillow reduces the width first", 200, 60, 1, 3, "0"),
        ("wider", "few rows, which are enlarged", 1000, 5, 3, 1, "0"),
        ("narrow", "as wide as it becomes: one pass", 32, 90, 1, 2, "0"),
        ("low", "as high as it becomes: one pass", 90, 32, 1, 2, "0"),
        ("already-reduced", "32x32 samples are taken as they are", 32, 32, 1, 1, "0"),
        ("one-off", "a pixel more in each direction", 33, 33, 1, 1, "1"),
        ("tiny", "3x5 pixels are enlarged", 3, 5, 3, 1, "0"),
        ("one-column", "one pixel wide: every row is flat, and sums of zero decide", 1, 50, 1, 1, "0"),
        ("one-row", "one pixel high", 50, 1, 1, 1, "0"),
        ("one-pixel", "flat: only the constant coefficient is above the median", 1, 1, 3, 1, "0"),
        ("two-halves", "coefficients that are equal on paper: the order of the transform's operations decides",
         64, 64, 1, 32, "2"),
        ("four-pixels", "the same, enlarged from 2x2", 2, 2, 1, 1, "0"),
    ]  # fmt: skip
    names = ("width", "height", "channels", "grain", "seed")
    vectors = []
    for name, why, *values in cases:
        given: dict[str, Any] = dict(zip(names, values, strict=True))
        found = cv.image_hash(made_picture(**given), "phash/1").hex
        vectors.append({"id": f"picture/{name}", "reason": why, "flags": [], **given, "phash": found})
    return vectors


def tensor_core_vectors() -> list[dict[str, Any]]:
    """Products of tensor cores: those of another program as they stand, then what it has none of."""
    text = (FOLDER / "tensor-cores.json").read_text(encoding="utf-8")
    vectors = [vector for vector in json.loads(text)["vectors"] if vector["source"] != "crynux_validate"]
    words = {
        "float16": {"inf": "7c00", "nan": "7e01", "one": "3c00", "-one": "bc00", "largest": "7bff"},
        "bfloat16": {"inf": "7f80", "nan": "7fc1", "one": "3f80", "-one": "bf80", "largest": "7f7f"},
    }
    both = ("float16", "bfloat16")
    everywhere = dict.fromkeys(range(32), "largest")
    cases: list[tuple[str, str, tuple[str, ...], int, int, dict[int, str], dict[int, str], str]] = [
        ("split-2", "k in two blocks, whose accumulators are added in float32", both, 128, 2, {}, {}, "00000000"),
        ("split-4", "k in four blocks", both, 256, 4, {}, {}, "00000000"),
        ("split-uneven", "three blocks of 64 and a short one", both, 200, 4, {}, {}, "00000000"),
        ("split-begin", "the first of two blocks begins with a number", both, 64, 2, {}, {}, "c2f6e979"),
        ("short-k", "zeros fill the last instruction", both, 37, 1, {}, {}, "00000000"),
        ("infinity", "an infinite factor", both, 32, 1, {7: "inf"}, {7: "-one"}, "00000000"),
        ("infinity-times-zero", "NaN", both, 32, 1, {20: "inf"}, {20: "0000"}, "00000000"),
        ("infinities", "infinities of both signs, in instructions of their own: NaN", both, 32, 1,
         {1: "inf", 30: "inf"}, {1: "one", 30: "-one"}, "00000000"),
        ("nan", "a factor that is NaN", both, 32, 1, {31: "nan"}, {}, "00000000"),
        ("infinite-begin", "the accumulator begins with minus infinity", both, 32, 1, {}, {}, "ff800000"),
        ("nan-begin", "the accumulator begins with a NaN of other bits", both, 32, 1, {}, {}, "ffc12345"),
        ("overflow", "a sum that float32 does not have", ("bfloat16",), 32, 1, everywhere, everywhere, "7f7fffff"),
        ("large-product", "a product of 2^128 or more, which CDNA3 takes for infinity", ("bfloat16",), 32, 1,
         {0: "largest", 1: "largest"}, {0: "7f7f", 1: "ff7f"}, "00000000"),
        ("subnormal-result", "a sum below the smallest normal float32", ("bfloat16",), 32, 1,
         dict.fromkeys(range(32), "0081"), {at: f"{0x3381 + 9 * at:04x}" for at in range(32)}, "80000003"),
    ]  # fmt: skip
    for name, why, dtypes, k, splits, first, second, begin in cases:
        for dtype in dtypes:
            sides = [near_one(f"{name} {dtype} {side}", dtype, k) for side in "ab"]
            for side, changes in zip(sides, (first, second), strict=True):
                for at, word in changes.items():
                    side[at] = words[dtype].get(word, word)
            a, b = map("".join, sides)
            given = {"dtype": dtype, "splits": splits, "a": a, "b": b, "c": begin}
            identity = {"id": f"tensor-core/{dtype}-{name}", "reason": why, "flags": [], "source": "crynux_validate"}
            vectors.append({**identity, **given, "result": tensor_core_results(**given)})
    return vectors


def near_one(seed: str, dtype: str, count: int) -> list[str]:
    """The bits of numbers between 1/8 and 8, whose signs and fractions are those of SHAKE-128 of the seed."""
    words = struct.unpack(f">{count}H", hashlib.shake_128(seed.encode()).digest(2 * count))
    fraction, bias = {"float16": (10, 15), "bfloat16": (7, 127)}[dtype]
    kept = 0x8000 | (1 << fraction) - 1
    return [f"{word & kept | bias - 3 + at * 5 % 6 << fraction:04x}" for at, word in enumerate(words)]


def tensor_core_results(*, dtype: str, splits: int, a: str, b: str, c: str) -> dict[str, str]:
    """What each architecture that has the dtype gives."""
    rows, columns, begin = from_hex(a, dtype)[None], from_hex(b, dtype)[:, None], from_hex(c, "float32")[None]
    found = {
        name: multiply(rows, columns, begin, architecture=name, dtype=dtype, splits=splits)
        for name, architecture in ARCHITECTURES.items()
        if dtype in architecture.at_once
    }
    return {name: result.astype(">f4").tobytes().hex() for name, result in found.items()}


def all_vectors() -> dict[str, list[dict[str, Any]]]:
    """Every kind, by the name of its file."""
    return {
        "tasks": task_vectors(),
        "answers": answer_vectors(),
        "text-scores": text_score_vectors(),
        "draws": draw_vectors(),
        "verdicts": verdict_vectors(),
        "stakes": stake_vectors(),
        "classes": class_vectors(),
        "attestations": attestation_vectors(),
        "keyed": keyed_vectors(),
        "signatures": signature_vectors(),
        "keys": key_vectors(),
        "pools": pool_vectors(),
        "events": event_vectors(),
        "pictures": picture_vectors(),
        "tensor-cores": tensor_core_vectors(),
    }


def written(vectors: list[dict[str, Any]]) -> str:
    """The text of a file."""
    text = json.dumps({"schema": "crynux-validate/vectors/1", "vectors": vectors}, indent=1, ensure_ascii=True)
    return text + "\n"


def main() -> None:
    """Write one file for each kind."""
    for name, vectors in all_vectors().items():
        (FOLDER / f"{name}.json").write_text(written(vectors), encoding="utf-8")


if __name__ == "__main__":
    main()
