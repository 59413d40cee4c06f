"""The rules of a draw, read a second time from docs/protocol.md: plain loops over lists, as slow as they are short.

It shares no code with the library, so that an error of one of the two shows.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from crynux_validate import Group, Policy
from crynux_validate.machines import Node

PPM = 1_000_000
LAST_WORD = 1_023


@dataclass
class Waiting:
    """What a group's opening fixed: its candidates as (id, owner, weight), sorted by id, and its base (P4c, P4d)."""

    id: str
    pool: list[tuple[str, str, int]]
    base: int


@dataclass
class Reading:
    """A log of openings and draws, and what follows from it."""

    ledger: str
    policy: Policy
    log: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    def open(self, group: Group, nodes: Iterable[Node]) -> Waiting:
        """Fix the pool and the base of a group, from the nodes as they were just before (P2, P4d, P5, P7)."""
        share = group.fee // self.policy.group_size
        part = min(self.policy.slash_ppm, self.policy.withheld_ppm)
        able = [
            node
            for node in nodes
            if node.joined
            and not node.suspended
            and node.leaving is None
            and node.stake >= self.policy.min_stake
            and node.stake * part >= self.policy.stake_per_fee * share * PPM
            and node.gpu.memory_gib >= group.min_memory_gib
            and node.owner != group.creator
        ]
        weights = {node.id: max(1, node.stake // self.policy.weight_unit) for node in able}
        pool = sorted((node.id, node.owner, weights[node.id]) for node in able if node.group is None)
        found = Waiting(group.id, pool, sum(weights.values()))
        self.waiting.append(found)
        self.log.append(("open", group.id, ()))
        return found

    def draw(self, value: bytes) -> tuple[str, tuple[str, ...] | str]:
        """Draw the group that waits longest; returns its id, and its members or why it was closed (P4b-P4d)."""
        group = self.waiting.pop(0)
        taken = self.taken(group.id)
        found = self._drawn(group, taken, value)
        self.log.append(("draw", group.id, found if isinstance(found, tuple) else ()))
        return group.id, found

    def taken(self, group: str) -> set[str]:
        """Every node that a group drew after this group's opening."""
        opened = self.log.index(("open", group, ()))
        return {node for what, _, members in self.log[opened:] if what == "draw" for node in members}

    def _drawn(self, group: Waiting, taken: Collection[str], value: bytes) -> tuple[str, ...] | str:
        free = sum(weight for node, _, weight in group.pool if node not in taken)
        if free * PPM < self.policy.min_pool_ppm * group.base:
            return "small-pool"
        total = sum(weight for _, _, weight in group.pool)
        parts = ("crynux-validate/draw/2", self.ledger, group.id)
        seed = hashlib.sha256(b"".join(map(_prefixed, (*(part.encode() for part in parts), value)))).digest()
        members: list[tuple[str, str]] = []
        for number in range(LAST_WORD + 1):
            word = hashlib.sha256(seed + number.to_bytes(4, "big")).digest()
            node, owner = _hit(group.pool, int.from_bytes(word, "big") % total)
            if node not in taken and all(owner != other for _, other in members):
                members.append((node, owner))
                if len(members) == self.policy.group_size:
                    return tuple(node for node, _ in members)
        return "no-members"


def _hit(pool: list[tuple[str, str, int]], word: int) -> tuple[str, str]:
    running = 0
    for node, owner, weight in pool:
        running += weight
        if running > word:
            return node, owner
    raise AssertionError("a word is less than the sum of all weights")


def _prefixed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part
