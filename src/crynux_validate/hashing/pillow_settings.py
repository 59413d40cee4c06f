"""Settings of Pillow and of warnings that a program may have changed, and that must not change a hash.

Pillow has its settings in variables of modules, and Python has one list of warning filters. Both apply to all threads,
so they are changed for a short time only and then restored.
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
    """Hide warnings if a filter makes errors of some, since a file would be refused that other programs read."""
    if any(action == "error" for action, *_ in warnings.filters):
        return quiet()
    return contextlib.nullcontext()


class _WholeFiles:
    """Switches `LOAD_TRUNCATED_IMAGES` off for as long as any thread of this library decodes a file.

    If it is on, Pillow fills missing pixels with grey and ignores checksums, so that half a file would get a hash.
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
            If another thread switched it on during the call.
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
                "PIL.ImageFile.LOAD_TRUNCATED_IMAGES was switched on while a picture was decoded, so half a file could"
                " get a hash: set it before pictures are hashed"
            )

    def _look(self) -> None:
        from PIL import ImageFile

        if ImageFile.LOAD_TRUNCATED_IMAGES:
            self._wanted = True
            self._times_switched_on += 1
            ImageFile.LOAD_TRUNCATED_IMAGES = False


whole_files: Final = _WholeFiles()
