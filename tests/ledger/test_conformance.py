"""Every rule of the protocol, on each kind of ledger that this package has."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import crynux_validate as cv
from crynux_validate.testing import LedgerConformance
from tests.ledger.postgresql import Server, fast_folder, url_in


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """Each class below says itself what it runs on."""


class TestMemoryLedger(LedgerConformance):
    lacks = {
        "restart": "it lives as long as its process",
        "processes": "it lives in one process",
        "full_disk": "nothing is stored",
    }
    examples = 25

    def make_ledger(
        self, policy: cv.Policy, ledger_id: str, clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
    ) -> cv.Ledger:
        return cv.MemoryLedger(policy, ledger_id=ledger_id, clock=clock, beacon=beacon)

    def replay_ledger(
        self, events: Sequence[cv.ledger.Event], clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
    ) -> cv.Ledger:
        return cv.MemoryLedger.replay(events, clock=clock, beacon=beacon)


class TestSqlite(LedgerConformance):
    folders = fast_folder()
    examples = 2

    def url(self, folder: Path) -> str:
        return f"sqlite:///{folder / 'ledger.db'}"

    def make_ledger(
        self, policy: cv.Policy, ledger_id: str, clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
    ) -> cv.Ledger:
        return cv.SqlLedger(self.url(folder), policy, ledger_id=ledger_id, clock=clock, beacon=beacon, trust_clock=True)

    def replay_ledger(
        self, events: Sequence[cv.ledger.Event], clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
    ) -> cv.Ledger:
        return cv.SqlLedger.replay(events, self.url(folder), clock=clock, beacon=beacon, trust_clock=True)


class TestPostgresql(TestSqlite):
    examples, steps = 1, 40
    lacks = {"full_disk": "its disk is the server's: `make soak` fills that one"}

    @pytest.fixture(autouse=True)
    def server_folder(self, server: Server) -> None:
        self.server = server.folder

    def url(self, folder: Path) -> str:
        return url_in(self.server, folder.name)
