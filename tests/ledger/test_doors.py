"""What must never get into a log, since no other process could read or draw it, is refused at the door."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from crynux_validate import CrynuxValidateError, ImageTask, Opening, Policy
from crynux_validate.errors import InvalidInputError, StorageError
from crynux_validate.ledger.interface import MAX_MONEY
from tests.ledger import backends
from tests.ledger.helpers import CARD, HONEST, POLICY, TASK, TEXT, Network


@pytest.mark.parametrize("size", [3.0, True, "3", 4, None, [3]])
def test_a_group_size_is_one_of_four_integers(size: Any) -> None:
    with pytest.raises(InvalidInputError, match="group_size is"):
        Policy(group_size=size)


def test_a_subclass_of_a_task_is_refused() -> None:
    class Mine(ImageTask):
        """A kind of task that no other process has."""

    network = Network()
    mine = Mine(model=TASK.model, prompt=TASK.prompt)
    with pytest.raises(InvalidInputError, match="expected an ImageTask or a TextTask"):
        network.ledger.open_group(mine, creator="app", fee=100)
    assert network.ledger.account("app") == 10_000


class OddBeacon:
    """A beacon that answers with what a test gives it."""

    name = "odd"
    on_ledger_clock = True

    def __init__(self, number: Any = 7, value: Any = b"value") -> None:
        self.number, self.number_value = number, value

    def next_round(self, now: int) -> Any:
        return self.number

    def value(self, round: int, now: int) -> Any:  # noqa: A002
        return self.number_value


@pytest.mark.parametrize("value", ["text", 5, bytearray(32), b"", b"x" * 257, [1]])
def test_a_beacons_value_is_bytes(value: Any) -> None:
    network = Network(nodes=0)
    ledger = backends.current.make(POLICY, ledger_id="odd", clock=network.clock, beacon=OddBeacon(value=value))
    network.ledger = ledger
    network.fill(3)
    group = network.opened()
    before = len(ledger.events())
    with pytest.raises(InvalidInputError, match="the beacon's value of round 7"):
        ledger.draw(group.id)
    assert len(ledger.events()) == before


@pytest.mark.parametrize("number", ["7", 7.0, -1, 2**53, None, True])
def test_a_beacons_round_is_an_integer(number: Any) -> None:
    network = Network(nodes=0)
    network.ledger = backends.current.make(POLICY, ledger_id="odd", clock=network.clock, beacon=OddBeacon(number))
    network.fill(3)
    with pytest.raises(InvalidInputError, match="the beacon's next round"):
        network.opened()


def test_a_ledger_holds_no_more_than_a_word_of_a_chain() -> None:
    """Each balance, stake and escrow is a part of it."""
    network = Network(nodes=1)
    held = network.ledger.totals().deposited
    with pytest.raises(InvalidInputError, match=r"at most 2\^256-1 in all"):
        network.ledger.deposit("rich", MAX_MONEY - held + 1)
    assert network.ledger.deposit("rich", MAX_MONEY - held) == MAX_MONEY - held
    with pytest.raises(InvalidInputError, match="has room for 0"):
        network.ledger.deposit("app", 1)
    network.ledger.withdraw("rich", 5)
    assert network.ledger.deposit("o0", 5) > 0
    network.check_money()


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb", "é", "x" * 129, "a\n"])
def test_an_id_is_one_word(name: str) -> None:
    with pytest.raises(InvalidInputError, match="without spaces"):
        Network(nodes=0).ledger.deposit(name, 1)


WRONG: list[Any] = [
    None, 1, 0, -1, 2**70, True, 2.5, math.nan, math.inf, "x", "", "\x00", "é", "\ud800", "x" * 5_000, b"x", bytes(32),
    [], {}, [1], ("a",), [[None]], {"a": 1}, {"a"}, object(), int,
]  # fmt: skip

Call = Callable[[Network, Any], object]
DRAWN, WAITING = "group-1", "group-2"

CALLS: dict[str, tuple[Call, list[Any]]] = {
    "deposit": (lambda net, wrong: net.ledger.deposit("app", wrong), [1, 2**70]),
    "deposit account": (lambda net, wrong: net.ledger.deposit(wrong, 1), ["x"]),
    "withdraw": (lambda net, wrong: net.ledger.withdraw("app", wrong), [1]),
    "withdraw account": (lambda net, wrong: net.ledger.withdraw(wrong, 1), []),
    "account": (lambda net, wrong: net.ledger.account(wrong), ["x"]),
    "join": (lambda net, wrong: net.ledger.join(wrong, owner="o0", gpu=CARD, stake=500), ["x"]),
    "join owner": (lambda net, wrong: net.ledger.join("y", owner=wrong, gpu=CARD, stake=500), []),
    "join gpu": (lambda net, wrong: net.ledger.join("y", owner="o0", gpu=wrong, stake=500), []),
    "join stake": (lambda net, wrong: net.ledger.join("y", owner="o0", gpu=CARD, stake=wrong), []),
    "join public_key": (
        lambda net, wrong: net.ledger.join("y", owner="o0", gpu=CARD, stake=400, public_key=wrong),
        [None],
    ),
    "leave": (lambda net, wrong: net.ledger.leave(wrong), []),
    "top_up": (lambda net, wrong: net.ledger.top_up("n0", wrong), [1]),
    "top_up node": (lambda net, wrong: net.ledger.top_up(wrong, 1), []),
    "attest_commit": (lambda net, wrong: net.ledger.attest_commit("n0", wrong, epoch=1_000), [bytes(32)]),
    "attest_commit node": (lambda net, wrong: net.ledger.attest_commit(wrong, bytes(32), epoch=1_000), []),
    "attest_commit epoch": (lambda net, wrong: net.ledger.attest_commit("n0", bytes(32), epoch=wrong), []),
    "attest_commit signature": (
        lambda net, wrong: net.ledger.attest_commit("n1", bytes(32), epoch=1_000, signature=wrong),
        [None],
    ),
    "attest_reveal": (lambda net, wrong: net.ledger.attest_reveal("n0", wrong, bytes(32)), []),
    "open_group": (lambda net, wrong: net.ledger.open_group(wrong, creator="app", fee=100), []),
    "open_group creator": (lambda net, wrong: net.ledger.open_group(TASK, creator=wrong, fee=100), []),
    "open_group fee": (lambda net, wrong: net.ledger.open_group(TASK, creator="app", fee=wrong), []),
    "open_group memory": (
        lambda net, wrong: net.ledger.open_group(TASK, creator="app", fee=3, min_memory_gib=wrong),
        [0, 1],
    ),
    "open_group class": (lambda net, wrong: net.ledger.open_group(TEXT, creator="app", fee=3, gpu_class=wrong), []),
    "draw": (lambda net, wrong: net.ledger.draw(wrong), []),
    "settle": (lambda net, wrong: net.ledger.settle(wrong), []),
    "commit": (lambda net, wrong: net.ledger.commit(DRAWN, member(net), wrong), [bytes(32)]),
    "commit group": (lambda net, wrong: net.ledger.commit(wrong, member(net), bytes(32)), []),
    "commit node": (lambda net, wrong: net.ledger.commit(DRAWN, wrong, bytes(32)), []),
    "commit round": (lambda net, wrong: net.ledger.commit(DRAWN, member(net), bytes(32), round=wrong), [1]),
    "commit signature": (lambda net, wrong: net.ledger.commit(DRAWN, member(net), bytes(32), signature=wrong), [None]),
    "reveal": (lambda net, wrong: net.ledger.reveal(DRAWN, member(net), wrong), []),
    "reveal group": (lambda net, wrong: net.ledger.reveal(wrong, member(net), Opening.of(HONEST)), []),
    "reveal node": (lambda net, wrong: net.ledger.reveal(DRAWN, wrong, Opening.of(HONEST)), []),
    "reveal round": (lambda net, wrong: net.ledger.reveal(DRAWN, member(net), Opening.of(HONEST), round=wrong), []),
    "node": (lambda net, wrong: net.ledger.node(wrong), []),
    "group": (lambda net, wrong: net.ledger.group(wrong), []),
    "evidence": (lambda net, wrong: net.ledger.evidence(DRAWN, wrong), []),
    "evidence group": (lambda net, wrong: net.ledger.evidence(wrong, member(net)), []),
    "events": (lambda net, wrong: net.ledger.events(wrong), [0, 1]),
}
"""What each door is given, and what of `WRONG` is no mistake there."""


def member(network: Network) -> str:
    """A member of the drawn group."""
    return network.ledger.group(DRAWN).members[0]


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_an_error_of_this_library_and_changes_nothing(name: str) -> None:
    """Of every kind of ledger the same: no error of a database, and none of Python."""
    call, right = CALLS[name]
    network = Network(nodes=9)
    network.drawn()
    network.opened()
    before, head = network.ledger.events(), network.ledger.head()
    for wrong in WRONG:
        if any(type(wrong) is type(one) and wrong == one for one in right):
            continue
        with pytest.raises(CrynuxValidateError) as caught:
            call(network, wrong)
        assert not isinstance(caught.value, StorageError), "the storage is well"
        assert 0 < len(str(caught.value)) < 500
        assert network.ledger.head() == head
    assert network.ledger.events() == before
    for one in right:
        call(network, one)
        network = Network(nodes=9)
        network.drawn()
        network.opened()
