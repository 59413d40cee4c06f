"""What a program may have set for all of Pillow, and what must decide no hash.

Pillow keeps such settings in variables of its modules, and Python keeps the filters of warnings in one list: they hold
for all threads, so a change is kept short and put back.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Final

from crynux_validate.errors import PipelineError

_warnings_lock: Final = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings: Pillow warns of large pictures before a limit can be applied, and of formats it could not try."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def never_raising() -> contextlib.AbstractContextManager[None]:
    """Hide warnings only where a filter turns some into errors, which would refuse a file that is read elsewhere."""
    if any(action == "error" for action, *_ in warnings.filters):
        return quiet()
    return contextlib.nullcontext()


class _WholeFiles:
    """Switches `LOAD_TRUNCATED_IMAGES` off for as long as any thread of this library decodes a file.

    Where it is on, Pillow fills what a file lacks with grey, ignores checksums, and half a file gets a hash.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoding = 0
        self._wanted = False
        self._times_switched_on = 0

    @contextlib.contextmanager
    def only(self) -> Iterator[None]:
        """Decode whole files only.

        Raises
        ------
        PipelineError
            Another thread switched it on meanwhile.
        """
        from PIL import ImageFile

        with self._lock:
            if not self._decoding:
                self._wanted = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._decoding += 1
            self._look()
            before = self._times_switched_on
        try:
            yield
        finally:
            with self._lock:
                self._look()
                self._decoding -= 1
                if not self._decoding:
                    ImageFile.LOAD_TRUNCATED_IMAGES = self._wanted
                switched_on = self._times_switched_on != before
        if switched_on:
            raise PipelineError(
                "PIL.ImageFile.LOAD_TRUNCATED_IMAGES was switched on while a picture was decoded, and half a file gets"
                " a hash then: set it once, before pictures are hashed"
            )

    def _look(self) -> None:
        from PIL import ImageFile

        if ImageFile.LOAD_TRUNCATED_IMAGES:
            self._wanted = True
            self._times_switched_on += 1
            ImageFile.LOAD_TRUNCATED_IMAGES = False


whole_files: Final = _WholeFiles()
