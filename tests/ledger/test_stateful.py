"""Random sequences of actions: money is conserved, errors change nothing, text is computed on equal machines only, and
the log replays (protocol L1-L7, P2, P6)."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from crynux_validate import (
    Group,
    ImageTask,
    InvalidInputError,
    LedgerError,
    MemoryLedger,
    SqlLedger,
    Status,
    StoringLedger,
    TextTask,
    class_of,
    verify_draw,
)
from tests.ledger import backends
from tests.ledger.helpers import (
    CARD,
    CHEAT,
    CHEAT_TEXT,
    FALSE_REPORT,
    HONEST,
    HONEST_TEXT,
    MACHINE,
    MALFORMED,
    TASK,
    TEXT,
    Machine,
    Network,
)

NODES, OWNERS = 8, 6
nodes = st.sampled_from([f"n{at}" for at in range(NODES)])
accounts = st.sampled_from(["app", *(f"o{at}" for at in range(OWNERS))])
creators = st.one_of(st.just("app"), accounts)
fees = st.sampled_from([3, 3, 30, 100, 300, 600, 2, 0])
amounts = st.integers(-5, 3_000)
tasks = st.sampled_from([TASK, TEXT])
others = st.sampled_from([Machine("driver 590.2, torch 2.13.0"), Machine(is_really="another card")])
machines = st.one_of(st.just(MACHINE), st.just(MACHINE), st.just(MACHINE), others)


class LedgerMachine(RuleBasedStateMachine):
    """Everybody does anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(nodes=OWNERS)
        self.ledger = self.network.ledger
        self.groups: list[str] = []

    def attempt(self, action: Any, *arguments: Any, **named: Any) -> Any:
        before = self.everything()
        try:
            return action(*arguments, **named)
        except (LedgerError, InvalidInputError):
            assert self.everything() == before

    def everything(self, ledger: StoringLedger | None = None) -> tuple[object, ...]:
        ledger = ledger or self.ledger
        balances = {account: ledger.account(account) for account in ("app", *(f"o{at}" for at in range(OWNERS)))}
        groups = [ledger.group(group) for group in self.groups]
        return ledger.events(), ledger.totals(), ledger.nodes(), balances, groups

    @rule(account=accounts, amount=amounts)
    def deposit(self, account: str, amount: int) -> None:
        self.attempt(self.ledger.deposit, account, amount)

    @rule(account=accounts, amount=amounts)
    def withdraw(self, account: str, amount: int) -> None:
        self.attempt(self.ledger.withdraw, account, amount)

    @rule(node=nodes, owner=accounts, stake=amounts)
    def join(self, node: str, owner: str, stake: int) -> None:
        self.attempt(self.ledger.join, node, owner=owner, gpu=CARD, stake=stake)

    @rule(node=st.sampled_from(["n6", "n7", *(f"n{at}" for at in range(3))]))
    def leave(self, node: str) -> None:
        self.attempt(self.ledger.leave, node)

    @rule(node=nodes, amount=amounts)
    def top_up(self, node: str, amount: int) -> None:
        self.attempt(self.ledger.top_up, node, amount)

    @rule(task=tasks, creator=creators, fee=fees, data=st.data())
    def open_group(self, task: ImageTask | TextTask, creator: str, fee: int, data: st.DataObject) -> None:
        in_force = self.ledger.epoch().in_force
        classes = [class_of(node, in_force) for node in self.ledger.nodes()]
        named = data.draw(st.one_of(st.none(), st.sampled_from(classes))) if task is TEXT and classes else None
        group = self.attempt(self.ledger.open_group, task, creator=creator, fee=fee, gpu_class=named)
        if isinstance(group, Group):
            self.groups.append(group.id)
            members = [self.ledger.node(node) for node in group.pool.ids]
            assert (group.gpu_class is None) == (task is TASK)
            if task is TEXT:
                assert {class_of(node, in_force) for node in members} == {group.gpu_class}
                assert named in (None, group.gpu_class)

    @rule(node=nodes, machine=machines)
    def attest_commit(self, node: str, machine: Machine) -> None:
        self.attempt(self.network.attest_commit, node, machine)

    @rule(node=nodes)
    def attest_reveal(self, node: str) -> None:
        if node in self.network.attestations:
            self.attempt(self.network.attest_reveal, node)

    @rule(data=st.data())
    def attest(self, data: st.DataObject) -> None:
        """The whole of an epoch's attesting at once, so that text tasks find a class; some stay away."""
        attesting = [node.id for node in self.ledger.nodes() if data.draw(st.integers(0, 5))]
        self.network.attest({node: data.draw(machines) for node in attesting})

    @rule(seconds=st.sampled_from([0, 1, 1, 25, 100, 160, 1_000]))
    def wait(self, seconds: int) -> None:
        self.network.clock.advance(seconds)

    @rule(data=st.data())
    def draw(self, data: st.DataObject) -> None:
        if self.groups:
            self.attempt(self.ledger.draw, data.draw(st.sampled_from(self.groups)))

    @rule(data=st.data(), answer=st.sampled_from([HONEST, HONEST, HONEST_TEXT, CHEAT, FALSE_REPORT, MALFORMED]))
    def commit(self, data: st.DataObject, answer: Any) -> None:
        if self.groups:
            group = self.ledger.group(data.draw(st.sampled_from(self.groups)))
            self.attempt(self.network.commit, group.id, data.draw(nodes), answer)

    @rule(task=tasks, stays_away=st.integers(0, 9), data=st.data())
    def serve(self, task: ImageTask | TextTask, stays_away: int, data: st.DataObject) -> None:
        """The whole of a group at once, so that many are settled."""
        group = self.attempt(self.ledger.open_group, task, creator="app", fee=3)
        if not isinstance(group, Group):
            return
        self.groups.append(group.id)
        self.network.clock.advance(1)
        self.attempt(self.ledger.draw, group.id)
        members = self.ledger.group(group.id).members
        answers = (
            [HONEST, HONEST, HONEST, CHEAT] if task is TASK else [HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, CHEAT_TEXT]
        )
        present = [node for at, node in enumerate(members) if at != stays_away]
        for node in present:
            self.attempt(self.network.commit, group.id, node, data.draw(st.sampled_from(answers)))
        if len(present) < len(members):
            self.network.clock.advance(100)
        for node in present:
            self.attempt(self.network.reveal, group.id, node)
        self.attempt(self.ledger.settle, group.id)

    @rule(data=st.data())
    def reveal(self, data: st.DataObject) -> None:
        if self.network.openings:
            group, node = data.draw(st.sampled_from(sorted(self.network.openings)))
            self.attempt(self.network.reveal, group, node)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.groups:
            group = data.draw(st.sampled_from(self.groups))
            self.attempt(self.ledger.settle, group)

    @invariant()
    def money_is_conserved(self) -> None:
        totals = self.ledger.totals()
        assert totals.balanced
        assert min(totals.accounts, totals.stakes, totals.escrows, totals.burnt) >= 0

    @invariant()
    def nobody_is_in_two_groups(self) -> None:
        drawn = [self.ledger.group(group) for group in self.groups]
        busy = [node for group in drawn if group.status is Status.DRAWN for node in group.members]
        assert len(busy) == len(set(busy))
        assert {node.id for node in self.ledger.nodes() if node.group} == set(busy)

    @invariant()
    def draws_can_be_repeated_and_are_of_different_owners(self) -> None:
        for group in map(self.ledger.group, self.groups[-3:]):
            if group.draw is not None:
                assert verify_draw(group.draw)
                owners = {candidate.owner for candidate in group.pool if candidate.id in group.members}
                assert len(owners - {group.creator}) == len(group.members) == 3

    @invariant()
    def a_node_keeps_what_it_attested_of_two_epochs_at_most(self) -> None:
        for node in self.ledger.nodes():
            epochs = [attested.epoch for attested in node.attestations]
            assert epochs == sorted(set(epochs))
            assert len(epochs) <= 2

    @invariant()
    def what_was_said_is_stored(self) -> None:
        """A process that dies here and starts again knows all of it (L7)."""
        if isinstance(self.ledger, SqlLedger):
            again = backends.current.again(self.ledger)
            assert self.everything(again) == self.everything()

    def teardown(self) -> None:
        events = self.ledger.events()
        assert self.ledger.verify_log() == events[-1].digest
        for again in (MemoryLedger.replay(events), backends.current.replay(events)):
            assert self.everything(again) == self.everything()


EXAMPLES = {"memory": 60, "sqlite": 3, "postgresql": 1}
"""What takes longer gets fewer."""


def test_ledger(backend: backends.Backend) -> None:
    examples = settings(max_examples=EXAMPLES[backend.name], stateful_step_count=60, deadline=None)
    run_state_machine_as_test(LedgerMachine, settings=examples)
