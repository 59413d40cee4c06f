"""Workers: what crosses the border of a process, what happens when one dies, and that the kinds really differ."""

import functools
import gc
import math
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from crynux_validate.errors import FakeHardwareError, InvalidInputError, InvalidTaskError
from crynux_validate.tasks import ModelRef
from crynux_validate.testing import fake_hardware, kinds
from crynux_validate.testing.fake_hardware import NumericKind, Worker, Workers
from tests.testing import jobs

PLAIN = NumericKind("plain", {}, "for tests that need no particular kind")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(PLAIN) as found:
        yield found


def gone(pid: int) -> bool:
    """Whether a process has ended and was waited for: a zombie can still be signalled."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_arguments_and_result_cross_the_border(worker: Worker) -> None:
    assert worker.run(jobs.add, 2) == 3
    assert worker.run(jobs.add, [1], second=[2]) == [1, 2]
    assert worker.run(math.sqrt, 2.0) == math.sqrt(2.0)
    assert worker.run(jobs.Here.double, 4) == 8
    assert worker.run(functools.partial(jobs.add, 5), 6) == 11


def test_it_is_another_process_and_stays_the_same_one(worker: Worker) -> None:
    assert worker.run(os.getpid) == worker.run(os.getpid) == worker.pid != os.getpid()


def test_large_payloads_arrive_whole(worker: Worker) -> None:
    array = np.arange(3_000_000, dtype=np.float32)
    assert np.array_equal(worker.run(jobs.echo, array), array)


def test_starting_loads_neither_numpy_nor_torch() -> None:
    with Worker(PLAIN) as fresh:
        loaded = fresh.run(eval, "set(__import__('sys').modules)")
    assert "crynux_validate.testing.worker" in loaded
    assert not {"torch", "numpy", "diffusers"} & loaded


def test_what_a_function_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with Worker(PLAIN) as worker:
        assert worker.run(jobs.chatter) == "said"
        assert worker.run(jobs.add, 1) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "from a child of the child" in err


def test_messages_on_the_way_arrive_in_order(worker: Worker) -> None:
    heard: list[object] = []
    assert worker.run(jobs.count, 3, on_message=heard.append) == "counted"
    assert heard == [{"step": 0}, {"step": 1}, {"step": 2}]
    assert worker.run(jobs.count, 3) == "counted"


def test_an_error_of_the_listener_is_raised_and_the_worker_goes_on(worker: Worker) -> None:
    def refuse(message: object) -> None:
        raise ZeroDivisionError(message)

    with pytest.raises(ZeroDivisionError, match="'step': 0"):
        worker.run(jobs.count, 3, on_message=refuse)
    assert worker.run(jobs.add, 1) == 2


def test_send_outside_a_worker_is_an_error() -> None:
    with pytest.raises(FakeHardwareError, match="inside a function"):
        fake_hardware.send("hello")


def test_an_exception_keeps_its_type_and_brings_its_traceback(worker: Worker) -> None:
    with pytest.raises(KeyError, match="lost") as caught:
        worker.run(jobs.fail, "lost")
    (note,) = caught.value.__notes__
    assert "worker 'plain'" in note
    assert "jobs.py" in note
    assert "in fail" in note
    assert worker.run(jobs.add, 1) == 2


def test_our_own_errors_keep_their_fields(worker: Worker) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        worker.run(ModelRef)
    assert caught.value.field == "model"


def test_an_exception_that_cannot_be_read_back_is_described(worker: Worker) -> None:
    with pytest.raises(FakeHardwareError, match=r"fail_badly raised .*Unpicklable: onetwo") as caught:
        worker.run(jobs.fail_badly)
    assert "in fail_badly" in caught.value.__notes__[0]


def test_a_result_that_cannot_be_pickled_is_an_error(worker: Worker) -> None:
    with pytest.raises(FakeHardwareError, match="result, a lock, cannot be pickled"):
        worker.run(jobs.return_lock)
    assert worker.run(jobs.add, 1) == 2


def test_functions_without_a_name_are_refused(worker: Worker) -> None:
    def local() -> None: ...

    with pytest.raises(InvalidInputError, match="move it to the top of a module"):
        worker.run(local)
    with pytest.raises(InvalidInputError, match="move it to the top of a module"):
        worker.run(lambda: 1)
    with pytest.raises(InvalidInputError, match="cannot be pickled"):
        worker.run(jobs.echo, lambda: 1)


def test_a_function_of_the_program_itself_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from crynux_validate.testing.fake_hardware import NumericKind, Worker\n"
        "def mine(): pass\n"
        "with Worker(NumericKind('native', {}, '')) as worker: worker.run(mine)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "InvalidInputError: __main__.mine is in the program itself" in done.stderr


def test_two_workers_compute_at_once(worker: Worker, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with Worker(PLAIN) as other:
        first, second = worker.submit(jobs.meet, one, two), other.submit(jobs.meet, two, one)
        assert first.result()
        assert second.result()


@pytest.mark.parametrize(
    ("function", "args", "how"),
    [
        (jobs.leave, (3,), "exit status 3"),
        (sys.exit, (4,), "exit status 4"),
        (jobs.kill_self, (), "signal 9"),
    ],
)
def test_death_is_reported_with_its_status(function: object, args: tuple[object, ...], how: str) -> None:
    with Worker(PLAIN) as mortal:
        with pytest.raises(FakeHardwareError, match=rf"worker 'plain' \(native\) .*{how}; it cannot run") as caught:
            mortal.run(function, *args)  # type: ignore[arg-type]
        assert getattr(function, "__name__", "?") in str(caught.value)
        assert not mortal.alive
        with pytest.raises(FakeHardwareError, match=how):
            mortal.run(jobs.add, 1)


def test_death_is_noticed_though_another_process_holds_the_pipe(tmp_path: Path) -> None:
    go, late = tmp_path / "go", tmp_path / "late"
    with Worker(PLAIN) as mortal:
        with pytest.raises(FakeHardwareError, match="exit status 7"):
            mortal.run(jobs.leave_somebody_behind, go, late)
        assert not late.exists(), "it was the other process's end that was noticed"
        go.touch()


def test_a_process_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FakeHardwareError, match="could not be started"):
        Worker(PLAIN)


def test_closing_ends_the_process_and_what_it_runs() -> None:
    before = set(threading.enumerate())
    worker = Worker(PLAIN)
    (thread,) = set(threading.enumerate()) - before
    assert worker.run(jobs.add, 1) == 2
    running, waiting = worker.submit(jobs.sleep, 60), worker.submit(jobs.add, 1)
    worker.close()
    worker.close()
    assert gone(worker.pid)
    for future in (running, waiting):
        with pytest.raises(FakeHardwareError, match="was closed"):
            future.result(timeout=10)
    with pytest.raises(FakeHardwareError, match="was closed"):
        worker.submit(jobs.add, 1)
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_forgotten_worker_ends() -> None:
    worker = Worker(PLAIN)
    pid = worker.pid
    worker.run(jobs.add, 1)
    del worker
    gc.collect()
    assert gone(pid)


def test_the_end_of_the_program_ends_its_workers(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from crynux_validate.testing.fake_hardware import NumericKind, Worker\n"
        "worker = Worker(NumericKind('native', {}, ''))\n"
        "worker.submit(time.sleep, 60)\n"
        "print(worker.pid)\n"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert gone(int(done.stdout))
    assert done.stderr == ""
    assert time.monotonic() - start < 30


def test_a_worker_has_the_variables_of_its_kind_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("CRYNUX_VALIDATE_TEST", "kept")
    with Worker(NumericKind("mine", {"ATEN_CPU_CAPABILITY": "default"}, "")) as worker:
        found = worker.run(jobs.variables)
    assert found["ATEN_CPU_CAPABILITY"] == "default"
    assert "MKL_CBWR" not in found
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["CRYNUX_VALIDATE_TEST"] == "kept"
    assert found["HF_HUB_OFFLINE"] == "1"


def test_kinds_ask_for_nothing_that_the_processor_lacks() -> None:
    old = kinds._kinds("GenuineIntel", frozenset({"sse2"}))
    middle = kinds._kinds("AuthenticAMD", frozenset({"sse4_1", "avx", "avx2"}))
    new = kinds._kinds("GenuineIntel", frozenset({"sse4_1", "avx", "avx2", "avx512f"}))
    assert [kind.name for kind in old] == ["native", "aten-default", "mkl-compatible", "libraries-plain", "oldest"]
    assert {kind.name for kind in middle} - {kind.name for kind in old} == {"onednn-sse41"}
    assert {kind.name for kind in new} - {kind.name for kind in middle} == {"aten-avx2", "mkl-avx2"}
    assert "ONEDNN_MAX_CPU_ISA" not in old[-1].variables
    for kind in new:
        assert set(kind.variables) <= kinds.NUMERIC_VARIABLES, kind.name


def test_the_processor_is_read_from_its_description() -> None:
    text = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    assert kinds._processor(text) == ("GenuineIntel", frozenset({"fpu", "avx2"}))


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_other_platforms_are_told_so(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(FakeHardwareError, match=f"needs Linux on x86-64; this is {system} on {machine}"):
        fake_hardware.kinds()
    with pytest.raises(FakeHardwareError, match="needs Linux"):
        Workers()


def test_workers_start_when_asked_for_and_again_after_a_death() -> None:
    with _workers() as workers:
        assert next(iter(workers)) == "native"
        assert len(workers) == len(fake_hardware.kinds())
        first = workers["native"]
        assert workers["native"] is first
        with pytest.raises(FakeHardwareError):
            first.run(jobs.leave, 1)
        assert workers["native"].run(jobs.add, 1) == 2
        with pytest.raises(KeyError):
            workers["no such kind"]
        pid = workers["native"].pid
    assert gone(pid)


def _workers() -> Workers:
    try:
        return Workers()
    except FakeHardwareError as error:
        pytest.skip(str(error))


@pytest.mark.torch
def test_kinds_compute_other_bits(fake_hardware_workers: Workers) -> None:
    pytest.importorskip("torch")
    names = ["native", "oldest"]
    native, oldest = [
        future.result() for future in [fake_hardware_workers[name].submit(jobs.operations) for name in names]
    ]
    assert native["input"] == oldest["input"]
    assert native == fake_hardware_workers["native"].run(jobs.operations)
    differing = {name for name, bits in native.items() if oldest[name] != bits}
    assert {"matmul", "softmax"} <= differing
    for name in differing:
        np.testing.assert_allclose(
            np.frombuffer(native[name], np.float32), np.frombuffer(oldest[name], np.float32), rtol=1e-3, atol=1e-4
        )


def test_libraries_compute_other_bits_and_our_noise_does_not(fake_hardware_workers: Workers) -> None:
    native = fake_hardware_workers["native"].run(jobs.library_operations)
    plain = fake_hardware_workers["libraries-plain"].run(jobs.library_operations)
    assert native["input"] == plain["input"]
    assert any(plain[name] != bits for name, bits in native.items())


def test_an_interrupt_leaves_workers_alone_from_the_first_moment() -> None:
    """Ctrl-C reaches every process of a terminal: the parent decides when its workers end, and they print nothing."""
    program = """
import os, signal
from crynux_validate.testing.fake_hardware import NumericKind, Worker
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
signal.signal(signal.SIGINT, lambda *_: None)
for _ in range(3):
    with Worker(NumericKind("native", {}, "")) as worker:
        os.kill(worker.pid, signal.SIGINT)
        assert worker.run(os.getpid) == worker.pid
        os.kill(worker.pid, signal.SIGINT)
        assert worker.run(os.getpid) == worker.pid
        assert worker.run(signal.pthread_sigmask, signal.SIG_BLOCK, []) == set()
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.torch
def test_kinds_of_cards_compute_in_their_arithmetic(card_workers: fake_hardware.Workers) -> None:
    """In another process as in this one; what can be asked of one kind can be asked of all."""
    from crynux_validate.testing import tensor_cores
    from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES

    cards = {kind.name: kind for kind in fake_hardware.gpu_kinds()}
    assert list(cards) == list(ARCHITECTURES)
    assert [kind.name for kind in fake_hardware.gpu_kinds(4)] == [f"{name}-split-4" for name in ARCHITECTURES]
    assert "H100" in cards["hopper"].about
    assert len({kind.about for kinds in (cards.values(), fake_hardware.gpu_kinds(2)) for kind in kinds}) == 14
    with pytest.raises(InvalidInputError, match="splits is 3"):
        fake_hardware.gpu_kinds(3)
    found = {}
    for kind in (PLAIN, cards["ada"], cards["hopper"], fake_hardware.gpu_kinds(2)[4]):
        with ExitStack() as stack:
            worker = card_workers.get(kind.name) or stack.enter_context(Worker(kind))
            found[kind.name], record = worker.run(jobs.product)
        if kind is PLAIN:
            assert record is None
            assert found[kind.name] == jobs.product()[0]
            continue
        assert kind.architecture is not None
        with tensor_cores(kind.architecture, splits=kind.splits) as cores:
            assert jobs.product() == (found[kind.name], cores.to_dict())
        assert record == cores.to_dict()
    assert len(set(found.values())) == 4


@pytest.mark.torch
def test_a_kind_of_no_card_is_an_error_of_the_call() -> None:
    with Worker(NumericKind("odd", {}, "no card", "pascal")) as fresh:
        for _ in range(2):
            with pytest.raises(InvalidInputError, match="the architecture is 'pascal'"):
                fresh.run(jobs.add, 1)
    with Worker(fake_hardware.gpu_kinds()[1]) as fresh:
        with pytest.raises(InvalidInputError, match="turing has no tensor cores for 'bfloat16'"):
            fresh.run(jobs.product, "bfloat16")
        assert fresh.run(jobs.add, 1) == 2
