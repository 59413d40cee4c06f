"""The results that a report shows: read from a folder, and compared with what the member handed in."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crynux_validate.answers import ImageScore, pixels_digest
from crynux_validate.audits.layout import Content, Leaf, step_count
from crynux_validate.audits.trace import Trace
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import read_limited
from crynux_validate.keyed import KeyedScore
from crynux_validate.ledger.group import Group
from crynux_validate.tasks import MAX_IMAGES, ImageTask

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE: Final = 512
"""Larger pictures are made smaller for the page."""

_MAX_TEXT: Final = 100_000
_MAX_BYTES: Final = 64 * 2**20


@dataclass(frozen=True)
class ShownResult:
    """A member's result.

    Parameters
    ----------
    fits
        Whether it is what the member handed in; None where that cannot be known.
    why
        In a sentence.
    pictures
        PNG files as ``data:`` addresses.
    texts
        What was written.
    """

    fits: bool | None
    why: str
    pictures: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


def shown_result(group: Group, node: str, folder: Path) -> ShownResult:
    """Read the result of a member from a folder that ``run`` has written.

    Raises
    ------
    InvalidInputError
        Where the folder holds no result, or one of another task.
    """
    if not (folder / "answer.bin").is_file():
        raise InvalidInputError(f"--result {node}={folder} has no answer.bin; expected a folder as `run` writes it")
    if read_limited(folder / "task.json", _MAX_BYTES) != group.task.canonical_bytes:
        raise InvalidInputError(f"--result {node}={folder} is the result of another task than {group.id} has")
    opening = group.openings.get(node)
    if opening is None:
        fits, why = None, f"{node} revealed no answer, so nothing can be compared"
    elif read_limited(folder / "answer.bin", _MAX_BYTES) == opening.answer_bytes:
        fits, why = True, f"answer.bin is the answer that {node} revealed"
    else:
        fits, why = False, f"answer.bin is another answer than {node} revealed"
    if not isinstance(group.task, ImageTask):
        return ShownResult(fits, why, texts=_texts(folder))
    return _with_pictures(group, node, folder, fits, why)


def _with_pictures(group: Group, node: str, folder: Path, fits: bool | None, why: str) -> ShownResult:
    from crynux_validate.hashing.images import MAX_PIXELS, open_picture
    from crynux_validate.hashing.phash import READS

    files = [folder / f"image-{at}.png" for at in range(MAX_IMAGES) if (folder / f"image-{at}.png").is_file()]
    images = [open_picture(file, READS, background=None, max_pixels=MAX_PIXELS) for file in files]
    answer = group.first_answer(node)
    bound = answer.result_digest if isinstance(answer, ImageScore) else None
    if fits and bound is not None:
        fits, why = _bound_pixels(group, node, folder, images, bound)
    if fits and len(group.rounds) > 1 and node in group.asked(2):
        fits, why = _revealed_values(group, node, images, why)
    addresses = []
    for image in images:
        small = image.copy()
        small.thumbnail((MAX_SIDE, MAX_SIDE))
        written = io.BytesIO()
        small.convert("RGB").save(written, "PNG")
        addresses.append(f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode('ascii')}")
    return ShownResult(fits, why, pictures=tuple(addresses))


def _bound_pixels(
    group: Group, node: str, folder: Path, images: "list[Image.Image]", bound: bytes
) -> tuple[bool | None, str]:
    """Whether pictures are those that an answer binds: by themselves, or in a trace."""
    task = group.task
    if not isinstance(task, ImageTask) or task.binding == "pixels":
        fits = pixels_digest(images) == bound
        which = "the digest that" if fits else "another digest than the one that"
        return fits, f"the pixels have {which} {node} bound itself to"
    file = folder / "trace.bin"
    if not file.is_file():
        return None, f"answer.bin is the answer that {node} revealed; it binds a trace, and there is no trace.bin"
    trace = Trace.load(file, task)
    if trace.root != bound:
        return False, f"the trace is another than the one that {node} bound itself to"
    last = step_count(task)
    kept = [
        trace.prove(at, [0]).contents[Leaf(at, Content.PIXELS, last)] == image.convert("RGB").tobytes()
        for at, image in enumerate(images[: task.images])
    ]
    fits = len(images) == task.images and all(kept)
    return fits, f"the pixels are {'those' if fits else 'others than those'} in the trace that {node} bound itself to"


def _revealed_values(group: Group, node: str, images: "list[Image.Image]", why: str) -> tuple[bool, str]:
    """Whether the values that a member revealed in the second round are those of its pictures (C5)."""
    revealed, seed = group.second_answer(node), group.second_seed(group.rounds[1].reveal_deadline)
    if not isinstance(revealed, KeyedScore) or seed is None:
        return True, f"{why}, and it revealed no values of them in the second round"
    same = KeyedScore.from_images(seed, images) == revealed
    which = "the values that it revealed in the second round are" + (" theirs" if same else " not theirs")
    return same, f"{why}, and {which}"


def _texts(folder: Path) -> tuple[str, ...]:
    files = sorted(folder.glob("text-*.txt"), key=lambda file: (len(file.name), file.name))
    return tuple(read_limited(file, _MAX_BYTES)[:_MAX_TEXT].decode("utf-8", "replace") for file in files)
