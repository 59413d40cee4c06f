"""Classes and attestations, by the words of the protocol."""

import crynux_validate as cv
from tests.vectors.reading import Vector, canonical, each, load, prefixed, sha256


@each("classes")
def test_class(vector: Vector) -> None:
    found = cv.machines.NodeClass.from_dict(vector["class"])
    assert (found.digest, found.declaration) == (vector["digest"], vector["declaration"])
    declared = {name: value for name, value in vector["class"].items() if name != "canary"}
    for value, digest in ((vector["class"], vector["digest"]), (declared, vector["declaration"])):
        assert sha256("class/1", prefixed(canonical(value))) == digest


def test_a_declaration_leaves_the_canary_out() -> None:
    classes = {vector["id"]: vector for vector in load("classes")}
    plain, other = classes["class/plain"], classes["class/other-canary"]
    assert plain["digest"] != other["digest"]
    assert plain["declaration"] == other["declaration"]
    assert len({vector["declaration"] for vector in classes.values()}) == len(classes) - 1


@each("attestations")
def test_attestation(vector: Vector) -> None:
    attestation, nonce = vector["attestation"], bytes.fromhex(vector["nonce"])
    found = cv.machines.Attestation.from_dict(attestation)
    assert found.commitment(ledger=vector["ledger"], node=vector["node"], nonce=nonce).hex() == vector["commitment"]
    parts = prefixed(vector["ledger"].encode()) + attestation["epoch"].to_bytes(8, "big")
    parts += prefixed(vector["node"].encode())
    parts += b"".join(bytes.fromhex(attestation[name]) for name in ("kernel", "numerics", "canary")) + nonce
    assert sha256("attestation/1", parts) == vector["commitment"]
