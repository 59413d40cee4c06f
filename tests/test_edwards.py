"""Which 32 bytes are a public key that a signature can be trusted with (RFC 8032, section 5.1)."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import SigningKey
from crynux_validate.edwards import decode_point, has_small_order
from crynux_validate.errors import InvalidInputError
from crynux_validate.signatures import check_public_key

SMALL_ORDER = {
    "order 1": "01" + "00" * 31,
    "order 2": "ec" + "ff" * 30 + "7f",
    "order 4": "00" * 32,
    "order 4, the other": "00" * 31 + "80",
    "order 8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8, second": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "order 8, third": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "order 8, fourth": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
}
NO_POINT = {
    "order 1, with the sign of x = 0": "01" + "00" * 30 + "80",
    "order 2, with the sign of x = 0": "ec" + "ff" * 31,
    "y = p, for 0": "ed" + "ff" * 30 + "7f",
    "y = p with a sign": "ed" + "ff" * 31,
    "y = p + 1, for 1": "ee" + "ff" * 30 + "7f",
    "y = p + 1 with a sign": "ee" + "ff" * 31,
    "y = 2, which no x fits": "02" + "00" * 31,
    "all ones": "ff" * 32,
}


@pytest.mark.parametrize("what", SMALL_ORDER)
def test_a_point_of_small_order_is_refused(what: str) -> None:
    key = bytes.fromhex(SMALL_ORDER[what])
    point = decode_point(key)
    assert point is not None
    assert has_small_order(point)
    with pytest.raises(InvalidInputError, match="small order"):
        check_public_key(key)


def test_the_eight_points_are_all_that_there_are() -> None:
    assert len({decode_point(bytes.fromhex(text)) for text in SMALL_ORDER.values()}) == 8


@pytest.mark.parametrize("what", NO_POINT)
def test_bytes_that_are_no_point_are_refused(what: str) -> None:
    key = bytes.fromhex(NO_POINT[what])
    assert decode_point(key) is None
    with pytest.raises(InvalidInputError, match="not a public key of Ed25519"):
        check_public_key(key)


def test_why_one_signature_of_the_identity_fits_every_message() -> None:
    """What is refused above, the library that verifies accepts: R = the identity, S = 0."""
    identity = bytes.fromhex(SMALL_ORDER["order 1"])
    signature = identity + bytes(32)
    for message in (b"one commitment", b"another"):
        try:
            Ed25519PublicKey.from_public_bytes(identity).verify(signature, message)
        except InvalidSignature:
            pytest.skip("this version of cryptography refuses it itself")


@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_a_node_is_sound(secret: bytes) -> None:
    public = SigningKey(secret).public_key
    point = decode_point(public)
    assert point is not None
    x, y = point
    assert (y | (x % 2) << 255).to_bytes(32, "little") == public
    assert check_public_key(public) == public
