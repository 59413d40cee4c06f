"""A clock that moves when it is told to."""

from crynux_validate.errors import InvalidInputError


class ManualClock:
    """Time for a ledger under test: ``MemoryLedger(clock=ManualClock())``.

    Parameters
    ----------
    now
        Integer seconds to begin with.
    """

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def advance(self, seconds: int) -> int:
        """Let time pass; returns the new time."""
        if type(seconds) is not int or seconds < 0:
            raise InvalidInputError(f"seconds is {seconds!r}; expected an integer from 0: time does not run backwards")
        self.now += seconds
        return self.now
