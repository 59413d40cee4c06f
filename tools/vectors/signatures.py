"""Vectors of signatures and public keys."""

from dataclasses import replace
from typing import Any

from tools.vectors.common import NONCE, ODD, SEED, Vector, vector
from tools.vectors.draws import draw_to_dict, plain_draw

import crynux_validate as cv
from crynux_validate.signatures import attestation_bytes, signed_bytes

KEY = cv.SigningKey(bytes(range(32)))
GIVEN = {"secret": KEY.secret.hex(), "commitment": NONCE.hex()}
MADE_BY = {"public_key": KEY.public_key.hex()}


def signature_vectors() -> list[Vector]:
    """Signed commitments to answers; Ed25519 signatures are the same every time."""
    plain = plain_draw()
    first, second, third = plain.members
    (hit,) = plain.unavailable
    cases = [
        ("first-round", "a commitment of the first round", plain, first, None),
        ("second-round", "in the second round the seed and the round are signed", plain, first, SEED),
        ("other-seed", "another seed: other nonces were revealed in the first round", plain, first, bytes(32)),
        ("other-node", "the node is signed", plain, second, None),
        ("other-task", "the task is signed", replace(plain, task="00" * 32), first, None),
        ("other-policy", "the policy is signed", replace(plain, policy="00" * 32), first, None),
        ("other-beacon", "the draw is signed", plain_draw(beacon=b"\x05"), plain_draw(beacon=b"\x05").members[0], None),
        ("invented-company", "refused: the beacon value does not draw this co-member",
         replace(plain, members=(first, second, hit)), first, None),
        ("other-order", "refused: the beacon value draws them in another order",
         replace(plain, members=(third, second, first)), first, None),
        ("no-member", "refused: the node was not drawn", plain, hit, None),
    ]  # fmt: skip
    vectors = []
    for name, why, draw, node, seed in cases:
        given = {**GIVEN, "draw": draw_to_dict(draw), "node": node, "seed": None if seed is None else seed.hex()}
        bound_to, number = (draw.digest, 1) if seed is None else (seed.hex(), 2)
        signed = signed_bytes(NONCE, bound_to, node=node, round=number).hex()
        found = {"draw_digest": draw.digest, **MADE_BY, "signed": signed}
        made = None if why.startswith("refused") else KEY.sign(NONCE, draw, node=node, seed=seed).hex()
        vectors.append(vector(f"signature/{name}", why, **given, **found, signature=made))
    return vectors


def attestation_signature_vectors() -> list[Vector]:
    """Signed commitments to attestations."""
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("first-epoch", "epoch 0", {}),
        ("last-epoch", "the largest epoch, as u64", {"epoch": 2**53 - 1}),
        ("other-ledger", "the ledger is signed", {"ledger": "ledger-2"}),
        ("other-node", "the node is signed", {"node": "node-2"}),
        ("odd-name", "ids are printable ASCII without spaces", {"node": ODD}),
    ]
    vectors = []
    for name, why, change in cases:
        ids: dict[str, Any] = {"ledger": "ledger-1", "epoch": 0, "node": "node-1"} | change
        found = {**MADE_BY, "signed": attestation_bytes(NONCE, **ids).hex()}
        made = KEY.sign_attestation(NONCE, **ids).hex()
        vectors.append(vector(f"attestation-signature/{name}", why, **GIVEN, **ids, **found, signature=made))
    return vectors


def key_vectors() -> list[Vector]:
    """Public keys that a node can join with, and bytes that are none: written down, not computed here."""
    eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc"
    other_eighth = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03"
    small = "a point of small order, "
    cases = [
        ("rfc8032-1", "the key of RFC 8032, 7.1, test 1",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", True),
        ("rfc8032-2", "the key of RFC 8032, 7.1, test 2",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", True),
        ("base", "the base point", "58" + "66" * 31, True),
        ("order-1", small + "1: the identity", "01" + "00" * 31, False),
        ("order-2", small + "2", "ec" + "ff" * 30 + "7f", False),
        ("order-4", small + "4", "00" * 32, False),
        ("order-4-sign", small + "4, with a sign", "00" * 31 + "80", False),
        ("order-8", small + "8", eighth + "05", False),
        ("order-8-sign", small + "8, with a sign", eighth + "85", False),
        ("order-8-other", small + "8", other_eighth + "7a", False),
        ("order-8-other-sign", small + "8, with a sign", other_eighth + "fa", False),
        ("sign-of-zero", "no point: x is 0 and has a sign (the identity)", "01" + "00" * 30 + "80", False),
        ("sign-of-zero-2", "no point: x is 0 and has a sign (order 2)", "ec" + "ff" * 31, False),
        ("y-is-p", "no point: y is 2^255-19, which stands for 0", "ed" + "ff" * 30 + "7f", False),
        ("y-is-p-sign", "no point: the same with a sign", "ed" + "ff" * 31, False),
        ("y-is-p-plus-1", "no point: y is 2^255-18, which stands for 1", "ee" + "ff" * 30 + "7f", False),
        ("y-is-p-plus-1-sign", "no point: the same with a sign", "ee" + "ff" * 31, False),
        ("no-x", "no point: no x fits y = 2", "02" + "00" * 31, False),
        ("all-ones", "no point: y is 2^255-1", "ff" * 32, False),
    ]  # fmt: skip
    return [vector(f"key/{name}", why, key=key, usable=usable) for name, why, key, usable in cases]
