"""Verdicts, by the words of J1 to J6 and the live network's table."""

import itertools

import crynux_validate as cv
from crynux_validate.vectors_check.groups import judged
from tests.vectors.reading import Vector, each, load


@each("verdicts")
def test_verdict(vector: Vector) -> None:
    group, said = vector["group"], vector["verdict"]
    rule = centre_by_the_book if group["rule"] == "centre" else relay_by_the_book
    assert rule(group) == said
    members = list(group["members"].items())
    orders = itertools.permutations(members) if len(members) < 6 else [members, members[::-1]]
    for order in orders:
        assert judged(group | {"members": dict(order)}).to_dict() == said, "the verdict hangs on the members' order"


def blocks(score: str) -> list[int]:
    return [int(score[at : at + 16], 16) for at in range(0, len(score), 16)]


def apart(group: Vector, one: str, other: str) -> int | None:
    """The similarity score of two members' scores (A3); None where they cannot be compared."""
    a, b = (group["members"][node]["score"] for node in (one, other))
    if group["algorithm"] in ("tokens/1", "logits/1"):
        return 0 if a == b else None
    if len(a) != len(b):
        return None
    return max((x ^ y).bit_count() for x, y in zip(blocks(a), blocks(b), strict=True))


def distances_to(group: Vector, delivered: str) -> dict[str, int]:
    """The similarity score of each score to the delivered one, where they can be compared."""
    scored = [node for node, member in group["members"].items() if member["answer"] == "score"]
    found = {node: apart(group, node, delivered) for node in scored}
    return {node: distance for node, distance in found.items() if distance is not None}


def centre_by_the_book(group: Vector) -> Vector:
    """J1 to J6 as the protocol words them."""
    members: dict[str, Vector] = group["members"]
    quorum = (len(members) + 1) // 2
    scored = [node for node, member in members.items() if member["answer"] == "score"]

    def agree(one: str, other: str) -> bool:
        distance = apart(group, one, other)
        return distance is not None and distance < group["threshold"]

    agreements = {node: [other for other in scored if agree(node, other)] for node in scored}
    centres = [node for node in scored if len(agreements[node]) >= quorum]
    if not centres:
        codes = [member.get("code") for member in members.values() if member["answer"] == "invalid_task"]
        fault = any(codes.count(code) >= quorum for code in codes)
        findings = {node: without_centre(member) for node, member in members.items()}
        return {
            "outcome": "TASK_FAULT" if fault else "NO_QUORUM", "delivered_score": None, "findings": findings,
            "distances": {},
        }  # fmt: skip

    def order(node: str) -> tuple[int, int, bytes]:
        distances = [apart(group, node, other) for other in scored]
        total = sum(64 if distance is None else distance for distance in distances)
        return -len(agreements[node]), total, bytes.fromhex(members[node]["score"])

    delivered = min(centres, key=order)
    linked = set(centres)
    for _ in members:
        linked |= {other for node in linked for other in agreements[node]}

    def found(node: str, member: Vector) -> str:
        match member["answer"]:
            case "score" if any(other in centres for other in agreements[node]):
                return "VALID"
            case "score":
                return "INVALID" if node not in linked and slashed(group, node, delivered) else "BORDERLINE"
            case "malformed" | "invalid_task":
                return "INVALID"
            case _:
                return without_centre(member)

    return {
        "outcome": "VALIDATED",
        "delivered_score": members[delivered]["score"],
        "findings": {node: found(node, member) for node, member in members.items()},
        "distances": distances_to(group, delivered),
    }


def slashed(group: Vector, node: str, delivered: str) -> bool:
    """J2 (b)."""
    own, other = (group["members"][name]["score"] for name in (node, delivered))
    if group["algorithm"] in ("tokens/1", "logits/1") or len(own) != len(other):
        return True
    pairs = zip(blocks(own), blocks(other), strict=True)
    for x, y in pairs:
        counts = [y.bit_count()] + ([x.bit_count()] if group["safety_checker"] else [])
        if (x ^ y).bit_count() >= group["slash_threshold"] and all(24 <= count <= 40 for count in counts):
            return True
    return False


def without_centre(member: Vector) -> str:
    found = {"score": "UNDECIDED", "malformed": "UNDECIDED", "absent": "ABSENT", "withheld": "WITHHELD"}
    return found.get(member["answer"], "ERROR")


def relay_by_the_book(group: Vector) -> Vector:
    """The live network's table, row by row."""
    members: dict[str, Vector] = group["members"]
    kinds = {"score": "S", "invalid_task": "E", "failed": "E"}
    in_time = sorted(members, key=lambda node: (members[node].get("seconds", 10**9), node))
    row = "".join(kinds.get(members[node]["answer"], "T") for node in in_time)

    def agree(one: int, other: int) -> bool:
        if row[one] != "S" or row[other] != "S":
            return False
        distance = apart(group, in_time[one], in_time[other])
        return distance is not None and distance < group["threshold"]

    pairs = "".join("1" if agree(*pair) else "0" for pair in ((0, 1), (0, 2), (1, 2)))
    three = {
        "111": "VRR", "100": "VRI", "010": "VIR", "001": "IVR", "110": "VRR", "101": "VRI", "011": "VIR", "000": "AAA",
    }  # fmt: skip
    two = {"SSE": "VRI", "SES": "VIR", "ESS": "IVR", "SST": "VRA"}
    lone = {"SEE": "IAA", "ESE": "AIA", "EES": "AAI"}
    letters = three[pairs] if row == "SSS" else lone.get(row, two.get(row, "AAA") if "1" in pairs else "AAA")
    outcome = "VALIDATED" if "V" in letters else "TASK_FAULT" if row.count("E") > 1 and "T" not in row else "NO_QUORUM"
    of_aborted = {"S": "UNDECIDED", "E": "ERROR", "T": "ABSENT"}
    findings = {
        node: {"V": "VALID", "R": "VALID", "I": "INVALID", "A": of_aborted[kind]}[letter]
        for node, letter, kind in zip(in_time, letters, row, strict=True)
    }
    validated = in_time[letters.index("V")] if "V" in letters else None
    return {
        "outcome": outcome,
        "delivered_score": None if validated is None else members[validated]["score"],
        "findings": {node: findings[node] for node in members},
        "distances": {} if validated is None else distances_to(group, validated),
    }


def test_verdicts_show_every_finding_under_both_rules() -> None:
    seen = {"centre": set[str](), "crynux-relay": set[str]()}
    outcomes = {"centre": set[str](), "crynux-relay": set[str]()}
    for vector in load("verdicts"):
        seen[vector["group"]["rule"]] |= set(vector["verdict"]["findings"].values())
        outcomes[vector["group"]["rule"]].add(vector["verdict"]["outcome"])
    assert seen["centre"] == {finding.value for finding in cv.Finding}
    assert seen["crynux-relay"] == {"VALID", "INVALID", "UNDECIDED", "ERROR", "ABSENT"}
    assert outcomes["centre"] == outcomes["crynux-relay"] == {outcome.value for outcome in cv.Outcome}
