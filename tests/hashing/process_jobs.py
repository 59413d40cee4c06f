"""What processes for hashing run in these tests instead of a hash; they find it by its name."""

import os
import time
from pathlib import Path
from typing import Any

from crynux_validate.hashing import PerceptualHash

WAIT_SECONDS = 120


def met(picture: Any, folder: str, caller: int, end: int | None = None) -> PerceptualHash:
    """Say in the folder who hashes, and wait until both processes have; the bits are the picture's name.

    With `end`, the other process ends with that code instead of giving its hash.
    """
    print("this would break the replies if it met them")  # noqa: T201
    here = "caller" if os.getpid() == caller else "other"
    other = "other" if here == "caller" else "caller"
    (Path(folder) / f"{here}.tmp").write_text(str(os.getpid()), "utf-8")
    os.replace(Path(folder) / f"{here}.tmp", Path(folder) / here)
    if isinstance(picture, str):  # the array of one pixel is there to load libraries
        deadline = time.monotonic() + WAIT_SECONDS
        while not (Path(folder) / other).exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {other} process hashed anything")
            time.sleep(0.01)
        if here == "other" and end is not None:
            os._exit(end)
    return PerceptualHash(str(picture)[:8].ljust(8).encode("ascii"), "phash/1", 0.0)


def counted(picture: Any, folder: str) -> PerceptualHash:
    """Leave a file for each picture that was begun, and fail on those that are called bad."""
    from crynux_validate.errors import InvalidImageError

    time.sleep(0.001)
    if isinstance(picture, str):
        (Path(folder) / picture).touch()
        if picture.startswith("bad"):
            raise InvalidImageError(f"{picture} is bad")
    return PerceptualHash(bytes(8), "phash/1", 0.0)
