"""Vectors of draws: who could be drawn, who is, and what the draw is bound to (protocol P4, P5)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crynux_validate.encoding import parse_decimal
from crynux_validate.errors import NotEnoughNodes
from crynux_validate.ledger.policy import Policy
from crynux_validate.machines.pairing import choose_members, verify_draw, weight_among
from crynux_validate.machines.pool import Candidate, Pool
from crynux_validate.machines.roster import Draw
from crynux_validate.vectors_check.files import Vector


def pool(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The digest of its columns."""
    yield "digest", pool_from(vector.content["pool"]).digest


def draw(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The members, whom a word hit in vain, and how much weight could not be drawn."""
    given = vector.content
    candidates, taken = pool_from(given["pool"]), given["taken"]
    members, hit = None, {}
    try:
        chosen = choose_members(
            candidates,
            given["size"],
            ledger=given["ledger"],
            group=given["group"],
            beacon=bytes.fromhex(given["beacon"]),
            unavailable=taken,
        )
        members, hit = list(chosen.members), {node: taken[node] for node in chosen.hit}
    except NotEnoughNodes:
        pass  # the group is closed
    yield "members", members
    yield "unavailable", hit
    yield "unavailable_weight", str(weight_among(candidates, taken))


def policy(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The parameters again, and their digest."""
    found = Policy.from_dict(vector.content["policy"])
    yield "policy", found.to_dict()
    yield "digest", found.digest


def drawn(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The digest that answers are bound to, and whether the draw can be repeated."""
    claim = draw_from(vector.content["draw"])
    yield "digest", claim.digest
    yield "verified", verify_draw(claim)


def pool_from(rows: Sequence[Sequence[Any]]) -> Pool:
    """Read a pool: rows of node id, owner, weight, in any order."""
    return Pool(Candidate(*row) for row in rows)


def draw_from(given: Mapping[str, Any]) -> Draw:
    """Read a whole draw as a vector writes it."""
    return Draw(
        ledger=given["ledger"],
        group=given["group"],
        task=given["task"],
        policy=given["policy"],
        fee=parse_decimal(given["fee"], "the fee"),
        beacon_round=given["beacon_round"],
        beacon=bytes.fromhex(given["beacon"]),
        pool=pool_from(given["pool"]),
        unavailable=given["unavailable"],
        unavailable_weight=parse_decimal(given["unavailable_weight"], "unavailable_weight"),
        members=tuple(given["members"]),
    )
