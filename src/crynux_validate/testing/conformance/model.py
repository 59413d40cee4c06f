"""Random sequences of actions on the ledger under test and on a model, the rules in memory: both do the same."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeGuard, cast

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from crynux_validate.errors import InvalidInputError, LedgerError
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import Group, Ledger
from crynux_validate.ledger.memory import MemoryLedger
from crynux_validate.machines.admission import class_of
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import ImageTask, TextTask
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.groups import check_draw
from crynux_validate.testing.conformance.harness import SECRET, Harness
from crynux_validate.testing.conformance.network import (
    CARD,
    CHEAT,
    CHEAT_TEXT,
    FALSE_DECLARER,
    FALSE_REPORT,
    HONEST,
    HONEST_TEXT,
    LEDGER_ID,
    MACHINE,
    MALFORMED,
    OTHER_DRIVER,
    POLICY,
    TASK,
    TEXT,
    Machine,
    Network,
    busy_nodes,
    check_money,
    everything,
)
from crynux_validate.testing.conformance.under_test import own

QUERIES: Final = ("account", "epoch", "events", "group", "node", "nodes", "now", "totals")
NODES, OWNERS = 8, 6
nodes = st.sampled_from([f"n{at}" for at in range(NODES)])
accounts = st.sampled_from(["app", *(f"o{at}" for at in range(OWNERS))])
creators = st.one_of(st.just("app"), accounts)
fees = st.sampled_from([3, 3, 30, 100, 300, 600, 2, 0])
amounts = st.integers(-5, 3_000)
tasks = st.builds(lambda task, seed: task.replace(seed=seed), st.sampled_from([TASK, TEXT]), st.integers(0, 40))
machines = st.sampled_from([MACHINE, MACHINE, MACHINE, MACHINE, OTHER_DRIVER, FALSE_DECLARER])


class Both:
    """A ledger that does everything twice, in the ledger under test and in the model, and compares how it ended."""

    def __init__(self, ledger: Ledger, model: Ledger, *, messages: bool) -> None:
        self.ledger = ledger
        self.model = model
        self._messages = messages
        self._seen = 0
        self._compare_log()

    def __getattr__(self, name: str) -> Any:
        expected = getattr(self.model, name)
        if not callable(expected):
            assert getattr(self.ledger, name) == expected
            return expected

        def act(*arguments: Any, **named: Any) -> Any:
            ours = _end_of(getattr(self.ledger, name), *arguments, **named)
            models = _end_of(expected, *arguments, **named)
            assert self._shown(ours) == self._shown(models), f"{name} ends otherwise than in the model"
            if name not in QUERIES:
                self._compare_log()
            if isinstance(ours, Exception):
                raise ours
            return ours

        return act

    def _shown(self, end: object) -> object:
        if isinstance(end, Exception):
            return type(end), str(end) if self._messages else ""
        return {one.id: one for one in end} if _are_nodes(end) else end

    def _compare_log(self) -> None:
        ours, models = tuple(self.ledger.events(self._seen)), tuple(self.model.events(self._seen))
        assert ours == models, "the log is not the model's"
        assert self.ledger.totals() == self.model.totals(), "the money is not where it is in the model"
        self._seen += len(ours)


def _end_of(action: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What an action returns, or the error that refuses it."""
    try:
        return action(*arguments, **named)
    except (LedgerError, InvalidInputError) as error:
        return error


def _are_nodes(end: object) -> TypeGuard[Sequence[Node]]:
    return isinstance(end, Sequence) and all(isinstance(one, Node) for one in end)


class ModelMachine(RuleBasedStateMachine):
    """Everybody does anything at any time."""

    def __init__(self, harness: Harness) -> None:
        super().__init__()
        self.clock, self.folder = harness.new_clock(), harness.new_folder()
        self.harness = harness
        model = MemoryLedger(POLICY, ledger_id=LEDGER_ID, clock=self.clock, beacon=LocalBeacon(SECRET))
        self.both = Both(self.opened(), model, messages=harness.has("messages"))
        self.ledger = harness.under_test(cast("Ledger", self.both))
        self.network = Network(self.ledger, self.clock, nodes=OWNERS)
        self.groups: list[str] = []

    def opened(self) -> Ledger:
        """Open the ledger under test."""
        found = self.harness.new_ledger(POLICY, clock=self.clock, beacon=LocalBeacon(SECRET), folder=self.folder)
        return own(found)

    def attempt(self, action: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Do what may be refused: both refuse it alike, and log nothing."""
        before = len(self.both.model.events())
        try:
            return action(*arguments, **named)
        except (LedgerError, InvalidInputError):
            assert len(self.both.model.events()) == before
            return None

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
        is_text = isinstance(task, TextTask)
        named = data.draw(st.one_of(st.none(), st.sampled_from(classes))) if is_text and classes else None
        group = self.attempt(self.ledger.open_group, task, creator=creator, fee=fee, gpu_class=named)
        if isinstance(group, Group):
            self.groups.append(group.id)
            members = [self.both.model.node(node) for node in group.pool.ids]
            assert (group.gpu_class is None) == (not is_text)
            if is_text:
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
        staying = [node.id for node in self.ledger.nodes() if node.leaving is None]
        attesting = [node for node in staying if data.draw(st.integers(0, 5))]
        self.network.attest({node: data.draw(machines) for node in attesting})

    @rule(seconds=st.sampled_from([0, 1, 1, 25, 100, 160, 1_000]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(data=st.data())
    def draw(self, data: st.DataObject) -> None:
        if self.groups:
            self.attempt(self.ledger.draw, data.draw(st.sampled_from(self.groups)))

    @rule(data=st.data(), answer=st.sampled_from([HONEST, HONEST, HONEST_TEXT, CHEAT, FALSE_REPORT, MALFORMED]))
    def commit(self, data: st.DataObject, answer: Any) -> None:
        if self.groups:
            group = data.draw(st.sampled_from(self.groups))
            self.attempt(self.network.commit, group, data.draw(nodes), answer)

    @rule(data=st.data())
    def reveal(self, data: st.DataObject) -> None:
        if self.network.openings:
            group, node = data.draw(st.sampled_from(sorted(self.network.openings)))
            self.attempt(self.network.reveal, group, node)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.groups:
            self.attempt(self.ledger.settle, data.draw(st.sampled_from(self.groups)))

    @rule(task=tasks, stays_away=st.integers(0, 9), data=st.data())
    def serve(self, task: ImageTask | TextTask, stays_away: int, data: st.DataObject) -> None:
        """The whole of a group at once, so that many are settled."""
        group = self.attempt(self.ledger.open_group, task, creator="app", fee=3)
        if not isinstance(group, Group):
            return
        self.groups.append(group.id)
        self.clock.advance(1)
        self.attempt(self.ledger.draw, group.id)
        members = self.ledger.group(group.id).members
        honest, cheat = (HONEST_TEXT, CHEAT_TEXT) if isinstance(task, TextTask) else (HONEST, CHEAT)
        present = [node for at, node in enumerate(members) if at != stays_away]
        for node in present:
            self.attempt(self.network.commit, group.id, node, data.draw(st.sampled_from([honest] * 3 + [cheat])))
        if len(present) < len(members):
            self.clock.advance(100)
        for node in present:
            self.attempt(self.network.reveal, group.id, node)
        self.attempt(self.ledger.settle, group.id)

    @rule()
    def restart(self) -> None:
        """A process that dies here and starts again knows all of it (L7)."""
        if self.harness.has("restart"):
            self.harness.let_go(self.both.ledger)
            self.both.ledger = self.opened()
        everything(self.ledger)

    @invariant()
    def nobody_is_in_two_groups(self) -> None:
        """Asked of the model, to which the ledger is equal."""
        model = self.both.model
        busy = busy_nodes({group: model.group(group) for group in self.groups})
        assert len(busy) == len(set(busy))
        assert {node.id for node in model.nodes() if node.group} == set(busy)

    @invariant()
    def draws_can_be_repeated_and_are_of_different_owners(self) -> None:
        for group in map(self.both.model.group, self.groups[-2:]):
            if group.draw is not None:
                check_draw(group)
                owners = {candidate.owner for candidate in group.pool if candidate.id in group.members}
                assert len(owners - {group.creator}) == len(group.members) == 3

    def teardown(self) -> None:
        check_money(self.ledger)
        again = MemoryLedger.replay(self.both.ledger.events())
        assert everything(again) == everything(self.ledger)


class ModelRules(Harness):
    """The standard test that compares with the model."""

    @needs("manual_clock", "beacon", "log", "text", "draw_ahead")
    def test_the_ledger_does_what_the_model_does(self) -> None:
        """L1-L7, C2, P2-P7: the same actions in any order give the same results, errors, events and money."""
        small = settings(
            max_examples=self.examples,
            stateful_step_count=self.steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )

        def new() -> ModelMachine:
            return ModelMachine(self)

        run_state_machine_as_test(new, settings=small)  # type: ignore[arg-type]
