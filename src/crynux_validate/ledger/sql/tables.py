"""The tables of a `SqlLedger`, and how to tell a database that holds them from any other.

Money and what can be larger than 64 bits is text. What a group fixes and many share, its task and the weights of all
nodes, is stored once and named by its digest.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    select,
    text,
)

from crynux_validate.encoding import shorten
from crynux_validate.errors import StorageError

SCHEMA_VERSION: Final = 3
SCHEMA: Final = f"crynux-validate/sql-ledger/{SCHEMA_VERSION}"
"""What the ledger's row says of the tables. A change of any of them is a new version."""

METADATA: Final = MetaData()

LEDGER: Final = Table(
    "ledger",
    METADATA,
    Column("one", Integer, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    Column("schema", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("beacon", Text, nullable=False),
    Column("beacon_secret", LargeBinary),
    Column("beacon_since", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("group_count", BigInteger, nullable=False),
    Column("handled_count", BigInteger, nullable=False),
    Column("last_round", BigInteger, nullable=False),
    Column("deposited", Text, nullable=False),
    Column("withdrawn", Text, nullable=False),
    Column("burnt", Text, nullable=False),
)
"""One row: what holds for the whole ledger, and where its log ends. Who writes locks it first.

The secret is of a `LocalBeacon` that was made with the database, none where a beacon was given. From the event
`beacon_since` on all values are those of this beacon: a log that was replayed without its beacon goes on with another.
"""

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)
"""The log: canonical JSON."""

ACCOUNTS: Final = Table(
    "accounts",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("balance", Text, nullable=False),
    sqlite_with_rowid=False,
)

TASKS: Final = Table(
    "tasks",
    METADATA,
    Column("digest", LargeBinary, primary_key=True),
    Column("body", Text, nullable=False),
)
"""Canonical JSON, by the task's digest."""

WEIGHTS: Final = Table(
    "weights",
    METADATA,
    Column("digest", LargeBinary, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""The weights of all nodes, by their numbers, as they were when some group opened (`pools.py`)."""

GROUPS: Final = Table(
    "groups",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("keeps_task", Boolean, nullable=False),
    Column("escrow", Text),
    Column("creator", Text, nullable=False),
    Column("fee", Text, nullable=False),
    Column("min_memory_gib", BigInteger, nullable=False),
    Column("gpu_class", Text),
    Column("task", LargeBinary, ForeignKey("tasks.digest"), nullable=False),
    Column("beacon_round", BigInteger, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("draw_deadline", BigInteger, nullable=False),
    Column("weights", LargeBinary, ForeignKey("weights.digest"), nullable=False),
    Column("pool", LargeBinary, nullable=False),
    Column("base", Text, nullable=False),
    Column("beacon", LargeBinary),
    Column("unavailable", Text),
    Column("unavailable_weight", Text),
    Column("members", Text),
    Column("deadlines", Text, nullable=False),
    Column("verdict", Text),
    Column("delivered_by", Text),
    Column("transfers", Text),
)
Index(
    "groups_unsettled",
    GROUPS.c.id,
    sqlite_where=GROUPS.c.escrow.isnot(None),
    postgresql_where=GROUPS.c.escrow.isnot(None),
)

Index(
    "groups_with_task",
    GROUPS.c.task,
    sqlite_where=GROUPS.c.keeps_task,
    postgresql_where=GROUPS.c.keeps_task,
)

ANSWERS: Final = Table(
    "answers",
    METADATA,
    Column("group_id", Text, ForeignKey("groups.id"), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("node", Text, primary_key=True),
    Column("commitment", LargeBinary, nullable=False),
    Column("public_key", LargeBinary),
    Column("signature", LargeBinary),
    Column("opening", LargeBinary),
    sqlite_with_rowid=False,
)
"""What the members of a group handed in; a commitment with the key of its node and its signature, if it has one."""

NODES: Final = Table(
    "nodes",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("gpu", Text, nullable=False),
    Column("stake", Text, nullable=False),
    Column("joined", Boolean, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("absences", BigInteger, nullable=False),
    Column("leaving", BigInteger),
    Column("group_id", Text, ForeignKey("groups.id")),
    Column("drawn_at", BigInteger),
    Column("drawn_by", Text, ForeignKey("groups.id")),
    Column("attest_epoch", BigInteger),
    Column("attest_commitment", LargeBinary),
    Column("attestations", LargeBinary, nullable=False),
    Column("public_key", LargeBinary),
)
"""Nodes are numbered 0, 1, 2, ... as they first join; `drawn_at` is how many groups had been opened when `drawn_by`
took one (P4c)."""
Index("nodes_drawn", NODES.c.drawn_at)


def is_new(connection: Connection, where: str) -> bool:
    """Whether a database is empty; false where it holds a ledger that this version of the library reads.

    Raises
    ------
    StorageError
        Where it holds something else, or a ledger that was written by a newer version.
    """
    names = set(inspect(connection).get_table_names())
    if not names:
        return True
    of_ledger = {column["name"] for column in inspect(connection).get_columns("ledger")} if "ledger" in names else set()
    if not {"one", "schema"} <= of_ledger:
        shown = ", ".join(sorted(names)[:5])
        raise StorageError(f"{where} holds tables of something else ({shown}); give a ledger a database of its own")
    found = connection.scalar(select(LEDGER.c.schema))
    if found == SCHEMA:
        return False
    kind, _, version = str(found).rpartition("/")
    if kind == SCHEMA.rpartition("/")[0] and version.isdecimal() and int(version) > SCHEMA_VERSION:
        raise StorageError(
            f"{where} was written by a newer version of crynux_validate: its tables are version {version}, this one "
            f"reads up to {SCHEMA_VERSION}; upgrade crynux-validate"
        )
    if kind == SCHEMA.rpartition("/")[0] and version.isdecimal():
        raise StorageError(
            f"{where} was written by an older version of crynux_validate: its tables are version {version}, this one "
            f"reads {SCHEMA_VERSION}. Read its log with that version, and replay it here with SqlLedger.replay"
        )
    raise StorageError(f"{where} says that its tables are {shorten(found)}; expected {SCHEMA!r}")


def check_kept(connection: Connection, where: str) -> None:
    """Refuse tables of a server that it forgets: temporary ones, and those that it empties when it has crashed.

    Raises
    ------
    StorageError
        Names one, and says what to do.
    """
    if connection.dialect.name != "postgresql":
        return
    found = connection.scalars(
        text(
            "SELECT relname FROM pg_catalog.pg_class WHERE pg_catalog.pg_table_is_visible(oid) AND relkind = 'r' "
            "AND relpersistence <> 'p' AND relname = ANY(:names)"
        ),
        {"names": list(METADATA.tables)},
    ).all()
    if found:
        raise StorageError(
            f"{where}: the server does not keep the table {found[0]!r} when it crashes; ALTER TABLE ... SET LOGGED, or "
            "name a schema that is not temporary"
        )
