"""A full disk: what cannot be stored has not happened, and what was acknowledged stays (protocol L1, L7)."""

from pathlib import Path
from typing import Final

import pytest

from crynux_validate.errors import StorageError
from crynux_validate.ledger.interface import Ledger
from crynux_validate.testing.conformance.batches import batch
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.concurrency import check_chain, standing_clock
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import everything

TIMES: Final = 3
"""How often an action is refused before there is room again."""

MOST: Final = 3_000
"""After how many actions a disk that lets some through must be full."""


_NOT_FULL: Final = (
    f"{MOST} actions were done on a full disk. The kit only limits how large one file can get: a ledger of many small "
    "files, or elsewhere, defines full_disk(self, folder), in which all its writes fail"
)


class FullDiskRules(Harness):
    """Standard tests of a ledger whose writes fail."""

    @needs("full_disk", "restart")
    def test_l7_a_full_disk_takes_back_nothing_that_was_acknowledged(self) -> None:
        """Each action is stored or refused; when there is room again, the ledger goes on, also after a restart."""
        folder = self.new_folder()
        ledger = self.new_ledger(clock=standing_clock, folder=folder)
        ledger.deposit("before", 1)
        acknowledged = 0
        with self.full_disk(folder):
            refused = 0
            while refused < TIMES:
                assert acknowledged < MOST, _NOT_FULL
                try:
                    acknowledged += ledger.deposit(f"account-{acknowledged}", 1)
                except StorageError:
                    refused += 1
        self._goes_on(ledger, folder, acknowledged)

    @needs("full_disk", "restart", "batch")
    def test_l1_a_full_disk_stores_nothing_of_a_batch(self) -> None:
        """Not its beginning either, neither at once nor when the ledger is opened anew."""
        folder = self.new_folder()
        ledger = self.new_ledger(clock=standing_clock, folder=folder)
        ledger.deposit("before", 1)

        def fill() -> None:
            with batch(ledger):
                for at in range(MOST):
                    ledger.deposit(f"account-{at}", 1)

        with self.full_disk(folder), pytest.raises(StorageError):
            fill()
        self._goes_on(ledger, folder, 0)

    def _goes_on(self, ledger: Ledger, folder: Path, acknowledged: int) -> None:
        """What was acknowledged is there, the next is not, and another action can be done and found again."""
        accounts = {"before": 1, f"account-{acknowledged}": 0, "after": 1}
        accounts |= {f"account-{at}": 1 for at in range(acknowledged)}
        assert ledger.deposit("after", 1) == 1, "the ledger does not go on when there is room again"
        assert {name: ledger.account(name) for name in accounts} == accounts, (
            "acknowledged and lost, or refused and done"
        )
        check_chain(ledger)
        before = everything(ledger)
        self.let_go(ledger)
        again = self.new_ledger(clock=standing_clock, folder=folder)
        assert {name: again.account(name) for name in accounts} == accounts, (
            "a restart forgets, or does what was refused"
        )
        assert everything(again) == before
        assert again.deposit("after", 1) == 2
        check_chain(again)
