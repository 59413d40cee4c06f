"""The small network of `crynux_validate.testing.conformance`, around the kind of ledger that a test runs on."""

from crynux_validate import LocalBeacon, Policy, StoringLedger
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import (
    CARD,
    CHEAT,
    CHEAT_TEXT,
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
from tests.ledger import backends

__all__ = [
    "CARD",
    "CHEAT",
    "CHEAT_TEXT",
    "FALSE_REPORT",
    "HONEST",
    "HONEST_TEXT",
    "MALFORMED",
    "POLICY",
    "TASK",
    "TEXT",
    "Network",
]


class Network(NetworkAround):
    """A ledger of the kind that a test runs on, with nodes n0, n1, ... of owners o0, o1, ..., and a creator ``app``."""

    ledger: StoringLedger

    def __init__(self, nodes: int = 5, policy: Policy = POLICY, stake: int = 1_000) -> None:
        clock, beacon = ManualClock(), LocalBeacon(b"secret")
        ledger = backends.current.make(policy, ledger_id=LEDGER_ID, clock=clock, beacon=beacon)
        super().__init__(ledger, clock, nodes=nodes, stake=stake)
