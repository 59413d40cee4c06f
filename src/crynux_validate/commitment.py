"""Commit and reveal: a node publishes a digest of its answer and a nonce, and shows both later (protocol C1)."""

import secrets
from dataclasses import dataclass, field
from typing import Final

from crynux_validate.answers import Answer, answer_from_bytes
from crynux_validate.encoding import DIGEST_BYTES, check_id, digest, length_prefixed, parse_hex, shorten, summary
from crynux_validate.errors import InvalidAnswerError

NONCE_BYTES: Final = 32
MAX_OPENING_BYTES: Final = 4_096
"""The size of the largest opening that a ledger accepts (protocol C4)."""


@dataclass(frozen=True)
class Opening:
    """The answer bytes and the secret nonce of a commitment.

    The answer bytes are not checked: a ledger accepts the opening of a malformed answer, and judges it (protocol C4).

    Parameters
    ----------
    answer_bytes
        The answer as `Answer.to_bytes` writes it.
    nonce
        32 bytes from a secure random source, new for every commitment. Drawn if left out.

    Raises
    ------
    InvalidAnswerError
        If the nonce does not have 32 bytes, or the opening has more than 4,096 bytes.
    """

    answer_bytes: bytes
    nonce: bytes = field(repr=False, default_factory=lambda: secrets.token_bytes(NONCE_BYTES))

    def __post_init__(self) -> None:
        if not isinstance(self.nonce, bytes) or len(self.nonce) != NONCE_BYTES:
            raise InvalidAnswerError("the nonce is not 32 bytes; leave it out, and one is drawn")
        if not isinstance(self.answer_bytes, bytes):
            raise InvalidAnswerError(f"the answer bytes are {shorten(self.answer_bytes)}; expected bytes")
        size = 4 + len(self.answer_bytes) + NONCE_BYTES
        if size > MAX_OPENING_BYTES:
            raise InvalidAnswerError(f"the opening has {size} bytes; expected at most {MAX_OPENING_BYTES}")

    @classmethod
    def of(cls, answer: Answer) -> "Opening":
        """Return an opening of an answer, with a new nonce.

        Raises
        ------
        InvalidAnswerError
            If `answer` is not an answer, or a score without its result digest.
        """
        if not isinstance(answer, Answer):
            raise InvalidAnswerError(
                f"the answer is {shorten(answer)}; expected an ImageScore, TextScore or ErrorReport (for a KeyedScore"
                " use Opening(score.to_bytes()))"
            )
        return cls(answer.to_bytes())

    def answer(self) -> Answer:
        """Return the answer; raises `InvalidAnswerError` if its bytes are malformed."""
        return answer_from_bytes(self.answer_bytes)

    def commitment(self, bound_to: str, *, node: str, round: int = 1) -> bytes:  # noqa: A002
        """Return the commitment, 32 bytes (C1).

        The digest includes the node's id, so that another node cannot open a copied commitment. It includes `bound_to`,
        so that the commitment is valid for one group, its task, policy and members, and one seed only.

        Parameters
        ----------
        bound_to
            64 hexadecimal digits. In the first round `Group.draw_digest`, in the second ``Group.second_seed.hex()``.
            `Group.bound_to` returns the one that is needed.
        node
            The node's id: 1 to 128 printable ASCII characters, no spaces.
        round
            The answering round of the group: 1 or 2.

        Raises
        ------
        InvalidInputError
            If one of them is not so.
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
        """Read an opening; raises `InvalidAnswerError` for bytes that `to_bytes` does not write."""
        if not isinstance(data, bytes):
            raise InvalidAnswerError(f"the opening is {shorten(data)}; expected an Opening, as Opening.of makes it")
        if len(data) > MAX_OPENING_BYTES:
            raise InvalidAnswerError(f"the opening has {len(data)} bytes; expected at most {MAX_OPENING_BYTES}")
        size = int.from_bytes(data[:4], "big")
        if len(data) != 4 + size + NONCE_BYTES:
            raise InvalidAnswerError(f"the opening has {len(data)} bytes; with an answer of {size} it has 36 more")
        return cls(data[4 : 4 + size], data[4 + size :])
