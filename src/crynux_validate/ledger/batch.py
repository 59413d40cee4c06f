"""Many actions of one thread as one transaction."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from crynux_validate.errors import InvalidInputError, LedgerError, StorageError
from crynux_validate.ledger.interface import Event
from crynux_validate.ledger.rules import Change
from crynux_validate.ledger.store import Store


class UndoError(Exception):
    """Ends the transaction of a batch in place of what left it, which no store shall take for an error of its own."""


@dataclass
class Batch:
    """A transaction that holds many actions of one thread; ``with batch as store: ...`` for each of them.

    Parameters
    ----------
    store
        The records, as the transaction sees them.
    named
        Returns what the store has raised as a `StorageError`, if it was its own.
    """

    store: Store
    named: Callable[[BaseException], BaseException]
    process: int = field(default_factory=os.getpid)
    _storing: bool = field(default=False, init=False)
    _failure: BaseException | None = field(default=None, init=False)

    @property
    def is_here(self) -> bool:
        """Whether this process began it; one that was forked from it is not in it."""
        return self.process == os.getpid()

    def check(self) -> None:
        """Refuse to go on where an action may be stored in part."""
        if self._failure is not None:
            raise StorageError(
                f"an action of this batch could not be stored ({self._failure}); nothing of the batch is: do it again"
            ) from self._failure

    def __enter__(self) -> Store:
        """Give the records to one action or question."""
        self.check()
        return self.store

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Only what the rules refuse lets the batch go on."""
        if isinstance(error, LedgerError | InvalidInputError):
            self._failure = error if self._storing else None
        elif error is not None:
            self._failure = self.named(error)
            if self._failure is not error:
                raise self._failure from error

    def write(self, change: Change, event: Event) -> None:
        """Store a change and its event; whatever is raised meanwhile ends the batch."""
        self._storing = True
        self.store.write(change, event)
        self._storing = False
