"""What the rules read, and what they answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from crynux_validate.encoding import check_id, shorten
from crynux_validate.errors import InvalidInputError, UnknownIdError
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
        """Return all nodes that have joined, in no particular order."""

    def find_group(self, group: str) -> Group | None:
        """Return a group."""

    def group_count(self) -> int:
        """Return how many groups there have ever been."""

    def handled_count(self) -> int:
        """Return how many groups were drawn or closed: those that wait are the ones after them (P4b)."""

    def last_beacon_round(self) -> int:
        """Return the beacon round of the group that was opened last; 0 where there is none (P4a)."""

    def drawn_since(self, number: int) -> Mapping[str, str]:
        """Return the nodes that a draw took when group `number` had been opened, each with its group (P4c)."""

    def group_with(self, task: str) -> str | None:
        """Return the group that keeps a task, by its digest, from being given again; None for none (L9)."""


@dataclass
class Change:
    """What an action changes: new records by id, money that came or went, and what to tell the caller.

    Parameters
    ----------
    accounts, nodes, groups
        The new balances and records.
    handled
        1 where a group left the queue: it was drawn or closed.
    deposited, withdrawn, burnt
        Money that entered or left (L2).
    result
        What came of the action, as JSON values; part of its event.
    """

    accounts: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    handled: int = 0
    deposited: int = 0
    withdrawn: int = 0
    burnt: int = 0
    result: dict[str, Any] = field(default_factory=dict)


def joined_node(state: State, node: str) -> Node:
    """Return a node that has joined."""
    found = state.find_node(check_id(node, "the node id"))
    if found is None or not found.joined:
        raise UnknownIdError(f"no node {shorten(node)} has joined this ledger", id=node)
    return found


MAX_BEACON_BYTES: Final = 256
"""The longest value of a beacon; the challenge of an epoch is one (P6)."""


def check_value(value: object, what: str) -> None:
    """Refuse a value that is not that of a beacon: 1 to 256 bytes."""
    if not (isinstance(value, bytes) and 1 <= len(value) <= MAX_BEACON_BYTES):
        raise InvalidInputError(
            f"{what} is {shorten(value)}; expected 1 to {MAX_BEACON_BYTES} bytes, or None while it is not public"
        )


def group_id(number: int) -> str:
    """Return the id of the group that opens as the first, second, ... of its ledger."""
    return f"{_GROUP}{number}"


def group_number(group: str) -> int:
    """Return as which of its ledger a group opened, from its id."""
    return int(group.removeprefix(_GROUP))


_GROUP: Final = "group-"


def known_group(state: State, group: str) -> Group:
    """Return a group that there is."""
    found = state.find_group(check_id(group, "the group id"))
    if found is None:
        raise UnknownIdError(f"this ledger has no group {shorten(group)}", id=group)
    return found
