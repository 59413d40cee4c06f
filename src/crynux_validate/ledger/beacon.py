"""Public randomness for draws (protocol P4a)."""

import hashlib
import hmac
import secrets
from typing import Final

from crynux_validate.encoding import MAX_SAFE_INTEGER, check_id, check_integer, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.ledger.policy import Beacon, Policy


class LocalBeacon:
    """A ledger's own random source: a value every `period` seconds.

    Anybody who has the secret knows all values in advance, so the operator of such a ledger must be trusted for the
    draw. Otherwise pass an object with the same members that reads a public beacon, such as drand
    (`crynux_validate.ledger.Beacon`).

    Parameters
    ----------
    secret
        The bytes from which the values are derived; a new secret if left out. With a fixed one, draws in tests can be
        repeated.
    period
        Seconds between two rounds: round r is public from r * period on.

    Raises
    ------
    InvalidInputError
        For a secret that is not bytes, and a period that is not an integer of at least 1.
    """

    on_ledger_clock: Final = True

    def __init__(self, secret: bytes | None = None, *, period: int = 1) -> None:
        if secret is not None and (not isinstance(secret, bytes) or not secret):
            found = "empty" if secret == b"" else f"a {type(secret).__name__}"  # what it is, nobody may read
            raise InvalidInputError(f"the secret is {found}; expected bytes, or nothing for a new one")
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._period = check_integer(period, "period", 1, 2**31)

    @property
    def period(self) -> int:
        """Seconds between two rounds."""
        return self._period

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LocalBeacon):
            return NotImplemented
        return self._period == other._period and hmac.compare_digest(self._secret, other._secret)

    __hash__ = None  # type: ignore[assignment]  # a secret is compared, and nothing else

    @property
    def name(self) -> str:
        """``local/<period>``; the name does not show the secret."""
        return f"{_LOCAL}{self._period}"

    def next_round(self, now: int) -> int:
        """Return the number of the first round that is not public yet."""
        return check_integer(now, "now", -MAX_SAFE_INTEGER) // self._period + 1

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002
        """Return the 32 bytes of a round, or None while it is not public."""
        if check_integer(round, "the round") * self._period > check_integer(now, "now"):
            return None
        return hashlib.sha256(self._secret + round.to_bytes(8, "big")).digest()

    def __repr__(self) -> str:
        return f"<LocalBeacon {self.name}>"


_LOCAL: Final = "local/"


class MissingBeacon:
    """The beacon of a replayed log if none was given. The replay needs no beacon, but the next group does.

    Parameters
    ----------
    name
        The beacon's name in the log.
    """

    on_ledger_clock: Final = True

    def __init__(self, name: str) -> None:
        self.name = name

    def next_round(self, now: int) -> int:
        """Refuse: what is asked is known to the missing one."""
        raise self._missing(f"its next round at {now}")

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002, ARG002
        """Refuse: what is asked is known to the missing one."""
        raise self._missing(f"its round {round}")

    def _missing(self, what: str) -> InvalidInputError:
        return InvalidInputError(f"this ledger needs {what} from the beacon {self.name}: give beacon=...")


def beacon_named(name: str, secret: bytes | None = None) -> Beacon:
    """Return what stands for the beacon of a ledger where none is given: a `LocalBeacon`, or a `MissingBeacon`."""
    period = name.removeprefix(_LOCAL)
    if period.isdecimal() and 1 <= int(period) <= 2**31 and name == f"{_LOCAL}{int(period)}":
        return LocalBeacon(secret, period=int(period))
    return MissingBeacon(name)


def check_beacon(beacon: object, policy: Policy) -> Beacon:
    """Return `beacon` if a ledger with this policy can use it (P4a).

    Raises
    ------
    InvalidInputError
        For what is no beacon, one on another clock with a policy that keeps no distance, and a `LocalBeacon` whose
        rounds are so long that groups would be closed before their value is public.
    """
    lacking = [name for name in ("next_round", "value") if not callable(getattr(beacon, name, None))]
    if lacking or isinstance(beacon, type):
        why = f"has no method {lacking[0]}" if lacking else "is a class, and not an object of it"
        raise InvalidInputError(f"the beacon is {shorten(beacon)}, which {why}; expected a beacon, like LocalBeacon()")
    check_id(getattr(beacon, "name", None), "the beacon's name")
    on_ledger_clock = getattr(beacon, "on_ledger_clock", None)
    if type(on_ledger_clock) is not bool:
        raise InvalidInputError(f"on_ledger_clock of the beacon is {shorten(on_ledger_clock)}; expected True or False")
    if not on_ledger_clock and not policy.beacon_delay_seconds:
        raise InvalidInputError(
            "beacon_delay_seconds is 0; a beacon with a clock of its own needs more, or somebody could know its value "
            "before the group opens (P4a): set it to 30"
        )
    if isinstance(beacon, LocalBeacon) and policy.draw_seconds < policy.beacon_delay_seconds + beacon.period:
        raise InvalidInputError(
            f"draw_seconds is {policy.draw_seconds}, too short for a beacon with rounds of {beacon.period} seconds "
            f"(P4b): set it to at least {policy.beacon_delay_seconds + beacon.period}"
        )
    return beacon  # type: ignore[return-value]  # its members were looked at
