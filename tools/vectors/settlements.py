"""Vectors of settlements: where the fee and the stakes of a group go."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tools.vectors.common import ODD, Vector, vector
from tools.vectors.policies import PLAIN
from tools.vectors.verdicts import ABSENT, FAILED, MALFORMED, WITHHELD, A, far, report, score

from crynux_validate.vectors_check.groups import settled

HONEST, NEAR, CHEAT = score(A), score(far(20)), score(far(40))
FAULT = report("schema")


def settlement_vectors() -> list[Vector]:
    """Settled groups; the members stand in the order of the draw."""
    cases: list[tuple[str, str, list[Mapping[str, Any]], dict[str, Any]]] = [
        ("all-valid", "each gets floor(fee / n), the remainder goes back", [HONEST] * 3, {"fee": 101}),
        ("no-remainder", "a fee that n divides: nothing goes back", [HONEST] * 3, {"fee": 102}),
        ("cheat", "the share of who is slashed goes back; a slash takes 10 shares at most",
         [HONEST, CHEAT, HONEST], {}),
        ("cheat-poor", "and no more than there is", [HONEST, CHEAT, HONEST], {"stake": 329}),
        ("cheat-part", "and no more than the part that the policy takes, rounded down",
         [HONEST, CHEAT, HONEST], {"stake": 901, "slash_ppm": 333_333}),
        ("cheat-unbounded", "without a bound all of the stake", [HONEST, CHEAT, HONEST],
         {"slash_per_fee": None, "stake": 10**24 + 7}),
        ("cheat-free", "a bound of 0: nobody is slashed", [HONEST, CHEAT, HONEST],
         {"slash_per_fee": 0, "stake_per_fee": 0}),
        ("cheat-spared", "a part of 0", [HONEST, CHEAT, HONEST], {"slash_ppm": 0, "stake_per_fee": 0}),
        ("cheat-paid", "a slash goes to the account that the policy names", [HONEST, CHEAT, HONEST],
         {"slash_account": "treasury"}),
        ("cheat-to-creator", "even to who asked for the task", [HONEST, CHEAT, HONEST], {"slash_account": "app"}),
        ("large", "amounts beyond 64 bits, with remainders", [CHEAT, HONEST, HONEST],
         {"fee": 10**24 + 1, "stake": 10**26 + 3, "slash_ppm": 123_457}),
        ("cheat-first", "who is drawn first and slashed does not deliver", [CHEAT, HONEST, HONEST], {}),
        ("borderline", "neither paid nor slashed", [HONEST, NEAR, HONEST], {}),
        ("malformed", "slashed like any other invalid answer", [HONEST, HONEST, MALFORMED], {}),
        ("false-report", "slashed likewise", [FAULT, HONEST, HONEST], {}),
        ("failed", "costs nothing and earns nothing", [HONEST, FAILED, HONEST], {}),
        ("absent", "costs nothing and earns nothing", [ABSENT, HONEST, HONEST], {}),
        ("withheld", "has a part of its own, bounded likewise", [HONEST, HONEST, WITHHELD],
         {"stake": 601, "withheld_ppm": 500_001, "slash_ppm": 1}),
        ("withheld-bounded", "10 shares at most", [HONEST, HONEST, WITHHELD], {}),
        ("no-quorum", "two fifths of the fee are burnt, rounded up", [HONEST, CHEAT, score(far(20, 44))], {"fee": 104}),
        ("no-quorum-withheld", "withholding costs the stake under every outcome", [HONEST, WITHHELD, ABSENT],
         {"fee": 103, "slash_account": "treasury"}),
        ("no-quorum-free", "a policy that burns nothing: all goes back", [HONEST, CHEAT, ABSENT],
         {"no_quorum_ppm": 0}),
        ("no-quorum-all", "a policy that burns all: nothing goes back", [HONEST, CHEAT, ABSENT],
         {"no_quorum_ppm": 10**6}),
        ("no-quorum-dust", "less than one unit burns a whole one", [HONEST, CHEAT, ABSENT],
         {"fee": 3, "no_quorum_ppm": 333_333}),
        ("task-fault", "reports earn nothing by default, and two fifths are burnt", [FAULT, HONEST, FAULT], {}),
        ("task-fault-paid", "each agreeing report earns its part, rounded down for each", [FAULT, HONEST, FAULT],
         {"fee": 1_001, "fault_fee_ppm": 100_001, "no_quorum_ppm": 100_003}),
        ("task-fault-codes", "a report of another code earns nothing", [
            FAULT, report("limits"), FAULT, FAULT, MALFORMED], {"fault_fee_ppm": 500_000, "fee": 1_009}),
        ("task-fault-withheld", "withholding costs the stake there as well", [FAULT, FAULT, WITHHELD], {}),
        ("five", "two who are slashed among five, each by its own stake", [
            {**CHEAT, "stake": "5"}, HONEST, HONEST, {**score(far(40, 20)), "stake": "100000"}, HONEST], {"fee": 501}),
        ("seven", "every finding that there is beside a centre", [
            HONEST, CHEAT, NEAR, HONEST, WITHHELD, HONEST, HONEST], {"fee": 1_000}),
        ("nine", "the least fee: one for each", [HONEST] * 5 + [CHEAT, ABSENT, FAILED, WITHHELD], {"fee": 9}),
        ("odd-names", "ids may have any sign that is not a space", [HONEST, CHEAT, HONEST],
         {"creator": ODD, "slash_account": ODD + "1"}),
    ]  # fmt: skip
    return [
        vector(f"settlement/{name}", why, **given_and_found(members, change)) for name, why, members, change in cases
    ]


def given_and_found(members: list[Mapping[str, Any]], change: dict[str, Any]) -> Vector:
    """A group of nodes with the same stake where none is said, and what settling it does."""
    fields: dict[str, Any] = {"fee": 100, "stake": 1_000, "creator": "app"} | change
    fee, stake, creator = (fields.pop(name) for name in ("fee", "stake", "creator"))
    given = {
        "policy": replace(PLAIN, group_size=len(members), min_fee=len(members), **fields).to_dict(),
        "group": "group-7",
        "creator": creator,
        "fee": str(fee),
        "members": [
            {"node": f"n{at}", "owner": f"o{at}", "stake": str(stake), **member} for at, member in enumerate(members)
        ],
    }
    return {**given, **settled(given)}
