"""Text tasks on equal machines only, and which class a task goes to (protocol P2, P3)."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest

from crynux_validate.errors import InvalidInputError, NotEnoughNodes
from crynux_validate.judging import Finding
from crynux_validate.machines.admission import class_of, classes_of
from crynux_validate.machines.classes import NodeClass
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.groups import check_draw
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import (
    CARD,
    CHEAT_TEXT,
    FALSE_DECLARER,
    HONEST,
    HONEST_TEXT,
    MACHINE,
    OTHER_DRIVER,
    OTHER_TORCH,
    POLICY,
    TASK,
    TEXT,
    Machine,
    Network,
)


def opening(network: Network, **change: Any) -> Callable[[], Any]:
    """Return what opens a group for a text task of its own, with some arguments changed."""
    fields: dict[str, Any] = {"creator": "app", "fee": 100} | change
    task = network.fresh(fields.pop("task", TEXT))
    return lambda: network.ledger.open_group(task, **fields)


def invent(network: Network, stake: int, owners: tuple[str, ...]) -> NodeClass:
    """Three nodes of one person, in a class that nobody else is in; the honest attest as well."""
    for at, owner in enumerate(owners):
        network.ledger.deposit(owner, stake)
        network.ledger.join(f"cheat-{at}", owner=owner, gpu=CARD, stake=stake)
    invented = {f"cheat-{at}": FALSE_DECLARER for at in range(len(owners))}
    network.attest({node.id: invented.get(node.id, MACHINE) for node in network.ledger.nodes()})
    found = network.class_of("cheat-0")
    assert found is not None
    return found


@needs("text", "manual_clock")
class ClassRules(Harness):
    """Standard tests of pairing by class."""

    def test_p2_text_on_equal_machines_from_task_to_slash(self) -> None:
        network = self.network()
        network.attest()
        group = network.answered(HONEST_TEXT, HONEST_TEXT, CHEAT_TEXT, task=TEXT)
        assert group.verdict is not None
        assert [group.verdict.findings[node] for node in group.members] == [
            Finding.VALID,
            Finding.VALID,
            Finding.INVALID,
        ]
        assert network.ledger.node(group.members[2]).stake == 0
        check_draw(group)
        assert group.gpu_class is not None
        if network.log:
            opened = next(event for event in network.ledger.events() if event.kind == "open_group").payload["result"]
            assert opened["gpu_class"]["canary"] == group.gpu_class.canary.hex()
        network.check_money()

    @pytest.mark.parametrize("other", [OTHER_DRIVER, OTHER_TORCH, FALSE_DECLARER], ids=["driver", "torch", "false"])
    def test_p2_honest_drift_and_false_declarers_are_never_paired(self, other: Machine) -> None:
        """The same card, but another driver, another torch, or in truth another card: never in one group for text."""
        network = self.network(nodes=7)
        odd = {"n0", "n3"}
        network.attest({f"n{at}": other if f"n{at}" in odd else MACHINE for at in range(7)})
        for _ in range(3):
            group = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, fee=3, task=TEXT)
            assert not odd & {*group.pool.ids, *group.members}
        theirs = network.class_of("n0")
        assert theirs is not None
        match = f"2 owners have a node in class {theirs.digest}"
        network.refused(NotEnoughNodes, opening(network, gpu_class=theirs), match)
        assert odd <= set(network.opened(fee=3, task=TASK).pool.ids)
        says = {found.declaration for found in map(network.class_of, ("n0", "n1")) if found is not None}
        assert len(says) == (1 if other is FALSE_DECLARER else 2)
        network.check_money()

    def test_p2_another_card_is_another_class(self) -> None:
        network = self.network(nodes=3)
        network.ledger.join("other", owner="o0", gpu=GpuModel("NVIDIA GeForce RTX 4090 D", 24), stake=1_000)
        network.attest()
        assert network.class_of("other") != network.class_of("n0")
        assert "other" not in network.opened(task=TEXT).pool.ids

    def test_p2_text_is_never_paired_on_unequal_machines(self) -> None:
        """Whatever machines there are, whoever owns them."""

        def check(kinds: list[Machine], owners: int, own: int) -> None:
            network = self.network(nodes=0)
            ledger = network.ledger
            for at, _ in enumerate(kinds):
                owner = "app" if at < own else f"o{at % (owners + 2)}"
                ledger.deposit(owner, 1_000)
                ledger.join(f"n{at}", owner=owner, gpu=CARD, stake=1_000)
            network.attest({f"n{at}": machine for at, machine in enumerate(kinds)})
            for _ in range(3):
                try:
                    group = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, fee=3, task=TEXT)
                except NotEnoughNodes:
                    continue
                members = [ledger.node(node) for node in group.members]
                assert {class_of(node, ledger.epoch().in_force) for node in members} == {group.gpu_class}
                assert len({kinds[int(node.id[1:])] for node in members}) == 1
                assert len({node.owner for node in members} - {"app"}) == 3
                check_draw(group)
            network.check_money()

        machines = st.sampled_from([MACHINE, OTHER_DRIVER, OTHER_TORCH, FALSE_DECLARER])
        self.tried(check, st.lists(machines, min_size=6, max_size=9), st.integers(1, 4), st.integers(0, 3))

    @pytest.mark.parametrize(
        ("stake", "owners"), [(4_000, ("cheat",) * 3), (700, ("cheat-a", "cheat-b", "cheat-c"))], ids=["one", "three"]
    )
    def test_p3_an_invented_class_gets_no_task_also_while_the_honest_are_busy(
        self, stake: int, owners: tuple[str, ...]
    ) -> None:
        network = self.network(nodes=4)
        invented = invent(network, stake, owners)
        for _ in range(3):
            group = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, fee=3, task=TEXT)
            assert all(node.startswith("n") for node in group.pool.ids)
        network.drawn(task=TEXT)
        match = r"1 owners have a node in class .* \(4 nodes have joined it; left out: 3 in a group\)"
        network.refused(NotEnoughNodes, opening(network), match)
        if len(set(owners)) == 3:
            named = opening(network, fee=3, gpu_class=invented)()
            assert named.gpu_class == invented, "naming it is the caller's business"

    def test_p3_a_rich_invented_class_is_not_chosen_by_keeping_a_heavier_one_busy(self) -> None:
        network = self.network(nodes=4)
        invented = invent(network, 1_300, ("cheat-a", "cheat-b", "cheat-c"))
        honest = network.drawn(task=TEXT)
        assert honest.gpu_class is not None
        assert honest.gpu_class != invented, "busy nodes count: a class does not shrink by working"
        network.refused(NotEnoughNodes, opening(network), "1 owners have a node in class")
        assert opening(network, gpu_class=invented)().gpu_class == invented, "naming it is the caller's business"

    def test_p3_the_heaviest_class_that_could_serve_is_taken_busy_or_not(self) -> None:
        network = self.network(nodes=7)
        light, heavy = {"n0", "n1", "n2"}, {"n3", "n4", "n5", "n6"}
        network.attest({f"n{at}": OTHER_DRIVER if f"n{at}" in light else MACHINE for at in range(7)})
        first = network.drawn(task=TEXT)
        assert first.gpu_class == network.class_of("n3")
        assert (set(first.pool.ids), first.base) == (heavy, 4_000)
        network.refused(NotEnoughNodes, opening(network), "1 owners have a node in class")
        in_force = network.ledger.epoch().in_force
        found = classes_of(network.ledger.nodes(), epoch=in_force, min_stake=POLICY.min_stake, weight_unit=1)
        assert [facts.available for facts in found.values()] == [1, 3]

    def test_p3_a_class_that_cannot_cover_the_fee_is_passed_over(self) -> None:
        """The heaviest class of those with enough owners whose stake covers their share: here, the light one."""
        network = self.network(nodes=8)
        light = {"n5", "n6", "n7"}
        network.attest({f"n{at}": OTHER_DRIVER if f"n{at}" in light else MACHINE for at in range(8)})
        for node in light:
            network.ledger.top_up(node, 500)
        assert network.opened(fee=3, task=TEXT).gpu_class == network.class_of("n0")
        assert network.opened(fee=400, task=TEXT).gpu_class == network.class_of("n5"), "10 * floor(400 / 3) is 1,330"

    def test_p3_a_task_may_name_its_class(self) -> None:
        network = self.network(nodes=12)  # most of which attest nothing: so that many groups can wait
        network.attest({f"n{at}": OTHER_DRIVER if at == 3 else MACHINE for at in range(4)})
        found, small = network.class_of("n0"), network.class_of("n3")
        assert found is not None
        assert small is not None
        for name in (found, found.digest, found.digest.upper()):
            group = opening(network, fee=3, gpu_class=name)()
            assert (group.gpu_class, len(group.pool)) == (found, 3)
        shown = rf"{small.digest} \({small.gpu.name}, 24 GiB\)"
        match = f"1 owners have a node in class {shown} that could be drawn, a group"
        network.refused(NotEnoughNodes, opening(network, gpu_class=small), match)
        network.too_few(1, 3, opening(network, gpu_class=small.digest))
        network.refused(NotEnoughNodes, opening(network, gpu_class="ab" * 32), f"no node is in class {'ab' * 32}")
        network.refused(NotEnoughNodes, opening(network, gpu_class=found, min_memory_gib=25), "3 with less than 25 GiB")
        network.refused(NotEnoughNodes, opening(network, fee=303, gpu_class=found), "3 with a stake below 1010")
        network.refused(NotEnoughNodes, opening(network, creator="o0"), "1 of the creator")
        bad: list[Any] = ["ab", "zz" * 32, bytes(32), found.to_dict(), 5, True]
        for name in bad:
            network.refused(InvalidInputError, opening(network, gpu_class=name), "gpu_class")
        for name in (found, found.digest):
            network.refused(InvalidInputError, opening(network, task=TASK, gpu_class=name), "image task")

    def test_p3_where_no_class_is_admitted_nothing_opens(self) -> None:
        network = self.network(nodes=6)
        network.refused(NotEnoughNodes, opening(network), "no class is admitted.*epoch 999 are in force: no node has")
        network.attest({"n0": MACHINE, "n1": MACHINE, "n2": OTHER_DRIVER})
        found = network.class_of("n0")
        assert found is not None
        match = f"3 owners with a stake of 2400.*there are 2 classes: .*{found}: 2 owners, 2 available, stake 2000"
        network.refused(NotEnoughNodes, opening(network), match)
        assert network.opened(task=TASK).pool.owner_count == 6
        assert network.answered(HONEST, HONEST, HONEST).verdict is not None
