"""Epochs, attestations, and text tasks on equal machines only (protocol P2, P3, P6)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crynux_validate import (
    Attestation,
    Finding,
    GpuModel,
    InvalidInputError,
    Ledger,
    Node,
    NodeClass,
    NotEnoughNodes,
    Policy,
    Status,
    StoringLedger,
    class_of,
    classes_of,
    verify_draw,
)
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    CrynuxValidateError,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
)
from crynux_validate.ledger.beacon import LocalBeacon
from tests.ledger import backends
from tests.ledger.helpers import (
    CARD,
    CHEAT_TEXT,
    HONEST,
    HONEST_TEXT,
    MACHINE,
    POLICY,
    TASK,
    TEXT,
    Machine,
    Network,
)
from tests.ledger.test_memory import SilentBeacon, refused

OTHER_DRIVER = Machine("driver 590.2, torch 2.13.0")
OTHER_TORCH = Machine("driver 580.1, torch 2.14.0")
FALSE_DECLARER = Machine(MACHINE.says, is_really="another card")


def opening(network: Network, **change: Any) -> Callable[[], Any]:
    fields: dict[str, Any] = {"creator": "app", "fee": 100} | change
    task = fields.pop("task", TEXT)
    return lambda: network.ledger.open_group(task, **fields)


def replayed(network: Network) -> StoringLedger:
    """The same ledger from its log, without its beacon; it is equal in all that can be asked of it."""
    again = backends.current.replay(network.ledger.events(), clock=network.clock, beacon=SilentBeacon())
    assert again.events() == network.ledger.events()
    assert again.nodes() == network.ledger.nodes()
    assert again.totals() == network.ledger.totals()
    return again


@given(
    st.integers(0, 10**10), st.integers(1, 10**5), st.integers(1, 10**5), st.integers(0, 10**5), st.integers(0, 10**5)
)
def test_epochs_follow_from_the_clock(now: int, commit: int, reveal: int, rest: int, later: int) -> None:
    length = commit + reveal + rest
    policy = Policy(epoch_seconds=length, attest_commit_seconds=commit, attest_reveal_seconds=reveal)
    epoch = policy.epoch_at(now)
    assert epoch.starts == epoch.number * length <= now < epoch.starts + length
    assert (epoch.commit_deadline, epoch.reveal_deadline) == (epoch.starts + commit, epoch.starts + commit + reveal)
    assert epoch.in_force == epoch.number - (now < epoch.reveal_deadline)
    after = policy.epoch_at(now + later)
    assert 0 <= after.in_force - epoch.in_force <= after.number - epoch.number + 1, "never back"


def test_the_challenge_is_the_first_value_that_becomes_public_in_the_epoch() -> None:
    network = Network(nodes=0)
    for period in (1, 7, 300, 999):
        beacon = LocalBeacon(b"secret", period=period)
        ledger = backends.current.make(POLICY, clock=network.clock, beacon=beacon)
        for start in (5_000_000 + 1_000 * at for at in range(3)):
            published = -(-start // period) * period
            for now in (start, published - 1, published, start + 999):
                network.clock.now = now
                expected = beacon.value(published // period, now)
                if start <= now < start + 1_000:
                    epoch = ledger.epoch()
                    assert (epoch.number, epoch.starts) == (start // 1_000, start)
                    assert epoch.challenge == expected
                    assert (expected is None) == (now < published)
        network.clock.now = 1_000_000


def test_a_node_attests_once_an_epoch_and_within_its_windows() -> None:
    network = Network(nodes=3)
    ledger, clock = network.ledger, network.clock
    epoch = ledger.epoch()
    assert clock.now == epoch.starts, "the network begins with an epoch"
    attestation = MACHINE.attestation(epoch.challenge or b"", epoch.number)
    nonce = bytes(32)
    commitment = attestation.commitment(ledger="test", node="n0", nonce=nonce)

    def reveal() -> Node:
        return ledger.attest_reveal("n0", attestation, nonce)

    for number in (epoch.number - 1, -1, 0):
        refused(network, TooLateError, lambda n=number: ledger.attest_commit("n0", commitment, epoch=n), "no attesting")  # type: ignore[misc]
    refused(network, TooEarlyError, lambda: ledger.attest_commit("n0", commitment, epoch=epoch.number + 1), "it is ep")
    bad: list[Any] = [True, 1.0, "1", None]
    for number in bad:
        refused(network, InvalidInputError, lambda n=number: ledger.attest_commit("n0", commitment, epoch=n), "integer")  # type: ignore[misc]
    for found in (b"", bytes(31), bytes(33), commitment.hex(), None):
        refused(
            network,
            InvalidInputError,
            lambda c=found: ledger.attest_commit("n0", c, epoch=epoch.number),  # type: ignore[misc]
            match="expected 32 bytes",
        )
    refused(network, UnknownIdError, lambda: ledger.attest_commit("stranger", commitment, epoch=epoch.number))
    refused(network, TooEarlyError, reveal, "takes commitments until")
    node = ledger.attest_commit("n0", commitment, epoch=epoch.number)
    assert node.attest_commitment == (epoch.number, commitment)
    assert ledger.events()[-1].payload["action"]["challenge"] == (epoch.challenge or b"").hex()
    refused(network, AlreadyDoneError, lambda: ledger.attest_commit("n0", bytes(32), epoch=epoch.number), "replaced")
    clock.now = epoch.commit_deadline - 1
    network.attest_commit("n1")
    refused(network, TooEarlyError, reveal, "takes commitments until")
    clock.now += 1
    refused(network, TooLateError, lambda: network.attest_commit("n2"), "took commitments until")

    for nonce_ in (b"", bytes(31), "00" * 32, None):
        refused(network, InvalidInputError, lambda n=nonce_: ledger.attest_reveal("n0", attestation, n), "nonce")  # type: ignore[misc]
    for value in (None, attestation.to_dict(), commitment):
        refused(network, InvalidInputError, lambda a=value: ledger.attest_reveal("n0", a, nonce), "Attestation")  # type: ignore[misc]
    for other in (replace(attestation, canary=bytes(32)), replace(attestation, kernel=bytes(32))):
        refused(network, CommitmentMismatchError, lambda a=other: ledger.attest_reveal("n0", a, nonce), "another att")  # type: ignore[misc]
    refused(network, CommitmentMismatchError, lambda: ledger.attest_reveal("n0", attestation, bytes([1]) * 32))
    refused(network, CommitmentMismatchError, lambda: ledger.attest_reveal("n1", attestation, nonce), "another node")
    refused(network, CommitmentMismatchError, lambda: ledger.attest_reveal("n2", attestation, nonce), "nothing to open")
    refused(network, UnknownIdError, lambda: ledger.attest_reveal("stranger", attestation, nonce))
    assert reveal().attestations == (attestation,)
    refused(network, AlreadyDoneError, reveal, "has revealed")
    clock.now = epoch.reveal_deadline
    refused(network, TooLateError, lambda: network.attest_reveal("n1"), "took reveals until")
    clock.now = epoch.starts + 1_100
    refused(network, TooLateError, lambda: network.attest_reveal("n1"), "no attesting in epoch")
    assert replayed(network).node("n0") == ledger.node("n0")


def test_an_old_commitment_opens_nothing_in_a_new_epoch() -> None:
    network = Network(nodes=1)
    network.attest_commit("n0")
    network.clock.advance(1_100)
    epoch = network.ledger.epoch()
    attestation, nonce = replace(network.attestations["n0"][0], epoch=epoch.number), network.attestations["n0"][1]
    refused(network, CommitmentMismatchError, lambda: network.ledger.attest_reveal("n0", attestation, nonce), "nothing")


def test_without_a_challenge_there_is_nothing_to_attest() -> None:
    network = Network(nodes=0)
    network.ledger = backends.current.make(POLICY, clock=network.clock, beacon=SilentBeacon())
    network.fill(1)
    assert network.ledger.epoch().challenge is None
    refused(network, TooEarlyError, lambda: network.attest_commit("n0"), "challenge of epoch 1000 is not public")


def test_a_class_holds_until_the_next_reveals_are_over_and_then_lapses() -> None:
    network = Network(nodes=4)
    network.attest()
    ledger, clock = network.ledger, network.clock
    first = network.class_of("n0")
    assert first is not None
    starts = ledger.epoch().starts + 1_000
    clock.now = starts
    for node in ("n0", "n1", "n2"):
        network.attest_commit(node)
    clock.now = starts + 100
    for node in ("n0", "n1"):
        network.attest_reveal(node)
    assert network.class_of("n0") == network.class_of("n3") == first, "half have revealed: they are still one class"
    clock.now = starts + 199
    network.attest_reveal("n2")
    group = ledger.open_group(TEXT, creator="app", fee=100)
    assert (group.gpu_class, len(group.pool)) == (first, 4)
    clock.now = starts + 200
    second = network.class_of("n0")
    assert second is not None
    assert second != first
    assert second.declaration == first.declaration
    assert network.class_of("n3") is None, "it did not attest: its class has lapsed"
    drawn = ledger.draw(group.id)
    assert (drawn.status, drawn.gpu_class) == (Status.DRAWN, first), "a class is not asked again at the draw"
    clock.now = starts + 1_199
    assert network.class_of("n0") == second
    clock.now = starts + 1_200
    assert network.class_of("n0") is None
    refused(network, NotEnoughNodes, opening(network), "no node has attested")
    replayed(network)


@given(st.lists(st.integers(0, 99), min_size=3, max_size=3), st.lists(st.integers(0, 99), min_size=3, max_size=3))
@settings(max_examples=12, deadline=None)
def test_machines_that_keep_attesting_are_one_class_at_every_moment(commits: list[int], reveals: list[int]) -> None:
    network = Network(nodes=3)
    network.attest()
    starts = network.ledger.epoch().starts + 1_000
    moments: list[tuple[int, Callable[[], None]]] = []
    for at in range(3):
        moments.append((starts + commits[at], lambda n=f"n{at}": network.attest_commit(n)))  # type: ignore[misc]
        moments.append((starts + 100 + reveals[at], lambda n=f"n{at}": network.attest_reveal(n)))  # type: ignore[misc]
    moments += [(starts + at, lambda: None) for at in (-1, 0, 99, 100, 199, 200, 999, 1_000, 1_199)]
    for now, action in sorted(moments, key=lambda moment: moment[0]):
        network.clock.now = now
        action()
        assert len({network.class_of(node) for node in ("n0", "n1", "n2")} - {None}) == 1
        assert len(network.ledger.open_group(TEXT, creator="app", fee=3).pool) == 3


def test_who_joins_late_has_no_class_until_the_next_epoch() -> None:
    network = Network(nodes=3)
    network.attest()
    ledger = network.ledger
    ledger.join("late", owner="o0", gpu=CARD, stake=400)
    refused(network, TooLateError, lambda: network.attest_commit("late"), "attest in the next one")
    assert network.class_of("late") is None
    assert "late" not in ledger.open_group(TEXT, creator="app", fee=100).pool.ids
    assert "late" in ledger.open_group(TASK, creator="app", fee=100).pool.ids, "images ask for no class"
    network.attest()
    assert network.class_of("late") == network.class_of("n0")


def test_leaving_and_joining_again_clears_the_class() -> None:
    network = Network(nodes=4)
    network.attest()
    ledger = network.ledger
    ledger.leave("n0")
    assert (ledger.node("n0").attest_commitment, ledger.node("n0").attestations) == (None, ())
    ledger.join("n0", owner="o0", gpu=GpuModel("NVIDIA H200", 141), stake=1_000)
    assert network.class_of("n0") is None
    network.attest()
    found = network.class_of("n0")
    assert found is not None
    assert found.gpu.name == "NVIDIA H200"
    assert ledger.open_group(TEXT, creator="app", fee=100).pool.ids == ("n1", "n2", "n3")


def test_the_ledger_in_memory_has_every_method_of_the_protocol() -> None:
    ledger: Ledger = Network(nodes=3).ledger
    assert ledger.epoch().number == 1_000
    with pytest.raises(NotEnoughNodes):
        ledger.open_group(TEXT, creator="app", fee=3, gpu_class="00" * 32)


def test_text_on_equal_machines_from_task_to_slash() -> None:
    network = Network()
    network.attest()
    group = network.answered(HONEST_TEXT, HONEST_TEXT, CHEAT_TEXT, task=TEXT)
    assert group.verdict is not None
    assert [group.verdict.findings[node] for node in group.members] == [Finding.VALID, Finding.VALID, Finding.INVALID]
    assert network.ledger.node(group.members[2]).stake == 0
    assert group.draw is not None
    assert verify_draw(group.draw)
    opened = next(event for event in network.ledger.events() if event.kind == "open_group").payload["result"]
    assert opened["pool_digest"] == group.pool.digest.hex()
    assert group.gpu_class is not None
    assert opened["gpu_class"]["canary"] == group.gpu_class.canary.hex()
    assert replayed(network).group(group.id) == group


@pytest.mark.parametrize("other", [OTHER_DRIVER, OTHER_TORCH, FALSE_DECLARER])
def test_honest_drift_and_false_declarers_are_never_paired(other: Machine) -> None:
    """The same card, but another driver, another torch, or in truth another card: never in one group for text."""
    network = Network(nodes=7)
    odd = {"n0", "n3"}
    network.attest({f"n{at}": other if f"n{at}" in odd else MACHINE for at in range(7)})
    ledger = network.ledger
    for _ in range(30):
        group = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, fee=3, task=TEXT)
        assert not odd & set(group.members)
    theirs = network.class_of("n0")
    assert theirs is not None
    refused(network, NotEnoughNodes, opening(network, gpu_class=theirs), f"2 owners have a node in class {theirs.hex}")
    assert odd & {node for _ in range(20) for node in network.answered(*[HONEST] * 3, fee=3).members}
    says = {found.declaration for found in map(network.class_of, ("n0", "n1")) if found is not None}
    assert len(says) == (1 if other is FALSE_DECLARER else 2)
    assert ledger.totals().balanced


def test_another_card_is_another_class() -> None:
    network = Network(nodes=3)
    network.ledger.join("other", owner="o0", gpu=GpuModel("NVIDIA GeForce RTX 4090 D", 24), stake=1_000)
    network.attest()
    assert network.class_of("other") != network.class_of("n0")
    assert "other" not in network.ledger.open_group(TEXT, creator="app", fee=100).pool.ids


machines = st.sampled_from([MACHINE, OTHER_DRIVER, OTHER_TORCH, FALSE_DECLARER])


@given(st.lists(machines, min_size=6, max_size=9), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_text_is_never_paired_on_unequal_machines(kinds: list[Machine], owners: int, own: int) -> None:
    network = Network(nodes=0)
    ledger = network.ledger
    ledger.deposit("app", 1_000)
    for at, _ in enumerate(kinds):
        owner = "app" if at < own else f"o{at % (owners + 2)}"
        ledger.deposit(owner, 1_000)
        ledger.join(f"n{at}", owner=owner, gpu=CARD, stake=1_000)
    network.attest({f"n{at}": machine for at, machine in enumerate(kinds)})
    for _ in range(4):
        try:
            group = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, fee=3, task=TEXT)
        except NotEnoughNodes:
            continue
        members = [ledger.node(node) for node in group.members]
        assert {class_of(node, ledger.epoch().in_force) for node in members} == {group.gpu_class}
        assert {kinds[int(node.id[1:])] for node in members} == {kinds[int(members[0].id[1:])]}
        assert len({node.owner for node in members} - {"app"}) == 3
        assert group.draw is not None
        assert verify_draw(group.draw)
    replayed(network)


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


@pytest.mark.parametrize(
    ("stake", "owners"), [(4_000, ("cheat",) * 3), (700, ("cheat-a", "cheat-b", "cheat-c"))], ids=["one", "three"]
)
def test_an_invented_class_gets_no_task_also_while_the_honest_are_busy(stake: int, owners: tuple[str, ...]) -> None:
    network = Network(nodes=4)
    invented = invent(network, stake, owners)
    for _ in range(20):
        group = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, fee=3, task=TEXT)
        assert all(node.startswith("n") for node in group.members)
    network.drawn(task=TEXT)
    match = r"1 owners have a node in class .* \(4 nodes have joined it; left out: 3 in a group\)"
    refused(network, NotEnoughNodes, opening(network), match)
    if len(set(owners)) == 3:
        assert opening(network, fee=3, gpu_class=invented)().gpu_class == invented, "naming it is the caller's business"


def test_a_rich_invented_class_is_chosen_only_while_no_heavier_one_can() -> None:
    """What the size of a class cannot do, and a list can."""
    network = Network(nodes=4)
    invented = invent(network, 1_300, ("cheat-a", "cheat-b", "cheat-c"))
    honest = network.drawn(task=TEXT)
    assert honest.gpu_class != invented, "busy nodes count: a class does not shrink by working"
    assert network.ledger.open_group(TEXT, creator="app", fee=3).gpu_class == invented

    assert honest.gpu_class is not None
    listing = replace(POLICY, admitted_declarations=(honest.gpu_class.declaration.hex(),), min_class_owners=1_000)
    careful = Network(nodes=4, policy=listing)
    invent(careful, 1_300, ("cheat-a", "cheat-b", "cheat-c"))
    careful.drawn(task=TEXT)
    refused(careful, NotEnoughNodes, opening(careful), "1 owners have a node in class")


def test_the_heaviest_class_with_enough_owners_is_taken() -> None:
    network = Network(nodes=7)
    light, heavy = {"n0", "n1", "n2"}, {"n3", "n4", "n5", "n6"}
    network.attest({f"n{at}": OTHER_DRIVER if f"n{at}" in light else MACHINE for at in range(7)})
    first = network.drawn(task=TEXT)
    assert first.gpu_class == network.class_of("n3")
    assert set(first.pool.ids) == heavy
    second = network.drawn(task=TEXT)
    assert set(second.pool.ids) == light
    match = "lighter classes that are admitted"
    refused(network, NotEnoughNodes, opening(network), match)
    policy = network.ledger.policy
    in_force = network.ledger.epoch().in_force
    found = classes_of(network.ledger.nodes(), epoch=in_force, min_stake=policy.min_stake, weight_unit=1)
    assert [facts.available for facts in found.values()] == [1, 0]


def test_naming_a_class() -> None:
    network = Network(nodes=4)
    network.attest({f"n{at}": OTHER_DRIVER if at == 3 else MACHINE for at in range(4)})
    found, small = network.class_of("n0"), network.class_of("n3")
    assert found is not None
    assert small is not None
    for name in (found, found.hex, found.hex.upper()):
        group = network.ledger.open_group(TEXT, creator="app", fee=3, gpu_class=name)
        assert (group.gpu_class, len(group.pool)) == (found, 3)
    match = (
        rf"1 owners have a node in class {small.hex} \({small.gpu.name}, 24 GiB\) that could be drawn, a group needs 3"
    )
    refused(network, NotEnoughNodes, opening(network, gpu_class=small), match)
    with pytest.raises(NotEnoughNodes) as caught:
        opening(network, gpu_class=small.hex)()
    assert (caught.value.available, caught.value.needed) == (1, 3)
    refused(network, NotEnoughNodes, opening(network, gpu_class="ab" * 32), f"no node is in class {'ab' * 32}")
    refused(network, NotEnoughNodes, opening(network, gpu_class=found, min_memory_gib=25), "3 with less than 25 GiB")
    refused(network, NotEnoughNodes, opening(network, fee=303, gpu_class=found), "3 with a stake below 1010")
    refused(network, NotEnoughNodes, opening(network, creator="o0"), "1 of the creator")
    bad: list[Any] = ["ab", "zz" * 32, bytes(32), found.to_dict(), 5, True]
    for name in bad:
        refused(network, InvalidInputError, opening(network, gpu_class=name), "gpu_class")
    for name in (found, found.hex):
        refused(network, InvalidInputError, opening(network, task=TASK, gpu_class=name), "image task")


def test_where_no_class_is_admitted_the_error_says_which_there_are() -> None:
    network = Network(nodes=4)
    refused(network, NotEnoughNodes, opening(network), "no class is admitted.*epoch 999 are in force: no node has")
    network.attest({"n0": MACHINE, "n1": MACHINE, "n2": OTHER_DRIVER})
    found = network.class_of("n0")
    assert found is not None
    match = f"3 owners with a stake of 2400.*there are 2 classes: .*{found}: 2 owners, 2 available, stake 2000"
    refused(network, NotEnoughNodes, opening(network), match)


def test_a_node_that_was_slashed_since_opening_is_not_drawn() -> None:
    """What changed between opening and draw is seen, also where the node is free again."""
    network = Network(nodes=4)
    network.attest()
    first = network.ledger.open_group(TEXT, creator="app", fee=3)
    second = network.ledger.open_group(TEXT, creator="app", fee=3)
    network.clock.advance(1)
    drawn = network.ledger.draw(first.id)
    answers = dict(zip(drawn.members, (HONEST_TEXT, HONEST_TEXT, CHEAT_TEXT), strict=True))
    for node, answer in answers.items():
        network.commit(first.id, node, answer)
    for node in answers:
        network.reveal(first.id, node)
    network.ledger.settle(first.id)
    slashed = drawn.members[2]
    assert network.ledger.node(slashed).group is None
    found = network.ledger.draw(second.id)
    assert found.draw is not None
    assert found.draw.unavailable == {slashed}
    assert set(found.members) == {"n0", "n1", "n2", "n3"} - {slashed}


def test_a_forged_attestation_in_a_log_is_not_replayed() -> None:
    network = Network(nodes=3)
    network.attest()
    events = list(network.ledger.events())
    at = next(seq for seq, event in enumerate(events) if event.kind == "attest_reveal")
    action = dict(events[at].payload["action"])
    forged = Attestation.from_dict(events[at].to_dict()["payload"]["action"]["attestation"])
    action["attestation"] = replace(forged, canary=bytes(32)).to_dict()
    events[at] = replace(events[at], payload={**events[at].payload, "action": action})
    with pytest.raises(CrynuxValidateError, match="attest_reveal"):
        backends.current.replay(events)
