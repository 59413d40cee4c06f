"""A switch of the guard: one setting that decides bits, read back and put back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crynux_validate.errors import DeterminismError


@dataclass(frozen=True)
class Switch:
    """One thing that decides bits.

    Parameters
    ----------
    name
        Its name in the numerics record.
    get, set
        Read it, and set it to what `get` returned.
    wanted
        The value under the guard.
    show
        Turns a value into JSON, where it is not that already.
    per_thread
        Whether it belongs to a thread: setting it in one leaves the other threads as they are.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    wanted: Any
    show: Callable[[Any], Any] = lambda value: value
    per_thread: bool = False

    def apply(self) -> None:
        """Set the wanted value."""
        try:
            self.set(self.wanted)
        except Exception as error:
            raise DeterminismError(f"{self.name} cannot be set to {self.show(self.wanted)!r}: {error}") from error

    def check(self, when: str) -> None:
        """Read it back, and raise where it is not what is wanted."""
        found = self.read()
        if found != self.wanted:
            raise DeterminismError(
                f"{self.name} is {self.show(found)!r} {when}, not {self.show(self.wanted)!r}: other code holds or "
                "changes it. Run the task outside of that code's context, or in a process of its own"
            )

    def read(self) -> Any:
        """Read it, or raise `DeterminismError` where this torch does not have it."""
        try:
            return self.get()
        except (AttributeError, RuntimeError) as error:
            raise DeterminismError(f"{self.name} cannot be read from this version of torch: {error}") from error
