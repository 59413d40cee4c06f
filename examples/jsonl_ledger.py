"""A ledger of your own: an append-only file of JSON lines, one event a line. It stores the log, and nothing else.

Run it to see a ledger that is opened again; `docs/write-a-ledger.md` explains what it is made of.
"""

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import crynux_validate as cv
from crynux_validate.ledger.actions import action_from_dict
from crynux_validate.ledger.base import genesis_event, genesis_of
from crynux_validate.ledger.memory import MemoryStore
from crynux_validate.ledger.rules import Change


class JsonlStore(MemoryStore):
    """The records in memory; an event is in the file before they change."""

    path: Path
    length = 0
    """How many bytes of the file are in the records: what lies behind them was written by others, or cut off."""
    catching_up = False

    def append(self, event: cv.Event) -> None:
        """Write an event behind those that are known, and return when it is on the disk (L7)."""
        with self.path.open("r+b") as file:
            file.truncate(self.length)  # half a line is what is left of an action that was never acknowledged
            file.seek(self.length)
            file.write(event.canonical_bytes + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def write(self, change: Change, event: cv.Event) -> None:
        if not self.catching_up:
            self.append(event)
        super().write(change, event)
        self.length += len(event.canonical_bytes) + 1


class JsonlLedger(cv.StoringLedger):
    """A ledger in a file on a local disk; threads and processes may share it."""

    def __init__(
        self, path: Path, policy: cv.Policy, *, ledger_id: str, clock: cv.Clock | None = None, beacon: cv.Beacon
    ) -> None:
        super().__init__(ledger_id, policy, clock=clock, beacon=beacon)
        self._path = path
        self._path.touch()
        self._turn = threading.RLock()
        self._store: JsonlStore | None = None

    @contextmanager
    def _reading(self) -> Iterator[cv.Store]:
        with self._turn, self._path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, also by a process that dies
            yield self._caught_up()

    _writing = _reading  # who reads what others wrote changes the records, so readers take their turn as well

    def _caught_up(self) -> JsonlStore:
        """The records, with all that other processes have written since the last time."""
        store, events = self._store, self._events_behind(0 if self._store is None else self._store.length)
        if store is None:
            new = not events
            genesis = genesis_event(self.id, self.policy, self._clock()) if new else events.pop(0)
            if genesis_of([genesis])[:2] != (self.id, self.policy):
                raise cv.InvalidInputError(f"{self._path} holds another ledger, or this one with another policy")
            store = JsonlStore(genesis, self.id, self.policy)
            store.path = self._path
            if new:
                store.append(genesis)
            store.length = len(genesis.canonical_bytes) + 1
            self._store = store
        store.catching_up = True
        try:
            for event in events:
                action = action_from_dict(event.kind, event.to_dict()["payload"]["action"])
                self._record(store, action, event.time)
        finally:
            store.catching_up = False
        return store

    def _events_behind(self, start: int) -> list[cv.Event]:
        with self._path.open("rb") as file:
            file.seek(start)
            return [cv.Event(**json.loads(line)) for line in file if line.endswith(b"\n")]


def main() -> None:
    """Act, open the file again, and find everything there."""
    with tempfile.TemporaryDirectory() as folder:
        path, beacon = Path(folder) / "ledger.jsonl", cv.LocalBeacon(b"keep it secret")
        ledger = JsonlLedger(path, cv.Policy(), ledger_id="mine", beacon=beacon)
        ledger.deposit("alice", 5_000)
        ledger.join("node-1", owner="alice", gpu=cv.GpuModel("NVIDIA GeForce RTX 4090", 24), stake=1_000)
        again = JsonlLedger(path, cv.Policy(), ledger_id="mine", beacon=beacon)
        assert again.account("alice") == 4_000
        assert again.verify_log(ledger.head().digest)
        print(f"{len(again.events())} events in {path.stat().st_size} bytes, and alice has {again.account('alice')}")


if __name__ == "__main__":
    main()
