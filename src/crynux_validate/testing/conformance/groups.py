"""Opening a group and drawing its members (protocol T1, P4, P5, P7, L3)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crynux_validate.errors import (
    AlreadyDoneError,
    InsufficientFundsError,
    InvalidInputError,
    NodeStateError,
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
from crynux_validate.testing.conformance.harness import SECRET, Harness
from crynux_validate.testing.conformance.network import CARD, CHEAT, HONEST, POLICY, TASK, SilentBeacon


def check_draw(group: Group) -> None:
    """Repeat a draw twice: with the library, and by hand."""
    assert group.draw is not None
    assert (group.draw.group, group.draw.pool) == (group.id, group.pool)
    assert verify_draw(group.draw)
    assert by_hand.members_drawn(group.draw) == group.members


class GroupRules(Harness):
    """Standard tests of opening and drawing."""

    def test_l3_a_fee_has_one_unit_for_each_member(self) -> None:
        network = self.network()
        network.refused(InvalidInputError, lambda: network.opened(fee=2), "one unit for each member")
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
        with pytest.raises(NotEnoughNodes) as caught:
            network.ledger.open_group(TASK, creator="app", fee=100, min_memory_gib=48)
        assert (caught.value.available, caught.value.needed) == (0, 3)
        assert not network.messages or "5 with less than 48 GiB" in str(caught.value)

    def test_p7_a_members_stake_covers_its_share_of_the_fee(self) -> None:
        network = self.network()
        network.refused(NotEnoughNodes, lambda: network.opened(fee=3 * 101), "below 1010")
        assert network.opened(fee=3 * 100).status is Status.OPEN
        part = self.network(policy=replace(POLICY, slash_ppm=500_000))
        part.refused(NotEnoughNodes, lambda: part.opened(fee=3 * 51), "below 1020")
        assert part.opened(fee=3 * 50).status is Status.OPEN

    def test_p4_a_group_id_is_never_used_again(self) -> None:
        """Not after settling, and not after a group was closed."""
        network = self.network(nodes=3)
        groups = [network.answered(HONEST, HONEST, HONEST, fee=3).id for _ in range(2)]
        groups += [network.opened(fee=3).id, network.opened(fee=3).id]
        network.clock.advance(1)
        network.ledger.draw(groups[2])
        assert network.ledger.draw(groups[3]).status is Status.CLOSED
        network.clock.advance(100)
        network.ledger.settle(groups[2])
        groups.append(network.opened(fee=3).id)
        assert len(set(groups)) == 5
        assert network.ledger.group(groups[0]).status is Status.SETTLED
        network.refused(UnknownIdError, lambda: network.ledger.draw("no-such-group"))

    def test_p4_opening_fixes_task_fee_policy_and_pool(self) -> None:
        network = self.network()
        group = network.opened()
        assert (group.task, group.creator, group.fee, group.policy) == (TASK, "app", 100, POLICY)
        assert (group.status, group.members, group.draw) == (Status.OPEN, (), None)
        assert (group.opened, group.draw_deadline) == (1_000_000, 1_000_020)
        assert [(c.id, c.owner, c.weight) for c in group.pool] == [(f"n{at}", f"o{at}", 1_000) for at in range(5)]
        event = network.ledger.events()[-1]
        assert event.payload["result"]["pool_digest"] == group.pool.digest
        assert event.payload["result"]["task_digest"] == TASK.digest
        assert network.ledger.group(group.id) == group

    def test_p4_nothing_is_done_in_a_group_before_its_draw(self) -> None:
        network = self.network()
        group = network.opened()
        network.refused(TooEarlyError, lambda: network.ledger.draw(group.id), "not public yet")
        network.refused(TooEarlyError, lambda: network.commit(group.id, "n0"), "not been drawn")
        network.refused(TooEarlyError, lambda: network.ledger.settle(group.id), "not been drawn")

    def test_p4_nobody_leaves_the_pool_between_opening_and_draw(self) -> None:
        network = self.network()
        ledger = network.ledger
        group = network.opened()
        network.refused(NodeStateError, lambda: ledger.leave("n0"), "in the pool")
        network.refused(NodeStateError, lambda: ledger.leave("n4"), "in the pool")
        ledger.join("late", owner="o0", gpu=CARD, stake=400)
        ledger.leave("late")
        ledger.join("late", owner="o0", gpu=CARD, stake=400)
        network.clock.advance(1)
        drawn = ledger.draw(group.id)
        assert "late" not in {candidate.id for candidate in drawn.pool}
        assert drawn.pool == group.pool
        ledger.leave(next(node.id for node in ledger.nodes() if node.group is None))

    def test_p4_no_weight_changes_between_opening_and_draw(self) -> None:
        network = self.network()
        ledger = network.ledger
        group = network.opened()
        network.refused(NodeStateError, lambda: ledger.top_up("n0", 5), "weight")
        ledger.join("late", owner="o0", gpu=CARD, stake=400)
        assert ledger.top_up("late", 1).stake == 401, "who is not in the pool may"
        network.clock.advance(1)
        drawn = ledger.draw(group.id)
        assert [candidate.weight for candidate in drawn.pool] == [1_000] * 5
        check_draw(drawn)

    def test_p4_the_draw_is_the_one_that_anyone_can_repeat(self) -> None:
        """By the beacon round that was assigned, from the pool that was fixed, weighted by stake."""
        network = self.network(nodes=4)
        beacon = LocalBeacon(SECRET)
        network.ledger.deposit("rich", 100_000)
        network.ledger.join("rich-1", owner="rich", gpu=CARD, stake=90_000)
        for _ in range(4):
            opened = network.opened(fee=3)
            assert opened.beacon_round == beacon.next_round(network.clock.now), "no value that anybody knows"
            network.clock.advance(1)
            drawn = network.ledger.draw(opened.id)
            assert drawn.draw is not None
            if "beacon" not in self.lacks:
                assert drawn.draw.beacon == beacon.value(opened.beacon_round, network.clock.now)
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
        network.clock.advance(1_000)
        network.refused(AlreadyDoneError, lambda: network.ledger.draw(group.id))

    def test_p4_a_group_without_a_beacon_is_refunded_at_the_draw_deadline(self) -> None:
        network = self.network(beacon=SilentBeacon())
        group = network.opened()
        network.clock.advance(19)
        network.refused(TooEarlyError, lambda: network.ledger.draw(group.id), "not public yet")
        network.refused(NodeStateError, lambda: network.ledger.leave("n0"))
        network.clock.advance(1)
        closed = network.ledger.draw(group.id)
        assert closed.status is Status.CLOSED
        assert network.ledger.account("app") == 10_000
        assert network.ledger.settle(group.id) == closed
        network.ledger.leave("n0")
        network.check_money()

    def test_p4_a_group_with_too_few_left_is_refunded(self) -> None:
        network = self.network()
        crowded = [network.opened() for _ in range(2)]
        network.clock.advance(1)
        assert network.ledger.draw(crowded[0].id).status is Status.DRAWN
        assert network.ledger.draw(crowded[1].id).status is Status.CLOSED, "two of five nodes are left"
        assert network.ledger.account("app") == 9_900
        network.check_money()

    def test_p4_who_became_unavailable_is_removed_alone(self) -> None:
        """A node that was slashed since opening is not drawn, also where it is free again."""
        network = self.network(nodes=4)
        first, second = network.opened(fee=3), network.opened(fee=3)
        network.clock.advance(1)
        drawn = network.ledger.draw(first.id)
        for node, answer in zip(drawn.members, (HONEST, HONEST, CHEAT), strict=True):
            network.commit(first.id, node, answer)
        for node in drawn.members:
            network.reveal(first.id, node)
        network.ledger.settle(first.id)
        slashed = drawn.members[2]
        assert network.ledger.node(slashed).group is None
        found = network.ledger.draw(second.id)
        assert found.draw is not None
        assert found.draw.unavailable == {slashed}
        assert set(found.members) == {"n0", "n1", "n2", "n3"} - {slashed}
        check_draw(found)

    def test_p4_the_pools_of_all_groups_that_wait_hold_their_nodes(self) -> None:
        network = self.network(nodes=4)
        without = [network.opened(fee=3, creator="o0") for _ in range(2)]
        network.ledger.leave("n0")
        network.ledger.join("n0", owner="o0", gpu=CARD, stake=1_000)
        within = network.opened(fee=3)
        assert [("n0" in group.pool.ids) for group in (*without, within)] == [False, False, True]
        network.refused(NodeStateError, lambda: network.ledger.leave("n0"), within.id)
        network.refused(NodeStateError, lambda: network.ledger.top_up("n0", 1), within.id)
        network.clock.advance(1)
        network.ledger.draw(within.id)
        if network.ledger.node("n0").group is None:
            network.ledger.leave("n0")
        network.check_money()

    def test_p4_nobody_escapes_a_public_draw_by_waiting(self) -> None:
        network = self.network()
        group = network.opened()
        network.clock.advance(1_000)
        drawn = network.ledger.draw(group.id)
        assert drawn.status is Status.DRAWN
        assert drawn.commit_deadline == network.clock.now + 100

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
        with pytest.raises(NotEnoughNodes) as caught:
            self.network(nodes=3).opened(creator="o0")
        assert not network.messages or "1 of the creator" in str(caught.value)
        for _ in range(4):
            group = network.opened(fee=3, creator="o0")
            assert "n0" not in group.pool.ids
            network.clock.advance(1)
            drawn = network.ledger.draw(group.id)
            assert set(drawn.members) == {"n1", "n2", "n3"}
            network.clock.advance(100)
            network.ledger.settle(group.id)
            for node in drawn.members:
                if network.ledger.node(node).suspended:
                    network.ledger.leave(node)
                    network.ledger.join(node, owner=f"o{node[1:]}", gpu=CARD, stake=1_000)

    def test_p4_groups_have_the_size_that_the_policy_says(self) -> None:
        network = self.network(nodes=6, policy=replace(POLICY, group_size=5))
        assert len(network.drawn().members) == 5
        network.refused(NotEnoughNodes, lambda: network.opened(fee=5))
