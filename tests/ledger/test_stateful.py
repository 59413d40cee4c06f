"""Random sequences of actions: money is conserved, errors change nothing, and the log replays (protocol L1-L6)."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crynux_validate import Group, InvalidInputError, LedgerError, MemoryLedger, Status, verify_chain
from tests.ledger.helpers import CARD, CHEAT, FALSE_REPORT, HONEST, MALFORMED, TASK, Network

nodes = st.sampled_from([f"n{at}" for at in range(6)])
accounts = st.sampled_from(["app", *(f"o{at}" for at in range(4))])
amounts = st.integers(-5, 3_000)


class LedgerMachine(RuleBasedStateMachine):
    """Everybody does anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(nodes=4)
        self.ledger = self.network.ledger
        self.groups: list[str] = []

    def attempt(self, action: Any, *arguments: Any, **named: Any) -> Any:
        before = self.everything()
        try:
            return action(*arguments, **named)
        except (LedgerError, InvalidInputError):
            assert self.everything() == before

    def everything(self) -> tuple[object, ...]:
        balances = {account: self.ledger.account(account) for account in ("app", "o0", "o1", "o2", "o3")}
        groups = [self.ledger.group(group) for group in self.groups]
        return len(self.ledger.events()), self.ledger.totals(), self.ledger.nodes(), balances, groups

    @rule(account=accounts, amount=amounts)
    def deposit(self, account: str, amount: int) -> None:
        self.attempt(self.ledger.deposit, account, amount)

    @rule(account=accounts, amount=amounts)
    def withdraw(self, account: str, amount: int) -> None:
        self.attempt(self.ledger.withdraw, account, amount)

    @rule(node=nodes, owner=accounts, stake=amounts)
    def join(self, node: str, owner: str, stake: int) -> None:
        self.attempt(self.ledger.join, node, owner=owner, gpu=CARD, stake=stake)

    @rule(node=nodes)
    def leave(self, node: str) -> None:
        self.attempt(self.ledger.leave, node)

    @rule(node=nodes, amount=amounts)
    def top_up(self, node: str, amount: int) -> None:
        self.attempt(self.ledger.top_up, node, amount)

    @rule(creator=accounts, fee=st.integers(0, 600))
    def open_group(self, creator: str, fee: int) -> None:
        group = self.attempt(self.ledger.open_group, TASK, creator=creator, fee=fee)
        if isinstance(group, Group):
            self.groups.append(group.id)

    @rule(seconds=st.sampled_from([0, 1, 1, 25, 100, 160]))
    def wait(self, seconds: int) -> None:
        self.network.clock.advance(seconds)

    @rule(data=st.data())
    def draw(self, data: st.DataObject) -> None:
        if self.groups:
            self.attempt(self.ledger.draw, data.draw(st.sampled_from(self.groups)))

    @rule(data=st.data(), answer=st.sampled_from([HONEST, HONEST, HONEST, CHEAT, FALSE_REPORT, MALFORMED]))
    def commit(self, data: st.DataObject, answer: Any) -> None:
        if self.groups:
            group = self.ledger.group(data.draw(st.sampled_from(self.groups)))
            self.attempt(self.network.commit, group.id, data.draw(nodes), answer)

    @rule(data=st.data())
    def serve(self, data: st.DataObject) -> None:
        """The whole of a group at once, so that many are settled."""
        if self.groups:
            group = self.ledger.group(data.draw(st.sampled_from(self.groups)))
            self.network.clock.advance(1)
            self.attempt(self.ledger.draw, group.id)
            for node in self.ledger.group(group.id).members:
                answer = data.draw(st.sampled_from([HONEST, HONEST, CHEAT, None]))
                if answer is not None:
                    self.attempt(self.network.commit, group.id, node, answer)

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

    def teardown(self) -> None:
        events = self.ledger.events()
        verify_chain(events, events[-1].digest)
        again = MemoryLedger.replay(events)
        assert again.events() == events
        assert again.totals() == self.ledger.totals()
        assert again.nodes() == self.ledger.nodes()
        assert [again.group(group) for group in self.groups] == [self.ledger.group(group) for group in self.groups]


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestLedger = LedgerMachine.TestCase
