"""The life of a group: the table of the protocol, walked through cell by cell, before, at and after each deadline."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Final

import pytest

import crynux_validate as cv
from crynux_validate.errors import LedgerError
from crynux_validate.ledger.actions import Action, Commit, DrawGroup, Reveal, Settle
from crynux_validate.ledger.life import LIFE, Act, Phase, phase_of
from crynux_validate.ledger.rules import apply
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import HONEST_TEXT, POLICY, TEXT, Network

TWO: Final = replace(POLICY, second_algorithm="digest/1")
KEYED: Final = cv.keyed.KeyedScore(bytes(32)).to_bytes()
ROUNDS: Final = ((Act.COMMIT_1, Act.REVEAL_1), (Act.COMMIT_2, Act.REVEAL_2))


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """The table is of the rules: one ledger in memory is enough."""


def network_of(policy: cv.Policy) -> Network:
    clock = ManualClock()
    network = Network(cv.MemoryLedger(policy, clock=clock), clock, nodes=3)
    network.attest()
    return network


class Story:
    """A group with some commitments and openings; what the table should say of it, worked out from the counts."""

    def __init__(self, policy: cv.Policy, counts: tuple[int, ...]) -> None:
        self.network = network_of(policy)
        self.ledger = self.network.ledger
        self.group = self.network.drawn(task=TEXT)
        self.rounds = len(self.group.rounds)
        self.counts = counts
        self.openings: dict[tuple[int, str], cv.Opening] = {}
        for number, (committed, revealed) in enumerate(zip(counts[::2], counts[1::2], strict=True), 1):
            asked = self.ledger.group(self.group.id).asked(number)
            self._answer(number, asked, committed, revealed)

    def _answer(self, number: int, asked: tuple[str, ...], committed: int, revealed: int) -> None:
        answering = self.group.rounds[number - 1]
        for node in asked:
            self.openings[number, node] = cv.Opening(HONEST_TEXT.to_bytes() if number == 1 else KEYED)
        for node in asked[:committed]:
            bound_to = self.ledger.group(self.group.id).bound_to(number, self.network.clock.now)
            bound = self.openings[number, node].commitment(bound_to, node=node, round=number)
            self.ledger.commit(self.group.id, node, bound, round=number)
        if committed < len(asked):
            self._not_before(answering.commit_deadline) if revealed or number < len(self.counts) // 2 else None
        for node in asked[:revealed]:
            self.ledger.reveal(self.group.id, node, self.openings[number, node], round=number)
        if revealed < committed and number < len(self.counts) // 2:
            self._not_before(answering.reveal_deadline)

    def _not_before(self, moment: int) -> None:
        self.network.clock.now = max(self.network.clock.now, moment)

    def moments(self) -> list[int]:
        """From now on: before, at and after each deadline."""
        deadlines = [at for one in self.group.rounds for at in (one.commit_deadline, one.reveal_deadline)]
        now = self.network.clock.now
        return sorted({now, *(at + d for at in deadlines for d in (-1, 0, 1) if at + d >= now)})

    def phase(self, now: int) -> Phase:
        """Where the group stands, by what was handed in and the deadlines."""
        asked = 3
        counts = [*self.counts, 0, 0][: 2 * self.rounds]
        phases = (Phase.COMMIT_1, Phase.REVEAL_1), (Phase.COMMIT_2, Phase.REVEAL_2)
        for at, one in enumerate(self.group.rounds):
            committed, revealed = counts[2 * at : 2 * at + 2]
            if committed < asked and now < one.commit_deadline:
                return phases[at][0]
            if revealed < committed and now < one.reveal_deadline:
                return phases[at][1]
            asked = revealed
        return Phase.OVER

    def actions(self, act: Act, now: int) -> Iterator[Action]:
        """The act by every member that has not done it yet, and may."""
        group = self.ledger.group(self.group.id)
        if act in (Act.DRAW, Act.DRAW_WITHOUT):
            yield DrawGroup(group.id, b"value" if act is Act.DRAW else None)
        elif act is Act.SETTLE:
            yield Settle(group.id)
        else:
            number = 1 if act in ROUNDS[0] else 2
            if number > self.rounds:
                return
            first_over = self.phase(now) not in (Phase.COMMIT_1, Phase.REVEAL_1)
            committed = group.rounds[number - 1].commitments
            for node in group.asked(number) if number == 1 or first_over else group.members:
                if act is ROUNDS[number - 1][0]:
                    if node not in committed:
                        yield Commit(group.id, node, number, bytes(32))
                elif (node in committed or not first_over) and node not in group.rounds[number - 1].openings:
                    opening = self.openings.get((number, node), cv.Opening(KEYED))
                    if node in committed or number == 2:
                        yield Reveal(group.id, node, number, opening.to_bytes())


def ends(ledger: cv.Ledger, action: Action, group: str, now: int) -> object:
    """How an action ends: the status, or the kind of error. Nothing is written."""
    try:
        change = apply(ledger._store, action, now)  # type: ignore[attr-defined]
    except LedgerError as error:
        return type(error) if group in str(error) else error
    return (ledger.group(group) if change is None else change.groups[group]).status


def counts(rounds: int) -> Iterator[tuple[int, ...]]:
    """How many of three committed and revealed, in each round."""
    one = [(c, r) for c in range(4) for r in range(c + 1)]
    yield from ((c, r) for c, r in one)
    if rounds == 2:
        for (c1, r1), (c2, r2) in product(one, one):
            if c2 <= r1:
                yield (c1, r1, c2, r2)


@pytest.mark.parametrize("policy", [POLICY, TWO], ids=["one round", "two rounds"])
def test_drawn_groups_do_what_the_table_says(policy: cv.Policy) -> None:
    tried: set[tuple[Phase, Act]] = set()
    for story in (Story(policy, found) for found in counts(policy.rounds)):
        for now in story.moments():
            phase = story.phase(now)
            assert phase_of(story.ledger.group(story.group.id), now) is phase, (story.counts, now)
            for act in Act:
                for action in story.actions(act, now):
                    found = ends(story.ledger, action, story.group.id, now)
                    assert found is LIFE[phase][act], (story.counts, now, phase, act)
                    tried.add((phase, act))
    rounds = set(ROUNDS[0]) | (set(ROUNDS[1]) if policy.rounds == 2 else set())
    phases = [Phase.COMMIT_1, Phase.REVEAL_1, Phase.OVER]
    phases += [Phase.COMMIT_2, Phase.REVEAL_2] if policy.rounds == 2 else []
    acts = {Act.DRAW, Act.DRAW_WITHOUT, Act.SETTLE} | rounds
    assert tried == set(product(phases, acts)), "a cell of the table was never tried"


def test_groups_that_wait_or_are_over_do_what_the_table_says() -> None:
    network = network_of(TWO)
    ledger = network.ledger
    group = network.opened(task=TEXT)
    opening = cv.Opening(KEYED).to_bytes()

    def check(moments: list[int], phase_at: dict[int, Phase]) -> None:
        acts: dict[Act, Action] = {Act.DRAW: DrawGroup(group.id, b"value"), Act.DRAW_WITHOUT: DrawGroup(group.id, None)}
        for number, (committing, revealing) in enumerate(ROUNDS, 1):
            acts[committing] = Commit(group.id, "n0", number, bytes(32))
            acts[revealing] = Reveal(group.id, "n0", number, opening)
        acts[Act.SETTLE] = Settle(group.id)
        assert list(acts) == list(Act)
        for now, (act, action) in product(moments, acts.items()):
            found = ends(ledger, action, group.id, now)
            assert found is LIFE[phase_at[now]][act], (now, act)

    late = group.draw_deadline
    at = {late - 1: Phase.WAITING, late: Phase.LATE, late + 1: Phase.LATE}
    check(list(at), at)
    network.clock.now = late
    drawn = ledger.draw(group.id)
    network.clock.now = drawn.rounds[1].reveal_deadline
    ledger.settle(group.id)
    later = [network.clock.now, network.clock.now + 10_000]
    check(later, dict.fromkeys(later, Phase.SETTLED))


def test_a_closed_group_does_what_the_table_says() -> None:
    from crynux_validate.testing.conformance.network import SilentBeacon

    clock = ManualClock()
    network = Network(cv.MemoryLedger(POLICY, clock=clock, beacon=SilentBeacon()), clock)
    group = network.opened()
    clock.now = group.draw_deadline
    assert network.ledger.draw(group.id).status is cv.ledger.Status.CLOSED
    acts: dict[Act, Action] = {
        Act.DRAW: DrawGroup(group.id, b"value"),
        Act.DRAW_WITHOUT: DrawGroup(group.id, None),
        Act.COMMIT_1: Commit(group.id, "n0", 1, bytes(32)),
        Act.REVEAL_1: Reveal(group.id, "n0", 1, cv.Opening(KEYED).to_bytes()),
        Act.SETTLE: Settle(group.id),
    }
    for act, action in acts.items():
        assert ends(network.ledger, action, group.id, clock.now) is LIFE[Phase.CLOSED][act]


def test_the_document_shows_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)]
    start = next(at for at, row in enumerate(shown) if row[0] == "phase")
    assert shown[start][1:] == [act.value for act in Act]
    expected = [
        [phase.value, *(end.value if isinstance(end, cv.ledger.Status) else end.__name__ for end in row.values())]
        for phase, row in LIFE.items()
    ]
    assert shown[start + 2 : start + 2 + len(expected)] == expected
