"""The queue of groups, who can be drawn, and what closes a group (protocol P4a-P4d)."""

from dataclasses import replace
from typing import Final

import pytest

from crynux_validate.errors import InvalidInputError, NotEnoughNodes, TooEarlyError
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import Group, Status
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Draw
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.groups import check_draw
from crynux_validate.testing.conformance.harness import SECRET, Harness, RestartableNetwork
from crynux_validate.testing.conformance.network import CARD, CHEAT, HONEST, POLICY, TASK, Network, SilentBeacon
from crynux_validate.testing.conformance.under_test import own


class SlowBeacon:
    """A beacon with a clock of its own, whose round r is public from second 10 * r of the ledger's clock on."""

    name: Final = "slow"
    on_ledger_clock: Final = False

    def next_round(self, now: int) -> int:
        """Return the number of the first round that is not public yet."""
        return now // 10 + 1

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002
        """Return the value of a round, or None while it is not public."""
        return None if now < 10 * round else round.to_bytes(8, "big")


def last_draws(network: Network, count: int) -> list[str]:
    """Return the groups of the last events of a log, all of which must be draws."""
    events = network.ledger.events()[-count:]
    assert [event.kind for event in events] == ["draw"] * count, "each is an event of its own (P4b)"
    return [str(event.payload["action"]["group"]) for event in events]


def check_closed(network: Network, group: Group, reason: str) -> None:
    """Check that a group was closed, and why, as the log says it."""
    assert group.status is Status.CLOSED
    assert network.ledger.group(group.id) == group
    if not network.log:
        return
    found = [e for e in network.ledger.events() if e.kind == "draw" and e.payload["action"]["group"] == group.id]
    assert found[0].payload["result"] == {"closed": reason, "refund": str(group.fee)}


class DrawRules(Harness):
    """Standard tests of the queue and of draws."""

    def waiting(self, groups: int, nodes: int | None = None, **changes: int) -> tuple[RestartableNetwork, list[Group]]:
        """Return groups that wait for the same second, in a network that is as small as can be."""
        policy = replace(POLICY, min_pool_ppm=0, **changes)  # type: ignore[arg-type]
        network = self.network(nodes=3 * groups if nodes is None else nodes, policy=policy)
        opened = [network.opened(fee=3) for _ in range(groups)]
        return network, opened

    def test_p4a_as_many_groups_wait_as_the_nodes_could_serve(self) -> None:
        """Who is leaving counts; who has left does not."""
        network, (_, second) = self.waiting(2, nodes=8)
        network.too_few(2, 3, lambda: network.opened(fee=3))
        network.ledger.join("n8", owner="o0", gpu=CARD, stake=400)
        network.ledger.leave("n0")
        third = network.opened(fee=3)
        network.too_few(3, 4, lambda: network.opened(fee=3))
        network.draw(second)
        if len([node for node in network.ledger.nodes() if not node.group and node.id != "n0"]) < 3:
            with pytest.raises(NotEnoughNodes) as busy:
                network.opened(fee=3)
            assert not network.messages or busy.value.needed == 3, "there is room again, and too few are free"
        else:
            assert network.opened(fee=3).status is Status.OPEN, "there is room again"
        assert third.status is Status.OPEN

    def test_p4a_no_group_has_an_earlier_round_than_the_one_before_it(self) -> None:
        network, opened = self.waiting(1, nodes=9)
        network.clock.now -= 30  # the time of the last event holds (L6)
        second = network.opened(fee=3)
        network.clock.now += 30
        assert second.beacon_round >= opened[0].beacon_round
        if network.log:
            assert network.ledger.events()[-1].payload["action"]["beacon_round"] == second.beacon_round

    @needs("beacon", "manual_clock")
    def test_p4a_a_beacon_with_a_clock_of_its_own_is_kept_at_a_distance(self) -> None:
        with pytest.raises(InvalidInputError, match="beacon_delay_seconds" if self.has("messages") else None):
            self.network(beacon=SlowBeacon())
        network = self.network(policy=replace(POLICY, beacon_delay_seconds=15), beacon=SlowBeacon())
        group = network.opened()
        assert group.beacon_round == (group.opened + 15) // 10 + 1
        network.clock.now = 10 * group.beacon_round - 1
        network.refused(TooEarlyError, lambda: network.ledger.draw(group.id), group.id)
        network.clock.advance(1)
        drawn = network.ledger.draw(group.id)
        assert drawn.draw is not None
        assert drawn.draw.beacon == group.beacon_round.to_bytes(8, "big")

    def test_p4b_groups_are_drawn_in_the_order_of_their_openings(self) -> None:
        network, opened = self.waiting(3)
        drawn = network.draw(opened[2])
        if network.log:
            assert last_draws(network, 3) == [group.id for group in opened]
        found = [network.ledger.group(group.id) for group in opened]
        assert found[2] == drawn
        members = [node for group in found for node in group.members]
        assert sorted(members) == [f"n{at}" for at in range(9)], "everybody serves once"
        for group in found:
            check_draw(group)
        network.check_money()

    def test_p4b_no_group_is_drawn_before_one_that_waits_longer(self) -> None:
        """Whoever asks for it: the ledger draws the earlier ones first, or refuses and says which comes first."""
        network, opened = self.waiting(3)
        if not self.has("draw_ahead"):
            ledger = own(network.ledger)
            network.draw(opened[0])
            network.until(network.ledger.now() + 2)
            network.refused(TooEarlyError, lambda: ledger.draw(opened[2].id), opened[1].id)
        network.draw(opened[2])
        taken: set[str] = set()
        for group in map(network.ledger.group, [group.id for group in opened]):
            assert group.draw is not None
            assert set(group.draw.unavailable) <= taken, "it was drawn as the next in the queue"
            assert group.draw.unavailable_weight == 1_000 * len(taken)
            taken |= set(group.members)

    @needs("manual_clock")
    def test_p4b_no_group_is_drawn_before_the_first_of_the_queue_can_be(self) -> None:
        network, opened = self.waiting(3)
        network.refused(TooEarlyError, lambda: network.ledger.draw(opened[2].id), opened[0].id)

    @needs("beacon", "manual_clock", "log")
    def test_p4b_a_group_waits_for_those_before_it(self) -> None:
        """Where an earlier one can be neither drawn nor closed yet, nothing changes, and the error names it."""
        network = self.network(nodes=9, policy=replace(POLICY, beacon_delay_seconds=15), beacon=SlowBeacon())
        first, second = network.opened(fee=3), network.opened(fee=3)
        network.clock.advance(14)
        network.refused(TooEarlyError, lambda: network.ledger.draw(second.id), first.id)
        network.clock.now = 10 * first.beacon_round
        assert network.ledger.draw(first.id).status is Status.DRAWN
        assert network.ledger.draw(second.id).status is Status.DRAWN
        assert last_draws(network, 2) == [first.id, second.id]

    def test_p4b_a_public_value_is_drawn_by_however_late(self) -> None:
        network, (group,) = self.waiting(1, nodes=5)
        network.until(group.draw_deadline + (10_000 if self.has("manual_clock") else 1))
        drawn = network.ledger.draw(group.id)
        assert drawn.status is Status.DRAWN
        policy = network.ledger.policy
        assert drawn.commit_deadline > group.draw_deadline + policy.commit_seconds
        assert drawn.reveal_deadline == drawn.commit_deadline + policy.reveal_seconds

    def test_p4b_a_group_without_a_value_is_refunded_at_its_draw_deadline(self) -> None:
        network = self.network(beacon=SilentBeacon())
        group = network.opened()
        network.refused(TooEarlyError, lambda: network.ledger.draw(group.id), "not public yet")
        if self.has("manual_clock"):
            network.clock.now = group.draw_deadline - 1
            network.refused(TooEarlyError, lambda: network.ledger.draw(group.id), "not public yet")
        network.until(group.draw_deadline)
        closed = network.ledger.draw(group.id)
        check_closed(network, closed, "no-beacon")
        assert network.ledger.account("app") == 10_000
        assert network.ledger.settle(group.id) == closed
        network.check_money()

    def test_p4c_who_was_drawn_since_the_opening_is_unavailable_alone(self) -> None:
        """Whether or not that group is over, and whatever became of the node in it."""
        network, (first, second) = self.waiting(2, nodes=7)
        drawn = network.draw(first)
        for node, answer in zip(drawn.members, (HONEST, HONEST, CHEAT), strict=True):
            network.commit(first.id, node, answer)
        for node in drawn.members:
            network.reveal(first.id, node)
        network.ledger.settle(first.id)
        assert not any(node.group for node in network.ledger.nodes()), "all are free, and yet"
        found = network.draw(second)
        assert not set(found.members) & set(drawn.members)
        assert found.draw is not None
        assert found.draw.unavailable_weight == 3_000
        assert set(found.draw.unavailable.values()) <= {first.id}
        if network.log:
            assert by_hand.unavailable(network.ledger.events(), found) == dict.fromkeys(drawn.members, first.id)
        check_draw(found)
        network.until(found.commit_deadline)
        network.ledger.settle(found.id)
        again = network.drawn(fee=3)
        assert again.draw is not None
        assert again.draw.unavailable_weight == 0, "who was drawn before the opening is available again"

    @needs("beacon", "manual_clock")
    def test_p4c_nothing_else_makes_a_candidate_unavailable(self) -> None:
        """Neither a top-up, nor leaving, nor suspension: the pool and its weights are those of the opening."""
        network = self.network(nodes=5, policy=replace(POLICY, min_pool_ppm=0, suspend_after=1))
        for _ in range(6):
            group = network.opened(fee=3)
            weights = {candidate.id: candidate.weight for candidate in group.pool}
            expected = by_hand_members(network, group)
            for node in list(weights)[:2]:
                if network.ledger.node(node).leaving is None:
                    network.ledger.top_up(node, 7)
            network.ledger.leave("n4") if network.ledger.node("n4").joined else None
            drawn = network.draw(group)
            assert {candidate.id: candidate.weight for candidate in drawn.pool} == weights
            assert drawn.members == expected
            network.until(drawn.reveal_deadline)
            for node in drawn.members[:2]:
                assert network.ledger.node(node).group == group.id
            network.ledger.settle(group.id)
            for node in drawn.members:
                if node != "n4" and network.ledger.node(node).suspended:
                    network.ledger.leave(node)
                    network.ledger.join(node, owner=f"o{node[1:]}", gpu=CARD, stake=1_000)
            network.check_money()

    def test_p4d_enough_of_all_that_could_serve_must_be_free_at_the_opening(self) -> None:
        """Of ten equal nodes four are free: 400,000 millionths, and no more."""
        for least, is_opened in ((400_000, True), (400_001, False)):
            network = self.network(nodes=10, policy=replace(POLICY, min_pool_ppm=least))
            network.drawn(fee=3)
            network.drawn(fee=3)
            if is_opened:
                group = network.opened(fee=3)
                assert (len(group.pool), network.ledger.group(group.id).base) == (4, 10_000)
                continue
            network.too_few(4_000, 4_001, lambda: network.opened(fee=3))  # noqa: B023 - called at once
            network.ledger.join("more", owner="o0", gpu=CARD, stake=400)
            assert network.opened(fee=3).base == 10_400, "4,400 of 10,400 are 423,077 millionths"

    def test_p4d_who_could_not_serve_is_no_part_of_the_base(self) -> None:
        """Who is the creator's, is leaving, has too little memory, or too little stake for the fee."""
        network = self.network(nodes=9)
        ledger = network.ledger
        ledger.join("small", owner="o0", gpu=GpuModel("T4", 16), stake=1_000)
        ledger.join("poor", owner="o0", gpu=CARD, stake=400)
        waiting = network.opened(fee=3, creator="o1")
        assert waiting.base == 1_000 * 9 + 400
        ledger.leave("n2")
        network.draw(waiting)
        group = ledger.open_group(TASK, creator="o1", fee=150, min_memory_gib=24)
        assert group.base == 7_000, "n0 and n3 to n8: 10 * floor(150 / 3) is 500"

    def test_p4d_the_share_is_asked_again_at_the_draw(self) -> None:
        network = self.network(nodes=6, policy=replace(POLICY, min_pool_ppm=500_001))
        first, second = network.opened(fee=3), network.opened(fee=3)
        assert (first.base, second.base) == (6_000, 6_000)
        closed = network.draw(second)
        assert network.ledger.group(first.id).status is Status.DRAWN
        check_closed(network, closed, "small-pool")
        network.check_money()

    def test_p4d_the_base_is_recorded_and_counts_who_is_busy(self) -> None:
        network = self.network(nodes=8)
        network.drawn(fee=3)
        group = network.opened(fee=3, creator="o0")
        assert (group.base, len(group.pool)) == (7_000, 4 if network.ledger.node("n0").group is None else 5)
        if network.log:
            assert network.ledger.events()[-1].payload["result"]["base"] == "7000"

    def test_p4d_a_group_whose_members_are_not_found_is_refunded(self) -> None:
        """One owner has nearly all of the weight: 1,024 words do not hit two others."""
        network = self.network(nodes=2)
        network.ledger.deposit("whale", 10**12)
        network.ledger.join("whale", owner="whale", gpu=CARD, stake=10**12)
        check_closed(network, network.drawn(fee=3), "no-members")
        assert network.ledger.account("app") == 10_000
        network.check_money()


def by_hand_members(network: Network, group: Group) -> tuple[str, ...]:
    """Return whom the value of a group's round will draw, were it known: its beacon is the kit's own."""
    value = LocalBeacon(SECRET).value(group.beacon_round, group.beacon_round)
    assert value is not None
    unknown = ("",) * group.policy.group_size
    claim = Draw(network.ledger.id, group.id, "", "", 0, 0, value, group.pool, {}, 0, unknown)
    return by_hand.members_drawn(claim)[0]
