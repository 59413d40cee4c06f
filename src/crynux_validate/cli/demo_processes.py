"""What both demos have: a ledger in a file, and nodes in processes of their own that work at once."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar

from crynux_validate.cli.demo_output import Output
from crynux_validate.cli.progress import Progress
from crynux_validate.errors import FakeHardwareError, InvalidInputError, PipelineError
from crynux_validate.files import write_whole
from crynux_validate.judging import Finding
from crynux_validate.ledger.group import Group
from crynux_validate.ledger.policy import Clock, Policy
from crynux_validate.testing import fake_hardware

if TYPE_CHECKING:
    from crynux_validate.ledger.sql import SqlLedger

T = TypeVar("T")
Tell = Callable[[str], None]
Job: TypeAlias = tuple[fake_hardware.Worker, Callable[..., T], *tuple[Any, ...]]

WORK_SECONDS: Final = 600
"""How long a node may take for one task before the demo gives up."""


LEDGER_FILES: Final = ("", "-wal", "-shm")
"""What SQLite adds to the name of a ledger's file, for those that lie beside it."""


def new_ledger(out: Output, name: str, policy: Policy, clock: Clock | None = None) -> "SqlLedger":
    """Begin a ledger in the file ``<name>.db`` of a demo's folder; one that an earlier demo left there is deleted."""
    from crynux_validate import SqlLedger

    file = out.path / f"{name}.db"
    try:
        for end in LEDGER_FILES:
            out.claim(file.name + end).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot write into {out.path}: {error.strerror or error}") from error
    return SqlLedger(f"sqlite:///{file.absolute()}", policy, ledger_id=name, clock=clock)


def write_evidence(ledger: "SqlLedger", group: Group, place: Callable[[str], Path]) -> list[Path]:
    """Write the evidence of what cost a member of a settled group its stake; returns the files.

    Parameters
    ----------
    place
        Gives the path of a file by its name.
    """
    findings = {} if group.verdict is None else group.verdict.findings
    written = []
    for node, finding in findings.items():
        if finding in (Finding.INVALID, Finding.WITHHELD):
            file = place(f"evidence-{node}.json")
            write_whole(file, f"{ledger.evidence(group.id, node).to_json()}\n".encode())
            written.append(file)
    return written


class Processes:
    """The processes of a demo; use it in a ``with`` statement, which ends them.

    Parameters
    ----------
    tell
        Called with each line for people.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._running = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start_processes()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    def _start_processes(self) -> None:
        """Start one process for each node, with `_start`."""
        raise NotImplementedError

    def _start(self, kind: fake_hardware.NumericKind) -> fake_hardware.Worker:
        return self._running.enter_context(fake_hardware.Worker(kind))

    def _known_kinds(self, otherwise: str) -> dict[str, fake_hardware.NumericKind]:
        """The numeric kinds by name; where nothing can be imitated only ``native``, and `otherwise` is told."""
        try:
            return {kind.name: kind for kind in fake_hardware.kinds()}
        except FakeHardwareError as error:
            self._tell(f"{error}; {otherwise}")
            return {"native": fake_hardware.NumericKind("native", {}, "this processor as it is")}

    def _together(self, what: str, unit: str, jobs: Mapping[str, Job[T]], steps: int = 1) -> dict[str, T]:
        """Let processes work at once, show how far they are together, and wait for them.

        Parameters
        ----------
        what, unit
            As for `Progress`.
        jobs
            By the name of each: its process, a function, and its arguments. The function may `send` how many of how
            many steps are done.
        steps
            How many each has, until it says so itself.
        """
        far = dict.fromkeys(jobs, (0, steps))

        def heard(name: str, done: tuple[int, int]) -> None:
            far[name] = done
            each = "" if steps == 1 else "".join(f"  {name} {at}" for name, (at, _) in far.items())
            progress.show(sum(at for at, _ in far.values()), each, total=sum(of for _, of in far.values()))

        def over(name: str, _: "Future[T]") -> None:
            heard(name, (far[name][1],) * 2)

        with Progress(what, 0, unit) as progress:
            heard(*next(iter(far.items())))
            futures = {}
            for name, (worker, function, *arguments) in jobs.items():
                futures[name] = worker.submit(function, *arguments, on_message=partial(heard, name))
                futures[name].add_done_callback(partial(over, name))
            try:
                return {name: future.result(WORK_SECONDS) for name, future in futures.items()}
            except TimeoutError as error:
                raise PipelineError(
                    f"a node took more than {WORK_SECONDS} s for one task; this machine is too busy"
                ) from error
