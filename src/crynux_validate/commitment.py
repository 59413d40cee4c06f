"""Commit and reveal: an answer and a nonce, and the hash that binds a node to them (protocol C1)."""

import secrets
from dataclasses import dataclass, field
from typing import Final

from crynux_validate.answers import Answer, answer_from_bytes
from crynux_validate.encoding import DIGEST_BYTES, check_id, digest, length_prefixed, parse_hex, shorten, summary
from crynux_validate.errors import InvalidAnswerError

NONCE_BYTES: Final = 32
MAX_OPENING_BYTES: Final = 4_096
"""The largest opening that a ledger reads (C4)."""


@dataclass(frozen=True)
class Opening:
    """What opens a commitment: the answer bytes and the nonce that hid them.

    The answer bytes may be anything: a ledger accepts the opening of a malformed answer, and judges it (C4).

    Parameters
    ----------
    answer_bytes
        `Answer.to_bytes`.
    nonce
        32 bytes from a secure random source, drawn anew for every commitment.
    """

    answer_bytes: bytes
    nonce: bytes = field(repr=False, default_factory=lambda: secrets.token_bytes(NONCE_BYTES))

    def __post_init__(self) -> None:
        if not isinstance(self.nonce, bytes) or len(self.nonce) != NONCE_BYTES:
            raise InvalidAnswerError("a nonce has 32 bytes; leave it out to have one drawn")
        if not isinstance(self.answer_bytes, bytes):
            raise InvalidAnswerError(f"answer bytes are bytes, not {type(self.answer_bytes).__name__}")
        size = 4 + len(self.answer_bytes) + NONCE_BYTES
        if size > MAX_OPENING_BYTES:
            raise InvalidAnswerError(f"an opening has at most {MAX_OPENING_BYTES} bytes, not {size}")

    @classmethod
    def of(cls, answer: Answer) -> "Opening":
        """Hide an answer behind a fresh nonce.

        Raises
        ------
        InvalidAnswerError
            For what is no answer, and a score without its result digest.
        """
        if not isinstance(answer, Answer):
            raise InvalidAnswerError(
                f"the answer is {shorten(answer)}; expected an ImageScore, TextScore or ErrorReport (of a KeyedScore:"
                " Opening(score.to_bytes()))"
            )
        return cls(answer.to_bytes())

    def answer(self) -> Answer:
        """Read the answer; raises `InvalidAnswerError` where it is malformed."""
        return answer_from_bytes(self.answer_bytes)

    def commitment(self, bound_to: str, *, node: str, round: int = 1) -> bytes:  # noqa: A002
        """Return the commitment, 32 bytes (C1).

        The node's id is inside, so that a copied commitment cannot be opened by the copier; what it is bound to as
        well, so that it fits no other task, policy, group or company, and no other seed.

        Parameters
        ----------
        bound_to
            64 hexadecimal digits: in the first round `Group.draw_digest`, in the second the seed, ``seed.hex()`` of
            `Group.second_seed`. `Group.bound_to` gives either.
        node
            The node's id, 1 to 128 printable ASCII characters, no spaces.
        round
            Which answering round of the group, 1 or 2.
        """
        if type(round) is not int or round not in (1, 2):
            raise InvalidAnswerError(f"the round is {shorten(round)}; expected 1 or 2")
        return digest(
            "commitment",
            parse_hex(bound_to, "what the commitment is bound to", DIGEST_BYTES),
            bytes([round]),
            length_prefixed(check_id(node, "the node id")),
            length_prefixed(self.answer_bytes),
            self.nonce,
        )

    def to_bytes(self) -> bytes:
        """Return the opening's bytes: length-prefixed answer bytes, nonce (protocol, "Bytes")."""
        return length_prefixed(self.answer_bytes) + self.nonce

    def __repr__(self) -> str:
        return summary(self, f"of {len(self.answer_bytes)} answer bytes {self.answer_bytes.hex()}")

    @classmethod
    def from_bytes(cls, data: bytes) -> "Opening":
        """Read an opening; raises `InvalidAnswerError` for anything that `to_bytes` does not write."""
        if not isinstance(data, bytes):
            raise InvalidAnswerError(f"the opening is {shorten(data)}; expected an Opening, as Opening.of makes it")
        if len(data) > MAX_OPENING_BYTES:
            raise InvalidAnswerError(f"an opening has at most {MAX_OPENING_BYTES} bytes, not {len(data)}")
        size = int.from_bytes(data[:4], "big")
        if len(data) != 4 + size + NONCE_BYTES:
            raise InvalidAnswerError(f"an opening of {len(data)} bytes cannot hold an answer of {size} and a nonce")
        return cls(data[4 : 4 + size], data[4 + size :])
