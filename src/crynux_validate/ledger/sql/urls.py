"""URLs of databases: which are taken, and what is said of the others."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

_EXPECTED: Final = "sqlite:///ledger.db, or postgresql+psycopg://user@host/database"
_TRUE: Final = ("1", "t", "true", "y", "yes", "on")
"""What SQLAlchemy takes for true in a URL."""

_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_SETTING: Final = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|[^\s\\])*)(?:\s+|$)", re.DOTALL)
"""One setting of ``options``, as a PostgreSQL server reads them: a backslash takes the meaning from what follows it."""


@dataclass(frozen=True)
class Address:
    """A database that a ledger can be in.

    Parameters
    ----------
    url
        What a connection is opened with. For SQLite it is made anew from the path, so that SQLite is told nothing else.
    shown
        What errors say of it: without its password, and a SQLite file by its path.
    path
        Where a SQLite file is, as an absolute path; None for a server.
    mode
        Of a SQLite file: ``rwc`` makes one that is not there, ``rw`` does not, and ``ro`` only reads.
    settings
        What a server is to set, as its URL says: for each transaction, not for a connection, which a pooler may give to
        somebody else in between.
    """

    url: URL
    shown: str
    path: Path | None = None
    mode: str = "rwc"
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.path is not None


def read_url(text: object) -> Address:
    """Check that a URL names a database that a ledger can be in.

    Raises
    ------
    InvalidInputError
        Says what was expected.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"the database is {shorten(text)}; expected a URL: {_EXPECTED}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidInputError(f"the database is {shorten(text)}; expected a URL: {_EXPECTED}") from None
    backend, _, driver = url.drivername.partition("+")
    if backend == "postgresql" and driver == "psycopg":
        return _server(url)
    if backend != "sqlite" or driver not in ("", "pysqlite"):
        raise InvalidInputError(f"{_shown(url)} is not a database that a ledger can be in; expected {_EXPECTED}")
    return _file(url)


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _file(url: URL) -> Address:
    """Read the URL of a SQLite file.

    SQLite takes URLs of its own, beginning with ``file:``. Some of their arguments take its locks away, share memory in
    place of a file, or name another way to store. So only what is known to store is taken.
    """
    if url.host or url.port or url.username or url.password:
        raise InvalidInputError(
            f"{_shown(url)} names a host; a file has three slashes and its path: sqlite:///ledger.db"
        )
    name, query = url.database or "", dict(url.query)
    is_uri = str(query.pop("uri", "false")).lower() in _TRUE
    mode = query.pop("mode", None)
    if query:
        raise InvalidInputError(
            f"{_shown(url)} says {', '.join(sorted(query))}, with which SQLite may store nothing or lock nothing; a "
            "ledger takes ?mode=ro&uri=true and nothing else"
        )
    if is_uri != name.startswith("file:") or (mode is not None and not is_uri):
        raise InvalidInputError(
            f"{_shown(url)} is unclear: a path that begins with 'file:', ?mode=... and ?uri=true need one another; "
            "expected sqlite:///ledger.db, or sqlite:///file:ledger.db?mode=ro&uri=true"
        )
    if mode == "memory":
        raise _stores_nothing(url)
    if mode not in (None, "ro", "rw", "rwc"):
        raise InvalidInputError(f"{_shown(url)} says mode={mode}; expected ro, rw or rwc, once")
    if is_uri:
        name = _path_of_uri(name, url)
    if name in ("", ":memory:") or "\0" in name:
        raise _stores_nothing(url)
    path = Path(os.path.abspath(name))
    _check_file(path, url)
    return _address(path, mode or "rwc")


def url_of_file(path: Path, mode: str) -> str:
    """Return the URL of a SQLite file whose path may hold any character."""
    return URL.create(
        "sqlite", database=path.absolute().as_uri(), query={"mode": mode, "uri": "true"}
    ).render_as_string(hide_password=False)


def _path_of_uri(uri: str, url: URL) -> str:
    """Return the path that SQLite would take from ``file:...``."""
    rest = uri.removeprefix("file:").partition("#")[0]
    if "?" in rest:
        raise InvalidInputError(f"{_shown(url)} has a question mark in its path; write it as %253F")
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise InvalidInputError(f"{_shown(url)} names a host; a file has a path alone")
        rest = slash + rest
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), os.fsencode(rest)))


def _check_file(path: Path, url: URL) -> None:
    """Refuse what is there and keeps nothing: a device, a pipe, a file that has no name any more."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return  # not there, or not to be looked at: opening it says why
    if not path.is_file() or not found.st_nlink:
        raise InvalidInputError(f"{_shown(url)} stores nothing: {path} is there and is no regular file; name a file")


def _stores_nothing(url: URL) -> InvalidInputError:
    return InvalidInputError(f"{_shown(url)} stores nothing; name a file, or take a MemoryLedger")


def _address(path: Path, mode: str) -> Address:
    # SQLite makes no file: one that is gone is not made anew.
    return Address(_uri(path, mode="ro" if mode == "ro" else "rw"), f"sqlite:///{path}", path, mode)


def without_locks(address: Address) -> Address:
    """Return how to read a SQLite file that nobody changes."""
    if address.path is None:
        raise ValueError("only a file can be read without locks")
    return replace(address, url=_uri(address.path, immutable="1", mode="ro"))


def _uri(path: Path, **arguments: str) -> URL:
    return URL.create("sqlite", database=path.as_uri(), query={**arguments, "uri": "true"})


def _server(url: URL) -> Address:
    """Read the URL of a PostgreSQL server.

    ``options`` are settings of a connection, which a pooler refuses or drops: they are taken out of the URL.
    """
    options = url.query.get("options", os.environ.get("PGOPTIONS", ""))
    shown = _shown(url)
    if not isinstance(options, str):
        raise InvalidInputError(
            f"{shown} says options more than once; expected -c name=value, several times if need be"
        )
    if not options.strip():
        return Address(url, shown)
    settings, at, text = [], 0, options.strip()
    while at < len(text):
        found = _SETTING.match(text, at)
        if found is None:
            raise InvalidInputError(f"{shown}: the options are {shorten(text)}; expected -c name=value ...")
        settings.append((found[1].replace("-", "_"), re.sub(r"\\(.)", r"\1", found[2], flags=re.DOTALL)))
        at = found.end()
    return Address(url.update_query_dict({"options": ""}), shown, settings=tuple(settings))
