"""Signed commitments: Ed25519 keys of nodes, from the `cryptography` library (protocol L8; RFC 8032).

A signature proves that the owner of a node's key made the commitment, and not the operator of the ledger. An opening
needs no signature, because its commitment has one.
"""

from typing import TYPE_CHECKING, Final

from crynux_validate.edwards import decode_point, has_small_order
from crynux_validate.encoding import DIGEST_BYTES, check_id, check_integer, digest, length_prefixed, parse_hex, shorten
from crynux_validate.errors import InvalidInputError, MissingExtraError, SignatureError
from crynux_validate.machines.pairing import verify_draw
from crynux_validate.machines.roster import Draw

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class SigningKey:
    """A node's secret key. The node joins a ledger with the `public_key`.

    Parameters
    ----------
    secret
        32 bytes that only the node knows. `SigningKey.generate` draws them.

    Raises
    ------
    InvalidInputError
        If `secret` is not 32 bytes.
    MissingExtraError
        If the `cryptography` library is not installed.
    """

    def __init__(self, secret: bytes) -> None:
        _need_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not isinstance(secret, bytes) or len(secret) != KEY_BYTES:
            raise InvalidInputError("the secret key is not 32 bytes; SigningKey.generate() draws one")
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @classmethod
    def generate(cls) -> "SigningKey":
        """Draw a key from the system's secure random source."""
        import secrets

        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def secret(self) -> bytes:
        """The 32 bytes of the secret key. Anybody who has them can sign for this node."""
        return self._key.private_bytes_raw()

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes, for `Ledger.join`."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, commitment: bytes, draw: Draw, *, node: str, seed: bytes | None = None) -> bytes:
        """Sign a commitment to an answer, and return the signature for `Ledger.commit`: 64 bytes.

        Parameters
        ----------
        commitment
            32 bytes: `Opening.commitment`.
        draw
            `Group.draw`. The draw is repeated, and nothing is signed if its beacon value draws other members. Call
            `verify_draw` as well before you sign: it checks the task, the policy and the beacon value.
        node
            The id of the node that joined with this key. It must be a member.
        seed
            `Group.second_seed` in the second round; None in the first.

        Raises
        ------
        SignatureError
            If the draw gives other members, or the node is not a member.
        """
        if not verify_draw(draw):
            raise SignatureError(f"the beacon value of {draw.group} draws other members than it has: not signed")
        if node not in draw.members:
            raise SignatureError(
                f"{shorten(node)} is not a member of {draw.group} ({', '.join(draw.members)}): not signed"
            )
        if seed is not None and (not isinstance(seed, bytes) or len(seed) != DIGEST_BYTES):
            raise InvalidInputError(f"the seed is {shorten(seed)}; expected the 32 bytes of Group.second_seed, or None")
        bound_to, number = (draw.digest, 1) if seed is None else (seed.hex(), 2)
        return self._key.sign(signed_bytes(commitment, bound_to, node=node, round=number))

    def sign_attestation(self, commitment: bytes, *, ledger: str, epoch: int, node: str) -> bytes:
        """Sign a commitment to an attestation, and return the signature for `Ledger.attest_commit`: 64 bytes (P6).

        Parameters
        ----------
        commitment
            32 bytes: `Attestation.commitment`.
        ledger, node
            The ids of the ledger and of the node.
        epoch
            The number of the epoch.
        """
        return self._key.sign(attestation_bytes(commitment, ledger=ledger, epoch=epoch, node=node))

    def __repr__(self) -> str:
        return f"<SigningKey of {self.public_key.hex()}>"


def signed_bytes(commitment: bytes, bound_to: str, *, node: str, round: int = 1) -> bytes:  # noqa: A002
    """Return the digest that is signed for a commitment to an answer: 32 bytes (protocol, "Bytes").

    `bound_to` is that of the commitment: the draw's digest, or the seed of the second round.
    """
    return digest(
        "signature",
        parse_hex(bound_to, "what the signature is bound to", DIGEST_BYTES),
        bytes([check_integer(round, "the round", 1, 2)]),
        length_prefixed(check_id(node, "the node id")),
        _checked(commitment, "Opening.commitment (C1)"),
    )


def attestation_bytes(commitment: bytes, *, ledger: str, epoch: int, node: str) -> bytes:
    """Return the digest that is signed for a commitment to an attestation: 32 bytes (protocol, "Bytes")."""
    return digest(
        "attestation-signature",
        length_prefixed(check_id(ledger, "the ledger id")),
        check_integer(epoch, "the epoch").to_bytes(8, "big"),
        length_prefixed(check_id(node, "the node id")),
        _checked(commitment, "Attestation.commitment (P6)"),
    )


def _checked(commitment: object, made_by: str) -> bytes:
    if not isinstance(commitment, bytes) or len(commitment) != DIGEST_BYTES:
        raise InvalidInputError(f"the commitment is {shorten(commitment)}; expected 32 bytes: make it with {made_by}")
    return commitment


def check_public_key(key: object) -> bytes:
    """Return `key` if it is the 32 bytes of an Ed25519 key that a node can join with.

    Raises
    ------
    InvalidInputError
        If the bytes encode no point of the curve, or a point of small order: with such a key one signature can be valid
        for every commitment.
    """
    _load(key)
    data: bytes = key  # type: ignore[assignment]  # loading has checked it
    point = decode_point(data)
    if point is None:
        raise InvalidInputError(f"{data.hex()} is not a public key of Ed25519; take SigningKey.public_key")
    if has_small_order(point):
        raise InvalidInputError(
            f"the public key {data.hex()} is a point of small order: its signatures prove nothing; "
            "take SigningKey.public_key"
        )
    return data


def is_signed(signature: object, public_key: bytes, signed: bytes) -> bool:
    """Whether a signature by this key is valid for `signed`, which `signed_bytes` or `attestation_bytes` made.

    Raises
    ------
    MissingExtraError
        If the `cryptography` library is not installed.
    """
    key = _load(public_key)
    from cryptography.exceptions import InvalidSignature

    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _load(key: object) -> "Ed25519PublicKey":
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise InvalidInputError(
            f"the public key is {shorten(key)}; expected 32 bytes, as SigningKey.public_key has them"
        )
    return Ed25519PublicKey.from_public_bytes(key)


def _need_cryptography() -> None:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a signature", "sign", "cryptography") from error
