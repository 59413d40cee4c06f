"""A settled group as JSON values, and back: what evidence carries."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from crynux_validate.algorithms import HASH_BITS, IMAGE_ALGORITHMS
from crynux_validate.answers import ImageScore, Score, TextScore
from crynux_validate.commitment import Opening
from crynux_validate.encoding import (
    DIGEST_BYTES,
    canonical_json,
    check_id,
    check_integer,
    parse_decimal,
    parse_hex,
    shorten,
)
from crynux_validate.errors import CrynuxValidateError, InvalidInputError
from crynux_validate.frozen import FrozenMapping
from crynux_validate.judging import Finding, Outcome, Verdict
from crynux_validate.ledger.group import Group, Round, Signature, Status, Transfer
from crynux_validate.ledger.policy import Policy
from crynux_validate.machines.classes import NodeClass
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Draw
from crynux_validate.signatures import KEY_BYTES, SIGNATURE_BYTES
from crynux_validate.tasks import task_from_json

T = TypeVar("T")


def group_to_dict(group: Group) -> dict[str, Any]:
    """Return a group as JSON values: money as decimal strings, bytes as hexadecimal digits."""
    draw, pool = group.draw, group.pool
    return {
        "id": group.id,
        "task": group.task.to_dict(),
        "creator": group.creator,
        "fee": str(group.fee),
        "min_memory_gib": group.min_memory_gib,
        "policy": group.policy.to_dict(),
        "pool": {"ids": list(pool.ids), "owners": list(pool.owners), "weights": pool.weights.tolist()},
        "base": str(group.base),
        "beacon_round": group.beacon_round,
        "opened": group.opened,
        "draw_deadline": group.draw_deadline,
        "gpu_class": None if group.gpu_class is None else group.gpu_class.to_dict(),
        "status": group.status.value,
        "beacon": None if draw is None else draw.beacon.hex(),
        "unavailable": {} if draw is None else dict(draw.unavailable),
        "unavailable_weight": None if draw is None else str(draw.unavailable_weight),
        "members": list(group.members),
        "rounds": [_round_to_dict(one) for one in group.rounds],
        "verdict": None if group.verdict is None else verdict_to_dict(group.verdict),
        "delivered_by": group.delivered_by,
        "transfers": transfers_to_list(group.transfers),
    }


def read_group(ledger: str, value: object) -> Group:
    """Read a drawn group from somebody else: `Group.from_dict`."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"the group is {shorten(value)}; expected what Group.to_dict gives")
    if not value.get("members"):
        raise InvalidInputError("the group has no members yet; expected one that was drawn")
    with reading("the group"):
        return group_from_dict(check_id(ledger, "the ledger's id"), value)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Read what a stranger wrote of a group in the block: whatever is wrong with it is an `InvalidInputError`."""
    try:
        yield
    except CrynuxValidateError as error:
        raise InvalidInputError(f"{what} cannot be read: {error}") from error
    except KeyError as error:
        raise InvalidInputError(
            f"{what} cannot be read: it has no {shorten(error.args[0])}; expected what Group.to_dict gives"
        ) from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} cannot be read: {error!r:.200}") from error


def group_from_dict(ledger: str, value: Mapping[str, Any]) -> Group:
    """Read what `group_to_dict` writes of a drawn group; the kinds of values are checked, not what they say."""
    pool = Pool.from_columns(value["pool"]["ids"], value["pool"]["owners"], value["pool"]["weights"])
    name = check_id(value["id"], "the group id")
    members = tuple(check_id(node, "a member") for node in value["members"])
    unavailable = {
        check_id(node, "a node that is unavailable"): check_id(taken_by, "the group that took a node")
        for node, taken_by in value["unavailable"].items()
    }
    strangers = [node for node in sorted(unavailable) if pool.position(node) is None]
    if strangers:
        raise InvalidInputError(f"{strangers[0]} is said to be unavailable, but is not a candidate of the pool")
    task, policy = task_from_json(canonical_json(value["task"])), Policy.from_dict(value["policy"])
    fee, beacon_round = parse_decimal(value["fee"], "the fee"), check_integer(value["beacon_round"], "beacon_round")
    draw = Draw(
        ledger=ledger,
        group=name,
        task=task.digest,
        policy=policy.digest,
        fee=fee,
        beacon_round=beacon_round,
        beacon=parse_hex(value["beacon"], "the beacon"),
        pool=pool,
        unavailable=FrozenMapping(unavailable),
        unavailable_weight=parse_decimal(value["unavailable_weight"], "unavailable_weight"),
        members=members,
    )
    return Group(
        id=name,
        task=task,
        creator=check_id(value["creator"], "the creator"),
        fee=fee,
        min_memory_gib=check_integer(value["min_memory_gib"], "min_memory_gib"),
        policy=policy,
        pool=pool,
        base=parse_decimal(value["base"], "the base"),
        beacon_round=beacon_round,
        opened=check_integer(value["opened"], "opened"),
        draw_deadline=check_integer(value["draw_deadline"], "draw_deadline"),
        gpu_class=None if value["gpu_class"] is None else NodeClass.from_dict(value["gpu_class"]),
        status=Status(value["status"]),
        draw=draw,
        rounds=tuple(map(_round_from_dict, value["rounds"])),
        verdict=None if value["verdict"] is None else verdict_from_dict(value["verdict"]),
        delivered_by=None if value["delivered_by"] is None else check_id(value["delivered_by"], "delivered_by"),
        transfers=transfers_from_list(value["transfers"]),
    )


def verdict_to_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON values.

    Pairs, not objects: canonical JSON sorts the keys of an object, and findings stand in the order of the draw.
    """
    score = verdict.delivered_score
    return {
        "outcome": verdict.outcome.value,
        "findings": [[node, finding.value] for node, finding in verdict.findings.items()],
        "score": None if score is None else [score.algorithm, score.hex],
        "distances": [[node, distance] for node, distance in verdict.distances.items()],
    }


def verdict_from_dict(value: Mapping[str, Any]) -> Verdict:
    """Read what `verdict_to_dict` writes."""
    findings = {check_id(node, "a member"): Finding(finding) for node, finding in value["findings"]}
    distances = {
        check_id(node, "a member"): check_integer(found, "a distance", 0, HASH_BITS)
        for node, found in value["distances"]
    }
    return Verdict(Outcome(value["outcome"]), findings, _score(value["score"]), distances)


def transfers_to_list(transfers: tuple[Transfer, ...]) -> list[list[str | None]]:
    """Return movements of money as JSON values."""
    return [[moved.source, moved.target, str(moved.amount), moved.why] for moved in transfers]


def transfers_from_list(value: list[list[Any]]) -> tuple[Transfer, ...]:
    """Read what `transfers_to_list` writes."""
    return tuple(
        Transfer(
            check_id(source, "the source of a transfer"),
            None if target is None else check_id(target, "the target of a transfer"),
            parse_decimal(amount, "the amount of a transfer"),
            check_id(why, "why a transfer was made"),
        )
        for source, target, amount, why in value
    )


def _round_to_dict(one: Round) -> dict[str, Any]:
    return {
        "commit_deadline": one.commit_deadline,
        "reveal_deadline": one.reveal_deadline,
        "commitments": {node: commitment.hex() for node, commitment in one.commitments.items()},
        "openings": {node: opening.to_bytes().hex() for node, opening in one.openings.items()},
        "signatures": {node: [made.public_key.hex(), made.value.hex()] for node, made in one.signatures.items()},
    }


def _round_from_dict(value: Mapping[str, Any]) -> Round:
    return Round(
        check_integer(value["commit_deadline"], "commit_deadline"),
        check_integer(value["reveal_deadline"], "reveal_deadline"),
        _by_node(value["commitments"], lambda text: parse_hex(text, "a commitment", DIGEST_BYTES)),
        _by_node(value["openings"], lambda text: Opening.from_bytes(parse_hex(text, "an opening"))),
        _by_node(value["signatures"], _signature),
    )


def _by_node(value: Mapping[str, Any], read: Callable[[Any], T]) -> FrozenMapping[str, T]:
    return FrozenMapping({check_id(node, "a member"): read(found) for node, found in value.items()})


def _signature(value: Any) -> Signature:
    key, made = value
    return Signature(parse_hex(key, "a public key", KEY_BYTES), parse_hex(made, "a signature", SIGNATURE_BYTES))


def _score(value: list[str] | None) -> Score | None:
    if value is None:
        return None
    algorithm, digits = value
    kind = ImageScore if algorithm in IMAGE_ALGORITHMS else TextScore
    return kind(parse_hex(digits, "a score"), None, algorithm)  # type: ignore[arg-type]  # the constructor checks it
