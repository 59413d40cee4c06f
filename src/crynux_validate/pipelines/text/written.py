"""From tokens to text, one after the other: what is told at once and what the text is in the end are the same.

Each token takes a time that does not grow with the text: only the last few tokens are decoded again.
"""

from collections.abc import Callable, Sequence
from typing import Final

_CUT: Final = "\ufffd"
"""What a decoder writes for bytes that are no whole character yet."""

_PENDING: Final = 16
"""More tokens than one character has: bytes that are no character by then never become one."""


class Written:
    """The text of a sequence that grows by a token at a time.

    Parameters
    ----------
    decode
        Turns token ids into text.
    stop
        Strings that end the text. What may be the beginning of one is told when it turns out to be none.

    Attributes
    ----------
    stopped
        Whether a stop string was completed: the text ends before it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = stop
        self._longest = max(map(len, stop), default=1)
        # A window of the last tokens: `_old` of them are told entirely, as are `_told` characters of its text.
        self._window: list[int] = []
        self._old = 0
        self._told = 0
        self._held = ""
        self._pieces: list[str] = []
        self.stopped = False

    @property
    def text(self) -> str:
        """All that was told."""
        return "".join(self._pieces)

    def add(self, token: int) -> str:
        """Take a token; return what can be told now."""
        found = self._held + self._decoded(token)
        at = min((at for stop in self._stop if (at := found.find(stop)) >= 0), default=None)
        self.stopped = at is not None
        return self._tell(found, len(found) - self._begun(found) if at is None else at)

    def end(self, token: int | None = None) -> str:
        """Take the token that ends the sequence, if any, and return the rest, in which no stop string is looked for."""
        found = self._held + ("" if token is None else self._decoded(token))
        rest = self._decode(self._window)[self._told :]
        self._window, self._old, self._told = [], 0, 0
        return self._tell(found + rest, len(found + rest))

    def _tell(self, found: str, size: int) -> str:
        piece, self._held = found[:size], found[size:]
        self._pieces.append(piece)
        return piece

    def _decoded(self, token: int) -> str:
        """Return what a token adds: its text after the tokens before it, without a character that is not whole."""
        self._window.append(token)
        text = self._decode(self._window)
        pending = len(self._window) - self._old > _PENDING
        whole = text if pending else text.rstrip(_CUT)
        piece = whole[self._told :]
        self._told = max(self._told, len(whole))
        if pending or (piece and whole == text):
            self._window = self._window[self._old :]
            self._old = len(self._window)
            self._told = len(self._decode(self._window))
        return piece

    def _begun(self, found: str) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        sizes = range(min(self._longest - 1, len(found)), 0, -1)
        return next((size for size in sizes if any(stop.startswith(found[-size:]) for stop in self._stop)), 0)
