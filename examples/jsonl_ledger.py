"""A ledger of your own: an append-only file of JSON lines, one transaction a line. It stores the log, and nothing else.

Run it to see a ledger that is opened again; `docs/tutorials/write-a-ledger.md` explains what it is made of.
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
from crynux_validate.ledger.memory import MemoryStore
from crynux_validate.ledger.replay import Genesis, beacon_of, genesis_of


class JsonlLedger(cv.ledger.StoringLedger):
    """A ledger in a file on a local disk; threads and processes may share it."""

    def __init__(
        self,
        path: Path,
        policy: cv.Policy,
        *,
        ledger_id: str,
        clock: cv.ledger.Clock | None = None,
        beacon: cv.ledger.Beacon,
    ) -> None:
        super().__init__(ledger_id, policy, clock=clock, beacon=beacon)
        self._path = path
        self._path.touch()
        self._turn = threading.RLock()
        self._store: MemoryStore | None = None
        self._length = 0  # how many bytes of the file are in the store: what follows them is new, or half a line

    @contextmanager
    def _reading(self) -> Iterator[cv.ledger.Store]:
        with self._my_turn() as store:
            yield store

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        with self._my_turn() as store, store.transaction():  # which undoes what is in memory where the file fails
            known = store.head.seq + 1
            yield store
            self._append(list(store.events(known)))

    @contextmanager
    def _my_turn(self) -> Iterator[MemoryStore]:
        """The records, with all that other processes have written, and nobody else near them."""
        with self._turn, self._path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, also by a process that dies
            file.seek(self._length)
            lines = [line for line in file if line.endswith(b"\n")]
            if self._store is None:
                self._store = self._begun(lines.pop(0) if lines else None)
            for line in lines:
                for event in (cv.ledger.Event(**fields) for fields in json.loads(line)):
                    action = action_from_dict(event.kind, event.to_dict()["payload"]["action"])
                    self._record(self._store, action, event.time)
                self._length += len(line)
            yield self._store

    def _begun(self, line: bytes | None) -> MemoryStore:
        """The records of a ledger in which nothing has happened, from the first line of the file."""
        if line is None:
            start = Genesis(self.id, self.policy, self._beacon.name, self._clock())
            self._append([start.event()])
        else:
            start = genesis_of([cv.ledger.Event(**json.loads(line)[0])])
            self._length = len(line)
        if (start.ledger, start.policy) != (self.id, self.policy):
            raise cv.errors.InvalidInputError(f"{self._path} holds another ledger, or this one with another policy")
        beacon_of(start, self._beacon)  # which refuses another beacon than the one that it began with
        return MemoryStore(start)

    def _append(self, events: list[cv.ledger.Event]) -> None:
        """Write a transaction after those that are known, and return when it is on the disk (L7)."""
        if not events:
            return
        line = b"[" + b",".join(event.canonical_bytes for event in events) + b"]\n"
        with self._path.open("r+b", buffering=0) as file:
            try:
                file.truncate(self._length)  # half a line is what is left of an action that was never acknowledged
                file.seek(self._length)
                rest = line
                while rest:
                    rest = rest[file.write(rest) :]  # a disk that fills up takes a part, and then refuses
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(self._length)  # or the next to read would take a whole line for one that was acknowledged
                raise cv.errors.StorageError(f"{self._path} cannot be written: {error}") from error
        self._length += len(line)


def main() -> None:
    """Act, open the file again, and find everything there."""
    with tempfile.TemporaryDirectory() as folder:
        path, beacon = Path(folder) / "ledger.jsonl", cv.ledger.LocalBeacon(b"keep it secret")
        ledger = JsonlLedger(path, cv.Policy(), ledger_id="mine", beacon=beacon)
        ledger.deposit("alice", 5_000)
        ledger.join("node-1", owner="alice", gpu=cv.GpuModel("NVIDIA GeForce RTX 4090", 24), stake=1_000)
        again = JsonlLedger(path, cv.Policy(), ledger_id="mine", beacon=beacon)
        assert again.account("alice") == 4_000
        assert again.verify_log(ledger.head().digest)
        print(f"{len(again.events())} events in {path.stat().st_size} bytes, and alice has {again.account('alice')}")


if __name__ == "__main__":
    main()
