"""Ledgers around ledgers: slow, failing, read-only and telling ones (`crynux_validate.testing`)."""

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

import crynux_validate as cv
from crynux_validate.errors import InsufficientFundsError, ReadOnlyLedgerError
from crynux_validate.ledger.actions import Action
from crynux_validate.testing import Faults, FaultyLedger, LatencyLedger, LedgerWrapper, LoggingLedger, ReadOnlyLedger
from crynux_validate.testing.ledger_faults import Injected
from crynux_validate.testing.ledger_watching import Call
from crynux_validate.testing.ledger_wrapper import ACTIONS
from tests.ledger import backends
from tests.ledger.conftest import using
from tests.ledger.helpers import CARD, CHEAT, HONEST, Network

METHODS = sorted(name for name, found in vars(cv.Ledger).items() if inspect.isfunction(found) and name[0] != "_")
"""Of the Protocol."""


@pytest.fixture(scope="module", autouse=True, params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


WRAPPERS: list[Callable[[cv.Ledger], cv.Ledger]] = [
    LedgerWrapper,
    LatencyLedger,
    FaultyLedger,
    lambda ledger: LoggingLedger(ledger, str),
    lambda ledger: LoggingLedger(LatencyLedger(FaultyLedger(LedgerWrapper(ledger))), logging.getLogger("nobody")),
]


class Recorder:
    """Not a ledger: it says what was called."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: (name, args, kwargs)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_protocol_is_forwarded_with_all_its_arguments(name: str) -> None:
    """Also with arguments that the Protocol does not have yet."""
    wrapper: Any = LedgerWrapper(Recorder())
    assert getattr(wrapper, name)(1, "b", new=3) == (name, (1, "b"), {"new": 3})
    mine, theirs = (inspect.getdoc(getattr(kind, name)) for kind in (LedgerWrapper, cv.Ledger))
    assert mine == theirs
    assert inspect.signature(getattr(LedgerWrapper, name)) == inspect.signature(getattr(cv.Ledger, name))


def test_properties_are_forwarded_and_nothing_of_the_protocol_is_missing() -> None:
    ledger = Network().ledger
    wrapper = LedgerWrapper(ledger)
    assert (wrapper.id, wrapper.policy) == (ledger.id, ledger.policy)
    public = {name for name in vars(cv.Ledger) if not name.startswith("_")}
    assert public == {*METHODS, "id", "policy"}
    assert public <= set(vars(LedgerWrapper))
    assert repr(wrapper) == f"LedgerWrapper({ledger!r})"


def test_every_action_is_a_method_of_the_protocol() -> None:
    assert set(METHODS) > ACTIONS == {kind.kind for kind in get_args(Action)}


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapper_that_is_not_told_otherwise_changes_nothing(wrap: Callable[[cv.Ledger], cv.Ledger]) -> None:
    def after(wrap: Callable[[cv.Ledger], cv.Ledger] | None) -> tuple[object, ...]:
        network = Network(nodes=0)
        if wrap is not None:
            network.ledger = wrap(network.ledger)  # type: ignore[assignment]
        network.fill(5)
        network.answered(HONEST, HONEST, CHEAT)
        network.answered(HONEST, HONEST, None)
        with pytest.raises(InsufficientFundsError):
            network.ledger.withdraw("app", 10**6)
        ledger = network.ledger
        said = [(event.kind, event.payload["result"]) for event in ledger.events()]  # nonces are random
        return said, ledger.totals(), ledger.nodes(), ledger.group("group-1").verdict, ledger.account("o1")

    assert after(wrap) == after(None)


def test_latency_is_waited_for_before_and_after_also_where_it_raises() -> None:
    ledger = Network().ledger
    said: list[object] = []
    slow = LatencyLedger(
        LoggingLedger(ledger, said.append), before=0.5, after=lambda name: len(name), sleep=said.append
    )
    slow.deposit("a", 1)
    with pytest.raises(InsufficientFundsError):
        slow.withdraw("a", 2)
    assert [found.method if isinstance(found, Call) else found for found in said] == [
        0.5, "deposit", 7, 0.5, "withdraw", 8,
    ]  # fmt: skip
    waited: list[float] = []
    LatencyLedger(ledger, sleep=waited.append).totals()
    assert waited == []


def test_latency_sleeps_where_nothing_else_is_said() -> None:
    began = time.monotonic()
    LatencyLedger(Network().ledger, before=0.05, after=0.05).totals()
    assert time.monotonic() - began >= 0.1


def test_a_fault_before_the_write_leaves_the_ledger_as_it_was() -> None:
    ledger = Network().ledger
    faulty = FaultyLedger(ledger, before=Faults(calls={2}))
    assert faulty.deposit("a", 1) == 1
    with pytest.raises(
        cv.errors.StorageError, match=r"^deposit: .* is not known: ask the ledger before you repeat it$"
    ):
        faulty.deposit("a", 1)
    assert ledger.account("a") == 1
    assert faulty.deposit("a", 1) == 2
    assert faulty.injected == [Injected("deposit", "before")]


def test_a_fault_after_the_write_looks_the_same_and_the_action_is_stored(backend: backends.Backend) -> None:
    ledger = Network().ledger
    events = len(ledger.events())
    messages = []
    for faulty in (FaultyLedger(ledger, before=Faults()), FaultyLedger(ledger, after=Faults())):
        with pytest.raises(cv.errors.StorageError) as caught:
            faulty.deposit("a", 5)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert backend.again(ledger).account("a") == 5
    assert len(ledger.events()) == events + 1


def test_what_the_ledger_refuses_is_no_fault() -> None:
    faulty = FaultyLedger(Network().ledger, after=Faults())
    with pytest.raises(InsufficientFundsError):
        faulty.withdraw("a", 5)
    assert faulty.injected == []


def test_faults_of_some_methods_count_only_their_calls() -> None:
    ledger = Network().ledger
    faulty = FaultyLedger(ledger, before=Faults(methods={"withdraw", "account"}, calls={2}))
    faulty.deposit("app", 1)
    faulty.withdraw("app", 1)
    faulty.deposit("app", 1)
    with pytest.raises(cv.errors.StorageError, match="account"):
        faulty.account("app")
    faulty.withdraw("app", 1)
    assert faulty.account("app") == 10_000
    unharmed = FaultyLedger(ledger, before=Faults(), after=Faults())
    assert unharmed.account("app") == 10_000, "queries do not fail unless they are named"


def test_faults_at_random_are_the_same_for_the_same_seed() -> None:
    def failed(seed: int, probability: float = 0.3) -> list[int]:
        faulty = FaultyLedger(Network().ledger, before=Faults(probability=probability, seed=seed))
        found = []
        for at in range(100):
            try:
                faulty.deposit("a", 1)
            except cv.errors.StorageError:
                found.append(at)
        assert faulty.account("a") == 100 - len(found)
        return found

    assert failed(1) == failed(1) != failed(2)
    assert 10 < len(failed(1)) < 55
    assert failed(1, 0.0) == []
    assert failed(1, 1.0) == list(range(100))


def test_the_error_is_the_callers_choice() -> None:
    ledger = Network().ledger
    with pytest.raises(TimeoutError, match="settle"):
        FaultyLedger(ledger, before=Faults(methods={"settle"}), error=TimeoutError).settle("group-1")
    with pytest.raises(cv.errors.StorageBusyError, match="mine"):
        FaultyLedger(ledger, before=Faults(), error=lambda _: cv.errors.StorageBusyError("mine")).deposit("a", 1)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"methods": "deposit"}, r"expected a set of names: \{'deposit'\}"),
        ({"methods": {"pay"}}, "'pay'"),
        ({"methods": {"id"}}, "'id'"),
        ({"calls": {0}}, "from 1"),
        ({"calls": [True]}, "from 1"),
        ({"probability": 1.5}, "0 to 1"),
        ({"probability": "1"}, "0 to 1"),
    ],
)
def test_faults_that_say_nothing_sensible(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(cv.errors.InvalidInputError, match=match):
        Faults(**wrong)


@pytest.mark.parametrize("seconds", [-1, "1", True, None, float("nan")])
def test_latency_that_says_nothing_sensible(seconds: Any) -> None:
    for name in ("before", "after"):
        with pytest.raises(cv.errors.InvalidInputError, match=f"{name} is .* expected seconds from 0"):
            LatencyLedger(cv.MemoryLedger(), **{name: seconds})


def test_a_read_only_ledger_answers_and_does_nothing() -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, HONEST).id
    ledger = network.ledger
    before = ledger.events()
    closed = ReadOnlyLedger(ledger)
    for name in ACTIONS:
        with pytest.raises(ReadOnlyLedgerError, match=f"^{name}: this ledger can only be asked"):
            getattr(closed, name)()
    assert closed.events() == before
    assert closed.events(since=3) == before[3:]
    assert (closed.account("app"), closed.node("n0"), closed.nodes()) == (
        ledger.account("app"), ledger.node("n0"), ledger.nodes(),
    )  # fmt: skip
    assert (closed.group(group), closed.totals(), closed.epoch()) == (
        ledger.group(group), ledger.totals(), ledger.epoch(),
    )  # fmt: skip


def test_a_log_has_arguments_results_and_errors(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Network().ledger
    calls: list[Call] = []
    telling = LoggingLedger(LoggingLedger(ledger, calls.append), logging.getLogger("ledger"), level=logging.INFO)
    with caplog.at_level(logging.INFO, "ledger"):
        telling.deposit("o9", amount=1_000)
        node = telling.join("n9", owner="o9", gpu=CARD, stake=400)
        with pytest.raises(InsufficientFundsError) as caught:
            telling.withdraw("o9", 5_000)
    assert calls == [
        Call("deposit", ("o9",), {"amount": 1_000}, 1_000),
        Call("join", ("n9",), {"owner": "o9", "gpu": CARD, "stake": 400}, node),
        Call("withdraw", ("o9", 5_000), {}, error=caught.value),
    ]
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert said[0] == (logging.INFO, "deposit('o9', amount=1000) -> 1000")
    assert said[1][1].startswith("join('n9', owner='o9', gpu=GpuModel(")
    assert said[2][0] == logging.WARNING
    assert said[2][1].startswith("withdraw('o9', 5000) raised InsufficientFundsError(")


def test_wrappers_go_around_each_other() -> None:
    ledger = Network().ledger
    faulty = FaultyLedger(ledger, before=Faults(methods={"account"}))
    calls: list[Call] = []
    outer = ReadOnlyLedger(LoggingLedger(faulty, calls.append))
    with pytest.raises(ReadOnlyLedgerError):
        outer.deposit("a", 1)
    with pytest.raises(cv.errors.StorageError):
        outer.account("app")
    assert [call.method for call in calls] == ["account"]
    assert repr(outer) == f"ReadOnlyLedger(LoggingLedger(FaultyLedger({ledger!r})))"


def test_repeating_after_a_lost_answer_pays_twice_unless_the_ledger_is_asked() -> None:
    """What the wrapper is for: a caller that takes a lost answer for a refusal is found out."""
    ledger = Network().ledger
    faulty = FaultyLedger(ledger, after=Faults(calls={1}))

    def deposit_with_care(account: str, amount: int) -> int:
        before = faulty.account(account)
        try:
            return faulty.deposit(account, amount)
        except cv.errors.StorageError:
            done = faulty.account(account)
            return done if done > before else faulty.deposit(account, amount)

    assert deposit_with_care("a", 5) == 5
    careless = FaultyLedger(ledger, after=Faults(calls={1}))
    with pytest.raises(cv.errors.StorageError):
        careless.deposit("b", 5)
    assert careless.deposit("b", 5) == 10
