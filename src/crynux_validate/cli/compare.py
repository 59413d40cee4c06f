"""``crynux-validate compare``: how far two pictures or hashes are apart."""

import argparse
import re
from pathlib import Path

from crynux_validate.algorithms import HASH_BYTES, IMAGE_ALGORITHMS
from crynux_validate.answers import ImageScore, agree, similarity_score
from crynux_validate.cli.common import Commands, add_json_flag, say, say_json
from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing import image_hash
from crynux_validate.judging import DEFAULT_THRESHOLD, CentreRule


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="whether two pictures count as the same",
        description="Print the Hamming distance of two pictures' perceptual hashes, and whether they agree: it must "
        "be less than the threshold. Exit code 0: they agree, 1: they do not.",
    )
    parser.add_argument("a", metavar="A", help="a picture, or a hash of 16 hexadecimal digits, also after 0x or p:")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument("--threshold", type=int, default=DEFAULT_THRESHOLD, help="1 to 64, default: %(default)s")
    parser.add_argument("--algorithm", choices=IMAGE_ALGORITHMS, default="phash/1", help="default: %(default)s")
    parser.add_argument("--background", metavar="COLOUR", help="flatten pictures with alpha onto this colour")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the distance; 0 where the two agree, 1 where they do not."""
    threshold = CentreRule(arguments.threshold).threshold
    a, b = (_score(item, arguments) for item in (arguments.a, arguments.b))
    distance, same = similarity_score(a, b), agree(a, b, threshold)
    if arguments.json:
        say_json(
            {
                "algorithm": arguments.algorithm,
                "a": a.hex,
                "b": b.hex,
                "distance": distance,
                "threshold": threshold,
                "agree": same,
            }
        )
    else:
        say(f"{a.hex}  {arguments.a}\n{b.hex}  {arguments.b}")
        relation, words = ("below", "they agree") if same else ("not below", "they differ")
        say(f"distance {distance} of 64, {relation} the threshold {threshold}: {words}")
        for item, score in ((arguments.a, a), (arguments.b, b)):
            if score.degenerate:
                say(f"the hash of {item} is degenerate: such a plain picture cannot be told from other plain ones")
    return 0 if same else 1


def _score(item: str, arguments: argparse.Namespace) -> ImageScore:
    if (hashed := re.fullmatch("(?:0[xX]|[a-z]:)?([0-9a-fA-F]+)", item)) and not Path(item).exists():
        if len(hashed[1]) != 2 * HASH_BYTES:
            raise InvalidInputError(
                f"{item} is no file, and a hash has {2 * HASH_BYTES} hexadecimal digits, not {len(hashed[1])}"
            )
        return ImageScore.from_hex(item, arguments.algorithm)
    return ImageScore(
        image_hash(item, arguments.algorithm, background=arguments.background).bits, None, arguments.algorithm
    )
