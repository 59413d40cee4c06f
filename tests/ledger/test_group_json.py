"""A group that somebody else sent: what was written is read, and nothing else."""

import copy
import json
from contextlib import suppress
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate.errors import InvalidInputError
from crynux_validate.testing import ManualClock

MODEL = cv.ModelRef("owner/name", revision="0123456789abcdef0123456789abcdef01234567")


@pytest.fixture
def groups() -> list[cv.Group]:
    """A group that waits, drawn, with commitments, and settled."""
    clock = ManualClock()
    ledger = cv.MemoryLedger(cv.Policy(min_stake=1_000), ledger_id="a-ledger", clock=clock)
    for number in range(3):
        ledger.deposit(f"owner-{number}", 1_000)
        card = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)
        ledger.join(f"node-{number}", owner=f"owner-{number}", gpu=card, stake=1_000)
    ledger.deposit("app", 1_000)
    found = [ledger.open_group(cv.ImageTask(model=MODEL, prompt="a red cat"), creator="app", fee=99)]
    clock.advance(1)
    found.append(ledger.draw(found[0].id))
    opening = cv.Opening.of(cv.ImageScore(bytes.fromhex("e0690b4d6d66739b"), bytes(32)))
    for node in found[1].members:
        found.append(ledger.commit(found[1].id, node, opening.commitment(found[1].draw_digest, node=node)))
    for node in found[1].members:
        ledger.reveal(found[1].id, node, opening)
    return [*found, ledger.settle(found[1].id)]


def test_a_drawn_group_is_read_as_it_was_written(groups: list[cv.Group]) -> None:
    for group in groups[1:]:
        read = cv.Group.from_dict(json.loads(json.dumps(group.to_dict())), ledger="a-ledger")
        assert read.to_dict() == group.to_dict()
        assert read.draw_digest == group.draw_digest
        assert read.draw is not None
        assert cv.verify_draw(read.draw, task=read.task, policy=read.policy)


def test_another_ledger_is_another_draw(groups: list[cv.Group]) -> None:
    read = cv.Group.from_dict(groups[1].to_dict(), ledger="another")
    assert read.draw_digest != groups[1].draw_digest


def test_what_is_no_drawn_group_is_refused(groups: list[cv.Group]) -> None:
    with pytest.raises(InvalidInputError, match="no members yet"):
        cv.Group.from_dict(groups[0].to_dict(), ledger="a-ledger")
    no_groups: list[Any] = [None, [], "group", {}, {"members": ["a"]}]
    for wrong in no_groups:
        with pytest.raises(InvalidInputError):
            cv.Group.from_dict(wrong, ledger="a-ledger")


def test_each_part_is_checked(groups: list[cv.Group]) -> None:
    written = groups[-1].to_dict()
    values: list[Any] = [{}, [], "x", -1, None, True, [{}], {"a": [1]}]
    for name in written:
        for value in values:
            damaged: dict[str, Any] = copy.deepcopy(written) | {name: value}
            with suppress(InvalidInputError):  # any other error fails the test
                cv.Group.from_dict(damaged, ledger="a-ledger")
        with pytest.raises(InvalidInputError):
            cv.Group.from_dict({key: value for key, value in written.items() if key != name}, ledger="a-ledger")
