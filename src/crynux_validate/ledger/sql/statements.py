"""The statements that actions send."""

from typing import Final

from sqlalchemy import BigInteger, bindparam, func, insert, literal_column, select, update

from crynux_validate.ledger.sql.channel import Statement
from crynux_validate.ledger.sql.records import NODE_COLUMNS
from crynux_validate.ledger.sql.tables import ACCOUNTS, ANSWERS, EVENTS, GROUPS, LEDGER, NODES, TASKS, WEIGHTS

HEAD_COLUMNS: Final = (
    "id", "seq", "time", "digest", "group_count", "handled_count", "last_round", "deposited", "withdrawn", "burnt",
)  # fmt: skip
PROGRESS: Final = (
    "status", "keeps_task", "escrow", "beacon", "unavailable", "unavailable_weight", "members", "deadlines", "verdict",
    "delivered_by", "transfers",
)  # fmt: skip
"""The columns of a group that change after it opened."""

_HEAD = select(*(LEDGER.c[name] for name in HEAD_COLUMNS))
CLOCK: Final = Statement.of(select(literal_column("CAST(EXTRACT(epoch FROM pg_catalog.clock_timestamp()) AS float8)")))
"""Seconds since 1970 on a PostgreSQL server, when it comes to this statement."""

HEAD: Final = Statement.of(_HEAD)
HEAD_FOR_UPDATE: Final = Statement.of(_HEAD.with_for_update())
BEGAN: Final = Statement.of(select(LEDGER.c.policy, LEDGER.c.beacon, LEDGER.c.beacon_since))
"""What the ledger's row says of how it began."""
SET_HEAD: Final = Statement.of(update(LEDGER), HEAD_COLUMNS[1:])

BALANCE: Final = Statement.of(select(ACCOUNTS.c.balance).where(ACCOUNTS.c.name == bindparam("account")))
BALANCES: Final = Statement.of(select(ACCOUNTS.c.name, ACCOUNTS.c.balance).order_by(ACCOUNTS.c.name))
SET_BALANCE: Final = Statement.upsert(ACCOUNTS, ["name"], ["balance"])

NODE: Final = Statement.of(select(*NODE_COLUMNS).where(NODES.c.id == bindparam("node")))
NODE_COUNT: Final = Statement.of(
    select(func.coalesce(func.max(NODES.c.number) + literal_column("1"), literal_column("0")))
)
ALL_NODES: Final = Statement.of(select(*NODE_COLUMNS).order_by(NODES.c.number))
STAKES: Final = Statement.of(select(NODES.c.stake))
JOINED: Final = Statement.of(select(*NODE_COLUMNS).where(NODES.c.joined).order_by(NODES.c.number))
DRAWN_SINCE: Final = Statement.of(
    select(NODES.c.id, NODES.c.drawn_by).where(NODES.c.drawn_at >= bindparam("number", type_=BigInteger))
)
NAMES: Final = Statement.of(
    select(NODES.c.number, NODES.c.id, NODES.c.owner)
    .where(NODES.c.number >= bindparam("known"))
    .order_by(NODES.c.number)
)
NEW_NODE: Final = Statement.of(insert(NODES))
SET_NODE: Final = Statement.of(
    update(NODES).where(NODES.c.id == bindparam("of_node")),
    [column.name for column in NODES.c if column.name not in ("number", "id", "owner")],
)

GROUP_COLUMNS: Final = tuple(column.name for column in GROUPS.c)
GROUP: Final = Statement.of(select(GROUPS).where(GROUPS.c.id == bindparam("group")))
GROUPS_STORED: Final = Statement.of(select(func.count()).select_from(GROUPS))
LAST_GROUPS: Final = Statement.of(
    select(GROUPS).order_by(GROUPS.c.number.desc()).limit(bindparam("count", type_=BigInteger))
)
ESCROWS: Final = Statement.of(select(GROUPS.c.escrow).where(GROUPS.c.escrow.isnot(None)))
WITH_TASK: Final = Statement.of(
    select(GROUPS.c.id).where(GROUPS.c.keeps_task, GROUPS.c.task == bindparam("digest")).limit(literal_column("1"))
)
POOL: Final = Statement.of(select(GROUPS.c.pool, GROUPS.c.weights).where(GROUPS.c.id == bindparam("group")))
NEW_GROUP: Final = Statement.of(insert(GROUPS))
SET_GROUP: Final = Statement.of(update(GROUPS).where(GROUPS.c.id == bindparam("of_group")), PROGRESS)

NODE_ROWS: Final = Statement.of(select(NODES).order_by(NODES.c.number))
ANSWERS_STORED: Final = Statement.of(select(func.count()).select_from(ANSWERS))
UNUSED_TASKS: Final = Statement.of(
    select(func.count()).select_from(TASKS).where(TASKS.c.digest.not_in(select(GROUPS.c.task)))
)
UNUSED_WEIGHTS: Final = Statement.of(
    select(func.count()).select_from(WEIGHTS).where(WEIGHTS.c.digest.not_in(select(GROUPS.c.weights)))
)

ANSWERS_OF: Final = Statement.of(
    select(*(ANSWERS.c[name] for name in ("round", "node", "commitment", "public_key", "signature", "opening")))
    .where(ANSWERS.c.group_id == bindparam("group"))
    .order_by(ANSWERS.c.round, ANSWERS.c.node)
)
SET_ANSWER: Final = Statement.upsert(ANSWERS, ["group_id", "round", "node"], ["opening"])

TASK: Final = Statement.of(select(TASKS.c.body).where(TASKS.c.digest == bindparam("digest")))
NEW_TASK: Final = Statement.upsert(TASKS, ["digest"])
WEIGHTS_OF: Final = Statement.of(select(WEIGHTS.c.body).where(WEIGHTS.c.digest == bindparam("digest")))
NEW_WEIGHTS: Final = Statement.upsert(WEIGHTS, ["digest"])

EVENT: Final = Statement.of(select(EVENTS.c.body).where(EVENTS.c.seq == bindparam("number")))
NEW_EVENT: Final = Statement.of(insert(EVENTS))
PAGE: Final = 1_000
"""How many events are fetched at a time."""
EVENTS_FROM: Final = Statement.of(
    select(EVENTS).where(EVENTS.c.seq >= bindparam("since")).order_by(EVENTS.c.seq).limit(PAGE)
)
