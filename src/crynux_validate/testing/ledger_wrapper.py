"""A ledger around a ledger: the base of those that go wrong on purpose, or only look on."""

import functools
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, TypeVar, get_args

from crynux_validate.ledger.actions import Action
from crynux_validate.ledger.interface import Ledger, Policy

P = ParamSpec("P")
T = TypeVar("T")

ACTIONS: Final = frozenset(action.kind for action in get_args(Action))
"""The methods of a `Ledger` that change something; all others are queries."""


def _forwarded(method: Callable[Concatenate[Ledger, P], T]) -> "Callable[Concatenate[LedgerWrapper, P], T]":
    """Make the method of a wrapper out of that of the Protocol: the same name, arguments and types."""
    name = method.__name__

    def forward(self: "LedgerWrapper", /, *args: P.args, **kwargs: P.kwargs) -> T:
        inner: Callable[P, T] = getattr(self.wrapped, name)
        return self._call(name, inner, *args, **kwargs)

    functools.update_wrapper(forward, method)
    return forward


class LedgerWrapper:
    """A `crynux_validate.Ledger` that does what another one does.

    A subclass overrides `_call`, through which all actions and queries go. Wrappers go around each other:
    ``ReadOnlyLedger(LatencyLedger(ledger))``. What a ledger has beside the Protocol (`SqlLedger.close`) is asked of
    `wrapped`, and is then done without the wrapper.

    Parameters
    ----------
    ledger
        Any ledger, also a wrapper.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.wrapped = ledger

    def _call(self, name: str, inner: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: ARG002
        """Do what a method does; `inner` is the method of the ledger inside, `name` what it is called."""
        return inner(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.wrapped!r})"

    @property
    def id(self) -> str:
        """The ledger's id, part of every commitment and draw."""
        return self.wrapped.id

    @property
    def policy(self) -> Policy:
        """The parameters for groups that open now."""
        return self.wrapped.policy

    deposit = _forwarded(Ledger.deposit)
    withdraw = _forwarded(Ledger.withdraw)
    join = _forwarded(Ledger.join)
    leave = _forwarded(Ledger.leave)
    top_up = _forwarded(Ledger.top_up)
    attest_commit = _forwarded(Ledger.attest_commit)
    attest_reveal = _forwarded(Ledger.attest_reveal)
    open_group = _forwarded(Ledger.open_group)
    draw = _forwarded(Ledger.draw)
    commit = _forwarded(Ledger.commit)
    reveal = _forwarded(Ledger.reveal)
    settle = _forwarded(Ledger.settle)
    now = _forwarded(Ledger.now)
    epoch = _forwarded(Ledger.epoch)
    account = _forwarded(Ledger.account)
    node = _forwarded(Ledger.node)
    nodes = _forwarded(Ledger.nodes)
    group = _forwarded(Ledger.group)
    evidence = _forwarded(Ledger.evidence)
    events = _forwarded(Ledger.events)
    totals = _forwarded(Ledger.totals)
