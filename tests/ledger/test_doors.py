"""What must never get into a log, since no other process could read or draw it, is refused at the door."""

from typing import Any

import pytest

from crynux_validate import ImageTask, InvalidInputError, Policy
from crynux_validate.ledger.interface import MAX_MONEY
from tests.ledger import backends
from tests.ledger.helpers import POLICY, TASK, Network


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
