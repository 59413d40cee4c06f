"""Errors carry what a program needs as fields, and keep it where they cross a process border."""

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate import errors
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import CARD, HONEST, POLICY, Network

CLASSES = [found for found in vars(errors).values() if inspect.isclass(found) and issubclass(found, Exception)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_crosses_a_process_border(kind: type[Exception]) -> None:
    special: dict[Any, tuple[Any, ...]] = {
        errors.InvalidTaskError: ("seed", "is -1", "limits"), errors.MissingExtraError: ("cv.Runner", "all", "torch"),
    }  # fmt: skip
    error = kind(*special.get(kind, ("said",)))
    for name, field in vars(error).items():
        if field is None:
            setattr(error, name, 7)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


def network() -> Network:
    clock = ManualClock()
    ledger = cv.MemoryLedger(POLICY, ledger_id="ledger-1", clock=clock, beacon=cv.ledger.LocalBeacon(b"secret"))
    return Network(ledger, clock)


def caught(kind: type[Exception], call: Callable[[], object]) -> dict[str, Any]:
    with pytest.raises(kind) as found:
        call()
    return vars(found.value)


def test_a_program_reads_fields_instead_of_text() -> None:
    net = network()
    ledger, drawn = net.ledger, net.drawn()
    opening, node = cv.Opening.of(HONEST), drawn.members[0]
    assert caught(errors.UnknownIdError, lambda: ledger.group("nothing")) == {"id": "nothing"}
    assert caught(errors.UnknownIdError, lambda: ledger.node("nobody")) == {"id": "nobody"}
    assert caught(errors.InsufficientFundsError, lambda: ledger.withdraw("new", 5)) == {"balance": 0, "amount": 5}
    low = POLICY.min_stake - 1
    poor = caught(errors.StakeTooLowError, lambda: ledger.join("low", owner="app", gpu=CARD, stake=low))
    assert poor == {"stake": low, "least": POLICY.min_stake}
    ledger.commit(drawn.id, node, opening.commitment(drawn.draw_digest, node=node))
    early = caught(errors.TooEarlyError, lambda: ledger.reveal(drawn.id, node, opening))
    assert early == {"moment": drawn.commit_deadline}
    assert caught(errors.TooEarlyError, lambda: ledger.settle(drawn.id)) == {"moment": drawn.commit_deadline}
    net.clock.advance(drawn.reveal_deadline - ledger.now() + 1)
    late = caught(errors.TooLateError, lambda: ledger.reveal(drawn.id, node, opening))
    assert late == {"deadline": drawn.reveal_deadline}
    other = drawn.members[1]
    late = caught(errors.TooLateError, lambda: ledger.commit(drawn.id, other, bytes(32)))
    assert late == {"deadline": drawn.commit_deadline}
