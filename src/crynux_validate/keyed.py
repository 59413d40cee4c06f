"""Second answers: values of a result under a seed that nobody knew when the first answer was bound (protocol C5).

The seed is made from the nonces of the first round. A node that bound a digest without having the result cannot answer,
and nobody can prepare a result for the seed.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
from crynux_validate.hashing.bands import BANDS, SIZE, STEPS, VALUES, Key, bands_apart, bands_of, misfit
from crynux_validate.hashing.images import Picture
from crynux_validate.tasks import MAX_IMAGES, ImageSetting, ImageTask, Task

_KIND: Final = 4
_MOST: Final = SIZE * len(BANDS) * MAX_IMAGES

FAR: Final = 4
"""Keyed values are far apart where a squared distance is more than so many times its limit: twice as far (J7)."""

MAX_LIMIT: Final = VALUES * (3 * STEPS // 4) ** 2
"""The largest limit of a band: three quarters of the contrast. An enlargement lacks all of it."""


@dataclass(frozen=True)
class KeyedScore:
    """An answer of the second round (protocol C5).

    Parameters
    ----------
    score
        ``digest/1``: 32 bytes. ``keyed/1``: for each image 31 bytes for each of its bands, coarse ones first.
    algorithm
        ``digest/1``: SHA-256 over the seed and the bytes of a text; two agree where they are equal. It shows that a
        node has the result and not only its digest, among machines whose results are equal to the bit. ``keyed/1``:
        values of pictures under the seed; two agree where they differ by no more than a calibrated limit in any band
        (`keyed_agree`).

    Raises
    ------
    InvalidAnswerError
        For another length, and an unknown algorithm.
    """

    score: bytes
    algorithm: KeyedAlgorithm = "digest/1"

    def __post_init__(self) -> None:
        if self.algorithm not in KEYED_ALGORITHMS:
            known = ", ".join(KEYED_ALGORITHMS)
            raise InvalidAnswerError(f"the algorithm is {shorten(self.algorithm)}; expected one of {known}")
        found = f"{len(self.score)} bytes" if isinstance(self.score, bytes) else f"a {type(self.score).__name__}"
        if self.algorithm == "digest/1":
            if not isinstance(self.score, bytes) or len(self.score) != DIGEST_BYTES:
                raise InvalidAnswerError(f"a keyed score of digest/1 has {DIGEST_BYTES} bytes, not {found}")
        elif not isinstance(self.score, bytes) or len(self.score) % SIZE or not SIZE <= len(self.score) <= _MOST:
            raise InvalidAnswerError(
                f"a keyed score of keyed/1 has {SIZE} bytes for each band of each image, at most {_MOST}, not {found}"
            )
        elif problem := misfit(self.score):
            raise InvalidAnswerError(f"a keyed score of keyed/1 has {problem}; KeyedScore.from_images makes it")

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
            raise InvalidAnswerError("the seed is not 32 bytes; take Group.second_seed")
        return cls(digest("keyed-score", seed, length_prefixed(token_sequences_bytes(sequences))))

    @classmethod
    def from_images(cls, seed: bytes, images: "Sequence[Picture]") -> "KeyedScore":
        """Score the images of a result, in order (protocol, "Keyed values").

        Parameters
        ----------
        seed
            32 bytes: `Group.second_seed`.
        images
            The very pixels that the node's first answer bound, each as `image_hash` takes it.

        Raises
        ------
        InvalidAnswerError
            For no image, more than 16, and images of which some have more bands than others.
        InvalidImageError
            As `image_hash`, and for an image below the smallest band, 8 pixels.
        InvalidInputError
            For a seed that is not 32 bytes.
        """
        key = Key(seed)
        if isinstance(images, str | bytes) or not isinstance(images, Iterable):
            raise InvalidInputError(f"images is {shorten(images)}; expected a list of pictures ([picture] for one)")
        values = [key.values(image) for image in images]
        if not 1 <= len(values) <= MAX_IMAGES or len({len(found) for found in values}) > 1:
            bands = ", ".join(str(len(found) // SIZE) for found in values) or "none"
            raise InvalidAnswerError(
                f"the images of a keyed score are 1 to {MAX_IMAGES}, with as many bands each; bands found: {bands}"
            )
        return cls(b"".join(values), "keyed/1")

    @classmethod
    def from_hex(cls, text: str, algorithm: KeyedAlgorithm = "digest/1") -> "KeyedScore":
        """Read a score from hexadecimal digits."""
        return cls(parse_hex(text, "a keyed score"), algorithm)

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
            start = bytes([_KIND]) + length_prefixed(algorithm)
            size = len(data) - len(start) - 4
            if size >= 0 and data.startswith(start + size.to_bytes(4, "big")):
                return cls(data[len(start) + 4 :], algorithm)
        raise InvalidAnswerError(
            f"these {len(data)} bytes are not an answer of the second round; KeyedScore.to_bytes makes one"
        )

    def __repr__(self) -> str:
        return summary(self, str(self))

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hex}"


@dataclass(frozen=True)
class KeyedTolerance:
    """How far the keyed values of honest machines may be apart, for a setting, as a calibration found it.

    Parameters
    ----------
    setting
        How the pictures that were measured were drawn. There is no tolerance for others.
    limits
        For each band, coarse ones first, the largest squared distance that agrees (`bands_apart`): 28,830 is three
        quarters of the contrast. Pictures with more bands than were measured have no tolerance.
    algorithm
        Whose values were measured.

    Raises
    ------
    InvalidInputError
        For an algorithm without tolerances, an invalid setting, no limit, too many limits, and a limit out of range.
    """

    setting: ImageSetting
    limits: tuple[int, ...]
    algorithm: KeyedAlgorithm = "keyed/1"

    def __post_init__(self) -> None:
        if self.algorithm != "keyed/1":
            raise InvalidInputError(
                f"the tolerance is of {shorten(self.algorithm)}, which has none; expected a calibration of keyed/1"
            )
        check_type(self.setting, ImageSetting, "the setting of a tolerance", "ImageSetting.of(task)")
        check_limits(self.limits)
        object.__setattr__(self, "limits", tuple(self.limits))

    def for_task(self, task: ImageTask) -> tuple[int, ...]:
        """Return the limits of the bands that the task's pictures have.

        Raises
        ------
        InvalidInputError
            Where it is not of the setting, and where its pictures have a band that was not measured.
        """
        if lacks := self.setting.lacks(task):
            raise InvalidInputError(f"the task is not of the setting that the tolerance is for: it has {lacks}")
        bands = bands_of(task.width, task.height)
        if len(bands) > len(self.limits):
            raise InvalidInputError(
                f"pictures of {task.width}x{task.height} have the band {bands[len(self.limits)].name}, for which the "
                "tolerance has no limit: calibrate on pictures of that size"
            )
        return self.limits[: len(bands)]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"algorithm": self.algorithm, "limits": list(self.limits), "setting": self.setting.to_dict()}

    @classmethod
    def from_dict(cls, value: object) -> "KeyedTolerance":
        """Read what `to_dict` writes; a field that is missing or unknown is refused."""
        names = {"setting", "limits", "algorithm"}
        if not isinstance(value, Mapping) or set(value) != names:
            raise InvalidInputError(f"a keyed tolerance is {shorten(value)}; expected {', '.join(sorted(names))}")
        return cls(**{**value, "setting": ImageSetting.from_dict(value["setting"])})


def check_limits(limits: object) -> None:
    """Refuse what cannot be the limits of bands."""
    if not isinstance(limits, tuple | list) or not 1 <= len(limits) <= len(BANDS):
        raise InvalidInputError(f"the limits are {shorten(limits)}; expected 1 to {len(BANDS)} integers, one a band")
    for band, limit in zip(BANDS, limits, strict=False):
        if type(limit) is not int or not 0 <= limit <= MAX_LIMIT:
            raise InvalidInputError(
                f"the limit of the band {band.name} is {shorten(limit)}; expected an integer from 0 to {MAX_LIMIT}"
            )


def keyed_agree(a: KeyedScore, b: KeyedScore, limits: tuple[int, ...] | None = None) -> bool:
    """Whether two second answers count as the same (protocol C5, J7).

    Parameters
    ----------
    a, b
        Those of another algorithm or length never agree.
    limits
        Of ``keyed/1``: `KeyedTolerance.for_task`. In every band of every image the squared distance is at most the
        limit.

    Raises
    ------
    InvalidInputError
        For ``keyed/1`` without limits.
    """
    if not _comparable(a, b):
        return False
    return a.score == b.score if a.algorithm == "digest/1" else not any(_over(a, b, limits, 1))


def keyed_far(
    a: KeyedScore, b: KeyedScore, limits: tuple[int, ...] | None = None, without: Collection[int] = ()
) -> bool:
    """Whether two second answers are so far apart that no noise explains it (protocol J7).

    Parameters
    ----------
    a, b, limits
        As for `keyed_agree`. ``digest/1``, and what cannot be compared: far where it is unequal. ``keyed/1``: a
        squared distance is more than four times its limit.
    without
        Images that do not count, from 0.
    """
    if not _comparable(a, b) or a.algorithm == "digest/1":
        return a != b
    return any(over for image, over in enumerate(_over(a, b, limits, FAR)) if image not in without)


def keyed_apart(a: KeyedScore, b: KeyedScore, limits: tuple[int, ...]) -> list[float] | None:
    """Return how far two second answers of ``keyed/1`` are apart, for each band in multiples of its limit.

    Up to 1 they agree, beyond 2 in any band they are far apart (J7). Of several images the largest counts. None for
    answers that cannot be compared.

    Parameters
    ----------
    a, b, limits
        As for `keyed_agree`.
    """
    if not _comparable(a, b) or a.algorithm == "digest/1":
        return None
    found, count = _bands(a, b, limits), len(limits)
    ratios = [
        math.sqrt(one / limit) if (limit := limits[at % count]) else math.inf if one else 0.0
        for at, one in enumerate(found)
    ]
    return [max(ratios[at::count]) for at in range(count)]


def _comparable(a: KeyedScore, b: KeyedScore) -> bool:
    for score in (a, b):
        check_type(score, KeyedScore, "a second answer", "a KeyedScore")
    return a.algorithm == b.algorithm and len(a.score) == len(b.score)


def _over(a: KeyedScore, b: KeyedScore, limits: tuple[int, ...] | None, times: int) -> list[bool]:
    """For each image whether a band is further apart than so many times its limit."""
    apart, bands = _bands(a, b, limits), len(limits)  # type: ignore[arg-type]  # checked
    over = [found > times * limits[at % bands] for at, found in enumerate(apart)]  # type: ignore[index]
    return [any(over[at : at + bands]) for at in range(0, len(over), bands)]


def _bands(a: KeyedScore, b: KeyedScore, limits: tuple[int, ...] | None) -> list[int]:
    """The squared distance of each band of each image, where limits fit them."""
    check_limits(limits)
    apart = bands_apart(a.score, b.score)
    if len(apart) % len(limits):  # type: ignore[arg-type]  # checked
        raise InvalidInputError(
            f"the keyed scores have {len(apart)} bands, not a multiple of the {len(limits)} limits"  # type: ignore[arg-type]
        )
    return apart


def check_keyed(task: Task, algorithm: KeyedAlgorithm, answer: KeyedScore) -> None:
    """Say whether a second answer fits its task (protocol C5).

    Raises
    ------
    InvalidAnswerError
        For another algorithm than asked for, and another number of images or bands than the task's pictures have.
    """
    if answer.algorithm != algorithm:
        raise InvalidAnswerError(f"the keyed score is a {answer.algorithm}; expected {algorithm}")
    if isinstance(task, ImageTask):
        expected = SIZE * len(bands_of(task.width, task.height)) * task.images
        if len(answer.score) != expected:
            raise InvalidAnswerError(
                f"the keyed score has {len(answer.score)} bytes; the task's {task.images} images of "
                f"{task.width}x{task.height} have {expected}"
            )


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
            raise InvalidInputError(f"the nonce of {node} is not 32 bytes; take Opening.nonce")
    parts = [nonces[node] for node in sorted(nonces)]
    return digest("keyed-seed", parse_hex(draw_digest, "the draw's digest", DIGEST_BYTES), *parts)


__all__ = ["KeyedScore", "KeyedTolerance"]
