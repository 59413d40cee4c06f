"""Opening a group and drawing its members (protocol T1, P4, P5, P7, L3)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crynux_validate.errors import (
    AlreadyDoneError,
    InsufficientFundsError,
    InvalidInputError,
    NotEnoughNodes,
    TooEarlyError,
    UnknownIdError,
)
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import Group, Status
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.pairing import verify_draw
from crynux_validate.tasks import ModelRef
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import SECRET, Harness
from crynux_validate.testing.conformance.network import CARD, HONEST, POLICY, TASK
from crynux_validate.testing.conformance.under_test import own


def check_draw(group: Group) -> None:
    """Repeat a draw twice: with the library, and by hand."""
    assert group.draw is not None
    assert (group.draw.group, group.draw.pool) == (group.id, group.pool)
    assert verify_draw(group.draw, task=group.task, policy=group.policy)
    assert by_hand.members_drawn(group.draw) == (group.members, set(group.draw.unavailable))
    assert bytes.fromhex(group.draw_digest) == by_hand.draw_digest(group)


class GroupRules(Harness):
    """Standard tests of opening and drawing."""

    def test_l3_a_fee_has_one_unit_for_each_member(self) -> None:
        network = self.network()
        network.refused(InvalidInputError, lambda: network.opened(fee=2), "min_fee")
        fees: list[Any] = ["100", 3.0, True, None, -3, 2**256]
        for fee in fees:
            network.refused(InvalidInputError, lambda f=fee: network.opened(fee=f))  # type: ignore[misc]
        assert network.opened(fee=3).fee == 3

    def test_opening_is_refused_where_the_creator_or_the_task_does_not_do(self) -> None:
        """T1: only tasks whose model is pinned."""
        network = self.network()
        ledger = network.ledger

        def opening(**change: Any) -> Callable[[], Any]:
            fields: dict[str, Any] = {"task": TASK, "creator": "app", "fee": 100} | change
            task = fields.pop("task")
            return lambda: ledger.open_group(task, **fields)

        network.refused(InsufficientFundsError, opening(fee=10_001), "has 10000")
        network.refused(InsufficientFundsError, opening(creator="nobody"))
        network.refused(InvalidInputError, opening(task=TASK.to_json()), "ImageTask")
        network.refused(InvalidInputError, opening(min_memory_gib=-1))
        unpinned = TASK.replace(model=ModelRef("owner/name", revision="main", allow_unpinned=True))
        network.refused(InvalidInputError, opening(task=unpinned), "pinned")

    def test_p2_memory_is_asked_of_one_card(self) -> None:
        network = self.network(nodes=2)
        network.ledger.join("big", owner="o0", gpu=GpuModel("H200", 141), stake=400)
        with pytest.raises(NotEnoughNodes):
            network.ledger.open_group(TASK, creator="app", fee=100, min_memory_gib=25)
        network = self.network()
        network.too_few(
            0,
            3,
            lambda: network.ledger.open_group(TASK, creator="app", fee=100, min_memory_gib=48),
            "5 with less than 48 GiB",
        )

    def test_p7_a_members_stake_covers_its_share_of_the_fee(self) -> None:
        network = self.network()
        network.refused(NotEnoughNodes, lambda: network.opened(fee=3 * 101), "below 1010")
        assert network.opened(fee=3 * 100).status is Status.OPEN
        part = self.network(policy=replace(POLICY, slash_ppm=500_000))
        part.refused(NotEnoughNodes, lambda: part.opened(fee=3 * 51), "below 1020")
        assert part.opened(fee=3 * 50).status is Status.OPEN

    def test_p4_a_group_id_is_never_used_again(self) -> None:
        """Not after settling, and not after a group was closed."""
        network = self.network(nodes=6)
        groups = [network.answered(HONEST, HONEST, HONEST, fee=3).id]
        second = network.opened(fee=3)
        assert second.id != groups[0]
        network.draw(second)
        for node in network.ledger.group(second.id).members:
            network.commit(second.id, node)
        for node in network.ledger.group(second.id).members:
            network.reveal(second.id, node)
        groups.append(network.ledger.settle(second.id).id)
        groups += [network.opened(fee=3).id, network.opened(fee=3).id]
        drawn = [network.draw(network.ledger.group(group)) for group in groups[2:]]
        network.until(drawn[0].commit_deadline)
        network.ledger.settle(groups[2])
        groups.append(network.opened(fee=3).id)
        assert len(set(groups)) == 5
        assert network.ledger.group(groups[0]).status is Status.SETTLED
        network.refused(UnknownIdError, lambda: network.ledger.draw("no-such-group"))

    def test_p4_opening_fixes_task_fee_policy_and_pool(self) -> None:
        network = self.network()
        group = network.opened()
        policy = network.ledger.policy
        assert (group.creator, group.fee, group.policy, group.base) == ("app", 100, policy, 5_000)
        assert (group.status, group.members, group.draw) == (Status.OPEN, (), None)
        assert group.draw_deadline == group.opened + policy.draw_seconds
        assert network.ledger.now() - policy.draw_seconds <= group.opened <= network.ledger.now()
        assert [(c.id, c.owner, c.weight) for c in group.pool] == [(f"n{at}", f"o{at}", 1_000) for at in range(5)]
        assert group.task.replace(seed=TASK.seed) == TASK
        assert network.ledger.group(group.id) == group

    @needs("log")
    def test_l5_opening_says_in_the_log_what_it_fixed(self) -> None:
        network = self.network()
        group = network.opened()
        result = own(network.ledger).events()[-1].payload["result"]
        assert result["pool_digest"] == own(network.ledger).group(group.id).pool.digest
        assert (result["base"], result["task_digest"]) == ("5000", group.task.digest)

    @needs("manual_clock")
    def test_p4_nobody_is_drawn_before_the_value_is_public(self) -> None:
        network = self.network()
        group = network.opened()
        network.refused(TooEarlyError, lambda: network.ledger.draw(group.id), "not public yet")

    def test_p4_nothing_is_done_in_a_group_before_its_draw(self) -> None:
        network = self.network()
        group = network.opened()
        network.refused(TooEarlyError, lambda: network.commit(group.id, "n0"), "not been drawn")
        network.refused(TooEarlyError, lambda: network.ledger.settle(group.id), "not been drawn")

    def test_p4_the_draw_is_the_one_that_anyone_can_repeat(self) -> None:
        """By the beacon round that was assigned, from the pool that was fixed, weighted by stake."""
        network = self.network(nodes=4)
        beacon = LocalBeacon(SECRET)
        network.ledger.deposit("rich", 100_000)
        network.ledger.join("rich-1", owner="rich", gpu=CARD, stake=90_000)
        for _ in range(4):
            opened = network.opened(fee=3)
            drawn = network.draw(opened)
            assert drawn.draw is not None
            assert drawn.draw.beacon_round == opened.beacon_round
            if self.has("beacon"):
                assert drawn.draw.beacon == beacon.value(opened.beacon_round, opened.beacon_round)
            if self.has("beacon") and self.has("manual_clock"):
                assert opened.beacon_round == beacon.next_round(opened.opened), "no value that anybody knows"
            check_draw(drawn)
            assert {c.id: c.weight for c in drawn.pool} == dict.fromkeys(["n0", "n1", "n2", "n3"], 1_000) | {
                "rich-1": 90_000
            }
            assert network.ledger.group(drawn.id) == drawn
            for node in drawn.members:
                network.commit(drawn.id, node)
                assert network.ledger.node(node).group == drawn.id
            for node in drawn.members:
                network.reveal(drawn.id, node)
            network.ledger.settle(drawn.id)

    def test_p4_members_are_drawn_once(self) -> None:
        network = self.network()
        group = network.drawn()
        network.refused(AlreadyDoneError, lambda: network.ledger.draw(group.id))
        if self.has("manual_clock"):
            network.clock.now = group.reveal_deadline
            network.refused(AlreadyDoneError, lambda: network.ledger.draw(group.id))

    def test_p5_never_two_nodes_of_one_owner(self) -> None:
        network = self.network(nodes=3)
        ledger = network.ledger
        for at in range(3):
            ledger.join(f"n{at}-b", owner="o0", gpu=CARD, stake=1_000)
        owners = {"n0": "o0", "n1": "o1", "n2": "o2"} | {f"n{at}-b": "o0" for at in range(3)}
        for _ in range(8):
            group = network.answered(HONEST, HONEST, HONEST, fee=3)
            assert len({owners[node] for node in group.members}) == 3
            check_draw(group)

    def test_p5_never_a_node_of_the_creator(self) -> None:
        network = self.network(nodes=4)
        few = self.network(nodes=3)
        few.refused(NotEnoughNodes, lambda: few.opened(creator="o0"), "1 of the creator")
        for _ in range(4):
            group = network.opened(fee=3, creator="o0")
            assert "n0" not in group.pool.ids
            drawn = network.draw(group)
            assert set(drawn.members) == {"n1", "n2", "n3"}
            for node in drawn.members:
                network.commit(group.id, node)
            for node in drawn.members:
                network.reveal(group.id, node)
            network.ledger.settle(group.id)

    def test_p4_groups_have_the_size_that_the_policy_says(self) -> None:
        network = self.network(nodes=6, policy=replace(POLICY, group_size=5, min_fee=5))
        assert len(network.drawn().members) == 5
        network.refused(NotEnoughNodes, lambda: network.opened(fee=5))
