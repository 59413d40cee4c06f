"""What can be asked of a ledger (protocol L1), as data that an event log holds and a replay reads."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, ClassVar, Final, get_args

from crynux_validate.encoding import Encoded, canonical_json, check_type, parse_decimal, parse_hex, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines.classes import Attestation
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.tasks import Task, task_from_json


@dataclass(frozen=True)
class Deposit:
    """Bring money into an account."""

    kind: ClassVar = "deposit"
    account: str
    amount: int


@dataclass(frozen=True)
class Withdraw:
    """Take money out of an account."""

    kind: ClassVar = "withdraw"
    account: str
    amount: int


@dataclass(frozen=True)
class Join:
    """Join with a stake from the owner's account."""

    kind: ClassVar = "join"
    node: str
    owner: str
    gpu: GpuModel
    stake: int
    public_key: bytes | None = None


@dataclass(frozen=True)
class Leave:
    """Ask to leave, or get the stake back."""

    kind: ClassVar = "leave"
    node: str


@dataclass(frozen=True)
class TopUp:
    """Add to a stake from the owner's account."""

    kind: ClassVar = "top_up"
    node: str
    amount: int


@dataclass(frozen=True)
class AttestCommit:
    """Bind a node to an attestation. The ledger, not the caller, names the challenge; None while it is not public."""

    kind: ClassVar = "attest_commit"
    node: str
    epoch: int
    challenge: bytes | None
    commitment: bytes
    signature: bytes | None = None


@dataclass(frozen=True)
class AttestReveal:
    """Open a node's commitment to its attestation."""

    kind: ClassVar = "attest_reveal"
    node: str
    attestation: Attestation
    nonce: bytes


@dataclass(frozen=True)
class OpenGroup:
    """Escrow a fee and fix the pool. The ledger, not the caller, names the beacon round.

    A class is named by its digest, 64 hexadecimal digits.
    """

    kind: ClassVar = "open_group"
    task: Task
    creator: str
    fee: int
    min_memory_gib: int
    gpu_class: str | None
    beacon_round: int


@dataclass(frozen=True)
class DrawGroup:
    """Draw the members of the group that waits longest, by its beacon's value; None while that is not public."""

    kind: ClassVar = "draw"
    group: str
    beacon: bytes | None


@dataclass(frozen=True)
class Commit:
    """Bind a member to an answer."""

    kind: ClassVar = "commit"
    group: str
    node: str
    round: int
    commitment: bytes
    signature: bytes | None = None


@dataclass(frozen=True)
class Reveal:
    """Open a member's commitment."""

    kind: ClassVar = "reveal"
    group: str
    node: str
    round: int
    opening: bytes


@dataclass(frozen=True)
class Settle:
    """Judge and pay."""

    kind: ClassVar = "settle"
    group: str


Action = (
    Deposit
    | Withdraw
    | Join
    | Leave
    | TopUp
    | AttestCommit
    | AttestReveal
    | OpenGroup
    | DrawGroup
    | Commit
    | Reveal
    | Settle
)

_KINDS: Final[Mapping[str, type[Action]]] = {action.kind: action for action in get_args(Action)}
_NAMES: Final = {kind: tuple(item.name for item in fields(action)) for kind, action in _KINDS.items()}
_MONEY: Final = ("amount", "stake", "fee")
_BYTES: Final = ("beacon", "challenge", "commitment", "nonce", "opening", "public_key", "signature")
_PLAIN: Final = (str, int, NoneType)
_OPTIONAL: Final = ("public_key", "signature")
"""Fields that an action has only where they are given."""


def action_to_dict(action: Action) -> dict[str, Any]:
    """Return an action's fields as JSON values: money as decimal strings, bytes as hexadecimal digits.

    For `canonical_json`: a task is given as the canonical JSON that it has already.
    """
    given = vars(action)
    return {
        name: _to_json(name, given[name])
        for name in _NAMES[action.kind]
        if given[name] is not None or name not in _OPTIONAL
    }


def action_from_dict(kind: str, value: Mapping[str, Any]) -> Action:
    """Read what `action_to_dict` writes."""
    check_type(kind, str, "the kind of an action", f"one of {', '.join(_KINDS)}")
    check_type(value, Mapping, "an action", "a mapping of its fields")
    if kind not in _KINDS:
        raise InvalidInputError(f"the kind of an action is {shorten(kind)}; expected one of {', '.join(_KINDS)}")
    names = set(_NAMES[kind])
    if not names - set(_OPTIONAL) <= set(value) <= names:
        raise InvalidInputError(f"the action {kind} has the fields {shorten(sorted(value))}; expected {sorted(names)}")
    return _KINDS[kind](**{name: _from_json(name, found) for name, found in value.items()})


def _to_json(name: str, value: Any) -> Any:
    if name in _MONEY:
        return str(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Task):
        return Encoded(value.to_json())
    return value.to_dict() if isinstance(value, GpuModel | Attestation) else value


def _from_json(name: str, value: Any) -> Any:
    if name in _MONEY:
        return parse_decimal(value, name)
    if name in _BYTES:
        return None if value is None else parse_hex(value, name)
    if name == "gpu":
        return GpuModel.from_dict(value)
    if name == "attestation":
        return Attestation.from_dict(value)
    if name == "task":
        return task_from_json(canonical_json(value))
    return value
