"""Who is inside the guard: one thread at a time, however often; the last to leave puts every switch back.

The switches belong to the process, and some of them to a thread. Entries are therefore counted and not stacked: two
coroutines that take turns may leave in any order. Everything that sets a switch happens in one short critical section,
which a fork waits for; the guarded block itself is not in it.
"""

import logging
import os
import threading
from contextvars import ContextVar
from typing import Any, Final

from crynux_validate.errors import DeterminismError
from crynux_validate.pipelines.guard.switch import Switch

Saved = list[tuple[Switch, Any]]
"""Switches with what they were before, in the order in which they were set."""

_LOG: Final = logging.getLogger(__name__)
_POLL_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 60.0


class Entry:
    """One ``with deterministic():`` that was begun: by which thread, and inside which other one."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.outer: Entry | None = None


class Holder:
    """The state of the guard in this process."""

    def __init__(self) -> None:
        self.section = threading.RLock()
        self._free = threading.Condition(self.section)
        # An entry is added or removed in one step, so that an interrupt finds either all of it or nothing.
        self._entries: list[Entry] = []
        self._saved: Saved = []
        # What a thread still has to put back itself, because the guard was left in another one.
        self._left_behind: dict[threading.Thread, Saved] = {}

    def enter(self, entry: Entry, table: tuple[Switch, ...]) -> None:
        """Wait for the guard, and set every switch where this is the first entry; call `leave` whatever is raised."""
        me = entry.thread
        with self.section:
            self._wait(me)
            self._entries.append(entry)
            entry.outer = _INSIDE.get()
            _INSIDE.set(entry)
            if len(self._entries) > 1:
                return
            _restore(self._left_behind.pop(me, []))
            for switch in table:
                self._saved.append((switch, switch.read()))
                switch.apply()

    @property
    def thread(self) -> threading.Thread | None:
        """The thread that is inside."""
        return self._entries[0].thread if self._entries else None

    def leave(self, entry: Entry) -> None:
        """Count one entry less, and put everything back where it was the last; calling it again does nothing.

        Raises
        ------
        DeterminismError
            Where a switch cannot be put back, or the guard is left in another thread than it was entered in.
        """
        with self.section:
            if entry not in self._entries:
                return
            problems = [] if len(self._entries) > 1 else self._put_back()
            # Only now: what interrupts the above leaves it to be done again.
            if _INSIDE.get() is entry:
                _INSIDE.set(entry.outer)
            self._entries.remove(entry)
            self._free.notify_all()
        if problems:
            raise DeterminismError("; ".join(problems))

    def _wait(self, me: threading.Thread) -> None:
        """Wait until no other thread is inside, or say why that would be for ever."""
        waited = 0.0
        while (other := self.thread) is not None and other is not me:
            if _INSIDE.get() in self._entries:
                raise DeterminismError(
                    f"the thread {me.name!r} works for code that is inside the guard in the thread {other.name!r}, and "
                    "would wait for it for ever: enter the guard in the thread that computes, not around "
                    "asyncio.to_thread"
                )
            if not other.is_alive():
                raise DeterminismError(
                    f"the thread {other.name!r} has ended inside the guard: a generator or coroutine stands still in "
                    "its `with` block; close it, or let it run to its end"
                )
            self._free.wait(_POLL_SECONDS)
            waited += _POLL_SECONDS
            if waited - _POLL_SECONDS < _PATIENCE_SECONDS <= waited:
                _LOG.warning(
                    "thread %r has waited %.0f s for the guard, which thread %r is inside; a thread that waits inside "
                    "the guard for another one that enters it waits for ever",
                    me.name,
                    waited,
                    other.name,
                )

    def _put_back(self) -> list[str]:
        """Put every switch back, last first; return what cannot be."""
        owner, here = self.thread, threading.current_thread()
        if owner is None or owner is here:
            return _restore(self._saved)
        behind = [(switch, value) for switch, value in self._saved if switch.per_thread]
        self._saved[:] = [(switch, value) for switch, value in self._saved if not switch.per_thread]
        problems = _restore(self._saved)
        if not owner.is_alive():
            return problems
        alive = {thread: saved for thread, saved in self._left_behind.items() if thread.is_alive()}
        self._left_behind = {**alive, owner: behind}
        names = ", ".join(switch.name for switch, _ in behind)
        return [
            *problems,
            f"the guard was entered in the thread {owner.name!r} and left in {here.name!r}, which cannot put back what "
            f"belongs to the first ({names}; that happens when the first next enters the guard): close a generator in "
            "the thread that began it",
        ]

    def forked(self) -> None:
        """In a forked process: where another thread was inside, nobody is now."""
        self._free = threading.Condition(self.section)
        if self.thread in {None, threading.current_thread()}:
            return
        self._saved[:] = [(switch, value) for switch, value in self._saved if not switch.per_thread]
        for problem in _restore(self._saved):
            _LOG.warning("after a fork: %s", problem)
        self._entries.clear()


def _restore(saved: Saved) -> list[str]:
    """Put back and remove one after the other, last first; return what cannot be put back.

    An interrupt leaves what is still to be done in the list.
    """
    problems = []
    while saved:
        switch, value = saved[-1]
        try:
            switch.set(value)
        except Exception as error:  # noqa: BLE001 - collected: one must not keep the others from being put back
            problems.append(f"{switch.name} could not be put back to {value!r}: {error}")
        saved.pop()
    return problems


_INSIDE: Final[ContextVar[Entry | None]] = ContextVar("inside", default=None)
"""The entry that this code is inside of: asyncio hands it to the tasks and threads that it starts."""

HOLDER: Final = Holder()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=HOLDER.section.acquire, after_in_parent=HOLDER.section.release, after_in_child=HOLDER.forked
    )
    os.register_at_fork(after_in_child=HOLDER.section.release)
