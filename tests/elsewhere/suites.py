"""What somebody else's tests would be: of ledgers that are right, ledgers that are wrong, and classes that hide a test.

Run by `tests/test_elsewhere.py` with nothing but the wheel, this file, and `broken.py`, `broken_rules.py`, `chain.py`
and `jsonl_ledger.py`.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonl_ledger import JsonlLedger

import crynux_validate as cv
from crynux_validate.testing import LedgerConformance

if TYPE_CHECKING:
    from tests.elsewhere import broken, broken_rules, chain
else:
    import broken
    import broken_rules
    import chain


class TestMemory(LedgerConformance):
    lacks = {
        "restart": "it lives as long as its process",
        "processes": "it lives in one process",
        "full_disk": "nothing is stored",
    }

    def make_ledger(self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        return cv.MemoryLedger(policy, ledger_id=ledger_id, clock=clock, beacon=beacon)

    def replay_ledger(
        self, events: Sequence[cv.ledger.Event], clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
    ) -> cv.Ledger:
        return cv.MemoryLedger.replay(events, clock=clock, beacon=beacon)


class TestSqlite(LedgerConformance):
    examples = 1

    def make_ledger(self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        return cv.SqlLedger(f"sqlite:///{folder}/db", policy, ledger_id=ledger_id, clock=clock, beacon=beacon)

    def replay_ledger(
        self, events: Sequence[cv.ledger.Event], clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
    ) -> cv.Ledger:
        return cv.SqlLedger.replay(events, f"sqlite:///{folder}/db", clock=clock, beacon=beacon)


class TestJsonl(LedgerConformance):
    lacks = {"replay": "a file of its own begins with its own genesis"}

    def make_ledger(self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        return JsonlLedger(folder / "ledger.jsonl", policy, ledger_id=ledger_id, clock=clock, beacon=beacon)


class TestSilent(TestMemory):
    """Overrides one standard test, deletes another, and says of neither why."""

    test_c2_nobody_reveals_twice = None  # type: ignore[assignment]

    def test_c2_a_commitment_is_never_replaced(self) -> None:
        """Nothing is tested here."""


class TestDeclared(TestMemory):
    """Says why one is overridden, one is left out, one fails, and one is expected to and does not."""

    overridden = {
        "test_c2_a_commitment_is_never_replaced": "tested elsewhere",
        "test_c2_nobody_reveals_twice": "this ledger forgets reveals",
    }
    xfails = {
        "test_l1_a_refused_action_changes_nothing": "not done yet",
        "test_c2_only_members_commit": "done meanwhile",
    }
    test_c2_nobody_reveals_twice = None  # type: ignore[assignment]

    def test_c2_a_commitment_is_never_replaced(self) -> None:
        """Tested elsewhere."""

    def make_ledger(self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        return broken.HalfAppliesWhatItRefuses(policy, ledger_id=ledger_id, clock=clock, beacon=beacon)


class TestTakenAway(TestMemory):
    """Loses a test after it was defined."""


setattr(TestTakenAway, "test_c2_only_members_commit", None)  # noqa: B010


class TestChain(LedgerConformance):
    """Has ids, accounts, words and a time of its own, and takes images only."""

    lacks = {
        "batch": "a transaction is one action",
        "evidence": "the chain itself is the evidence",
        "full_disk": "it is kept by its nodes",
        "log": "its receipts have a form of their own",
        "manual_clock": "its time is that of its blocks",
        "messages": "it reverts without words",
        "processes": "it lives in one process",
        "replay": "it begins with a genesis of its own",
        "restart": "each contract is a new one",
        "signatures": "who sends a transaction has signed it",
        "text": "it takes image tasks",
    }
    window = 10

    @pytest.fixture(autouse=True)
    def said_what_it_did(self, record_property: Callable[[str, object], None]) -> Iterator[None]:
        self.did: set[str] = set()
        self.contracts: dict[str, chain.Chain] = {}
        yield
        record_property("did", " ".join(sorted(self.did)))

    def make_ledger(self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        return chain.Watched(chain.Chain(policy, ledger_id="chain-7", beacon=beacon), self.did)

    def account(self, name: str) -> str:
        return chain.address(name)


class TestSmallChain(TestChain):
    """Leaves it to the caller to draw the groups that wait longer, has a beacon of its own, and can be found again."""

    lacks = {**TestChain.lacks, "beacon": "its blocks have one", "draw_ahead": "a loop could cost too much"}
    del lacks["restart"]
    overridden = {"test_l7_what_was_acknowledged_survives_a_killed_process": "it lives in one process"}
    test_l7_what_was_acknowledged_survives_a_killed_process = None  # type: ignore[assignment]

    def make_ledger(self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        if folder.name not in self.contracts:
            own = cv.ledger.LocalBeacon(b"the hash of a block")
            self.contracts[folder.name] = chain.Chain(policy, ledger_id="chain-7", beacon=own, draws_ahead=False)
        return chain.Watched(self.contracts[folder.name], self.did)


class TestUnfinished(LedgerConformance):
    """Has no ledger, and no replay."""


def suite_of(kind: type[broken.Broken]) -> type[LedgerConformance]:
    """Return the standard tests of a broken ledger."""

    def make_ledger(_self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        if kind in broken.MAKERS:
            return broken.MAKERS[kind](policy, ledger_id, clock, beacon, folder)
        return kind(policy, ledger_id=ledger_id, clock=clock, beacon=beacon)

    lacks = {"processes": "it lives in one process", "replay": "it is not about logs"}
    if kind not in broken.MAKERS:
        lacks |= {"restart": "it lives as long as its process", "full_disk": "nothing is stored"}
    body: dict[str, Any] = {"make_ledger": make_ledger, "lacks": lacks, "__module__": __name__}
    return type(f"Test{kind.__name__}", (LedgerConformance,), body)


for _kind in (*broken.CAUGHT_BY, *broken_rules.CAUGHT_BY):
    globals()[f"Test{_kind.__name__}"] = suite_of(_kind)


def chain_of(kind: type[cv.MemoryLedger]) -> type[LedgerConformance]:
    """Return the standard tests of a chain that is wrong; its time goes on whenever it is asked for."""

    def make_ledger(_self, policy, ledger_id, clock, beacon, folder):  # type: ignore[no-untyped-def]
        if kind is chain.DrawsInAnyOrder:
            return chain.DrawsInAnyOrder(policy, ledger_id=ledger_id, beacon=beacon, draws_ahead=False)
        time = itertools.count(1_750_000_000)
        return kind(policy, ledger_id=ledger_id, clock=lambda: next(time), beacon=beacon)

    lacks = {
        **TestChain.lacks,
        **({"draw_ahead": "the caller sees to the order"} if kind is chain.DrawsInAnyOrder else {}),
    }
    body: dict[str, Any] = {"make_ledger": make_ledger, "lacks": lacks, "window": 12, "__module__": __name__}
    return type(f"TestChain{kind.__name__}", (LedgerConformance,), body)


for _wrong in chain.CAUGHT_BY:
    globals()[f"TestChain{_wrong.__name__}"] = chain_of(_wrong)
