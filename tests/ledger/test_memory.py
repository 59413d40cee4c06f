"""The ledger's rules, one by one (protocol C2-C4, P3-P7, L1-L6)."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crynux_validate import (
    ErrorReport,
    Finding,
    GpuModel,
    InvalidInputError,
    LedgerError,
    ModelRef,
    NotEnoughNodes,
    Opening,
    Outcome,
    Policy,
    Status,
    verify_chain,
    verify_draw,
)
from crynux_validate.errors import (
    AlreadyDoneError,
    BrokenLogError,
    CommitmentMismatchError,
    InsufficientFundsError,
    NodeStateError,
    NotAMemberError,
    StakeTooLowError,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
)
from tests.ledger import backends
from tests.ledger.helpers import CARD, CHEAT, FALSE_REPORT, HONEST, MALFORMED, POLICY, TASK, Network


def refused(network: Network, error: type[Exception], action: Callable[[], Any], match: str | None = None) -> None:
    """An action is refused with a reason, and changes nothing (L1)."""
    before = (network.ledger.events(), network.ledger.totals(), network.ledger.nodes())
    with pytest.raises(error, match=match):
        action()
    assert (network.ledger.events(), network.ledger.totals(), network.ledger.nodes()) == before


def test_a_cheat_loses_its_stake_and_the_honest_are_paid() -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, CHEAT)
    first, second, cheat = group.members
    assert group.status is Status.SETTLED
    assert group.verdict is not None
    assert group.verdict.outcome is Outcome.VALIDATED
    assert pickle.loads(pickle.dumps(group)) == group, "groups can be given to other processes"
    assert group.delivered_by == first, "the member with the delivered score that was drawn first (J6)"
    assert group.draw is not None
    assert verify_draw(group.draw)
    ledger = network.ledger
    assert ledger.node(cheat).stake == 0
    assert ledger.account(f"o{cheat[1:]}") == 4_000
    for node in (first, second):
        assert ledger.account(f"o{node[1:]}") == 4_000 + 33
        assert ledger.node(node).stake == 1_000
    assert ledger.account("app") == 10_000 - 66, "who is not paid leaves its share to the creator (L3)"
    assert ledger.totals().burnt == 1_000
    assert ledger.totals().balanced
    assert all(node.group is None for node in ledger.nodes())


def test_a_slash_can_go_to_an_account() -> None:
    network = Network(policy=replace(POLICY, slash_account="treasury", slash_ppm=250_000, stake_per_fee=1))
    network.answered(HONEST, HONEST, CHEAT)
    assert network.ledger.account("treasury") == 250
    assert network.ledger.totals().burnt == 0
    assert network.ledger.totals().balanced


def test_without_a_quorum_everything_goes_back() -> None:
    network = Network()
    group = network.answered(HONEST, CHEAT, FALSE_REPORT)
    assert group.verdict is not None
    assert group.verdict.outcome is Outcome.NO_QUORUM
    assert network.ledger.account("app") == 10_000
    assert network.ledger.totals().burnt == 0


def test_truthful_reports_are_paid_a_little() -> None:
    network = Network()
    group = network.answered(FALSE_REPORT, FALSE_REPORT, HONEST, fee=3_00)
    assert group.verdict is not None
    assert group.verdict.outcome is Outcome.TASK_FAULT
    first, second, honest = group.members
    assert network.ledger.account(f"o{first[1:]}") == network.ledger.account(f"o{second[1:]}") == 4_010
    assert network.ledger.account(f"o{honest[1:]}") == 4_000
    assert network.ledger.account("app") == 10_000 - 20


def test_a_report_of_another_fault_earns_nothing() -> None:
    network = Network(policy=replace(POLICY, group_size=5))
    group = network.answered(FALSE_REPORT, FALSE_REPORT, FALSE_REPORT, ErrorReport("limits"), HONEST, fee=500)
    earned = [network.ledger.account(f"o{node[1:]}") - 4_000 for node in group.members]
    assert earned == [10, 10, 10, 0, 0]
    assert network.ledger.totals().balanced


def test_a_malformed_answer_is_judged() -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, MALFORMED)
    assert group.verdict is not None
    assert group.verdict.findings[group.members[2]] is Finding.INVALID
    garbage = Network()
    group = garbage.drawn()
    for node in group.members[:2]:
        garbage.commit(group.id, node)
    opening = Opening(b"garbage")
    node = group.members[2]
    garbage.ledger.commit(group.id, node, opening.commitment(ledger="test", group=group.id, node=node))
    for member in group.members[:2]:
        garbage.reveal(group.id, member)
    garbage.ledger.reveal(group.id, node, opening)
    settled = garbage.ledger.settle(group.id)
    assert settled.verdict is not None
    assert settled.verdict.findings[node] is Finding.INVALID


def test_withholding_costs_as_much_as_a_wrong_answer() -> None:
    network = Network()
    group = network.drawn()
    for node in group.members:
        network.commit(group.id, node)
    for node in group.members[:2]:
        network.reveal(group.id, node)
    refused(network, TooEarlyError, lambda: network.ledger.settle(group.id), match=group.members[2])
    network.clock.now = network.ledger.group(group.id).reveal_deadline
    settled = network.ledger.settle(group.id)
    assert settled.verdict is not None
    assert settled.verdict.findings[group.members[2]] is Finding.WITHHELD
    assert network.ledger.node(group.members[2]).stake == 0


def test_absence_costs_nothing_but_the_third_in_a_row_suspends() -> None:
    network = Network(nodes=3)
    for _ in range(3):
        group = network.answered(HONEST, HONEST, HONEST)
        assert not any(node.suspended for node in network.ledger.nodes())
    absent = "n1"
    for times in range(1, 4):
        group = network.drawn()
        for node in group.members:
            if node != absent:
                network.commit(group.id, node)
        network.clock.advance(100)
        for node in group.members:
            if node != absent:
                network.reveal(group.id, node)
        network.ledger.settle(group.id)
        assert network.ledger.node(absent).absences == times
    assert network.ledger.node(absent).suspended
    assert network.ledger.node(absent).stake == 1_000
    refused(network, NotEnoughNodes, lambda: network.drawn(), match="1 suspended")
    network.ledger.leave(absent)
    network.ledger.join(absent, owner="o1", gpu=CARD, stake=1_000)
    assert not network.ledger.node(absent).suspended
    network.drawn()


def test_a_commitment_ends_a_row_of_absences() -> None:
    network = Network(nodes=3)
    network.answered(HONEST, HONEST, None)
    assert sorted(node.absences for node in network.ledger.nodes()) == [0, 0, 1]
    network.answered(HONEST, HONEST, HONEST)
    assert [node.absences for node in network.ledger.nodes()] == [0, 0, 0]


def test_commitments() -> None:
    network = Network()
    group = network.drawn()
    ledger, (first, second, third) = network.ledger, group.members
    stranger = next(node.id for node in ledger.nodes() if node.id not in group.members)
    opening = network.commit(group.id, first)
    refused(network, AlreadyDoneError, lambda: network.commit(group.id, first), match="never replaced")
    refused(network, NotAMemberError, lambda: network.commit(group.id, stranger))
    refused(network, InvalidInputError, lambda: ledger.commit(group.id, second, b"short"), match="32 bytes")
    refused(network, InvalidInputError, lambda: ledger.commit(group.id, second, bytes(32), round=2), match="one round")
    refused(network, UnknownIdError, lambda: ledger.commit("group-9", second, bytes(32)))
    refused(network, TooEarlyError, lambda: network.reveal(group.id, first), match="waits for 2 commitments")
    refused(network, TooEarlyError, lambda: ledger.settle(group.id))
    network.commit(group.id, second)
    network.clock.now = ledger.group(group.id).commit_deadline - 1
    refused(network, TooEarlyError, lambda: network.reveal(group.id, first))
    network.clock.advance(1)
    refused(network, TooLateError, lambda: network.commit(group.id, third), match="took commitments until")
    refused(network, CommitmentMismatchError, lambda: ledger.reveal(group.id, third, opening), match="not committed")
    network.reveal(group.id, first)
    network.clock.now = ledger.group(group.id).reveal_deadline
    refused(network, TooLateError, lambda: network.reveal(group.id, second), match="took reveals until")


def test_reveals_open_when_all_have_committed() -> None:
    network = Network()
    group = network.drawn()
    for node in group.members:
        network.commit(group.id, node)
    for node in reversed(group.members):
        network.reveal(group.id, node)
    refused(network, AlreadyDoneError, lambda: network.reveal(group.id, group.members[0]))
    assert network.ledger.settle(group.id).status is Status.SETTLED
    refused(network, TooLateError, lambda: network.reveal(group.id, group.members[0]), match="SETTLED")


def test_a_copied_commitment_cannot_be_opened_by_the_copier() -> None:
    network = Network()
    group = network.drawn()
    honest, thief, third = group.members
    opening = network.commit(group.id, honest)
    network.ledger.commit(group.id, thief, network.ledger.group(group.id).commitments[honest])
    network.commit(group.id, third)
    network.reveal(group.id, honest)
    refused(network, CommitmentMismatchError, lambda: network.ledger.reveal(group.id, thief, opening), "another node")
    refused(network, CommitmentMismatchError, lambda: network.ledger.reveal(group.id, third, opening))
    refused(network, InvalidInputError, lambda: network.ledger.reveal(group.id, third, bytes(5000)), match="4096")
    refused(network, InvalidInputError, lambda: network.ledger.reveal(group.id, third, b"x"), match="opening")


def test_anyone_may_hand_in_an_opening() -> None:
    network = Network()
    group = network.drawn()
    raw = {node: network.commit(group.id, node).to_bytes() for node in group.members}
    for node, opening in raw.items():
        network.ledger.reveal(group.id, node, opening)
    assert network.ledger.settle(group.id).status is Status.SETTLED


def test_settling_again_changes_nothing() -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, CHEAT)
    before = network.ledger.events()
    assert network.ledger.settle(group.id) == group
    assert network.ledger.events() == before


def test_nobody_committed() -> None:
    network = Network()
    group = network.drawn()
    network.clock.advance(100)
    settled = network.ledger.settle(group.id)
    assert settled.verdict is not None
    assert set(settled.verdict.findings.values()) == {Finding.ABSENT}
    assert network.ledger.account("app") == 10_000


def test_joining() -> None:
    network = Network()
    ledger = network.ledger

    def join(node: str, owner: str, stake: Any, gpu: Any = CARD) -> Callable[[], Any]:
        return lambda: ledger.join(node, owner=owner, gpu=gpu, stake=stake)

    refused(network, StakeTooLowError, join("x", "o1", 399), match="at least 400")
    refused(network, InsufficientFundsError, join("x", "o1", 4_001), match="has 4000")
    refused(network, AlreadyDoneError, join("n1", "o1", 400))
    refused(network, InvalidInputError, join("x\n", "o1", 400), match="printable")
    refused(network, InvalidInputError, join("x", "", 400))
    refused(network, InvalidInputError, join("x", "o1", 400.0), match="stake")
    refused(network, InvalidInputError, join("x", "o1", True), match="stake")
    refused(network, InvalidInputError, join("x", "o1", 400, "RTX 4090"), match="GpuModel")
    ledger.leave("n1")
    assert ledger.account("o1") == 5_000
    assert not ledger.node("n1").joined
    refused(network, UnknownIdError, lambda: ledger.leave("n1"))
    refused(network, UnknownIdError, lambda: ledger.top_up("n1", 5))
    refused(network, NodeStateError, join("n1", "o2", 400), match="belongs to o1")
    ledger.join("n1", owner="o1", gpu=CARD, stake=400)


def test_a_slashed_node_is_out_until_it_tops_up() -> None:
    network = Network(nodes=3)
    group = network.answered(HONEST, HONEST, CHEAT)
    cheat = group.members[2]
    refused(network, NotEnoughNodes, lambda: network.drawn(), match="1 with a stake below 400")
    network.ledger.top_up(cheat, 400)
    assert cheat in network.drawn().members


def test_opening_a_group() -> None:
    network = Network()
    ledger = network.ledger

    def opening(**change: Any) -> Callable[[], Any]:
        fields: dict[str, Any] = {"task": TASK, "creator": "app", "fee": 100} | change
        task = fields.pop("task")
        return lambda: ledger.open_group(task, **fields)

    refused(network, InsufficientFundsError, opening(fee=10_001), match="has 10000")
    refused(network, InsufficientFundsError, opening(creator="nobody"))
    refused(network, InvalidInputError, opening(fee=2), match="one unit for each member")
    refused(network, InvalidInputError, opening(fee="100"))
    refused(network, InvalidInputError, opening(task=TASK.to_json()), match="ImageTask")
    refused(network, InvalidInputError, opening(min_memory_gib=-1))
    unpinned = TASK.replace(model=ModelRef("owner/name", revision="main", allow_unpinned=True))
    refused(network, InvalidInputError, opening(task=unpinned), match="pinned")
    with pytest.raises(NotEnoughNodes, match="5 with less than 48 GiB") as caught:
        opening(min_memory_gib=48)()
    assert (caught.value.available, caught.value.needed) == (0, 3)
    refused(network, NotEnoughNodes, opening(fee=3 * 101), match="below 1010")
    assert opening(fee=300)().status is Status.OPEN


def test_neither_the_creators_nodes_nor_two_of_one_owner() -> None:
    network = Network(nodes=3)
    ledger = network.ledger
    ledger.join("n0-b", owner="o0", gpu=CARD, stake=400)
    with pytest.raises(NotEnoughNodes, match="2 of the creator"):
        ledger.open_group(TASK, creator="o0", fee=100)
    for _ in range(20):
        group = network.answered(HONEST, HONEST, HONEST)
        assert len({ledger.node(node).owner for node in group.members}) == 3


def test_between_opening_and_draw_nothing_can_be_changed() -> None:
    network = Network()
    ledger = network.ledger
    group = ledger.open_group(TASK, creator="app", fee=100)
    refused(network, TooEarlyError, lambda: ledger.draw(group.id), match="not public yet")
    refused(network, NodeStateError, lambda: ledger.leave("n0"), match="in the pool")
    refused(network, NodeStateError, lambda: ledger.leave("n4"), match="in the pool")
    refused(network, NodeStateError, lambda: ledger.top_up("n0", 5), match="weight")
    refused(network, TooEarlyError, lambda: network.commit(group.id, "n0"), match="not been drawn")
    refused(network, TooEarlyError, lambda: ledger.settle(group.id), match="not been drawn")
    ledger.join("late", owner="o0", gpu=CARD, stake=400)
    ledger.leave("late")
    ledger.join("late", owner="o0", gpu=CARD, stake=400)
    ledger.top_up("late", 1)
    network.clock.advance(1)
    drawn = ledger.draw(group.id)
    assert "late" not in {candidate.id for candidate in drawn.pool}
    refused(network, AlreadyDoneError, lambda: ledger.draw(group.id))
    refused(network, NodeStateError, lambda: ledger.leave(drawn.members[0]), match="settled")
    free = next(node.id for node in ledger.nodes() if node.group is None)
    ledger.leave(free)


def test_a_group_that_cannot_be_drawn_is_refunded() -> None:
    network = Network()
    silent = Network()
    silent.ledger = backends.current.make(POLICY, clock=silent.clock, beacon=SilentBeacon())
    silent.fill(5)
    late = silent.ledger.open_group(TASK, creator="app", fee=100)
    silent.clock.advance(19)
    refused(silent, TooEarlyError, lambda: silent.ledger.draw(late.id), match="not public yet")
    refused(silent, NodeStateError, lambda: silent.ledger.leave("n0"))
    silent.clock.advance(1)
    closed = silent.ledger.draw(late.id)
    assert closed.status is Status.CLOSED
    assert silent.ledger.account("app") == 10_000
    assert silent.ledger.settle(late.id) == closed
    silent.ledger.leave("n0")
    crowded = [network.ledger.open_group(TASK, creator="app", fee=100) for _ in range(2)]
    network.clock.advance(1)
    assert network.ledger.draw(crowded[0].id).status is Status.DRAWN
    assert network.ledger.draw(crowded[1].id).status is Status.CLOSED, "two of five nodes are left"
    assert network.ledger.account("app") == 9_900


class SilentBeacon:
    """A beacon that fell silent."""

    def next_round(self, now: int) -> int:
        return now + 1

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002, ARG002
        return None


def test_nobody_escapes_a_public_draw_by_waiting() -> None:
    network = Network()
    group = network.ledger.open_group(TASK, creator="app", fee=100)
    network.clock.advance(1_000)
    drawn = network.ledger.draw(group.id)
    assert drawn.status is Status.DRAWN
    assert drawn.commit_deadline == network.clock.now + 100


def test_rounds_are_integers() -> None:
    network = Network()
    group = network.drawn()
    node = group.members[0]
    for number in (True, 1.0, "1", 2, 0):
        refused(network, InvalidInputError, lambda n=number: network.ledger.commit(group.id, node, bytes(32), round=n))  # type: ignore[misc]
        refused(network, InvalidInputError, lambda n=number: network.ledger.reveal(group.id, node, bytes(36), round=n))  # type: ignore[misc]


def test_events_cannot_be_changed() -> None:
    network = Network()
    network.answered(HONEST, HONEST, CHEAT)
    last = network.ledger.events()[-1]
    with pytest.raises(TypeError):
        last.payload["result"]["outcome"] = "NO_QUORUM"
    assert isinstance(last.payload["result"]["transfers"], tuple)
    last.to_dict()["payload"]["result"]["outcome"] = "NO_QUORUM"
    assert network.ledger.events()[-1].payload["result"]["outcome"] == "VALIDATED"


def test_what_a_replay_refuses() -> None:
    network = Network()
    network.answered(HONEST, HONEST, CHEAT)
    events = list(network.ledger.events())
    first = events[0]

    def broken(log: list[Any]) -> None:
        for at in range(1, len(log)):
            log[at] = replace(log[at], previous=log[at - 1].digest)
        with pytest.raises(BrokenLogError):
            backends.current.replay(log)

    broken([first, replace(events[1], time=events[1].time + 9), *events[2:]])
    broken([first, replace(events[1], time="now"), *events[2:]])  # type: ignore[arg-type]
    broken([replace(first, time=1.5)])  # type: ignore[arg-type]
    broken([replace(first, seq=5)])
    broken([replace(first, payload={**first.payload, "more": 1})])
    broken([replace(first, payload={"action": {"ledger": "test"}, "result": {}})])
    broken([replace(first, payload={"action": {"ledger": "", "policy": POLICY.to_dict()}, "result": {}})])
    broken([first, replace(events[1], payload={})])
    assert backends.current.replay([first]).policy == POLICY


def test_money() -> None:
    network = Network()
    ledger = network.ledger
    refused(network, InvalidInputError, lambda: ledger.deposit("app", 0))
    refused(network, InvalidInputError, lambda: ledger.deposit("app", 1.5))  # type: ignore[arg-type]
    refused(network, InvalidInputError, lambda: ledger.deposit("", 1))
    refused(network, InsufficientFundsError, lambda: ledger.withdraw("app", 10_001), match="deposit more")
    assert ledger.withdraw("app", 10_000) == 0
    assert ledger.deposit("rich", 10**40) == 10**40
    assert ledger.totals().balanced
    for amount in (2**256, 10**5000, -(10**5000)):
        refused(network, InvalidInputError, lambda a=amount: ledger.deposit("app", a), match="256")  # type: ignore[misc]
    names: list[Any] = [[], None, 5, ""]
    for name in names:
        for query in (ledger.account, ledger.node, ledger.group):
            with pytest.raises(InvalidInputError):
                query(name)


def test_the_log() -> None:
    network = Network()
    network.answered(HONEST, HONEST, CHEAT)
    network.answered(HONEST, HONEST, None)
    network.ledger.leave("n0")
    events = list(network.ledger.events())
    head = events[-1].digest
    verify_chain(events, head)
    again = backends.current.replay(events)
    assert again.events() == network.ledger.events()
    assert again.totals() == network.ledger.totals()
    assert again.nodes() == network.ledger.nodes()
    assert again.group("group-1") == network.ledger.group("group-1")
    assert network.ledger.events(since=5)[0].seq == 5

    def broken(log: list[Any], match: str, kept_head: str | None = None) -> None:
        with pytest.raises(BrokenLogError, match=match):
            verify_chain(log, kept_head)

    edited = [*events[:3], replace(events[3], time=5), *events[4:]]
    broken(edited, "event 4")
    broken([*events[:3], *events[4:]], "event 3")
    broken([*events[:3], events[4], events[3], *events[5:]], "event 3")
    broken(events[:-1], "cut off", head)
    verify_chain(events[:-1])


def test_a_forged_log_is_not_replayed() -> None:
    network = Network()
    network.answered(HONEST, HONEST, CHEAT)
    events = list(network.ledger.events())

    def rechained(at: int, payload: dict[str, Any]) -> list[Any]:
        forged = [*events[:at], replace(events[at], payload=payload)]
        for event in events[at + 1 :]:
            forged.append(replace(event, previous=forged[-1].digest))
        verify_chain(forged)
        return forged

    settle = len(events) - 1
    assert events[settle].kind == "settle"
    lie = {**events[settle].payload, "result": {**events[settle].payload["result"], "outcome": "NO_QUORUM"}}
    with pytest.raises(BrokenLogError, match="says something else"):
        backends.current.replay(rechained(settle, lie))
    poor = {"action": {"account": "app", "amount": "1"}, "result": {}}
    with pytest.raises(BrokenLogError, match="cannot be repeated"):
        backends.current.replay(rechained(1, poor))
    with pytest.raises(BrokenLogError, match="genesis"):
        backends.current.replay(events[1:])


def test_policies() -> None:
    assert Policy.from_dict(Policy.crynux().to_dict()) == Policy.crynux()
    assert (Policy.crynux().threshold, Policy.crynux().slash_threshold) == (24, 24)
    changes: list[dict[str, Any]] = [
        {"group_size": 4},
        {"threshold": 0},
        {"slash_threshold": 3},
        {"min_stake": 0},
        {"slash_ppm": 10**6 + 1},
        {"slash_ppm": 0},
        {"min_stake": 10**5000},
        {"weight_unit": 2**256},
        {"stake_per_fee": 2**53},
        {"epoch_seconds": 1},
        {"epoch_seconds": 7_199},
        {"epoch_seconds": 86_400.0},
        {"attest_commit_seconds": 0},
        {"attest_reveal_seconds": 82_801},
        {"attest_reveal_seconds": None},
        {"admitted_declarations": "00" * 32},
        {"admitted_declarations": ("00" * 31,)},
        {"admitted_declarations": ("zz" * 32,)},
        {"admitted_declarations": (bytes(32),)},
        {"admitted_declarations": None},
        {"min_class_owners": 0},
        {"min_class_owners": "3"},
        {"min_class_stake": -1},
        {"min_class_stake": 2**256},
        {"min_class_stake": True},
    ]
    for change in changes:
        with pytest.raises(InvalidInputError, match=next(iter(change))):
            replace(Policy(), **change)
    rich = Policy(admitted_declarations=["AB" * 32], min_class_stake=0, epoch_seconds=7_200)  # type: ignore[arg-type]
    assert Policy.from_dict(json.loads(json.dumps(rich.to_dict()))) == rich
    assert rich.admitted_declarations == ("ab" * 32,)
    assert (rich.least_class_stake, Policy().least_class_stake) == (0, 2_400)
    assert replace(Policy(), group_size=5).least_class_stake == 4_000


def test_without_slashes_no_stake_can_cover_a_fee() -> None:
    with pytest.raises(InvalidInputError, match="stake_per_fee=0"):
        replace(POLICY, slash_ppm=0)
    network = Network(policy=replace(POLICY, slash_ppm=0, stake_per_fee=0))
    network.answered(HONEST, HONEST, CHEAT, fee=9_000)
    assert network.ledger.totals().burnt == 0


def test_the_clock_gives_integers() -> None:
    with pytest.raises(InvalidInputError, match="integer seconds"):
        backends.current.make(clock=lambda: 1.5)


def test_time_never_runs_backwards() -> None:
    network = Network()
    network.clock.now -= 500_000
    assert network.ledger.open_group(TASK, creator="app", fee=100).opened == 1_000_000


def test_errors_have_one_root() -> None:
    with pytest.raises(LedgerError):
        Network().ledger.group("nothing")


def test_memory_is_asked_of_one_card() -> None:
    network = Network(nodes=2)
    network.ledger.join("big", owner="o0", gpu=GpuModel("H200", 141), stake=400)
    with pytest.raises(NotEnoughNodes):
        network.ledger.open_group(TASK, creator="app", fee=100, min_memory_gib=25)
