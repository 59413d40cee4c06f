"""Answers of nodes to tasks: scores and error reports (protocol A1), and whether two answers agree (A3).

An answer is a few bytes that can be compared. Constructors refuse malformed answers (A2); `check_answer` tells whether
an answer fits its task.
"""

import hashlib
import operator
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from crynux_validate.algorithms import (
    HASH_BITS,
    HASH_BYTES,
    IMAGE_ALGORITHMS,
    TEXT_ALGORITHMS,
    ImageAlgorithm,
    TextAlgorithm,
)
from crynux_validate.encoding import (
    DIGEST_BYTES,
    check_integer,
    check_type,
    digest,
    length_prefixed,
    parse_score,
    shorten,
    summary,
    tag,
)
from crynux_validate.errors import (
    InvalidAnswerError,
    InvalidImageError,
    InvalidTaskError,
    ReportCode,
)
from crynux_validate.hashing import PerceptualHash, image_hash, is_degenerate
from crynux_validate.tasks import MAX_IMAGES, MAX_SEQUENCES, ImageTask, Task, TextTask
from crynux_validate.tasks.text import Binding

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Answer", "Score", "agree", "answer_from_bytes", "check_answer", "similarity_score"]

MAX_ANSWER_BYTES: Final = 4_000
"""The size of the longest message in bytes: an answer must fit into an opening of 4 KiB (protocol C4)."""

MAX_MESSAGE_BYTES: Final = 1_000

_IMAGE, _TEXT, _REPORT = 1, 2, 3


@dataclass(frozen=True)
class ImageScore:
    """The perceptual hashes of a task's images (protocol A1).

    Parameters
    ----------
    hashes
        8 bytes for each image, joined in the order of the images.
    result_digest
        The digest over the raw pixels (`pixels_digest`), 32 bytes; None if it is unknown, for example in a score from a
        table. Agreement does not depend on it, but a commitment needs it.
    algorithm
        The perceptual hash.

    Raises
    ------
    InvalidAnswerError
        For an empty score, a length that is not a multiple of 8, more than 16 images, an unknown algorithm.
    """

    hashes: bytes
    result_digest: bytes | None = None
    algorithm: ImageAlgorithm = "phash/1"

    def __post_init__(self) -> None:
        if not isinstance(self.hashes, bytes) or not self.hashes or len(self.hashes) % HASH_BYTES:
            raise InvalidAnswerError(f"the image score has {_size(self.hashes)}; expected 8 bytes for each image")
        if len(self.hashes) > HASH_BYTES * MAX_IMAGES:
            raise InvalidAnswerError(f"the image score has {_size(self.hashes)}; expected at most {MAX_IMAGES} hashes")
        if self.algorithm not in IMAGE_ALGORITHMS:
            known = ", ".join(IMAGE_ALGORITHMS)
            raise InvalidAnswerError(f"the algorithm is {shorten(self.algorithm)}; expected one of {known}")
        _check_digest(self.result_digest)

    @classmethod
    def from_images(cls, images: "Sequence[Image]", algorithm: ImageAlgorithm = "phash/1") -> "ImageScore":
        """Score the images of a result, in order."""
        check_type(images, Iterable, "images", "a list of pictures ([picture] for one)")
        hashes = b"".join(image_hash(image, algorithm).bits for image in images)
        return cls(hashes, pixels_digest(images), algorithm)

    @classmethod
    def from_hex(cls, text: str, algorithm: ImageAlgorithm = "phash/1") -> "ImageScore":
        """Read the hashes from hexadecimal digits, 16 for each image, also after ``0x`` or goimagehash's ``p:``."""
        return cls(parse_score(text, "an image score", perceptual=True), None, algorithm)

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """The hashes as integers of 64 bits."""
        data = self.hashes
        return tuple(int.from_bytes(data[at : at + HASH_BYTES], "big") for at in range(0, len(data), HASH_BYTES))

    @property
    def degenerate(self) -> tuple[int, ...]:
        """The indices of images that are too plain to tell from others (protocol A2)."""
        data = self.hashes
        starts = range(0, len(data), HASH_BYTES)
        return tuple(at // HASH_BYTES for at in starts if is_degenerate(data[at : at + HASH_BYTES]))

    @property
    def hex(self) -> str:
        """The hashes as hexadecimal digits."""
        return self.hashes.hex()

    def to_bytes(self) -> bytes:
        """Return the answer bytes (protocol, "Bytes")."""
        return _scored(_IMAGE, self.algorithm, self.hashes, self.result_digest)

    def __repr__(self) -> str:
        return summary(self, str(self), _of_digest(self.result_digest))

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hex}"


@dataclass(frozen=True)
class TextScore:
    """The digest of generated tokens (protocol A1): of token ids, since text depends on the decoder.

    Parameters
    ----------
    score
        32 bytes. Two text scores agree if they are equal.
    result_digest
        The ``tokens/1`` score of the same result, 32 bytes; None if it is unknown.
    algorithm
        ``tokens/1``; ``logits/1`` if all logits are bound as well; ``top/1`` if the eight largest ones are.

    Raises
    ------
    InvalidAnswerError
        For another length, an unknown algorithm, and a result digest that is not the ``tokens/1`` score.
    """

    score: bytes
    result_digest: bytes | None = None
    algorithm: TextAlgorithm = "tokens/1"

    def __post_init__(self) -> None:
        if not isinstance(self.score, bytes) or len(self.score) != DIGEST_BYTES:
            raise InvalidAnswerError(f"the text score has {_size(self.score)}; expected 32 bytes")
        if self.algorithm not in TEXT_ALGORITHMS:
            known = ", ".join(TEXT_ALGORITHMS)
            raise InvalidAnswerError(f"the algorithm is {shorten(self.algorithm)}; expected one of {known}")
        _check_digest(self.result_digest)
        if self.algorithm == "tokens/1" and self.result_digest not in (None, self.score):
            raise InvalidAnswerError(
                "the result digest differs from the tokens/1 score; expected the score itself (A1)"
            )

    @classmethod
    def from_tokens(
        cls,
        sequences: Sequence[Sequence[int]],
        logits: Sequence[Sequence[bytes]] | None = None,
        top: bytes | None = None,
    ) -> "TextScore":
        """Score the sequences of a result, in order (protocol, "Bytes").

        Parameters
        ----------
        sequences
            The new token ids of each sequence, 0 to 2^32-1: with the end-of-sequence token if there is one, without the
            input and without padding.
        logits
            For ``logits/1``: the digest of the logits of each token (`logits_digest`).
        top
            For ``top/1``: the root over the largest logits of all tokens, 32 bytes (`TopLogits.root`, protocol U7).

        Raises
        ------
        InvalidAnswerError
            For no sequence, more than 16, an invalid token id, digests that do not fit the tokens, and `logits`
            together with `top`.
        """
        tokens = _checked_tokens(sequences)
        plain = _text_digest("tokens", tokens)
        if top is not None:
            if logits is not None or not _is_digest(top):
                raise InvalidAnswerError("top is not 32 bytes, or logits are given as well; expected one of them")
            return cls(digest("text-score", length_prefixed("top"), _sequences_bytes(tokens), top), plain, "top/1")
        if logits is None:
            return cls(plain, plain)
        if not isinstance(logits, Sized) or not all(isinstance(rows, Sized) for rows in logits):
            raise InvalidAnswerError(f"the logits are {shorten(logits)}; expected a list of digests for each sequence")
        lengths, digests = [len(ids) for ids in tokens], [len(rows) for rows in logits]
        if lengths != digests or not all(_is_digest(row) for rows in logits for row in rows):
            raise InvalidAnswerError(
                f"the sequences have {lengths} tokens and {digests} digests of logits; expected 32 bytes for each token"
            )
        bound = [[token + row for token, row in zip(*both, strict=True)] for both in zip(tokens, logits, strict=True)]
        return cls(_text_digest("logits", bound), plain, "logits/1")

    @classmethod
    def from_hex(cls, text: str, algorithm: TextAlgorithm = "tokens/1") -> "TextScore":
        """Read a score from 64 hexadecimal digits, also after ``0x``."""
        return cls(parse_score(text, "a text score", DIGEST_BYTES, perceptual=False), None, algorithm)

    @property
    def hex(self) -> str:
        """The score as hexadecimal digits."""
        return self.score.hex()

    def to_bytes(self) -> bytes:
        """Return the answer bytes (protocol, "Bytes")."""
        return _scored(_TEXT, self.algorithm, self.score, self.result_digest)

    def __repr__(self) -> str:
        return summary(self, str(self), _of_digest(self.result_digest))

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hex}"


@dataclass(frozen=True)
class ErrorReport:
    """Why a node has no score (protocol A1).

    Parameters
    ----------
    code
        ``schema``, ``limits`` or ``unsupported``: the task is invalid, as its bytes alone show. ``failed``: this
        machine could not run the task. `ErrorReport.of` chooses the code.
    message
        A message for the operator, with ``failed`` only: at most 1,000 bytes of UTF-8.

    Raises
    ------
    InvalidAnswerError
        For an unknown code, and a message that is too long or goes with another code.
    """

    code: Literal[ReportCode, "failed"]
    message: str = ""

    def __post_init__(self) -> None:
        if self.code not in ("schema", "limits", "unsupported", "failed"):
            raise InvalidAnswerError(
                f"the code of the report is {shorten(self.code)}; expected schema, limits, unsupported or failed"
            )
        if self.message and self.code != "failed":
            raise InvalidAnswerError(
                f"a report with the code {self.code} has a message; leave it out, only failed has one"
            )
        try:
            size = len(self.message.encode("utf-8"))
        except (AttributeError, UnicodeEncodeError) as error:
            raise InvalidAnswerError(
                f"the message of the report is {self.message!r:.80}; expected valid Unicode"
            ) from error
        if size > MAX_MESSAGE_BYTES:
            raise InvalidAnswerError(
                f"the message of the report has {size} bytes; expected at most {MAX_MESSAGE_BYTES}"
            )

    @classmethod
    def of(cls, error: Exception) -> "ErrorReport":
        """Return the report for an error: with the code of an `InvalidTaskError`, otherwise ``failed`` and its text."""
        check_type(error, BaseException, "the error", "an exception")
        if isinstance(error, InvalidTaskError):
            return cls(error.code)
        text = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:MAX_MESSAGE_BYTES]
        return cls("failed", text.decode("utf-8", "ignore"))

    @property
    def invalid_task(self) -> bool:
        """Whether the report says that the task is invalid; if not, this machine failed."""
        return self.code != "failed"

    def to_bytes(self) -> bytes:
        """Return the answer bytes (protocol, "Bytes")."""
        return bytes([_REPORT]) + length_prefixed(self.code) + length_prefixed(self.message)

    def __repr__(self) -> str:
        return summary(self, str(self))

    def __str__(self) -> str:
        return f"invalid task: {self.code}" if self.invalid_task else f"failed: {self.message}"


Score = ImageScore | TextScore
Answer = ImageScore | TextScore | ErrorReport


def answer_from_bytes(data: bytes) -> Answer:
    """Read the answer bytes (protocol, "Bytes").

    Raises
    ------
    InvalidAnswerError
        For bytes that `to_bytes` of an answer does not write.
    """
    if not isinstance(data, bytes) or not 1 <= len(data) <= MAX_ANSWER_BYTES:
        raise InvalidAnswerError(f"the answer has {_size(data)}; expected 1 to {MAX_ANSWER_BYTES} bytes")
    kind, rest = data[0], data[1:]
    if kind not in (_IMAGE, _TEXT, _REPORT):
        raise InvalidAnswerError(f"the answer has the kind {kind}; expected 1 (image), 2 (text) or 3 (report)")
    name_bytes, rest = _take(rest, "id")
    payload, rest = _take(rest, "payload")
    try:
        name = name_bytes.decode("ascii")
        message = payload.decode("utf-8") if kind == _REPORT else ""
    except UnicodeDecodeError as error:
        raise InvalidAnswerError(f"the id or the message of the answer is not UTF-8: {error}") from error
    if len(rest) != (0 if kind == _REPORT else DIGEST_BYTES):
        raise InvalidAnswerError(
            f"the answer has the kind {kind} and ends with {len(rest)} bytes; expected another number"
        )
    if kind == _IMAGE:
        return ImageScore(payload, rest, name)  # type: ignore[arg-type]  # the constructor checks it
    if kind == _TEXT:
        return TextScore(payload, rest, name)  # type: ignore[arg-type]
    return ErrorReport(name, message)  # type: ignore[arg-type]


def check_answer(task: Task, answer: Answer) -> None:
    """Check that an answer fits its task (protocol A2, A3, C4).

    Raises
    ------
    InvalidAnswerError
        For a score of another kind, algorithm, or number of images than the task has.
    InvalidInputError
        For a task or an answer of another type.
    """
    check_type(task, (ImageTask, TextTask), "the task", "an ImageTask or a TextTask")
    check_type(answer, (ImageScore, TextScore, ErrorReport), "the answer", "a score or an error report")
    if isinstance(answer, ErrorReport):
        return
    if not isinstance(answer, TextScore if isinstance(task, TextTask) else ImageScore):
        given = "a text score" if isinstance(answer, TextScore) else "an image score"
        asked = "a text task" if isinstance(task, TextTask) else "an image task"
        raise InvalidAnswerError(f"the answer is {given}, but the task is {asked}")
    if answer.algorithm != task.algorithm:
        raise InvalidAnswerError(f"the score is of {answer.algorithm}; the task needs {task.algorithm}")
    if isinstance(answer, ImageScore) and isinstance(task, ImageTask) and len(answer.blocks) != task.images:
        raise InvalidAnswerError(f"the score has {len(answer.blocks)} hashes; the task has {task.images} images")


def similarity_score(a: Score, b: Score) -> int | None:
    """Return the distance of two scores: 0 is equal, lower is closer (protocol A3).

    For images it is the largest Hamming distance of an image, 0 to 64; distances are never summed. For equal text
    scores it is 0. It is None for scores that cannot be compared: of another kind, algorithm or length, or unequal
    text.

    Raises
    ------
    InvalidInputError
        For an argument that is not a score.
    """
    if isinstance(a, ImageScore) and isinstance(b, ImageScore):
        if a.algorithm != b.algorithm or len(a.hashes) != len(b.hashes):
            return None
        return max((x ^ y).bit_count() for x, y in zip(a.blocks, b.blocks, strict=True))
    if isinstance(a, TextScore) and isinstance(b, TextScore):
        return 0 if a.algorithm == b.algorithm and a.score == b.score else None
    for name, score in (("a", a), ("b", b)):
        check_type(score, (ImageScore, TextScore), name, "an ImageScore or a TextScore")
    return None


def agree(a: Answer | PerceptualHash, b: Answer | PerceptualHash, threshold: int) -> bool:
    """Whether two answers, or the hashes of two images, count as the same (protocol A3).

    Parameters
    ----------
    a, b
        Two answers, or two perceptual hashes. A ``failed`` report agrees with nothing, not even with itself.
    threshold
        1 to 64. Two images agree if their Hamming distance is strictly less.

    Raises
    ------
    InvalidInputError
        For a threshold outside 1..64, and arguments of another type.
    """
    check_threshold(threshold, "threshold")
    if isinstance(a, PerceptualHash):
        a = ImageScore(a.bits, None, a.algorithm)
    if isinstance(b, PerceptualHash):
        b = ImageScore(b.bits, None, b.algorithm)
    for answer in (a, b):
        if not isinstance(answer, Answer):
            raise InvalidAnswerError(f"the answer is {shorten(answer)}; expected a score or an error report")
    if isinstance(a, ErrorReport) or isinstance(b, ErrorReport):
        same_kind = isinstance(a, ErrorReport) and isinstance(b, ErrorReport)
        return same_kind and a.invalid_task and a.code == b.code  # type: ignore[union-attr]
    distance = similarity_score(a, b)
    return distance is not None and distance < threshold


def check_threshold(value: object, what: str) -> int:
    """Return `value` if it is a threshold: an integer from 1 to 64."""
    return check_integer(value, what, 1, HASH_BITS)


def pixels_digest(images: "Sequence[Image]") -> bytes:
    """Digest raw pixels with their shape (protocol, "Bytes"): 32 bytes.

    The digest is over, for each image, width, height and channels as u32 big-endian, and the 8-bit samples by rows.

    Raises
    ------
    InvalidImageError
        For an image of another mode than 8-bit grey (``L``) and ``RGB``.
    """
    state = hashlib.sha256(tag("pixels"))
    for image in images:
        if image.mode not in ("L", "RGB"):
            raise InvalidImageError(
                f"an image of the result has the mode {image.mode}; expected L or RGB: convert it first"
            )
        for number in (image.width, image.height, len(image.getbands())):
            state.update(number.to_bytes(4, "big"))
        state.update(image.tobytes())
    return state.digest()


def logits_digest(row: bytes) -> bytes:
    """Digest the raw logits that chose a token, before any warper (protocol, "Bytes"): 32 bytes.

    Parameters
    ----------
    row
        One float32 for each token of the vocabulary, little-endian.
    """
    return digest("logits", row)


def token_sequences_bytes(sequences: Sequence[Sequence[int]]) -> bytes:
    """Return the bytes of a text result: the number of sequences, then each one's length and token ids ("Bytes").

    Raises
    ------
    InvalidAnswerError
        For no sequence, more than 16, and an invalid token id.
    """
    return _sequences_bytes(_checked_tokens(sequences))


def _checked_tokens(sequences: Sequence[Sequence[int]]) -> list[list[bytes]]:
    if not isinstance(sequences, Sized) or not all(isinstance(ids, Iterable) for ids in sequences):
        raise InvalidAnswerError(
            f"the sequences are {shorten(sequences)}; expected a list of token ids for each sequence"
        )
    if not 1 <= len(sequences) <= MAX_SEQUENCES:
        raise InvalidAnswerError(f"there are {len(sequences)} sequences; expected 1 to {MAX_SEQUENCES}")
    return [[_token_bytes(token) for token in sequence] for sequence in sequences]


def _token_bytes(token: int) -> bytes:
    try:
        return operator.index(token).to_bytes(4, "little")
    except (TypeError, OverflowError) as error:
        raise InvalidAnswerError(f"a token id is {shorten(token)}; expected an integer from 0 to 2^32-1") from error


def _text_digest(binding: Binding, sequences: Sequence[Sequence[bytes]]) -> bytes:
    return digest("text-score", length_prefixed(binding), _sequences_bytes(sequences))


def _sequences_bytes(sequences: Sequence[Sequence[bytes]]) -> bytes:
    parts = [len(sequences).to_bytes(4, "big")]
    for tokens in sequences:
        parts += [len(tokens).to_bytes(4, "big"), *tokens]
    return b"".join(parts)


def _scored(kind: int, algorithm: str, payload: bytes, result_digest: bytes | None) -> bytes:
    if result_digest is None:
        raise InvalidAnswerError(
            f"the {algorithm} score has no result digest, which a commitment needs (from_hex makes such): take the"
            " score of a result, or give result_digest, 32 bytes"
        )
    return bytes([kind]) + length_prefixed(algorithm) + length_prefixed(payload) + result_digest


def _take(data: bytes, what: str) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 or len(data) - 4 < size:
        raise InvalidAnswerError(f"the answer ends within its {what}")
    return data[4 : 4 + size], data[4 + size :]


def _of_digest(result_digest: bytes | None) -> str:
    return "no result digest" if result_digest is None else f"result {result_digest.hex()[:12]}"


def _is_digest(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == DIGEST_BYTES


def _check_digest(value: object) -> None:
    if value is not None and not _is_digest(value):
        raise InvalidAnswerError(f"the result digest has {_size(value)}; expected 32 bytes")


def _size(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
