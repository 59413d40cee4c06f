"""The time of a ledger: integer seconds, from a clock that is given to it."""

import time

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError


def system_clock() -> int:
    """Return the system's time in integer seconds."""
    return int(time.time())


def checked_time(now: object) -> int:
    """Return what a clock said; raises `InvalidInputError` where that is no time."""
    if type(now) is not int:
        raise InvalidInputError(f"the time is {shorten(now)}; expected integer seconds")
    return now
