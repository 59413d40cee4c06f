"""What a node keeps of a run, so that it can show any step of it later (protocol U1, U2)."""

import tempfile
import weakref
from collections.abc import Iterator
from itertools import accumulate
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self

from crynux_validate.audits.layout import (
    Leaf,
    Shape,
    check_place,
    check_shape,
    check_traced,
    leaf_digest,
    leaves_of,
    needed_leaves,
    size_of,
)
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.tree import root_of, siblings_of
from crynux_validate.encoding import DIGEST_BYTES, check_flag, length_prefixed, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_whole
from crynux_validate.tasks import ImageTask

MAX_IN_MEMORY: Final = 64 * 2**20
"""A larger trace lies in a temporary file, which is gone with it."""

_HEAD: Final = length_prefixed("crynux-validate/trace/1")


class Trace:
    """The latents and predictions of every step of a task, and its pictures.

    `ImageResult.trace` holds it. Up to 64 MiB it is in memory, a larger one in a temporary file.

    Parameters
    ----------
    task
        A task that binds its trace.
    latent
        The shape of a latent: channels, height, width.
    """

    def __init__(self, task: ImageTask, latent: Shape) -> None:
        self.task = check_traced(task)
        check_shape(task, latent)
        self.latent = latent
        self._leaves = leaves_of(task)
        sizes = [size_of(task, leaf, latent) for leaf in self._leaves]
        self._ends = list(accumulate(sizes))
        self._digests: list[bytes] = []
        self._file: Any = tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY)  # noqa: SIM115 - closed below
        self._close = weakref.finalize(self, self._file.close)

    def append(self, data: bytes) -> None:
        """Take the content of the next leaf: values in C order, little-endian (U2)."""
        place = len(self._digests)
        if place == len(self._leaves):
            raise InvalidInputError(f"the trace has all its {place} leaves; it takes no more")
        leaf = self._leaves[place]
        if len(data) != self._ends[place] - self._start(place):
            raise InvalidInputError(f"{leaf} has {len(data)} bytes; expected {self._ends[place] - self._start(place)}")
        self._file.write(data)
        self._digests.append(leaf_digest(self.task, leaf, self.latent, data))

    @property
    def size(self) -> int:
        """How many bytes the whole trace has, in memory or on disk."""
        return self._ends[-1]

    @property
    def root(self) -> bytes:
        """The root of the tree, 32 bytes: the result digest of the answer."""
        self._check_whole()
        return root_of(self._digests)

    def prove(self, image: int, steps: list[int] | tuple[int, ...] | range, *, pixels: bool = True) -> TraceProof:
        """Show some steps of one image, so that they can be audited.

        Parameters
        ----------
        image
            The number of the image.
        steps
            The steps, counted from 0: those that `audit_steps` draws.
        pixels
            Show the picture too, so that its decoding can be audited.

        Raises
        ------
        InvalidInputError
            For an image or a step that the task does not have.
        """
        self._check_whole()
        check_flag(pixels, "pixels")
        image, found = check_place(self.task, image, steps)
        shown = needed_leaves(self.task, image, found, pixels=pixels)
        place = {leaf: at for at, leaf in enumerate(self._leaves)}
        siblings = siblings_of(self._digests, [place[leaf] for leaf in shown])
        contents = {leaf: self._read(place[leaf]) for leaf in shown}
        return TraceProof(self.task, image, found, pixels, self.latent, contents, tuple(siblings))

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to a file, whole or not at all; raises `OSError` where that is impossible."""
        write_whole(path, self.chunks())

    @classmethod
    def load(cls, path: str | PathLike[str], task: ImageTask) -> Self:
        """Read a file that `save` wrote.

        Raises
        ------
        InvalidInputError
            For a file that cannot be read, is of another task, or is cut off or longer.
        """
        check_traced(task)
        try:
            with Path(path).open("rb") as stream:
                head = stream.read(len(_HEAD) + DIGEST_BYTES + 12)
                found, numbers = head[len(_HEAD) : -12].hex(), head[-12:]
                if len(head) < len(_HEAD) + DIGEST_BYTES + 12 or not head.startswith(_HEAD):
                    raise InvalidInputError(f"{path} is no trace; ImageResult.save writes one beside an answer")
                if found != task.digest:
                    raise InvalidInputError(f"{path} is of the task {found[:16]}..., not of {task.digest[:16]}...")
                trace = cls(task, tuple(int.from_bytes(numbers[at : at + 4], "big") for at in (0, 4, 8)))
                for place in range(len(trace._leaves)):
                    trace.append(stream.read(trace._ends[place] - trace._start(place)))
                if stream.read(1):
                    raise InvalidInputError(
                        f"{path} goes on after its last leaf; expected {trace.size} bytes of leaves"
                    )
        except OSError as error:
            raise InvalidInputError(f"the trace {path} cannot be read: {error.strerror or error}") from error
        return trace

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the file that `save` writes, part by part."""
        self._check_whole()
        sides = b"".join(side.to_bytes(4, "big") for side in self.latent)
        yield _HEAD + bytes.fromhex(self.task.digest) + sides
        for place in range(len(self._leaves)):
            yield self._read(place)

    def _check_whole(self) -> None:
        if len(self._digests) < len(self._leaves):
            raise InvalidInputError(f"the trace has {len(self._digests)} of its {len(self._leaves)} leaves")

    def _start(self, place: int) -> int:
        return self._ends[place - 1] if place else 0

    def _read(self, place: int) -> bytes:
        self._file.seek(self._start(place))
        data: bytes = self._file.read(self._ends[place] - self._start(place))
        return data

    def __reduce__(self) -> tuple[Any, tuple[ImageTask, Shape, list[bytes]]]:
        """Pickle it with all that it holds: results cross process borders."""
        self._check_whole()
        return _restored, (self.task, self.latent, [self._read(place) for place in range(len(self._leaves))])

    def __repr__(self) -> str:
        return summary(self, f"of {len(self._leaves)} leaves, {self.size} bytes", f"task {self.task.digest[:12]}")


def _restored(task: ImageTask, latent: Shape, contents: list[bytes]) -> Trace:
    trace = Trace(task, latent)
    for data in contents:
        trace.append(data)
    return trace


__all__ = ["Leaf", "Trace"]
