"""Some leaves of a trace with what ties them to the answer: anybody can check it, without the model (protocol U3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from crynux_validate.answers import ImageScore, check_answer
from crynux_validate.audits.layout import (
    DTYPE_BYTES,
    Content,
    Leaf,
    Shape,
    check_place,
    check_shape,
    check_traced,
    form_of,
    leaf_digest,
    leaves_of,
    needed_leaves,
    size_of,
    step_count,
)
from crynux_validate.audits.tree import count_of_siblings, root_from
from crynux_validate.encoding import DIGEST_BYTES, check_integer, check_type, length_prefixed, shorten, summary
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.files import write_or_refuse
from crynux_validate.tasks import ImageTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PROOF_BYTES: Final = 2**30
"""The largest proof that is read."""

_AT_ONCE: Final = 2**20

_HEAD: Final = length_prefixed("crynux-validate/trace-proof/1")
_NUMBERS: Final = 6
"""Image, three sides of a latent, whether the picture is in it, and how many steps."""


@dataclass(frozen=True)
class TraceProof:
    """What a node shows of its trace, so that some steps of one image can be audited.

    `Trace.prove` makes it. It is believed only after `check`.

    Parameters
    ----------
    task
        The task, which binds its trace.
    image
        The number of the image.
    steps
        The steps that can be audited with it, ascending.
    pixels
        Whether the picture is in it.
    latent
        The shape of a latent: channels, height, width.
    contents
        For each leaf that it shows the bytes, in the order of the trace.
    siblings
        The nodes of the tree that tie them to its root, 32 bytes each.

    Raises
    ------
    InvalidInputError
        For leaves that are not those of the steps, a content of another size, and values that are no finite numbers.
    """

    task: ImageTask
    image: int
    steps: tuple[int, ...]
    pixels: bool
    latent: Shape
    contents: Mapping[Leaf, bytes] = field(repr=False)
    siblings: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        check_traced(self.task)
        check_place(self.task, self.image, self.steps)
        check_shape(self.task, self.latent)
        wanted = needed_leaves(self.task, self.image, self.steps, pixels=self.pixels)
        if list(self.contents) != wanted:
            raise InvalidInputError(
                "the proof has other leaves than its steps need, or another order; get the proof again"
            )
        for leaf, data in self.contents.items():
            size = size_of(self.task, leaf, self.latent)
            if len(data) != size:
                raise InvalidInputError(f"{leaf} has {len(data)} bytes in the proof; expected {size}")
            if leaf.content is not Content.PIXELS and not _is_finite(self.task.dtype, data):
                raise InvalidInputError(f"{leaf} has values that are infinite or NaN, which no honest run gives")

    def check(self, answer: ImageScore) -> None:
        """Say whether this is a part of the trace that an answer binds.

        Raises
        ------
        InvalidAnswerError
            For an answer to another kind of task.
        InvalidInputError
            Where it is not: of another answer, or changed.
        """
        check_type(answer, ImageScore, "the answer", "an ImageScore")
        check_answer(self.task, answer)
        if answer.result_digest is None:
            raise InvalidInputError("the answer has no result digest; give the answer that was committed to")
        if self.root != answer.result_digest:
            raise InvalidInputError(
                f"the proof has the root {self.root.hex()[:16]}..., but the answer binds "
                f"{answer.result_digest.hex()[:16]}...: the proof is for another answer, or was changed"
            )

    @property
    def root(self) -> bytes:
        """The root that leaves and siblings give, 32 bytes: the result digest of the answer that it belongs to."""
        shown = {leaf: leaf_digest(self.task, leaf, self.latent, data) for leaf, data in self.contents.items()}
        leaves = leaves_of(self.task)
        return root_from(len(leaves), _places(leaves, shown), self.siblings)

    def array(self, content: Content, step: int) -> "NDArray[np.float32]":
        """Return a leaf as an array of float32 (channels, height, width), which holds every dtype without loss.

        The picture is an array of uint8 (height, width, 3).

        Raises
        ------
        InvalidInputError
            For a leaf that is not in it.
        MissingExtraError
            Without numpy.
        """
        check_type(content, Content, "the content", "a Content, like Content.LATENT")
        leaf = Leaf(self.image, content, check_integer(step, "the step"))
        if leaf not in self.contents:
            raise InvalidInputError(f"{leaf} is not in the proof of the steps {shorten(list(self.steps))}")
        with needed_for("TraceProof.array", "ledger"):
            return _array(*form_of(self.task, leaf, self.latent), self.contents[leaf])

    def to_bytes(self) -> bytes:
        """Return the proof's bytes (protocol, "Bytes")."""
        numbers = (self.image, *self.latent, int(self.pixels), len(self.steps), *self.steps)
        head = [_HEAD, bytes.fromhex(self.task.digest), *(number.to_bytes(4, "big") for number in numbers)]
        return b"".join((*head, *self.contents.values(), *self.siblings))

    @classmethod
    def from_bytes(cls, data: bytes, task: ImageTask) -> Self:
        """Read what `to_bytes` writes; nothing of it is believed before `check`.

        Parameters
        ----------
        task
            The task that it is meant to be of.

        Raises
        ------
        InvalidInputError
            For a proof of another task, one that is cut off or has more, and values that are no finite numbers.
        """
        check_type(data, bytes, "the proof", "bytes, as TraceProof.to_bytes returns them")
        image, steps, pixels, shape, at, end = _read_head(data, task)
        if len(data) != end:
            raise InvalidInputError(f"the proof has {len(data)} bytes; expected {end} for its steps")
        wanted = needed_leaves(task, image, steps, pixels=pixels)
        sizes = [size_of(task, leaf, shape) for leaf in wanted]
        contents = {}
        for leaf, size in zip(wanted, sizes, strict=True):
            contents[leaf] = data[at : at + size]
            at += size
        nodes = tuple(data[start : start + DIGEST_BYTES] for start in range(at, end, DIGEST_BYTES))
        return cls(task, image, steps, pixels, shape, contents, nodes)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to a file, whole or not at all; raises `InvalidInputError` where that is impossible."""
        write_or_refuse(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | PathLike[str], task: ImageTask) -> Self:
        """Read a file that `save` wrote; errors as for `from_bytes`, and `InvalidInputError` for no readable file."""
        check_traced(task)
        try:
            with Path(path).open("rb") as stream:
                parts = [stream.read(_head_size(step_count(task)))]
                *_, end = _read_head(parts[0], task)
                left = end - len(parts[0]) + 1
                # Part by part: a read of much takes the memory for it, also where the file is short.
                while left > 0 and (part := stream.read(min(left, _AT_ONCE))):
                    parts.append(part)
                    left -= len(part)
                data = b"".join(parts)
        except (OSError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInputError(f"the proof {shorten(path)} cannot be read: {reason}") from error
        return cls.from_bytes(data, task)

    def __repr__(self) -> str:
        steps = ", ".join(map(str, self.steps))
        return summary(self, f"of image {self.image}, steps {steps}", f"task {self.task.digest[:12]}")


def proof_size(task: ImageTask, image: int, steps: list[int], latent: Shape, *, pixels: bool = True) -> int:
    """Return how many bytes the proof of some steps has.

    Parameters
    ----------
    latent
        The shape of a latent; of Stable Diffusion (4, height / 8, width / 8).
    """
    number, found = check_place(check_traced(task), image, steps)
    wanted, leaves = needed_leaves(task, number, found, pixels=pixels), leaves_of(task)
    siblings = count_of_siblings(len(leaves), _places(leaves, dict.fromkeys(wanted)))
    return _head_size(len(found)) + sum(size_of(task, leaf, latent) for leaf in wanted) + siblings * DIGEST_BYTES


def _head_size(steps: int) -> int:
    return len(_HEAD) + DIGEST_BYTES + 4 * (_NUMBERS + steps)


def _read_head(data: bytes, task: ImageTask) -> tuple[int, tuple[int, ...], bool, Shape, int, int]:
    """Read what stands before the contents, so that nothing large is read that cannot be a proof of the task.

    Returns
    -------
    image, steps, pixels, latent
        As of a `TraceProof`.
    start, end
        Where the contents start, and how long the proof is.
    """
    check_traced(task)
    if not data.startswith(_HEAD):
        raise InvalidInputError(
            f"these {len(data)} bytes are not a proof of a trace; make one with crynux-validate prove or Trace.prove"
        )
    at = len(_HEAD) + DIGEST_BYTES
    found = data[len(_HEAD) : at].hex()
    image, *latent, pixels, count = _numbers(data, at, _NUMBERS)
    if found != task.digest:
        raise InvalidInputError(f"the proof is for the task {found[:16]}..., not for {task.digest[:16]}...")
    if pixels > 1 or count > step_count(task):
        raise InvalidInputError(
            f"the proof has {pixels} for its picture and {count} steps; expected 0 or 1, and at most {step_count(task)}"
        )
    start = _head_size(count)
    steps = _numbers(data, start - 4 * count, count)
    if (image, steps) != check_place(task, image, steps):
        raise InvalidInputError(f"the steps of the proof are {shorten(list(steps))}; expected ascending numbers")
    shape = tuple(latent)
    check_shape(task, shape)
    end = proof_size(task, image, list(steps), shape, pixels=bool(pixels))
    if end > MAX_PROOF_BYTES:
        raise InvalidInputError(f"the proof would have {end} bytes; expected at most {MAX_PROOF_BYTES}")
    return image, steps, bool(pixels), shape, start, end


def _places(leaves: list[Leaf], shown: Mapping[Leaf, Any]) -> dict[int, Any]:
    """The leaves that are shown, by their places in the tree."""
    return {place: shown[leaf] for place, leaf in enumerate(leaves) if leaf in shown}


def _numbers(data: bytes, at: int, count: int) -> tuple[int, ...]:
    if len(data) < at + 4 * count:
        raise InvalidInputError(f"the proof ends after {len(data)} bytes, within its head")
    return tuple(int.from_bytes(data[start : start + 4], "big") for start in range(at, at + 4 * count, 4))


def _is_finite(dtype: str, data: bytes) -> bool:
    """Whether all values are numbers: the bits of the exponent are all ones in no other value."""
    with needed_for("TraceProof", "ledger"):
        import numpy as np
    exponent = {"float32": 0x7F800000, "float16": 0x7C00, "bfloat16": 0x7F80}[dtype]
    bits = np.frombuffer(data, "<u4" if DTYPE_BYTES[dtype] == 4 else "<u2")
    return bool(((bits & exponent) != exponent).all())


def _array(dtype: str, shape: Shape, data: bytes) -> "NDArray[Any]":
    import numpy as np

    if dtype == "bfloat16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << np.uint32(16)
        return wide.view("<f4").reshape(shape).astype(np.float32)
    raw = np.frombuffer(data, {"float32": "<f4", "float16": "<f2", "uint8": "u1"}[dtype]).reshape(shape)
    return raw if dtype == "uint8" else raw.astype(np.float32)
