"""Signatures: what a key signs, and what it refuses to (protocol L8, P6)."""

from dataclasses import replace
from typing import Any

import pytest

from crynux_validate import Group, Opening, SigningKey
from crynux_validate.encoding import length_prefixed
from crynux_validate.errors import InvalidInputError, MissingExtraError, SignatureError
from crynux_validate.machines import Draw, Pool
from crynux_validate.signatures import attestation_bytes, is_signed, signed_bytes
from tests.ledger.helpers import CARD, CHEAT, HONEST, TASK, Network

KEYS = {f"n{at}": SigningKey(bytes([at]) * 32) for at in range(4)}
BOUND = bytes(range(32))


def signed_network(**change: Any) -> Network:
    """Four nodes with keys."""
    network = Network(nodes=0, **change)
    for at in range(4):
        network.ledger.deposit(f"o{at}", 5_000)
        network.ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=1_000, public_key=KEYS[f"n{at}"].public_key)
    return network


def drawn() -> tuple[Network, Group, Draw]:
    """A group of nodes with keys, and its draw."""
    network = signed_network()
    group = network.drawn()
    assert group.draw is not None
    return network, group, group.draw


def test_the_signature_is_ed25519_over_what_the_protocol_says() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256, Hash

    # RFC 8032, section 7.1, test 1.
    key = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    _, group, draw = drawn()
    node = group.members[0]
    seed = bytes(range(32))
    made = key.sign(BOUND, draw, node=node, seed=seed)
    state = Hash(SHA256())
    state.update(length_prefixed("crynux-validate/signature/2") + seed)
    state.update(b"\x02" + length_prefixed(node) + BOUND)
    Ed25519PublicKey.from_public_bytes(key.public_key).verify(made, state.finalize())
    assert is_signed(made, key.public_key, signed_bytes(BOUND, seed.hex(), node=node, round=2))
    assert SigningKey(key.secret).public_key == key.public_key
    assert SigningKey.generate().secret != SigningKey.generate().secret
    assert key.secret.hex() not in repr(key)


def test_a_signature_is_for_one_draw_node_round_and_commitment() -> None:
    _, group, draw = drawn()
    key, node = KEYS["n0"], group.members[0]
    made = key.sign(BOUND, draw, node=node)

    def holds(commitment: bytes = BOUND, digest: str = draw.digest, **by: Any) -> bool:
        return is_signed(made, key.public_key, signed_bytes(commitment, digest, **{"node": node, **by}))

    assert holds()
    assert not holds(bytes(32))
    assert not holds(digest=replace(draw, fee=101).digest)
    assert not holds(digest=replace(draw, task="00" * 32).digest)
    assert not holds(node=group.members[1])
    assert not holds(round=2)
    assert not is_signed(made, KEYS["n1"].public_key, signed_bytes(BOUND, draw.digest, node=node))


def test_a_key_signs_for_no_invented_company() -> None:
    """Who keeps a ledger could otherwise show a node's answer beside members that the beacon value never drew."""
    _, group, draw = drawn()
    (outsider,) = set(KEYS) - set(group.members)
    first, second, third = group.members
    pool = draw.pool
    assert isinstance(pool, Pool)
    heavier = Pool(replace(one, weight=2**32 - 1) if one.id == outsider else one for one in pool)
    for change in (
        {"members": (first, second, outsider)},
        {"members": (second, first, third)},
        {"beacon": b"another"},
        {"pool": heavier},
        {"unavailable": {outsider: "group-9"}},
        {"group": "group-9"},
        {"task": "no digest"},
        {"fee": -1},
    ):
        with pytest.raises(SignatureError, match="not signed"):
            KEYS[first].sign(BOUND, replace(draw, **change), node=first)
    with pytest.raises(SignatureError, match=f"'{outsider}' is not a member of {group.id}"):
        KEYS[outsider].sign(BOUND, draw, node=outsider)
    with pytest.raises(InvalidInputError, match="the draw is"):
        KEYS[first].sign(BOUND, draw.digest, node=first)  # type: ignore[arg-type]


def test_a_signed_commitment_fits_no_other_group() -> None:
    """Neither the commitment nor its signature can be handed in again: not in another group, nor after a restore."""
    network, group, draw = drawn()
    node = group.members[0]
    opening = Opening.of(HONEST)
    bound = opening.commitment(group.draw_digest, node=node)
    signature = KEYS[node].sign(bound, draw, node=node)
    network.ledger.commit(group.id, node, bound, signature=signature)

    restored = signed_network()  # the same ledger from a backup: other tasks, the same ids
    other = restored.opened(task=TASK.replace(seed=5))
    restored.clock.advance(1)
    again = restored.ledger.draw(other.id)
    assert (again.id, again.members) == (group.id, group.members)
    with pytest.raises(SignatureError):
        restored.ledger.commit(again.id, node, bound, signature=signature)
    assert again.draw is not None
    fresh = opening.commitment(again.draw_digest, node=node)
    assert fresh != bound
    restored.ledger.commit(again.id, node, fresh, signature=KEYS[node].sign(fresh, again.draw, node=node))

    costlier = signed_network(policy=replace(network.ledger.policy, no_quorum_ppm=1))
    third = costlier.drawn()
    assert (third.id, third.members) == (group.id, group.members)
    with pytest.raises(SignatureError):
        costlier.ledger.commit(third.id, node, bound, signature=signature)


def test_attestations_are_signed_where_there_is_a_key() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256, Hash

    network = signed_network()
    ledger, key = network.ledger, KEYS["n0"]
    epoch = ledger.epoch().number
    made = key.sign_attestation(BOUND, ledger=ledger.id, epoch=epoch, node="n0")
    state = Hash(SHA256())
    state.update(length_prefixed("crynux-validate/attestation-signature/1") + length_prefixed(ledger.id))
    state.update(epoch.to_bytes(8, "big") + length_prefixed("n0") + BOUND)
    Ed25519PublicKey.from_public_bytes(key.public_key).verify(made, state.finalize())
    for wrong in (
        None,
        b"",
        bytes(64),
        KEYS["n1"].sign_attestation(BOUND, ledger=ledger.id, epoch=epoch, node="n0"),
        key.sign_attestation(bytes(32), ledger=ledger.id, epoch=epoch, node="n0"),
        key.sign_attestation(BOUND, ledger="other", epoch=epoch, node="n0"),
        key.sign_attestation(BOUND, ledger=ledger.id, epoch=epoch + 1, node="n0"),
        key.sign_attestation(BOUND, ledger=ledger.id, epoch=epoch, node="n1"),
    ):
        with pytest.raises(SignatureError):
            ledger.attest_commit("n0", BOUND, epoch=epoch, signature=wrong)
    assert ledger.attest_commit("n0", BOUND, epoch=epoch, signature=made).attest_commitment == (epoch, BOUND)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "ab" * 32, 7])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(InvalidInputError, match="the secret key is not 32 bytes"):
        SigningKey(key)


def test_what_cannot_be_signed() -> None:
    good = {"node": "n0", "round": 1}
    for commitment, digest, by in (
        (b"short", "ab" * 32, good),
        ("ab" * 32, "ab" * 32, good),
        (BOUND, "ab", good),
        (BOUND, bytes(32), good),
        (BOUND, "ab" * 32, {**good, "node": ""}),
        (BOUND, "ab" * 32, {**good, "round": 3}),
        (BOUND, "ab" * 32, {**good, "round": True}),
    ):
        with pytest.raises(InvalidInputError):
            signed_bytes(commitment, digest, **by)  # type: ignore[arg-type]
    for change in ({"ledger": ""}, {"node": "n 0"}, {"epoch": -1}, {"epoch": 1.0}, {"commitment": bytes(31)}):
        with pytest.raises(InvalidInputError):
            attestation_bytes(**{"commitment": BOUND, "ledger": "l", "epoch": 0, "node": "n", **change})  # type: ignore[arg-type]


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
