"""Public randomness for draws (protocol P4)."""

import hashlib
import secrets

from crynux_validate.encoding import MAX_SAFE_INTEGER, check_integer
from crynux_validate.errors import InvalidInputError


class LocalBeacon:
    """A ledger's own random source: a value every `period` seconds.

    Whoever holds the secret knows all values beforehand, so the operator of such a ledger is trusted for the draw.
    Where that is too much, pass an object with the same two methods that reads a public beacon, such as drand.

    Parameters
    ----------
    secret
        What the values are derived from; drawn anew if left out. A fixed one makes draws repeatable, in tests.
    period
        Seconds between two rounds; round r is public from r * period on.

    Raises
    ------
    InvalidInputError
        For a secret that is not bytes, and a period that is not an integer of at least 1.
    """

    def __init__(self, secret: bytes | None = None, *, period: int = 1) -> None:
        if secret is not None and (not isinstance(secret, bytes) or not secret):
            found = "empty" if secret == b"" else f"a {type(secret).__name__}"  # what it is, nobody may read
            raise InvalidInputError(f"the secret is {found}; expected bytes, or nothing for a new one")
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._period = check_integer(period, "period", 1)

    def __repr__(self) -> str:
        return f"<LocalBeacon of a value every {self._period} s>"

    def next_round(self, now: int) -> int:
        """Return the number of the first round that is not public yet."""
        return check_integer(now, "now", -MAX_SAFE_INTEGER) // self._period + 1

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002
        """Return the 32 bytes of a round, or None while it is not public."""
        if check_integer(round, "the round") * self._period > check_integer(now, "now"):
            return None
        return hashlib.sha256(self._secret + round.to_bytes(8, "big")).digest()
