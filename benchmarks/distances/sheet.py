"""The sheet: one prompt, the honest picture, and what each cheat hands in, with its distance under it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attacks import ATTACKS
from PIL import Image, ImageDraw, ImageFont
from tools.training.pictures import Picture

from benchmarks.distances.plan import NATIVE
from benchmarks.distances.record import handed_in
from benchmarks.distances.work import Found
from crynux_validate import ImageTask
from crynux_validate.hashing import hamming, image_hash
from crynux_validate.judging.centre import DEFAULT_SLASH_THRESHOLD, DEFAULT_THRESHOLD

INK, PALE, PAPER = "#1c2430", "#5b6675", "#ffffff"
GOOD, UNSURE, BAD = "#1a7f4b", "#9a6700", "#c0262d"

_TILE: Final = 224
_GAP: Final = 28
_WORDS: Final = 74
_HEAD: Final = 124
_COLUMNS: Final = 4


def draw_sheet(path: Path, asked: Sequence[ImageTask], found: Found, kinds: Sequence[str], at: int = 0) -> Path:
    """Draw the sheet of one task; returns the path."""
    honest = found[NATIVE, asked[at].digest].pixels
    shown: list[tuple[str, Picture]] = [("the honest picture", honest)]
    others = [kind for kind in kinds if kind != NATIVE]
    if others:
        shown.append((f"another honest machine ({others[-1]})", found[others[-1], asked[at].digest].pixels))
    first_cheat = len(shown)
    made = [(cheat.words, handed_in(name, asked, found)) for name, cheat in ATTACKS.items()]
    shown += [(words, pictures[at]) for words, pictures in made if pictures]
    lines = -(-len(shown) // _COLUMNS)
    canvas = Image.new("RGB", (_GAP + _COLUMNS * (_TILE + _GAP), _HEAD + lines * (_TILE + _WORDS) + 12), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((_GAP, 18), f'"{asked[at].prompt}": what cheats hand in', fill=INK, font=_font(26))
    rule = (
        "Under each picture: how many of the 64 bits of its hash differ from the honest picture's. Fewer than "
        f"{DEFAULT_THRESHOLD} count as the same\npicture; {DEFAULT_SLASH_THRESHOLD} or more cost the stake. "
        "A red frame is a cheat that passes, a green one a cheat that is found, or an honest machine."
    )
    pen.multiline_text((_GAP, 60), rule, fill=PALE, font=_font(15), spacing=6)
    own = image_hash(honest)
    for number, (name, picture) in enumerate(shown):
        left = _GAP + number % _COLUMNS * (_TILE + _GAP)
        top = _HEAD + number // _COLUMNS * (_TILE + _WORDS)
        distance = hamming(own.bits, image_hash(picture).bits)
        words, colour = _finding(distance, cheat=number >= first_cheat)
        large = Image.fromarray(picture).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
        canvas.paste(large, (left, top))
        pen.rectangle((left - 3, top - 3, left + _TILE + 2, top + _TILE + 2), outline=colour, width=3)
        pen.text((left, top + _TILE + 6), name, fill=INK, font=_font(13))
        if number:
            pen.text((left, top + _TILE + 24), words, fill=colour, font=_font(16))
    canvas.save(path)
    return path


def _finding(distance: int, *, cheat: bool) -> tuple[str, str]:
    """Say what a distance leads to, in words and in a colour: green is as it should be."""
    if distance < DEFAULT_THRESHOLD:
        return f"{distance} bits: passes", BAD if cheat else GOOD
    if distance < DEFAULT_SLASH_THRESHOLD:
        return f"{distance} bits: not paid", UNSURE
    return f"{distance} bits: slashed", GOOD if cheat else BAD


def _font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    return ImageFont.load_default(size)
