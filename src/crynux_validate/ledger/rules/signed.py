"""Signatures of commitments: required of nodes that joined with a key, refused from all others (protocol L8)."""

from collections.abc import Callable

from crynux_validate.errors import SignatureError
from crynux_validate.machines.roster import Node
from crynux_validate.signatures import is_signed


def check_signature(node: Node, signature: bytes | None, signed: Callable[[], bytes], what: str) -> None:
    """Refuse a commitment that its node did not sign, or need not.

    Parameters
    ----------
    node
        Whose commitment it is.
    signature
        64 bytes, or None.
    signed
        Makes the bytes that must be signed.
    what
        What they are, for the error: the commitment, and all that it is bound to.
    """
    if node.public_key is None:
        if signature is not None:
            raise SignatureError(f"node {node.id} joined without a key: leave the signature out")
        return
    if signature is None:
        raise SignatureError(f"node {node.id} joined with a key: give the signature that SigningKey makes (L8)")
    if not is_signed(signature, node.public_key, signed()):
        raise SignatureError(
            f"the signature of {node.id} is not valid for {what}: it was made with another key, or for something else"
        )
