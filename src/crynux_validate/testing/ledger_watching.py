"""Ledgers that can only be asked, and ledgers that tell what they were asked."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crynux_validate.encoding import shorten
from crynux_validate.errors import ReadOnlyLedgerError
from crynux_validate.ledger.interface import Ledger
from crynux_validate.testing.ledger_wrapper import ACTIONS, LedgerWrapper, P, T


class ReadOnlyLedger(LedgerWrapper):
    """A ledger that answers queries and refuses every action with `ReadOnlyLedgerError`."""

    def _call(self, name: str, inner: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if name in ACTIONS:
            raise ReadOnlyLedgerError(f"{name}: this ledger can only be asked; act on the ledger that it wraps")
        return inner(*args, **kwargs)


@dataclass(frozen=True)
class Call:
    """What was asked of a ledger, and what came of it.

    Parameters
    ----------
    method
        Its name.
    arguments, named
        As they were given.
    result
        What was returned; None where an error was raised.
    error
        What was raised; None where nothing was.
    """

    method: str
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    result: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        given = [*map(shorten, self.arguments), *(f"{name}={shorten(value)}" for name, value in self.named.items())]
        came = f"-> {shorten(self.result)}" if self.error is None else f"raised {shorten(self.error)}"
        return f"{self.method}({', '.join(given)}) {came}"


class LoggingLedger(LedgerWrapper):
    """A ledger that tells every call, when it has ended.

    Parameters
    ----------
    ledger
        Any ledger.
    log
        Gets a `Call` each time: a callable, or a logger, which gets it as the one argument of its message.
    level
        For a logger: of what was done. What raised is a ``logging.WARNING``.
    """

    def __init__(
        self, ledger: Ledger, log: logging.Logger | Callable[[Call], object], *, level: int = logging.DEBUG
    ) -> None:
        super().__init__(ledger)
        self._log, self._level = log, level

    def _call(self, name: str, inner: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            found = inner(*args, **kwargs)
        except BaseException as error:
            self._tell(Call(name, args, kwargs, error=error))
            raise
        self._tell(Call(name, args, kwargs, found))
        return found

    def _tell(self, call: Call) -> None:
        if isinstance(self._log, logging.Logger):
            self._log.log(self._level if call.error is None else logging.WARNING, "%s", call)
        else:
            self._log(call)
