"""How far a long command is, how fast, and how long it will take: one line on a terminal, and nothing elsewhere."""

import threading
import time
from typing import Final, Self

from crynux_validate.cli.output import show_progress

_EVERY: Final = 0.1
"""Seconds between two lines: a person cannot read faster, and a terminal is slow."""

_SETTLED: Final = 0.5
"""Seconds before a rate is told: the first of many steps is rarely like the others."""


class Progress:
    """The line of progress of one piece of work; use it in a ``with`` statement, which wipes it away, or end it.

    Any thread may show how far the work is.

    Parameters
    ----------
    what
        What is being done.
    total
        How many steps it has.
    unit
        What a step is, in the plural.
    """

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._started = time.monotonic()
        self._first: int | None = None
        self._began = 0.0
        self._shown = -_EVERY
        self._ended = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def show(self, done: int, detail: str = "", *, total: int | None = None) -> None:
        """Show how many steps are done, and what else there is to say; of many calls at once only some are shown.

        `total` is how many steps there are, where that is known by now only. Nothing is shown after the end.
        """
        with self._lock:
            if not self._ended:
                self._show(done, detail, total)

    def of(self, done: int, total: int) -> None:
        """Show how many of how many steps are done: what functions with `on_progress` call."""
        self.show(done, total=total)

    def _show(self, done: int, detail: str, total: int | None) -> None:
        self._total = self._total if total is None else total
        now = time.monotonic() - self._started
        if self._first is None:
            self._first, self._began = done, now
        if done < self._total and now - self._shown < _EVERY:
            return
        self._shown = now
        show_progress(f"{self._what}  {done:,} of {self._total:,} {self._unit}{self._pace(done, now)}{detail}")

    def _pace(self, done: int, now: float) -> str:
        """How fast it goes and what is left, since the first step that was shown."""
        passed, steps = now - self._began, done - (self._first or 0)
        if passed < _SETTLED or steps <= 0:
            return ""
        rate = steps / passed
        left = (self._total - done) / rate
        return f"  {rate:,.{0 if rate >= 10 else 1}f}/s  {_duration(left)} left"

    def end(self) -> None:
        """Wipe the line away."""
        with self._lock:
            self._ended = True
            show_progress("")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
