"""Signed commitments (protocol L8)."""

from typing import Any

import pytest

from crynux_validate import (
    Group,
    InvalidInputError,
    MissingExtraError,
    Opening,
    SigningKey,
)
from crynux_validate.encoding import length_prefixed
from tests.ledger.helpers import CARD, CHEAT, HONEST, Network

KEYS = {f"n{at}": SigningKey(bytes([at]) * 32) for at in range(3)}


def signed_network() -> Network:
    """Three nodes with keys."""
    network = Network(nodes=0)
    for at in range(3):
        network.ledger.deposit(f"o{at}", 5_000)
        network.ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=1_000, public_key=KEYS[f"n{at}"].public_key)
    return network


def commit(network: Network, group: Group, node: str, key: SigningKey | None, other: Any = None) -> Opening:
    """Commit to an honest answer, signed with a key for these ids, or for others."""
    opening = Opening.of(HONEST)
    ids: dict[str, Any] = {"ledger": network.ledger.id, "group": group.id, "node": node}
    commitment = opening.commitment(**ids)
    signature = None if key is None else key.sign(commitment, **{**ids, **(other or {})})
    network.ledger.commit(group.id, node, commitment, signature=signature)
    network.openings[group.id, node] = opening
    return opening


def test_the_signature_is_ed25519_over_what_the_protocol_says() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256, Hash

    # RFC 8032, section 7.1, test 1.
    key = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    made = key.sign(bytes(range(32)), ledger="ledger", group="group-1", node="node-1", round=2)
    state = Hash(SHA256())
    for part in ("crynux-validate/signature/1", "ledger", "group-1"):
        state.update(length_prefixed(part))
    state.update(b"\x02" + length_prefixed("node-1") + bytes(range(32)))
    Ed25519PublicKey.from_public_bytes(key.public_key).verify(made, state.finalize())
    assert SigningKey(key.secret).public_key == key.public_key
    assert SigningKey.generate().secret != SigningKey.generate().secret
    assert key.secret.hex() not in repr(key)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "ab" * 32, 7])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(InvalidInputError, match="a secret key has 32 bytes"):
        SigningKey(key)


def test_an_unsigned_ledger_needs_no_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    network = Network()
    network.answered(HONEST, HONEST, CHEAT)
    for action in (
        SigningKey.generate,
        lambda: network.ledger.join("x", owner="o0", gpu=CARD, stake=400, public_key=bytes(32)),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'crynux-validate\[sign\]'"):
            action()
