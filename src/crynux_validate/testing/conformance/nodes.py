"""Nodes: joining, leaving, topping up, absence (protocol L4, C3, P2)."""

from collections.abc import Callable
from typing import Any

from crynux_validate.errors import (
    AlreadyDoneError,
    InsufficientFundsError,
    InvalidInputError,
    NodeStateError,
    NotEnoughNodes,
    StakeTooLowError,
    UnknownIdError,
)
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import CARD, CHEAT, HONEST


class NodeRules(Harness):
    """Standard tests of what a node may do."""

    def test_l4_joining_takes_at_least_the_least_stake(self) -> None:
        network = self.network(nodes=2)
        ledger = network.ledger

        def join(node: str, owner: str, stake: Any, gpu: Any = CARD) -> Callable[[], Any]:
            return lambda: ledger.join(node, owner=owner, gpu=gpu, stake=stake)

        network.refused(StakeTooLowError, join("x", "o1", 399), "at least 400")
        network.refused(InsufficientFundsError, join("x", "o1", 4_001), "has 4000")
        network.refused(AlreadyDoneError, join("n1", "o1", 400))
        network.refused(InvalidInputError, join("x\n", "o1", 400), "printable")
        network.refused(InvalidInputError, join("x", "", 400))
        network.refused(InvalidInputError, join("x", "o1", 400.0), "stake")
        network.refused(InvalidInputError, join("x", "o1", True), "stake")
        network.refused(InvalidInputError, join("x", "o1", 400, "RTX 4090"), "GpuModel")
        joined = ledger.join("x", owner="o1", gpu=CARD, stake=400)
        assert (joined.id, joined.owner, joined.gpu, joined.stake, joined.joined) == ("x", "o1", CARD, 400, True)
        assert (joined.suspended, joined.absences, joined.group) == (False, 0, None)
        assert ledger.node("x") == joined
        assert {node.id for node in ledger.nodes()} == {"n0", "n1", "x"}
        assert ledger.account("o1") == 3_600

    def test_l4_leaving_gives_the_stake_back(self) -> None:
        network = self.network(nodes=2)
        ledger = network.ledger
        assert not ledger.leave("n1").joined
        assert ledger.account("o1") == 5_000
        assert not ledger.node("n1").joined
        assert [node.id for node in ledger.nodes()] == ["n0"]
        network.refused(UnknownIdError, lambda: ledger.leave("n1"))
        network.refused(UnknownIdError, lambda: ledger.top_up("n1", 5))
        network.check_money()

    def test_a_node_id_belongs_to_its_first_owner(self) -> None:
        network = self.network(nodes=3)
        ledger = network.ledger
        ledger.leave("n1")
        network.refused(NodeStateError, lambda: ledger.join("n1", owner="o2", gpu=CARD, stake=400), "belongs to")
        assert ledger.join("n1", owner="o1", gpu=CARD, stake=400).stake == 400

    def test_l4_topping_up_adds_to_the_stake(self) -> None:
        network = self.network(nodes=1)
        assert network.ledger.top_up("n0", 500).stake == 1_500
        assert network.ledger.account("o0") == 3_500
        network.refused(InsufficientFundsError, lambda: network.ledger.top_up("n0", 3_501))
        network.refused(InvalidInputError, lambda: network.ledger.top_up("n0", 0))
        network.check_money()

    def test_l4_a_slashed_node_is_out_until_it_tops_up(self) -> None:
        network = self.network(nodes=3)
        group = network.answered(HONEST, HONEST, CHEAT)
        cheat = group.members[2]
        network.refused(NotEnoughNodes, network.drawn, "1 with a stake below 400")
        network.ledger.top_up(cheat, 400)
        assert cheat in network.drawn().members

    def test_c3_absence_costs_nothing_but_the_third_in_a_row_suspends(self) -> None:
        network = self.network(nodes=3)
        for _ in range(3):
            network.answered(HONEST, HONEST, HONEST)
            assert not any(node.suspended for node in network.ledger.nodes())
        absent = "n1"
        for times in range(1, 4):
            group = network.drawn()
            for node in group.members:
                if node != absent:
                    network.commit(group.id, node)
            network.until(group.commit_deadline)
            for node in group.members:
                if node != absent:
                    network.reveal(group.id, node)
            network.ledger.settle(group.id)
            assert network.ledger.node(absent).absences == times
            assert network.ledger.node(absent).suspended == (times == 3)
        assert network.ledger.node(absent).stake == 1_000
        network.refused(NotEnoughNodes, network.drawn, "1 suspended")
        network.ledger.leave(absent)
        network.ledger.join(absent, owner="o1", gpu=CARD, stake=1_000)
        assert not network.ledger.node(absent).suspended
        network.drawn()

    def test_c3_a_commitment_ends_a_row_of_absences(self) -> None:
        network = self.network(nodes=3)
        network.answered(HONEST, HONEST, None)
        assert sorted(node.absences for node in network.ledger.nodes()) == [0, 0, 1]
        network.answered(HONEST, HONEST, HONEST)
        assert [node.absences for node in network.ledger.nodes()] == [0, 0, 0]
