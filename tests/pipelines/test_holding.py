"""The guard in concurrent code: coroutines, threads, forks and interrupts leave the process as it was, or name why."""

import asyncio
import itertools
import linecache
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.guard import determinism, holding
from crynux_validate.pipelines.guard.determinism import Switch, deterministic, switches
from tests.pipelines.test_determinism import OTHER, state

CHILD_SECONDS = 60.0


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """A guard of three switches, so that a test can go through every step of it; 1 is what the guard wants."""
    values = {"a": 5, "b": 6, "c": 7}

    def switch(name: str) -> Switch:
        return Switch(name, lambda: values[name], lambda value: values.update({name: value}), 1)

    monkeypatch.setattr(determinism, "switches", lambda: tuple(map(switch, values)))
    yield values
    assert free()


def free() -> bool:
    """Whether nobody is inside the guard."""
    return not holding.HOLDER._entries and not holding.HOLDER._saved


def standing() -> Iterator[None]:
    """A generator that stands still inside the guard."""
    with deterministic():
        yield


def in_thread(work: Callable[[], object]) -> list[str]:
    """Run something in another thread; return the message of the error that it raised, if it did."""
    raised: list[str] = []

    def run() -> None:
        try:
            work()
        except DeterminismError as error:
            raised.append(str(error))

    thread = threading.Thread(target=run, name="the other", daemon=True)
    thread.start()
    thread.join(CHILD_SECONDS)
    assert not thread.is_alive(), "it waits for ever"
    return raised


@pytest.mark.parametrize("order", list(itertools.permutations([0, 1, 2])), ids=str)
def test_coroutines_that_take_turns_leave_in_any_order(order: tuple[int, ...]) -> None:
    before = state()

    async def enter(number: int, leave: list[asyncio.Event], inside: asyncio.Semaphore) -> None:
        with deterministic():
            inside.release()
            await leave[number].wait()
            # Whoever left before, this one is still under the guard.
            assert all(switch.read() == switch.wanted for switch in switches())

    async def main() -> None:
        leave, inside = [asyncio.Event() for _ in order], asyncio.Semaphore(0)
        tasks = [asyncio.create_task(enter(number, leave, inside)) for number in range(len(order))]
        for _ in tasks:
            await inside.acquire()
        for number in order:
            leave[number].set()
            await tasks[number]

    asyncio.run(main())
    assert free()
    assert state() == before


def test_a_cancelled_coroutine_leaves() -> None:
    before = state()

    async def stand() -> None:
        with deterministic():
            await asyncio.sleep(CHILD_SECONDS)

    async def main() -> None:
        tasks = [asyncio.create_task(stand()) for _ in range(2)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert free()
    assert state() == before


@pytest.mark.parametrize("nested", [False, True])
def test_a_thread_that_the_guarded_code_waits_for_is_refused(nested: bool) -> None:
    def compute() -> None:
        with deterministic():
            pass

    async def main() -> None:
        with deterministic():
            if nested:
                with deterministic():
                    pass
            await asyncio.to_thread(compute)

    before = state()
    with pytest.raises(
        DeterminismError, match="would wait for it for ever: enter the guard in the thread that computes"
    ):
        asyncio.run(main())
    assert state() == before

    async def outside() -> None:
        with deterministic():
            pass
        await asyncio.to_thread(compute)

    asyncio.run(outside())


def test_a_generator_that_is_closed_in_another_thread(settings: dict[str, int]) -> None:
    before = dict(settings)
    generator: Any = standing()
    next(generator)
    (message,) = in_thread(generator.close)
    assert "entered in the thread 'MainThread' and left in 'the other'" in message
    assert settings == before
    assert in_thread(lambda: generator_runs()) == [], "the guard is free again"


def generator_runs() -> None:
    for _ in standing():
        pass


def test_what_belongs_to_a_thread_is_put_back_in_it() -> None:
    """A thread cannot put back another thread's autocast, and must not change its own instead."""
    torch.set_autocast_enabled("cpu", True)
    try:
        before = state()
        generator: Any = standing()
        next(generator)
        found = []

        def close() -> None:
            found.append(torch.is_autocast_enabled("cpu"))
            generator.close()

        (message,) = in_thread(close)
        assert "autocast.cpu" in message
        assert "cudnn.benchmark" not in message
        assert found == [False]
        shared = {switch.name for switch in switches() if not switch.per_thread}
        assert {name: state()[name] for name in shared} == {name: before[name] for name in shared}
        with deterministic():
            pass
        assert state() == before
    finally:
        torch.set_autocast_enabled("cpu", False)


def test_a_block_that_goes_on_in_another_thread(settings: dict[str, int]) -> None:
    generator: Any = standing()
    next(generator)
    (message,) = in_thread(lambda: next(generator, None))
    assert "left in 'the other'" in message


def test_a_thread_that_ended_inside_is_named(settings: dict[str, int]) -> None:
    before = dict(settings)
    kept: list[Any] = []

    def stand() -> None:
        kept.append(standing())
        next(kept[0])

    assert in_thread(stand) == []
    with pytest.raises(DeterminismError, match="'the other' has ended inside the guard: a generator"), deterministic():
        pytest.fail("the guard was entered")
    kept[0].close()
    assert settings == before
    with deterministic():
        pass


def test_a_long_wait_is_logged(
    settings: dict[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(holding, "_PATIENCE_SECONDS", 0.04)
    monkeypatch.setattr(holding, "_POLL_SECONDS", 0.02)
    thread = threading.Thread(target=generator_runs, name="the other", daemon=True)
    with deterministic():
        thread.start()
        thread.join(0.5)
    thread.join(CHILD_SECONDS)
    (message,) = {record.getMessage() for record in caplog.records}
    assert message.startswith("thread 'the other' has waited 0 s for the guard, which thread 'MainThread' is inside")


def in_fork(work: Callable[[], object]) -> int:
    """Run something in a forked process; return its exit status: 0, 1 for an exception, 14 where it hangs."""
    import signal

    with warnings.catch_warnings():
        # Python 3.12 warns of a fork where there are threads, which is what is tested.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        signal.alarm(int(CHILD_SECONDS))
        work()
        os._exit(0)
    finally:
        os._exit(1)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_a_fork_while_another_thread_is_inside() -> None:
    before = state()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with deterministic():
            inside.set()
            leave.wait(CHILD_SECONDS)

    def child() -> None:
        assert free()
        assert state() == before, "the child is not inside"
        with deterministic():
            assert all(switch.read() == switch.wanted for switch in switches())
        assert state() == before

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert inside.wait(CHILD_SECONDS)
    try:
        assert in_fork(child) == 0
    finally:
        leave.set()
        thread.join(CHILD_SECONDS)
    assert state() == before


@needs_fork
def test_a_fork_inside_is_inside() -> None:
    before = state()

    def child() -> None:
        with deterministic():
            assert all(switch.read() == switch.wanted for switch in switches())

    def leaving() -> None:
        # The rest of the block runs in the child as in the parent.
        stack.__exit__(None, None, None)
        assert free()
        assert state() == before

    stack = deterministic()
    with stack:
        assert in_fork(child) == 0
        assert in_fork(leaving) == 0
        assert all(switch.read() == switch.wanted for switch in switches())
    assert state() == before


def interrupted_at(step: int) -> int:
    """Enter and leave the guard, with an interrupt at the given line of its code; return how many lines ran."""
    files, lines = {determinism.__file__, holding.__file__}, 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in files:
            return None
        # Python looks for signals at calls and jumps; at a bare `try` there is neither.
        bare = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"
        if event == "line" and not bare:
            lines += 1
            if lines == step:
                raise KeyboardInterrupt
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        with deterministic():
            pass
    finally:
        sys.settrace(previous)
    return lines


def test_an_interrupt_at_any_line_leaves_everything_as_it_was(settings: dict[str, int]) -> None:
    before = dict(settings)
    lines = interrupted_at(0)
    assert lines > 50
    for step in range(1, lines + 1):
        with pytest.raises(KeyboardInterrupt):
            interrupted_at(step)
        assert settings == before, step
        assert free(), step


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_while_a_switch_is_put_back(settings: dict[str, int], monkeypatch: Any, times: int) -> None:
    before, left = dict(settings), [times]

    def set_(value: int) -> None:
        if value == 6 and left[0] == times:
            left[0] -= 1
            raise KeyboardInterrupt
        settings["b"] = value

    table = [
        Switch(switch.name, switch.get, set_ if switch.name == "b" else switch.set, 1)
        for switch in determinism.switches()
    ]
    monkeypatch.setattr(determinism, "switches", lambda: tuple(table))
    with pytest.raises(KeyboardInterrupt), deterministic():
        pass
    assert settings == before


def test_every_switch_knows_whether_it_belongs_to_a_thread() -> None:
    """Set in another thread, it is seen in this one, or it is not."""
    for switch in switches():
        if switch.name not in OTHER:
            continue
        before = switch.read()
        value = switch.wanted if before == OTHER[switch.name] else OTHER[switch.name]
        try:
            assert in_thread(lambda switch=switch, value=value: switch.set(value)) == []  # type: ignore[misc]
            assert (switch.read() == before) is switch.per_thread, switch.name
        finally:
            switch.set(before)
