"""Disks that are full, databases that others hold, files that were damaged or cut off, and logs that were edited."""

import os
import random
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import crynux_validate as cv
from benchmarks.soak.checks import Follower, check
from benchmarks.soak.work import line_of, milliseconds, set_up, work
from crynux_validate.errors import BrokenLogError
from crynux_validate.frozen import thaw
from crynux_validate.ledger.interface import GENESIS, verify_chain


def url_of(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


@contextmanager
def small_disk(mib: int) -> Iterator[Path | None]:
    """A file system in memory of so many MiB, where the system lets us mount one; None elsewhere."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "tmpfs", folder]
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            mounted = False
        try:
            yield Path(folder) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", folder], check=True)


def fill_the_disk(url: str, disk: Path, times: int, recover: Callable[[], None] = lambda: None) -> tuple[int, set[str]]:
    """Fill a disk while a ledger on it is written to, make room again, and check; as often as asked.

    Parameters
    ----------
    url
        Of a ledger that is set up.
    disk
        Of `small_disk`.
    times
        How often; a different rest is left each time, so that different writes are the first to fail.
    recover
        Called when there is room again, to start a server that has ended.

    Returns
    -------
    tuple
        How many actions were acknowledged, and what the errors said.
    """
    chance = random.Random(times)
    acknowledged: list[str] = []
    errors: set[str] = set()
    ballast = disk / "ballast"
    for at in range(times):
        rest = chance.randrange(200_000)
        reader = cv.SqlLedger(url, clock=milliseconds, trust_clock=True)
        ballast.write_bytes(bytes(max(0, _free(disk) - rest)))
        try:
            work(url, f"full-{at}", 10**9, lambda *said: acknowledged.append(line_of(*said)))
        except cv.errors.StorageError as error:
            errors.add(_named(error))
        if url.startswith("sqlite"):  # who has it open reads on; SQLite needs room to open it, or says so
            full = Follower(url)
            full.follow(reader)
            full.find(acknowledged)
            with suppress(cv.errors.StorageError):
                check(url, acknowledged)
        reader.close()
        ballast.unlink()
        recover()
        check(url, acknowledged)
        work(url, f"room-{at}", 20, lambda *said: acknowledged.append(line_of(*said)))
        check(url, acknowledged)
    return len(acknowledged), errors


def fill_the_file(url: str) -> tuple[int, set[str]]:
    """The same where no disk can be mounted: SQLite may not let its file grow any more."""
    acknowledged = 0
    with cv.SqlLedger(url, clock=milliseconds, trust_clock=True) as ledger:
        with ledger._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        try:
            while True:
                ledger.deposit(f"full-{acknowledged}", 1)
                acknowledged += 1
        except cv.errors.StorageError as error:
            said = {_named(error)}
    check(url, (line_of("deposit", {"account": f"full-{at}", "amount": "1"}) for at in range(acknowledged)))
    return acknowledged, said


def _named(error: cv.errors.StorageError) -> str:
    """What an error says, without the name of the database, and without files and numbers that are never the same."""
    said = str(error).partition(": ")[2].partition("\n")[0]
    return re.sub(r"\d+", "N", re.sub(r'"[^"]*/[^"]*"', "a file", said))


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def hold(url: str) -> None:
    """Hold a database and act: who waits for too long is told so, nothing has changed, and then it goes on."""
    impatient = cv.SqlLedger(url, clock=milliseconds, trust_clock=True, timeout=0.1)
    holder = cv.SqlLedger(url, clock=milliseconds, trust_clock=True)
    balance, events = impatient.account("app"), len(impatient.events())
    with holder._writing():
        try:
            impatient.deposit("app", 1)
        except cv.errors.StorageBusyError:
            pass
        else:
            raise AssertionError("two acted at once")
        if (impatient.account("app"), len(impatient.events())) != (balance, events):
            raise AssertionError("an action that was refused has changed something")
    if impatient.deposit("app", 1) != balance + 1:
        raise AssertionError("the ledger does not go on after it was held")
    impatient.close()
    holder.close()


def filled_file(path: Path) -> str:
    """A ledger with some of everything, with nothing beside its file; returns its head."""
    set_up(url_of(path))
    work(url_of(path), "filling", 150, lambda _kind, _fields: None)
    with cv.SqlLedger(url_of(path), clock=milliseconds, trust_clock=True) as ledger:
        return ledger.verify_log()


def _all_of(ledger: cv.SqlLedger) -> object:
    groups = [(group, group.pool.digest) for group in ledger.last_groups()]
    return ledger.id, ledger.policy, ledger.events(), ledger.accounts(), ledger.all_nodes(), groups, ledger.totals()


def damage_files(folder: Path, damages: int, cuts: int) -> dict[str, int]:
    """Overwrite bytes of a ledger's file, or cut it off: that is found, or nothing that is read is wrong.

    Returns
    -------
    dict
        How often the damage was found, and how often it was where nothing is stored.
    """
    path, damaged = folder / "sound.db", folder / "damaged.db"
    head = filled_file(path)
    with cv.SqlLedger(url_of(path), clock=milliseconds, trust_clock=True) as ledger:
        sound = _all_of(ledger)
    data = path.read_bytes()
    chance = random.Random(damages)
    found = {"found": 0, "in unused space": 0}
    for at in range(damages + cuts):
        changed = bytearray(data)
        if at < damages:
            where = chance.randrange(len(data))
            junk = chance.randbytes(min(chance.choice([1, 1, 4, 64, 4096]), len(data) - where))
            changed[where : where + len(junk)] = junk
        else:
            del changed[chance.randrange(len(data)) :]
        if changed == data:
            changed[0] ^= 1
        damaged.write_bytes(changed)
        try:
            with cv.SqlLedger(url_of(damaged), clock=milliseconds, trust_clock=True, timeout=0.0) as ledger:
                ledger.verify_storage()
                ledger.verify_log(head)
                ledger.verify_records()
                if _all_of(ledger) != sound:
                    raise AssertionError(f"damage {at} was not found, and what is read is wrong")
            found["in unused space"] += 1
        except (cv.errors.StorageError, BrokenLogError):
            found["found"] += 1
        for left in folder.glob("damaged.db*"):
            left.unlink(missing_ok=True)  # SQLite deletes its own files when the last connection is gone
    return found


def tamper(events: Sequence[cv.ledger.Event], chance: random.Random) -> tuple[str, list[cv.ledger.Event]]:
    """Change a log in one of the ways in which somebody could; returns the way, and the log."""
    changed = list(events)
    at = chance.randrange(1, len(events) - 1)
    way = chance.choice(["edited", "reordered", "left out", "repeated", "shortened", "rewritten"])
    if way in ("edited", "rewritten"):
        changed[at] = replace(events[at], time=events[at].time + 1)
        if chance.random() < 0.5:
            payload = thaw(events[at].payload)
            payload["result"] = {**payload["result"], "more": "1"}
            changed[at] = replace(events[at], payload=payload)
    if way == "reordered":
        other = chance.choice([seq for seq in range(1, len(events)) if seq != at])
        changed[at], changed[other] = changed[other], changed[at]
    if way == "left out":
        del changed[at]
    if way == "repeated":
        changed.insert(at, changed[at])
    if way == "shortened":
        del changed[at:]
    if way == "rewritten" or chance.random() < 0.3:  # numbers and digests fit again: only the head shows it
        previous = GENESIS
        for seq, event in enumerate(changed):
            changed[seq] = replace(event, seq=seq, previous=previous)
            previous = changed[seq].digest
    return way, changed


def edit_logs(folder: Path, edits: int) -> dict[str, int]:
    """Change a log in many ways; each is found, alone and in a database. Returns how often each was tried."""
    path = folder / "log.db"
    head = filled_file(path)
    with cv.SqlLedger(url_of(path), clock=milliseconds, trust_clock=True) as ledger:
        events = ledger.events()
    chance = random.Random(edits)
    tried: dict[str, int] = {}
    for at in range(edits):
        way, changed = tamper(events, chance)
        tried[way] = tried.get(way, 0) + 1
        if not _refused(verify_chain, changed, head):
            raise AssertionError(f"a log that was {way} was not found")
        if at % 10 == 0:
            edited = folder / "edited.db"
            shutil.copy(path, edited)
            with sqlite3.connect(edited) as connection:
                connection.execute("DELETE FROM events")
                rows = [(seq, event.canonical_bytes.decode()) for seq, event in enumerate(changed)]
                connection.executemany("INSERT INTO events (seq, body) VALUES (?, ?)", rows)
            connection.close()
            with cv.SqlLedger(url_of(edited), clock=milliseconds, trust_clock=True) as ledger:
                if not _refused(ledger.verify_log, head):
                    raise AssertionError(f"a database whose log was {way} was not found")
    return tried


def _refused(action: Callable[..., object], *arguments: object) -> bool:
    with suppress(BrokenLogError):
        action(*arguments)
        return False
    return True
