"""Signatures and keys, by the words of the protocol."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vectors.draw_by_the_book import drawn_digest, repeats
from tests.vectors.reading import Vector, each, load, prefixed, sha256


@each("signatures")
def test_signature(vector: Vector) -> None:
    draw, node = vector["draw"], vector["node"]
    assert drawn_digest(draw) == vector["draw_digest"]
    seed = vector["seed"]
    head = bytes.fromhex(vector["draw_digest"]) + b"\x01" if seed is None else bytes.fromhex(seed) + b"\x02"
    parts = head + prefixed(node.encode()) + bytes.fromhex(vector["commitment"])
    assert sha256("signature/2", parts) == vector["signed"]
    signs = repeats(draw) and node in draw["members"]
    assert vector["signature"] == (ed25519(vector) if signs else None)


@each("attestation-signatures")
def test_attestation_signature(vector: Vector) -> None:
    parts = prefixed(vector["ledger"].encode()) + vector["epoch"].to_bytes(8, "big")
    parts += prefixed(vector["node"].encode()) + bytes.fromhex(vector["commitment"])
    assert sha256("attestation-signature/1", parts) == vector["signed"]
    assert vector["signature"] == ed25519(vector)


def ed25519(vector: Vector) -> str:
    """The signature, by the `cryptography` library itself, with the vector's key."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["secret"]))
    assert key.public_key().public_bytes_raw().hex() == vector["public_key"]
    return key.sign(bytes.fromhex(vector["signed"])).hex()


def test_whatever_is_signed_differs() -> None:
    made = [vector["signature"] for vector in load("signatures") + load("attestation-signatures")]
    signed = [signature for signature in made if signature is not None]
    assert len(set(signed)) == len(signed)
    assert 0 < made.count(None) < len(made)


@each("keys")
def test_key(vector: Vector) -> None:
    """By Euler's criterion, and by multiplying with 8 on the curve in the form u, v of Montgomery."""
    p = 2**255 - 19
    number = int.from_bytes(bytes.fromhex(vector["key"]), "little")
    sign, y = number >> 255, number % 2**255
    d = -121665 * pow(121666, -1, p)
    square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    is_point = y < p and pow(square, (p - 1) // 2, p) in (0, 1) and not (square == 0 and sign)
    # Points of the same y are P and -P, and u = (1 + y) / (1 - y) is the same for both: 8 doublings of u alone.
    u, z = (1 + y) % p, (1 - y) % p
    for _ in range(3):
        u, z = pow(u * u - z * z, 2, p), 4 * u * z * (u * u + 486662 * u * z + z * z) % p
    assert vector["usable"] == (is_point and z != 0)
