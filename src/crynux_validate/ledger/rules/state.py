"""What the rules read, and what they answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from crynux_validate.encoding import shorten
from crynux_validate.errors import UnknownIdError
from crynux_validate.ledger.interface import Group, Policy
from crynux_validate.machines.roster import Node


class State(Protocol):
    """What the rules read."""

    id: str
    policy: Policy

    def held(self) -> int:
        """Return the deposits minus the withdrawals: all the money that the ledger has (L2)."""

    def balance(self, account: str) -> int:
        """Return an account's balance, 0 for one that was never used."""

    def find_node(self, node: str) -> Node | None:
        """Return a node, also one that has left."""

    def joined_nodes(self) -> Iterable[Node]:
        """Return all nodes that have joined."""

    def find_group(self, group: str) -> Group | None:
        """Return a group."""

    def waiting_group_of(self, node: str) -> str | None:
        """Return a group that is open and not drawn and has a node in its pool; None where there is none."""

    def changed_nodes(self, group: str) -> Iterable[Node]:
        """Return the nodes whose record changed since a waiting group opened; more of them do no harm."""

    def group_count(self) -> int:
        """Return how many groups there have ever been."""


@dataclass
class Change:
    """What an action changes: new records by id, money that came or went, and what to tell the caller.

    Parameters
    ----------
    accounts, nodes, groups
        The new balances and records.
    deposited, withdrawn, burnt
        Money that entered or left (L2).
    result
        What came of the action, as JSON values; part of its event.
    """

    accounts: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    deposited: int = 0
    withdrawn: int = 0
    burnt: int = 0
    result: dict[str, Any] = field(default_factory=dict)


def joined_node(state: State, node: str) -> Node:
    """Return a node that has joined."""
    found = state.find_node(node)
    if found is None or not found.joined:
        raise UnknownIdError(f"no node {shorten(node)} has joined this ledger")
    return found


def known_group(state: State, group: str) -> Group:
    """Return a group that there is."""
    found = state.find_group(group)
    if found is None:
        raise UnknownIdError(f"this ledger has no group {shorten(group)}")
    return found
