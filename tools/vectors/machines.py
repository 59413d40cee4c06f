"""Vectors of classes and attestations."""

from tools.vectors.common import NONCE, Vector, vector

import crynux_validate as cv


def class_vectors() -> list[Vector]:
    """Classes, their digests and declarations."""
    card = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)
    digests = {name: bytes([at]) * 32 for at, name in enumerate(("kernel", "numerics", "canary"), 1)}
    cases = [
        ("plain", "one card", cv.machines.NodeClass(card, **digests)),
        ("other-canary", "another canary: another digest, the same declaration",
         cv.machines.NodeClass(card, **digests | {"canary": bytes(32)})),
        ("other-memory", "memory is part of the identity",
         cv.machines.NodeClass(cv.GpuModel("NVIDIA GeForce RTX 4090", 48), **digests)),
        ("platform", "a platform",
         cv.machines.NodeClass(cv.GpuModel("NVIDIA GeForce RTX 4090", 24, "docker"), **digests)),
        ("two-cards", "two cards, each with layers of its own",
         cv.machines.NodeClass(cv.GpuModel("NVIDIA GeForce RTX 4090", 24, "docker", 2), **digests)),
        ("tensor-parallel", "two cards that share each layer: only then is tensor_parallel written",
         cv.machines.NodeClass(cv.GpuModel("2x NVIDIA GeForce RTX 4090 TP+docker", 24), **digests)),
    ]  # fmt: skip
    return [
        vector(f"class/{name}", why, **{"class": found.to_dict()}, digest=found.digest, declaration=found.declaration)
        for name, why, found in cases
    ]


def attestation_vectors() -> list[Vector]:
    """Attestations and the commitments to them."""
    digests = {name: bytes([at]) * 32 for at, name in enumerate(("kernel", "numerics", "canary"), 1)}
    first = cv.machines.Attestation(0, **digests)
    cases = [
        ("first-epoch", "epoch 0", first, "node-1"),
        ("last-epoch", "the largest epoch", cv.machines.Attestation(2**53 - 1, **digests), "node-1"),
        ("other-node", "a commitment is its node's alone", first, "node-2"),
        ("odd-name", "ids are printable ASCII without spaces", first, "!~"),
        (
            "other-canary",
            "the canary is bound",
            cv.machines.Attestation(0, **digests | {"canary": bytes(32)}),
            "node-1",
        ),
    ]
    vectors = []
    for name, why, attestation, node in cases:
        commitment = attestation.commitment(ledger="ledger-1", node=node, nonce=NONCE).hex()
        given = {"ledger": "ledger-1", "node": node, "attestation": attestation.to_dict(), "nonce": NONCE.hex()}
        vectors.append(vector(f"attestation/{name}", why, **given, commitment=commitment))
    return vectors
