"""The trained models that this package carries, and their way into a folder: checked, byte for byte.

`tools/train_image_model.py` and `tools/train_text_model.py` made them; each folder has a model card. ``SHA256SUMS``
lists their files, so ``sha256sum -c SHA256SUMS`` checks them as well.
"""

import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError

SUMS: Final = "SHA256SUMS"

DRAWS: Final[Mapping[str, tuple[str, ...]]] = {
    "sizes": ("small", "big"),
    "colours": ("red", "orange", "yellow", "green", "blue", "purple", "white", "black"),
    "shapes": ("circle", "square", "triangle", "star", "cross", "heart"),
    "places": ("on the left", "on the right", "at the top", "at the bottom"),
    "backgrounds": ("sand", "grass", "sky", "night", "snow", "stripes", "bricks", "pink background"),
}
"""What the image model learned to draw, in the order in which prompts say it."""

_BETWEEN: Final = frozenset({"a", "an", "on", "picture", "of", "background"})

_AGAIN: Final = "install crynux-validate again (pip install --force-reinstall --no-deps crynux-validate)"


def shipped(name: str) -> Traversable:
    """Return the folder of the ``image`` or the ``text`` model."""
    return files("crynux_validate") / "testing" / "models" / name


def read_sums(name: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a shipped model.

    Raises
    ------
    ModelError
        Where the list is missing or is none.
    """
    lines = _read(shipped(name) / SUMS, name).decode("utf-8", "replace").splitlines()
    sums = {}
    for line in lines:
        digest, separator, path = line.partition("  ")
        if not separator or len(digest) != 64:
            raise ModelError(f"the {name} model of this package has a damaged {SUMS}: {shorten(line)}; {_AGAIN}")
        sums[path] = digest
    if not sums:
        raise ModelError(f"the {name} model of this package has an empty {SUMS}; {_AGAIN}")
    return sums


def copy(name: str, folder: Path) -> None:
    """Write a shipped model into a folder, each file once its digest was found right.

    Raises
    ------
    ModelError
        Where a file is missing or is not what was shipped; nothing reads such weights.
    """
    for path, expected in read_sums(name).items():
        content = _read(shipped(name).joinpath(*path.split("/")), name)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise ModelError(
                f"{path} of this package's {name} model is damaged: SHA-256 {found[:16]}..., expected "
                f"{expected[:16]}...; {_AGAIN}"
            )
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def never_drawn(prompt: str) -> list[str]:
    """Return the words of a prompt that the image model never saw; it makes of them what it can."""
    known = _BETWEEN | {word for things in DRAWS.values() for thing in things for word in thing.split()}
    return [word for word in dict.fromkeys(re.findall(r"[^\W_]+", prompt.lower())) if word not in known]


def _read(file: Traversable, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file.name} of this package's {name} model cannot be read: {error}; {_AGAIN}") from error
