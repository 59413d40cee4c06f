"""Second answers: what a node says of its result with a seed that nobody knew when the first answer was bound (C5).

The seed comes from the nonces that open the first commitments. Whoever bound a digest without having the result cannot
answer, and nobody could prepare a result for the seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from crynux_validate.algorithms import KEYED_ALGORITHMS, KeyedAlgorithm
from crynux_validate.answers import token_sequences_bytes
from crynux_validate.encoding import (
    DIGEST_BYTES,
    check_id,
    check_type,
    digest,
    length_prefixed,
    parse_hex,
    shorten,
    summary,
)
from crynux_validate.errors import InvalidAnswerError, InvalidInputError

_KIND: Final = 4


@dataclass(frozen=True)
class KeyedScore:
    """An answer of the second round (protocol C5).

    Parameters
    ----------
    score
        32 bytes. Two keyed scores agree where they are equal.
    algorithm
        ``digest/1``: SHA-256 over the seed and the bytes of the result. It shows that a node has the result and not
        only its digest, among machines whose results are equal to the bit.

    Raises
    ------
    InvalidAnswerError
        For another length, and an unknown algorithm.
    """

    score: bytes
    algorithm: KeyedAlgorithm = "digest/1"

    def __post_init__(self) -> None:
        if not isinstance(self.score, bytes) or len(self.score) != DIGEST_BYTES:
            found = f"{len(self.score)} bytes" if isinstance(self.score, bytes) else f"a {type(self.score).__name__}"
            raise InvalidAnswerError(f"a keyed score has 32 bytes, not {found}")
        if self.algorithm not in KEYED_ALGORITHMS:
            known = ", ".join(KEYED_ALGORITHMS)
            raise InvalidAnswerError(f"no keyed score is called {shorten(self.algorithm)}; expected one of {known}")

    @classmethod
    def from_tokens(cls, seed: bytes, sequences: Sequence[Sequence[int]]) -> "KeyedScore":
        """Score the new token ids of a text result (protocol, "Bytes").

        Parameters
        ----------
        seed
            32 bytes: `Group.second_seed`.
        sequences
            As for `TextScore.from_tokens`.
        """
        if not isinstance(seed, bytes) or len(seed) != DIGEST_BYTES:
            raise InvalidAnswerError("a seed of the second round has 32 bytes; Group.second_seed gives it")
        return cls(digest("keyed-score", seed, length_prefixed(token_sequences_bytes(sequences))))

    @property
    def hex(self) -> str:
        """The score as hexadecimal digits."""
        return self.score.hex()

    def to_bytes(self) -> bytes:
        """Return the answer bytes (protocol, "Bytes")."""
        return bytes([_KIND]) + length_prefixed(self.algorithm) + length_prefixed(self.score)

    @classmethod
    def from_bytes(cls, data: bytes) -> "KeyedScore":
        """Read the answer bytes; raises `InvalidAnswerError` for anything that `to_bytes` does not write."""
        if not isinstance(data, bytes):
            raise InvalidAnswerError(f"an answer of the second round is {shorten(data)}; expected bytes")
        for algorithm in KEYED_ALGORITHMS:
            start = bytes([_KIND]) + length_prefixed(algorithm) + DIGEST_BYTES.to_bytes(4, "big")
            if data.startswith(start) and len(data) == len(start) + DIGEST_BYTES:
                return cls(data[len(start) :], algorithm)
        raise InvalidAnswerError(f"{len(data)} bytes are no answer of the second round; KeyedScore.to_bytes makes it")

    def __repr__(self) -> str:
        return summary(self, str(self))

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hex}"


def keyed_seed(draw_digest: str, nonces: Mapping[str, bytes]) -> bytes:
    """Return the seed of a group's second round, 32 bytes (protocol C5).

    Parameters
    ----------
    draw_digest
        `Draw.digest`, 64 hexadecimal digits.
    nonces
        The nonce of every opening that was revealed in the first round, by node id. The last to reveal can choose only
        between revealing and being ``WITHHELD``.
    """
    check_type(nonces, Mapping, "nonces", "a mapping of node ids to nonces")
    for node, nonce in nonces.items():
        check_id(node, "a node id among the nonces")
        if not isinstance(nonce, bytes) or len(nonce) != DIGEST_BYTES:
            raise InvalidInputError(f"the nonce of {node} is no nonce of 32 bytes; Opening.nonce gives it")
    parts = [nonces[node] for node in sorted(nonces)]
    return digest("keyed-seed", parse_hex(draw_digest, "the draw's digest", DIGEST_BYTES), *parts)


__all__ = ["KeyedScore", "keyed_seed"]
