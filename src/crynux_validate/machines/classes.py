"""Classes of machines that give equal bits, and the attestations that show a node's class (protocol P2, P6)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from crynux_validate.encoding import (
    DIGEST_BYTES,
    canonical_json,
    check_id,
    check_integer,
    digest,
    length_prefixed,
    parse_hex,
    shorten,
    summary,
)
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines.environment import Environment
from crynux_validate.machines.gpu import GpuModel

NONCE_BYTES: Final = 32
SHORT_DIGITS: Final = 12
"""How many hexadecimal digits of a class's digest people are shown."""


@dataclass(frozen=True)
class NodeClass:
    """A class: it must be equal for all nodes that get the same text task (protocol P2).

    A class belongs to one epoch, since its canary answers the challenge of that epoch. The other three parts are what a
    node declares. Their digest is the `declaration`, which stays the same from epoch to epoch.

    Parameters
    ----------
    gpu
        The declared GPU model.
    kernel, numerics
        Digests of an `Environment`, 32 bytes each.
    canary
        The answer to the epoch's challenge, 32 bytes.

    Raises
    ------
    InvalidInputError
        For an invalid part, which the message names.
    """

    gpu: GpuModel
    kernel: bytes
    numerics: bytes
    canary: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.gpu, GpuModel):
            raise InvalidInputError(f"a class's gpu is a {type(self.gpu).__name__}; expected a GpuModel")
        for name in ("kernel", "numerics", "canary"):
            check_digest(getattr(self, name), f"a class's {name}")

    @cached_property
    def digest(self) -> str:
        """The digest over the canonical JSON of `to_dict` (protocol, "Bytes"): 64 lower-case hexadecimal digits."""
        return digest("class", length_prefixed(canonical_json(self.to_dict()))).hex()

    @cached_property
    def declaration(self) -> str:
        """The digest of the same JSON without the canary, which a policy can list in `admitted_declarations`."""
        declared = {name: value for name, value in self.to_dict().items() if name != "canary"}
        return digest("class", length_prefixed(canonical_json(declared))).hex()

    def to_dict(self) -> dict[str, Any]:
        """Return the parts for JSON; digests as hexadecimal digits."""
        digests = {name: getattr(self, name).hex() for name in ("kernel", "numerics", "canary")}
        return {"gpu": self.gpu.to_dict(), **digests}

    @classmethod
    def from_dict(cls, value: object) -> "NodeClass":
        """Read what `to_dict` writes."""
        if not isinstance(value, dict) or set(value) != {"gpu", "kernel", "numerics", "canary"}:
            raise InvalidInputError(
                f"a class is {shorten(value)}; expected an object with gpu, kernel, numerics, canary"
            )
        digests = {name: parse_hex(value[name], f"a class's {name}", DIGEST_BYTES) for name in value if name != "gpu"}
        return cls(GpuModel.from_dict(value["gpu"]), **digests)

    def __repr__(self) -> str:
        return summary(self, self)

    def __str__(self) -> str:
        return f"{self.gpu}, class {self.digest[:SHORT_DIGITS]}"


@dataclass(frozen=True)
class Attestation:
    """What a node reveals once in every epoch: digests of its kernels and numerics, and its canary (protocol P6).

    All nodes commit before any node reveals, so nobody can copy an attestation; but colluders can share one. An
    operator can upgrade from one epoch to the next: attest with the new environment, but answer with the old one until
    the new epoch's attestations are in force and every older group is settled. Until then the node is drawn for its old
    class, and other bits cost its stake. (With only one environment: leave the ledger, upgrade, and join again.)

    Parameters
    ----------
    epoch
        The number of the epoch, 0 to 2^53-1.
    kernel, numerics
        Digests of the node's `Environment`, 32 bytes each.
    canary
        The answer to the epoch's challenge, 32 bytes.

    Raises
    ------
    InvalidInputError
        For an invalid part, which the message names.
    """

    epoch: int
    kernel: bytes
    numerics: bytes
    canary: bytes

    def __post_init__(self) -> None:
        check_integer(self.epoch, "an attestation's epoch")
        for name in ("kernel", "numerics", "canary"):
            check_digest(getattr(self, name), f"an attestation's {name}")

    @classmethod
    def of(cls, environment: Environment, *, epoch: int, canary: bytes) -> "Attestation":
        """Return the attestation of an environment (`local_environment`) and a canary (`canary`) of this machine."""
        if not isinstance(environment, Environment):
            raise InvalidInputError(f"the environment is {shorten(environment)}; expected an Environment")
        return cls(epoch, environment.kernel_digest, environment.numerics_digest, canary)

    def commitment(self, *, ledger: str, node: str, nonce: bytes) -> bytes:
        """Return the commitment, 32 bytes (protocol, "Bytes").

        The digest includes the node's id, so that another node cannot open a copied commitment.

        Parameters
        ----------
        ledger, node
            The ids of the ledger and of the node.
        nonce
            32 bytes from a secure random source (`secrets.token_bytes(32)`), new for every commitment.
        """
        return digest(
            "attestation",
            length_prefixed(check_id(ledger, "the ledger id")),
            self.epoch.to_bytes(8, "big"),
            length_prefixed(check_id(node, "the node id")),
            self.kernel,
            self.numerics,
            self.canary,
            check_nonce(nonce),
        )

    def __repr__(self) -> str:
        digests = (f"{name} {getattr(self, name).hex()[:SHORT_DIGITS]}" for name in ("kernel", "numerics", "canary"))
        return summary(self, f"of epoch {self.epoch}", *digests)

    def to_dict(self) -> dict[str, Any]:
        """Return the parts for JSON; digests as hexadecimal digits."""
        digests = {name: getattr(self, name).hex() for name in ("kernel", "numerics", "canary")}
        return {"epoch": self.epoch, **digests}

    @classmethod
    def from_dict(cls, value: object) -> "Attestation":
        """Read what `to_dict` writes."""
        if not isinstance(value, dict) or set(value) != {"epoch", "kernel", "numerics", "canary"}:
            raise InvalidInputError(
                f"an attestation is {shorten(value)}; expected an object with epoch, kernel, numerics, canary"
            )
        names = [name for name in value if name != "epoch"]
        digests = {name: parse_hex(value[name], f"an attestation's {name}", DIGEST_BYTES) for name in names}
        return cls(value["epoch"], **digests)


def check_digest(value: object, what: str) -> bytes:
    """Return `value` if it is a digest: 32 bytes."""
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES:
        found = f"{len(value)} bytes" if isinstance(value, bytes) else shorten(value)
        raise InvalidInputError(f"{what} is {found}; expected {DIGEST_BYTES} bytes")
    return value


def check_nonce(value: object) -> bytes:
    """Return `value` if it is a nonce: 32 bytes. The error does not show the value, since a nonce is secret."""
    if not isinstance(value, bytes) or len(value) != NONCE_BYTES:
        found = f"{len(value)} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
        raise InvalidInputError(f"the nonce is {found}; expected {NONCE_BYTES} bytes of secrets.token_bytes")
    return value
