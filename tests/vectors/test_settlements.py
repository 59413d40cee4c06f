"""Settlements, by the words of L3, L4, C3, J4 and J5."""

from fractions import Fraction
from math import ceil

from tests.vectors.reading import Vector, each, load
from tests.vectors.test_verdicts import centre_by_the_book

MILLION = 10**6


@each("settlements")
def test_settlement(vector: Vector) -> None:
    policy, members = vector["policy"], vector["members"]
    said = verdict_of(vector)
    assert (said["outcome"], said["findings"]) == (vector["outcome"], vector["findings"])
    assert list(vector["findings"]) == [member["node"] for member in members], "findings stand in the order drawn"
    assert vector["delivered_by"] == deliverer(vector, said["delivered_score"])
    fee, n = int(vector["fee"]), len(members)
    moves = []
    if said["outcome"] == "VALIDATED":
        for member in members:
            if said["findings"][member["node"]] == "VALID":
                moves.append((vector["group"], member["owner"], fee // n, "fee"))
    else:
        moves.append((vector["group"], None, ceil(Fraction(fee * policy["no_quorum_ppm"], MILLION)), "no_quorum"))
    if said["outcome"] == "TASK_FAULT":
        codes = [member.get("code") for member in members if member["answer"] == "invalid_task"]
        for member in members:
            if member["answer"] == "invalid_task" and codes.count(member["code"]) >= (n + 1) // 2:
                moves.append(
                    (vector["group"], member["owner"], fee * policy["fault_fee_ppm"] // (MILLION * n), "report")
                )
    back = fee - sum(amount for _, _, amount, _ in moves)
    moves.append((vector["group"], vector["creator"], back, "refund"))
    for member in members:
        part = {"INVALID": "slash_ppm", "WITHHELD": "withheld_ppm"}.get(said["findings"][member["node"]])
        lost = 0 if part is None else int(member["stake"]) * policy[part] // MILLION
        if policy["slash_per_fee"] is not None:
            lost = min(lost, policy["slash_per_fee"] * (fee // n))
        moves.append((member["node"], policy["slash_account"], lost, "slash"))
    expected = [
        {"from": source, "to": target, "amount": str(amount), "why": why}
        for source, target, amount, why in moves
        if amount
    ]
    assert vector["transfers"] == expected


def verdict_of(vector: Vector) -> Vector:
    """What J1 to J6 say of the group."""
    names = ("answer", "score", "code")
    members = {member["node"]: {name: member[name] for name in names if name in member} for member in vector["members"]}
    policy = vector["policy"]
    rule = {"algorithm": "phash/1", "threshold": policy["threshold"], "slash_threshold": policy["slash_threshold"]}
    return centre_by_the_book({**rule, "safety_checker": False, "members": members})


def deliverer(vector: Vector, score: str | None) -> str | None:
    """J6: of those with the delivered score who was drawn first."""
    if score is None:
        return None
    delivering: str = next(member["node"] for member in vector["members"] if member.get("score") == score)
    return delivering


def test_no_money_is_made_or_lost() -> None:
    for vector in load("settlements"):
        stakes = {member["node"]: int(member["stake"]) for member in vector["members"]}
        spent = 0
        for move in vector["transfers"]:
            if move["why"] == "slash":
                stakes[move["from"]] -= int(move["amount"])
            else:
                spent += int(move["amount"])
        assert spent == int(vector["fee"])
        assert min(stakes.values()) >= 0


def test_settlements_show_everything_that_moves_money() -> None:
    vectors = load("settlements")
    assert {move["why"] for vector in vectors for move in vector["transfers"]} == {
        "fee", "report", "refund", "no_quorum", "slash",
    }  # fmt: skip
    assert {vector["outcome"] for vector in vectors} == {"VALIDATED", "TASK_FAULT", "NO_QUORUM"}
    assert {len(vector["members"]) for vector in vectors} == {3, 5, 7, 9}
    findings = {finding for vector in vectors for finding in vector["findings"].values()}
    assert findings == {"VALID", "INVALID", "BORDERLINE", "UNDECIDED", "ERROR", "ABSENT", "WITHHELD"}
