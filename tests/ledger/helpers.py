"""The small network of `crynux_validate.testing.conformance`, around the kind of ledger that a test runs on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from crynux_validate import Group, Opening, Policy
from crynux_validate.answers import Answer
from crynux_validate.ledger import LocalBeacon, StoringLedger
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import (
    BLANK,
    CARD,
    CHEAT,
    CHEAT_TEXT,
    CHECKED,
    FALSE_REPORT,
    HONEST,
    HONEST_TEXT,
    LEDGER_ID,
    MALFORMED,
    POLICY,
    TASK,
    TEXT,
)
from crynux_validate.testing.conformance.network import Network as NetworkAround
from crynux_validate.testing.conformance.second_round import (
    OTHER,
    TOKENS,
    TWO,
    commit_second,
    commit_second_bytes,
    first_round,
    second_round,
    seed_of,
)
from tests.ledger import backends

__all__ = [
    "BLANK",
    "CARD",
    "CHEAT",
    "CHEAT_TEXT",
    "CHECKED",
    "FALSE_REPORT",
    "HONEST",
    "HONEST_TEXT",
    "MALFORMED",
    "OTHER",
    "POLICY",
    "TASK",
    "TEXT",
    "TOKENS",
    "Network",
    "TwoRounds",
]


class Network(NetworkAround):
    """A ledger of the kind that a test runs on, with nodes n0, n1, ... of owners o0, o1, ..., and a creator ``app``."""

    ledger: StoringLedger

    def __init__(self, nodes: int = 5, policy: Policy = POLICY, stake: int = 1_000) -> None:
        clock, beacon = ManualClock(), LocalBeacon(b"secret")
        ledger = backends.current.make(policy, ledger_id=LEDGER_ID, clock=clock, beacon=beacon)
        super().__init__(ledger, clock, nodes=nodes, stake=stake)


class TwoRounds(Network):
    """Three nodes of one class, and groups of two rounds (C5)."""

    def __init__(self, **change: Any) -> None:
        super().__init__(nodes=3, policy=replace(TWO, **change))
        self.attest()

    def first(self, *answers: Answer | None) -> Group:
        """A group whose first round is over; None stays away."""
        return first_round(self, *answers)

    def seed(self, group: Group) -> bytes:
        """The seed of a group's second round."""
        return seed_of(self.ledger.group(group.id))

    def commit_second(self, group: Group, node: str, tokens: Sequence[Sequence[int]] = TOKENS) -> Opening:
        return commit_second(self, group, node, tokens)

    def commit_bytes(self, group: Group, node: str, opening: Opening) -> Opening:
        return commit_second_bytes(self, group, node, opening.answer_bytes)

    def second(self, group: Group, *tokens: Sequence[Sequence[int]] | None) -> Group:
        """A settled group, whose members gave these second answers; None stays away."""
        return second_round(self, group, *tokens)
