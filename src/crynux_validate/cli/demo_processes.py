"""What both demos have: nodes in processes of their own, which end with the demo, and work that they do at once."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Final, Self, TypeVar

from crynux_validate.errors import FakeHardwareError, PipelineError
from crynux_validate.testing import fake_hardware

T = TypeVar("T")
Tell = Callable[[str], None]

WORK_SECONDS: Final = 600
"""How long a node may take for one task before the demo gives up."""


class Processes:
    """The processes of a demo; use it in a ``with`` statement, which ends them.

    Parameters
    ----------
    tell
        Called with each line for people.
    progress
        Called with a line that replaces the one before it.
    """

    def __init__(self, tell: Tell, progress: Tell) -> None:
        self._tell = tell
        self._progress = progress
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

    def _steps(self, word: str) -> Callable[[str, tuple[int, int]], None]:
        """What hears how far each node is, and shows all of them in one line."""
        steps: dict[str, str] = {}

        def heard(node: str, done: tuple[int, int]) -> None:
            steps[node] = f"{node}: {word} {done[0]}/{done[1]}"
            self._progress("   ".join(steps[name] for name in sorted(steps)))

        return heard

    def _results(self, futures: Mapping[str, "Future[T]"]) -> dict[str, T]:
        """Wait for the work of some nodes."""
        try:
            results = {name: future.result(WORK_SECONDS) for name, future in futures.items()}
        except TimeoutError as error:
            raise PipelineError(
                f"a node took more than {WORK_SECONDS} s for one task; this machine is too busy"
            ) from error
        self._progress("")
        return results
