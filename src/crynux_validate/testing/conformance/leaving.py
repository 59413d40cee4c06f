"""Leaving, and what a node that leaves still owes (protocol P4e)."""

from crynux_validate.errors import AlreadyDoneError, NodeStateError
from crynux_validate.ledger.interface import Group
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.groups import check_draw
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import CARD, CHEAT, HONEST, TEXT, Network


def finish(network: Network, group: Group, *answers: object) -> None:
    """Answer in a drawn group, honestly where nothing else is said, and settle it."""
    for node, answer in zip(group.members, answers or (HONEST,) * len(group.members), strict=True):
        network.commit(group.id, node, answer)  # type: ignore[arg-type]
    for node in group.members:
        network.reveal(group.id, node)
    network.ledger.settle(group.id)


class LeavingRules(Harness):
    """Standard tests of the only way out."""

    def test_p4e_a_node_that_nobody_can_need_leaves_at_once(self) -> None:
        network = self.network(nodes=4)
        left = network.ledger.leave("n3")
        assert (left.joined, left.leaving, left.stake) == (False, None, 0)
        assert network.ledger.account("o3") == 5_000
        if network.log:
            assert network.ledger.events()[-1].payload["result"] == {"returned": "1000"}
        network.check_money()

    def test_p4e_a_member_leaves_when_its_group_is_settled(self) -> None:
        network = self.network()
        group = network.drawn()
        member = group.members[0]
        leaving = network.taken(lambda: network.ledger.leave(member))
        assert (leaving.joined, leaving.leaving, leaving.stake, leaving.group) == (True, 1, 1_000, group.id)
        before = network.glance()
        assert network.ledger.leave(member) == leaving
        assert network.glance() == before, "a call that changes nothing writes no event"
        finish(network, group)
        assert network.ledger.node(member).joined
        assert not network.ledger.leave(member).joined
        assert network.ledger.account(f"o{member[1:]}") == 5_033
        network.check_money()

    def test_p4e_a_node_stays_while_a_group_waits_that_was_opened_before(self) -> None:
        """It can still be drawn by that one, and by no later one; also one in whose pool it is not keeps it."""
        network = self.network(nodes=7)
        ledger = network.ledger
        older = network.opened(fee=3)
        own = network.opened(fee=3, creator="o0")
        asked = ledger.leave("n0")
        assert (asked.leaving, asked.stake) == (2, 1_000)
        assert ledger.account("o0") == 4_000 - 3
        drawn = network.draw(older)
        assert "n0" in drawn.pool.ids
        check_draw(drawn)
        assert ledger.leave("n0") == ledger.node("n0"), "the second group waits, and was opened before"
        assert ledger.node("n0").joined
        network.draw(own)
        if ledger.node("n0").group == older.id:
            finish(network, drawn)
        assert not ledger.leave("n0").joined
        network.check_money()

    def test_p4e_a_later_group_does_not_keep_a_node(self) -> None:
        network = self.network(nodes=7)
        ledger = network.ledger
        older = network.opened(fee=3)
        ledger.leave("n6")
        newer = network.opened(fee=3)
        assert "n6" in older.pool.ids
        assert "n6" not in newer.pool.ids
        assert newer.base == 6_000, "who is leaving is no part of what could serve (P4d)"
        drawn = network.draw(older)
        if "n6" in drawn.members:
            finish(network, drawn)
        left = ledger.leave("n6")
        assert not left.joined, "the newer group waits, and cannot draw it"
        assert ledger.group(newer.id).draw is None
        network.draw(newer)
        network.check_money()

    def test_p4e_whoever_is_leaving_takes_part_in_nothing_new(self) -> None:
        network = self.network(nodes=5)
        ledger = network.ledger
        network.opened(fee=3)
        ledger.leave("n0")
        network.refused(NodeStateError, lambda: ledger.top_up("n0", 5), "leaving")
        network.refused(AlreadyDoneError, lambda: ledger.join("n0", owner="o0", gpu=CARD, stake=400), "joined")

    @needs("text")
    def test_p4e_whoever_is_leaving_attests_no_more(self) -> None:
        network = self.network(nodes=5)
        ledger = network.ledger
        network.opened(fee=3)
        ledger.leave("n0")
        network.clock.now = ledger.epoch().starts + 1_000
        network.refused(NodeStateError, lambda: network.attest_commit("n0"), "leaving")

    @needs("text")
    def test_p3_whoever_is_leaving_makes_no_class_heavier(self) -> None:
        network = self.network(nodes=6)
        network.attest()
        network.opened(fee=3)
        network.ledger.leave("n0")
        group = network.opened(fee=3, task=TEXT)
        assert (group.base, "n0" in group.pool.ids) == (5_000, False)

    def test_p4e_a_slash_takes_from_what_a_leaver_has_left(self) -> None:
        network = self.network(nodes=4)
        group = network.drawn()
        cheat = group.members[2]
        network.ledger.leave(cheat)
        finish(network, group, HONEST, HONEST, CHEAT)
        assert network.ledger.node(cheat).stake == 0
        assert not network.ledger.leave(cheat).joined
        assert network.ledger.account(f"o{cheat[1:]}") == 4_000
        network.check_money()

    def test_p4e_a_top_up_counts_in_pools_that_open_later(self) -> None:
        network = self.network(nodes=6)
        ledger = network.ledger
        group = network.opened(fee=3)
        assert ledger.top_up("n0", 5).stake == 1_005
        drawn = network.draw(group)
        assert {candidate.weight for candidate in drawn.pool} == {1_000}
        member = drawn.members[0]
        assert ledger.top_up(member, 9).stake == (1_014 if member == "n0" else 1_009), "also while it is in a group"
        finish(network, drawn)
        again = network.opened(fee=3)
        assert {c.id: c.weight for c in again.pool}[member] == ledger.node(member).stake
        network.check_money()
