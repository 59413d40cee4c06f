"""The time of a ledger: integer seconds, from a clock that is given to it (protocol L6)."""

import time
from collections.abc import Callable
from typing import Final

from crynux_validate.encoding import check_function, shorten
from crynux_validate.errors import ClockError, InvalidInputError

LAST_TIME: Final = 4_102_444_800
"""The year 2100: a reading after it is one in milliseconds, or a clock that was never set."""

MOST_BEHIND: Final = 60
"""How many seconds a reading may lie before the last event, and then counts as its time."""


def system_clock() -> int:
    """Return the system's time in integer seconds."""
    return int(time.time())


def clock_or_system(clock: object) -> Callable[[], int]:
    """Return a clock that was given, or the system's for None.

    Raises
    ------
    InvalidInputError
        For a clock that is not a function.
    """
    check_function(clock, "the clock", "a function that returns integer seconds")
    return system_clock if clock is None else clock  # type: ignore[return-value]  # what it returns is checked


def checked_time(now: object) -> int:
    """Return what a clock said.

    Raises
    ------
    InvalidInputError
        Where that is no integer.
    ClockError
        Where it lies before 1970 or after the year 2100.
    """
    if type(now) is not int:
        raise InvalidInputError(f"the time is {shorten(now)}; expected integer seconds")
    if not 0 <= now <= LAST_TIME:
        raise ClockError(
            f"the clock says {shorten(now)}; expected seconds since 1970, from 0 to {LAST_TIME} (the year 2100)"
        )
    return now


def time_after(now: object, last: int) -> int:
    """Return the time of an event after one at the time `last`: time never runs backwards in a ledger.

    Raises
    ------
    InvalidInputError, ClockError
        As `checked_time`, and where the clock is more than `MOST_BEHIND` seconds behind.
    """
    reading = checked_time(now)
    if reading < last - MOST_BEHIND:
        raise ClockError(
            f"the clock says {reading}, {last - reading} seconds before the last event of the log ({last}); at most "
            f"{MOST_BEHIND} are allowed: correct the clock. If the log is wrong, replay it up to the event before the "
            "error"
        )
    return max(reading, last)
