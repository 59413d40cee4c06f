"""The King James Bible as a text for training: chapters of verses, as the program ``bible`` prints them."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_VERSE: Final = re.compile(r"\s+\d+ (\S.*)")
_HELD_OUT: Final = 50
"""One chapter of this many is kept from training."""

SOURCE: Final = (
    "The King James Bible of 1611, from Debian's package bible-kjv-text 4.38, as `bible` of the package bible-kjv 4.38 "
    "prints it. The package says: the copyright of the text is expired."
)


@dataclass(frozen=True)
class Book:
    """Chapters, each a list of verses.

    Parameters
    ----------
    training, held_out
        The chapters that are learned from, and those that are not.
    digest
        SHA-256 of the file.
    """

    training: list[list[str]]
    held_out: list[list[str]]
    digest: str


def read(path: Path) -> Book:
    """Read what ``bible -l10000 'Gen1:1-Rev22:21'`` printed.

    Raises
    ------
    ValueError
        Where no chapters are found.
    """
    data = path.read_bytes()
    chapters: list[list[str]] = []
    for line in data.decode("ascii").splitlines():
        verse = _VERSE.fullmatch(line)
        if verse:
            chapters[-1].append(verse[1].strip())
        elif line.strip():
            chapters.append([])
    if len(chapters) < 2:
        raise ValueError(f"{path} holds no chapters; print it with: bible -l10000 'Gen1:1-Rev22:21'")
    place = min(_HELD_OUT, len(chapters)) // 2
    held_out = [chapter for i, chapter in enumerate(chapters) if i % _HELD_OUT == place]
    training = [chapter for i, chapter in enumerate(chapters) if i % _HELD_OUT != place]
    return Book(training, held_out, hashlib.sha256(data).hexdigest())
