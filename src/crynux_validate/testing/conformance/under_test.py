"""A ledger as the standard tests see it, where its accounts have other names or it cannot do all that they ask."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from crynux_validate.encoding import check_id
from crynux_validate.errors import InvalidInputError
from crynux_validate.ledger.interface import Evidence, Group, Ledger, Status, Transfer
from crynux_validate.machines.pool import Candidate, Pool
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import TextTask
from crynux_validate.testing.ledger_wrapper import LedgerWrapper, P, T

USES: Final = {"events": "log", "attest_commit": "text", "attest_reveal": "text"}
"""What has to be there for a method; a test that uses it all the same is skipped."""


class Accounts:
    """What the tests call accounts, and what the ledger calls them.

    Parameters
    ----------
    account
        Returns what the ledger calls an account of the tests.
    """

    def __init__(self, account: Callable[[str], str]) -> None:
        self._account = account
        self._names: dict[str, str] = {}

    @property
    def names(self) -> Sequence[str]:
        """The tests' names of all accounts that were spoken of."""
        return tuple(self._names.values())

    def own(self, name: Any) -> Any:
        """Return what the ledger calls an account; what can be no account's name stays as it is."""
        try:
            check_id(name, "an account")
        except InvalidInputError:
            return name
        own = self._account(name)
        if self._names.setdefault(own, name) != name:
            raise InvalidInputError(
                f"account() gives {own!r} for {name!r} and for {self._names[own]!r}; expected one for each name"
            )
        return own

    def name(self, own: str) -> str:
        """Return what the tests call an account of the ledger."""
        return self._names.get(own, own)


class LedgerUnderTest(LedgerWrapper):
    """Speaks the tests' names of accounts to them and the ledger's own to the ledger, and stands in for what it lacks.

    Parameters
    ----------
    ledger
        The ledger under test.
    accounts
        The names of accounts.
    lacks
        Capabilities, each with what a test that needs it is skipped with.
    """

    def __init__(self, ledger: Ledger, accounts: Accounts, lacks: Mapping[str, str]) -> None:
        super().__init__(ledger)
        self._accounts, self._lacks = accounts, lacks
        self.groups: list[str] = []
        """The ids of all groups that were opened through it, in that order."""
        self.known_nodes: list[str] = []
        """The ids of all nodes that joined through it."""

    @property
    def has_log(self) -> bool:
        """Whether `events` gives events in this library's form."""
        return "log" not in self._lacks

    @property
    def accounts(self) -> Sequence[str]:
        """The tests' names of all accounts that were spoken of."""
        return self._accounts.names

    def _call(self, name: str, inner: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        needed = USES.get(name, "text" if any(isinstance(given, TextTask) for given in args) else "")
        if needed in self._lacks:
            pytest.skip(self._lacks[needed])
        call: Callable[..., Any] = inner
        given, own = list(args), self._accounts.own
        if name in ("account", "deposit", "withdraw"):
            given[:1] = map(own, given[:1])
        if name == "draw" and "draw_ahead" in self._lacks:
            self._draw_before(args[0])
        done = call(*given, **{key: own(value) if key in _ACCOUNTS else value for key, value in kwargs.items()})
        if name == "open_group":
            self.groups.append(done.id)
        if name == "join" and done.id not in self.known_nodes:
            self.known_nodes.append(done.id)
        shown: T = self._shown(done)
        return shown

    def _draw_before(self, group: object) -> None:
        """Draw the groups that wait longer, as a ledger with ``draw_ahead`` does itself (P4b)."""
        if group in self.groups and self.wrapped.group(str(group)).status is Status.OPEN:
            for earlier in self.groups[: self.groups.index(str(group))]:
                if self.wrapped.group(earlier).status is Status.OPEN:
                    self.wrapped.draw(earlier)

    def _shown(self, done: Any) -> Any:
        """What an action or a query returns, with the tests' names of accounts."""
        match done:
            case Node():
                return replace(done, owner=self._accounts.name(done.owner))
            case Group():
                draw = None if done.draw is None else replace(done.draw, pool=self._pool(done.draw.pool))
                return replace(
                    done,
                    creator=self._accounts.name(done.creator),
                    pool=self._pool(done.pool),
                    draw=draw,
                    transfers=tuple(map(self._transfer, done.transfers)),
                )
            case Evidence():
                return replace(done, group=self._shown(done.group))
            case list() | tuple():
                return tuple(map(self._shown, done))
        return done

    def _transfer(self, transfer: Transfer) -> Transfer:
        return transfer if transfer.target is None else replace(transfer, target=self._accounts.name(transfer.target))

    def _pool(self, pool: Sequence[Candidate]) -> Pool:
        return Pool(replace(candidate, owner=self._accounts.name(candidate.owner)) for candidate in pool)


_ACCOUNTS: Final = ("account", "creator", "owner")
"""Named arguments that are accounts."""


def own(ledger: Ledger) -> Ledger:
    """Return the ledger itself: what the subclass of `LedgerConformance` has made."""
    return ledger.wrapped if isinstance(ledger, LedgerUnderTest) else ledger
