"""``crynux-validate hash``: the perceptual hashes of pictures."""

import argparse
import json
from queue import SimpleQueue
from threading import Thread
from typing import Any

from crynux_validate.algorithms import IMAGE_ALGORITHMS
from crynux_validate.cli.common import Commands, add_json_flag, complain, say
from crynux_validate.cli.progress import Progress
from crynux_validate.cli.words import in_options
from crynux_validate.errors import InvalidImageError
from crynux_validate.hashing import PerceptualHash, image_hashes


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "hash",
        help="perceptual hashes of pictures",
        description="Print the 64-bit perceptual hash of each picture as 16 hexadecimal digits, its margin (the "
        "smallest gap between a coefficient and the median), and whether it is degenerate (the picture is too plain "
        "to tell from others). Hashes are printed in the order of the files, as soon as they are known.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a picture")
    parser.add_argument("--algorithm", choices=IMAGE_ALGORITHMS, default="phash/1", help="default: %(default)s")
    parser.add_argument("--background", metavar="COLOUR", help="flatten pictures with alpha onto this colour")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="how many pictures are hashed at a time; default: the number of processors",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="processes instead of threads: faster for hundreds of files"
    )
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the hashes; a picture that cannot be hashed is told on standard error, and the others are still hashed.

    After Ctrl-C what was hashed until then is printed, and ``KeyboardInterrupt`` goes on.
    """
    printer = _Printer(arguments)
    try:
        image_hashes(
            arguments.files,
            arguments.algorithm,
            background=arguments.background,
            threads=arguments.threads,
            processes=arguments.processes,
            return_errors=True,
            on_result=printer.take,
        )
    except BaseException:
        printer.end(whole=False)
        raise
    printer.end(whole=True)
    return 2 if printer.failed else 0


class _Printer:
    """Prints each result once, as it comes, and how far it is.

    In a thread of its own: Ctrl-C interrupts the main thread alone, so that no line is lost or cut while it is printed.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.failed = False
        self._arguments = arguments
        self._files: list[str] = arguments.files
        self._as_json: bool = arguments.json
        self._printed: set[int] = set()
        self._waiting = ""  # the last element of a list in JSON, until it is known whether a comma follows
        self._progress = Progress("hashing", len(self._files), "pictures")
        self._problem: Exception | None = None
        self._results: SimpleQueue[tuple[int, PerceptualHash | InvalidImageError] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="print-hashes", daemon=True)
        self._thread.start()

    def take(self, place: int, found: PerceptualHash | InvalidImageError) -> None:
        """Print a result soon; raises what printing those before it raised."""
        if self._problem is not None:
            raise self._problem
        self._results.put((place, found))

    def end(self, *, whole: bool) -> None:
        """Print what is left, and close what is open: the line of progress, and the list in JSON."""
        self._results.put(None)
        self._thread.join()
        self._progress.end()
        if self._problem is not None:
            raise self._problem
        if self._as_json and (whole or self._waiting):
            say(f"{self._waiting or '['}\n]")

    def _run(self) -> None:
        try:
            while (result := self._results.get()) is not None:
                self._print(*result)
        except Exception as error:  # noqa: BLE001 - raised in the main thread
            self._problem = error

    def _print(self, place: int, found: PerceptualHash | InvalidImageError) -> None:
        if place in self._printed:
            return
        self._printed.add(place)
        if isinstance(found, InvalidImageError):
            complain(in_options(str(found), self._arguments))
            self.failed = True
        elif self._as_json:
            self._print_json(_row(self._files[place], found))
        else:
            plain = "  degenerate: too plain to tell from others" if found.degenerate else ""
            say(f"{found.hex}  {self._files[place]}  margin {found.margin:.3g}{plain}")
        if (done := len(self._printed)) < len(self._files):
            self._progress.show(done)

    def _print_json(self, row: dict[str, Any]) -> None:
        say(f"{self._waiting}," if self._waiting else "[")
        self._waiting = "\n".join(f"  {line}" for line in json.dumps(row, indent=2).splitlines())


def _row(file: str, found: PerceptualHash) -> dict[str, Any]:
    return {
        "file": file,
        "algorithm": found.algorithm,
        "hash": found.hex,
        "margin": found.margin,
        "degenerate": found.degenerate,
    }
