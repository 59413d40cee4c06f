"""What a database says of the ledger that it holds: written when it is made, read when it is opened."""

import json
import secrets

from sqlalchemy import Connection, insert, select

from crynux_validate.encoding import canonical_json, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.ledger.beacon import LocalBeacon, MissingBeacon
from crynux_validate.ledger.interface import Beacon, Policy
from crynux_validate.ledger.replay import Genesis, beacon_of
from crynux_validate.ledger.sql.records import readable
from crynux_validate.ledger.sql.tables import EVENTS, LEDGER, METADATA, SCHEMA, check_kept
from crynux_validate.ledger.store import Head


def write_first(connection: Connection, genesis: Genesis, *, kept_secret: bool, repeated: int) -> None:
    """Make the tables, with the ledger's own row and its first event.

    Parameters
    ----------
    connection
        In the transaction that makes the database.
    genesis
        What the ledger begins with.
    kept_secret
        Whether the database keeps the secret of a `LocalBeacon`; a beacon that was given keeps its own.
    repeated
        How many events of a log are repeated in the same transaction; their values came from the beacon of that log.
    """
    METADATA.create_all(connection)
    event = genesis.event()
    head = Head.of(event)
    connection.execute(
        insert(LEDGER),
        {
            "one": 1,
            "schema": SCHEMA,
            "id": genesis.ledger,
            "policy": canonical_json(genesis.policy.to_dict()).decode("utf-8"),
            "beacon": genesis.beacon,
            "beacon_secret": secrets.token_bytes(32) if kept_secret else None,
            "beacon_since": repeated if kept_secret else 0,
            "seq": head.seq,
            "time": head.time,
            "digest": head.digest,
            "group_count": 0,
            "handled_count": 0,
            "last_round": 0,
            "deposited": "0",
            "withdrawn": "0",
            "burnt": "0",
        },
    )
    connection.execute(insert(EVENTS), {"seq": event.seq, "body": event.canonical_bytes.decode("utf-8")})


def read_own(
    connection: Connection, where: str, ledger_id: str | None, policy: Policy | None, beacon: Beacon | None
) -> tuple[str, Policy, Beacon]:
    """Return the id, the policy and the beacon of the ledger that a database holds.

    Parameters
    ----------
    connection
        Sees one moment.
    where
        The database, as errors name it.
    ledger_id, policy, beacon
        What the caller says of the ledger; None is whatever the database says.

    Raises
    ------
    InvalidInputError
        Where the database says otherwise.
    """
    check_kept(connection, where)
    row = connection.execute(select(LEDGER)).one()
    with readable("the ledger's policy"):
        found = Policy.from_dict(json.loads(row.policy))
    if ledger_id is not None and ledger_id != row.id:
        raise InvalidInputError(f"{where} holds the ledger {row.id!r}, not {ledger_id!r}; leave the id out")
    if policy is not None and policy != found:
        mine, theirs = policy.to_dict(), found.to_dict()
        name = next(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))
        raise InvalidInputError(
            f"{where} holds a ledger of another policy: {name} is {shorten(theirs.get(name))} there and "
            f"{shorten(mine.get(name))} here; leave the policy out, or begin a new ledger"
        )
    return row.id, found, _beacon(Genesis(row.id, found, row.beacon, 0), row.beacon_secret, beacon, where)


def _beacon(genesis: Genesis, secret: bytes | None, given: Beacon | None, where: str) -> Beacon:
    """The beacon that a ledger is opened with: its own, or the one that was given, if it is the same."""
    if secret is None:
        return MissingBeacon(genesis.beacon) if given is None else beacon_of(genesis, given)
    own = beacon_of(genesis, None, secret)
    if given is None:
        return own
    used = beacon_of(genesis, given, secret)
    if isinstance(given, LocalBeacon) and given != own:
        raise InvalidInputError(
            f"{where} holds the secret of its beacon {given.name}, which is another: leave beacon out"
        )
    return used
