"""Every image hash by its id. A new hash needs one file in this folder and one line here."""

import os
import threading
from collections.abc import Callable, Iterable, Sized
from typing import TYPE_CHECKING, Final, Literal, overload

from crynux_validate.algorithms import ImageAlgorithm
from crynux_validate.encoding import check_flag, check_function, check_integer, shorten
from crynux_validate.errors import InvalidImageError, InvalidInputError
from crynux_validate.hashing.images import MAX_PIXELS, Background, Picture, Reads, open_picture
from crynux_validate.hashing.perceptual import PerceptualHash, unknown_algorithm
from crynux_validate.hashing.phash import READS, phash_1
from crynux_validate.hashing.phash_go import READS as READS_OF_GO
from crynux_validate.hashing.phash_go import phash_go_1
from crynux_validate.hashing.processes import OnResult

if TYPE_CHECKING:
    from PIL import Image

_HASHES: Final[dict[ImageAlgorithm, tuple[Callable[["Image.Image"], PerceptualHash], Reads]]] = {
    "phash/1": (phash_1, READS),
    "phash-go/1": (phash_go_1, READS_OF_GO),
}


def image_hash(
    image: Picture,
    algorithm: ImageAlgorithm = "phash/1",
    *,
    background: Background | None = None,
    max_pixels: int = MAX_PIXELS,
) -> PerceptualHash:
    """Return the perceptual hash of a picture: 64 bits that hardly change if the picture hardly changes.

    Parameters
    ----------
    image
        A Pillow image; a numpy array of uint8 with shape (height, width) for grey or (height, width, 3) for RGB; the
        path of a file; or the bytes of a file (PNG, JPEG, WebP, TIFF, BMP, GIF, PPM). An EXIF orientation is ignored.
    algorithm
        The id of the hash. ``phash/1`` is the hash of the Python library ImageHash with Pillow 9.5 to 12; it does not
        depend on the installed versions. ``phash-go/1`` is the hash that nodes of the live network submit; it takes PNG
        files and pictures in memory only. Hashes of the two are never compared.
    background
        The colour behind transparent pixels, in a form that Pillow knows: ``"white"``, ``"#808080"``,
        ``(255, 255, 255)``. Without it ``phash/1`` refuses a picture with alpha, and ``phash-go/1`` takes black.
    max_pixels
        The largest width x height that is decoded. It is checked before pixels are read.

    Raises
    ------
    InvalidImageError
        For an `image` that is not a picture, a broken or truncated file, several frames, alpha without a background, no
        pixels or too many, and samples or a file format that the algorithm does not take.
    InvalidInputError
        For an unknown algorithm or background, or a limit below 1.
    MissingExtraError
        If numpy or Pillow is not installed; both are in the extra ``hash``.
    PipelineError
        If the installed Pillow gives other bits than ``phash/1`` has, or another thread switched on Pillow's
        ``LOAD_TRUNCATED_IMAGES`` during the call.
    """
    known = _HASHES.get(algorithm) if isinstance(algorithm, str) else None
    if known is None:
        raise unknown_algorithm(algorithm)
    hasher, reads = known
    return hasher(open_picture(image, reads, background=background, max_pixels=max_pixels))


@overload
def image_hashes(
    images: Iterable[Picture],
    algorithm: ImageAlgorithm = "phash/1",
    *,
    background: Background | None = None,
    max_pixels: int = MAX_PIXELS,
    threads: int | None = None,
    processes: int | None = None,
    on_result: OnResult | None = None,
    return_errors: Literal[False] = False,
) -> list[PerceptualHash]: ...


@overload
def image_hashes(
    images: Iterable[Picture],
    algorithm: ImageAlgorithm = "phash/1",
    *,
    background: Background | None = None,
    max_pixels: int = MAX_PIXELS,
    threads: int | None = None,
    processes: int | None = None,
    on_result: OnResult | None = None,
    return_errors: Literal[True],
) -> list[PerceptualHash | InvalidImageError]: ...


def image_hashes(
    images: Iterable[Picture],
    algorithm: ImageAlgorithm = "phash/1",
    *,
    background: Background | None = None,
    max_pixels: int = MAX_PIXELS,
    threads: int | None = None,
    processes: int | None = None,
    on_result: OnResult | None = None,
    return_errors: bool = False,
) -> list[PerceptualHash] | list[PerceptualHash | InvalidImageError]:
    """Hash many pictures at once, each like `image_hash`, and return the hashes in the order of the pictures.

    Threads are the default. For hundreds of files, processes are faster: decoding files is most of the work, and
    threads have to wait for each other during a part of it.

    Parameters
    ----------
    images
        Pictures as for `image_hash`, best as paths: only the files that are hashed at the moment are then open.
    algorithm, background, max_pixels
        As for `image_hash`.
    threads
        The number of pictures that are hashed at the same time, 1 or more; by default the number of processors.
    processes
        Instead of `threads`: the number of processes, 1 or more, with the calling one. The others need half a second
        to start. They hash files; pictures in memory are hashed in the calling process. A script needs no
        ``if __name__ == "__main__"`` for this.
    on_result
        Called for each picture as soon as it is hashed, with its index and its result, in the caller's thread, in the
        order of the pictures. After Ctrl-C it is also called for all pictures that were hashed by then, before
        ``KeyboardInterrupt`` is raised; these calls can leave out pictures, and can repeat one.
    return_errors
        If True, the result of a picture that cannot be hashed is the error. If False, the first error is raised.

    Raises
    ------
    InvalidImageError, InvalidInputError
        As for `image_hash`; and for threads or processes below 1, or both together.
    MissingExtraError, PipelineError
        As for `image_hash`; and if a process could not be started or died. The message names the files that it had.
    """

    if isinstance(images, str | bytes) or not isinstance(images, Iterable):
        raise InvalidInputError(
            f"images is {shorten(images)}; expected a list of pictures (for one picture: image_hash)"
        )
    for value, what in ((threads, "threads"), (processes, "processes")):
        if value is not None:
            check_integer(value, what, 1, None)
    if threads is not None and processes is not None:
        raise InvalidInputError(
            f"threads is {threads} and processes is {processes}; expected one of them: pass the other as None"
        )
    check_function(on_result, "on_result")
    check_flag(return_errors, "return_errors")
    options = {"algorithm": algorithm, "background": background, "max_pixels": max_pixels}
    if processes is not None:
        from crynux_validate.hashing.processes import hash_in_processes

        if isinstance(images, Sized):
            processes = max(min(processes, len(images)), 1)
        return hash_in_processes(
            images, image_hash, options, processes, return_errors=return_errors, on_result=on_result
        )

    def one(image: Picture) -> PerceptualHash | InvalidImageError:
        try:
            return image_hash(image, algorithm, background=background, max_pixels=max_pixels)
        except InvalidImageError as error:
            if not return_errors:
                raise
            return error

    return _hash_in_threads(images, one, threads or os.cpu_count() or 1, on_result)


def _hash_in_threads(
    images: Iterable[Picture],
    one: Callable[[Picture], PerceptualHash | InvalidImageError],
    threads: int,
    on_result: OnResult | None,
) -> list[PerceptualHash | InvalidImageError]:
    from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

    stopped = threading.Event()

    def next_one(image: Picture) -> PerceptualHash | InvalidImageError:
        if stopped.is_set():  # cancelling thousands takes a while, in which threads would go on
            raise CancelledError
        return one(image)

    begun: list[Future[PerceptualHash | InvalidImageError]] = []
    found: list[PerceptualHash | InvalidImageError] = []
    pool = ThreadPoolExecutor(threads, "image-hashes")
    try:
        begun.extend(pool.submit(next_one, image) for image in images)
        for place, future in enumerate(begun):
            result = future.result()
            if on_result is not None:
                on_result(place, result)
            found.append(result)
    except KeyboardInterrupt:
        stopped.set()
        pool.shutdown(cancel_futures=True)
        for place, future in enumerate(begun):
            done = place >= len(found) and not future.cancelled() and future.exception() is None
            if done and on_result is not None:
                on_result(place, future.result())
        raise
    finally:
        stopped.set()  # after an error those are left alone that no thread has begun
        pool.shutdown(cancel_futures=True)
    return found
