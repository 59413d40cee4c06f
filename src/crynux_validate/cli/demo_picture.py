"""The demo's picture: one group at a glance, for somebody who knows nothing of it."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import ImageScore
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.cli.audit_told import told_audit
from crynux_validate.cli.demo_node import CHEATS
from crynux_validate.cli.demo_picture_audit import (
    BAD,
    GOOD,
    INK,
    PALE,
    RULE,
    UNSURE,
    WIDE,
    audit_height,
    draw_audit,
)
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_whole
from crynux_validate.judging import Finding
from crynux_validate.tasks import ImageTask

if TYPE_CHECKING:
    from crynux_validate.cli.demo_network import DemoNode, Round

AMPLIFY: Final = 40
"""How many times a difference of pixels is made stronger, so that it can be seen."""

GROW: Final = 3
"""Each differing pixel is shown as a square of so many pixels: a few single ones would be lost."""

TILE: Final = WIDE
GAP: Final = 36
LABEL: Final = 190
HEAD: Final = 128
LINE: Final = 26

PAPER: Final = "#ffffff"
SET_BIT, CLEAR_BIT = "#2f4d7a", "#e3e9f2"


def draw_picture(path: Path, done: "Round", nodes: "Sequence[DemoNode]") -> Path:
    """Draw one settled group: images, differences, hashes, findings, audits; returns the path."""
    verdict = done.group.verdict
    if verdict is None:
        raise InvalidInputError(f"{done.group.id} has no verdict to draw")
    shown = [node for node in nodes if node.id in done.group.members]
    delivered = done.group.delivered_by
    reference = delivered or shown[0].id
    audits = {node: told_audit(audit.to_dict()) for node, audit in done.audits.items()}
    cheat = next((node for node in shown if node.cheat != "none"), None)
    rows = [HEAD, HEAD + 64 + TILE + 30, HEAD + 64 + 2 * (TILE + 30), HEAD + 64 + 3 * (TILE + 30)]
    rows.append(rows[3] + 124)
    end = rows[4] + max(audit_height(len(told.parts)) for told in audits.values())
    lines = _lines(done, cheat)
    width = LABEL + len(shown) * (TILE + GAP)
    canvas = Image.new("RGB", (width, end + 40 + LINE * len(lines)), PAPER)
    pen = ImageDraw.Draw(canvas)
    _head(pen, done, width, cheat)
    _labels(pen, rows, reference)
    original = done.results[reference].images[0].convert("RGB")
    for at, node in enumerate(shown):
        left = LABEL + at * (TILE + GAP)
        result = done.results[node.id]
        image = result.images[0].convert("RGB")
        _who(pen, left, rows[0], node)
        canvas.paste(image.resize((TILE, TILE), Image.Resampling.LANCZOS), (left, rows[0] + 64))
        apart = ImageChops.difference(image, original)
        loud = apart.point(lambda value: min(255, value * AMPLIFY)).filter(ImageFilter.MaxFilter(GROW))
        canvas.paste(loud.resize((TILE, TILE), Image.Resampling.NEAREST), (left, rows[1]))
        _caption(pen, left, rows[1] + TILE + 4, _how_different(apart, node.id == reference))
        _hash(pen, left, rows[2], result.score, done.results[reference].score)
        distance = verdict.distances.get(node.id)
        finding = verdict.findings[node.id]
        _finding(pen, left, rows[3], finding, distance, done, node.id)
        _frame(pen, left, rows[0] + 64, _colour(finding))
        draw_audit(pen, left, rows[4], audits[node.id])
    pen.line((24, end + 8, width - 24, end + 8), fill=RULE, width=2)
    for at, line in enumerate(lines):
        pen.text((24, end + 24 + LINE * at), line, fill=INK, font=_font(15))
    drawn = io.BytesIO()
    canvas.save(drawn, "PNG")
    write_whole(path, drawn.getvalue())
    return path


def _font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    return ImageFont.load_default(size)


def _head(pen: ImageDraw.ImageDraw, done: "Round", width: int, cheat: "DemoNode | None") -> None:
    title = f"Three machines were given the same task. {_what_happened(done, cheat)}"
    pen.text((24, 20), title, fill=INK, font=_font(28))
    task = done.task
    asked = f'"{task.prompt}", seed {task.seed}, {task.steps} steps, {task.scheduler}'
    pen.text((24, 60), f"The task: {asked}", fill=PALE, font=_font(16))
    pen.line((24, 96, width - 24, 96), fill=RULE, width=2)


def _what_happened(done: "Round", cheat: "DemoNode | None") -> str:
    """The end of the title: who did something else, and whether that was found."""
    if cheat is None:
        return "All of them did it."
    if not _passed(done, cheat):
        return f"{cheat.id} did not do it."
    if done.audits[cheat.id].finding is AuditFinding.CHEAT:
        return f"{cheat.id} passed, and an audit found it."
    return f"{cheat.id} did another, and passed."


def _passed(done: "Round", node: "DemoNode") -> bool:
    return done.group.verdict is not None and done.group.verdict.findings[node.id] is Finding.VALID


def _labels(pen: ImageDraw.ImageDraw, rows: Sequence[int], reference: str) -> None:
    texts = [
        (rows[0] + 64, "the picture", "that each machine\nsubmitted"),
        (
            rows[1],
            "the difference",
            f"from {reference}'s picture,\nmade {AMPLIFY} times stronger\nand larger; black: equal",
        ),
        (rows[2], "the hash", f"64 bits that sum up\nthe picture; red frame:\nnot as {reference}'s"),
        (rows[3], "the verdict", "by the number of bits\nthat differ"),
        (rows[4], "the audit", "steps drawn when all\nhad answered, and\ncomputed again by a\nfourth machine"),
    ]
    for top, name, words in texts:
        pen.text((24, top), name, fill=INK, font=_font(19))
        pen.multiline_text((24, top + 28), words, fill=PALE, font=_font(14), spacing=5)


def _who(pen: ImageDraw.ImageDraw, left: int, top: int, node: "DemoNode") -> None:
    pen.text((left, top), node.id, fill=INK, font=_font(20))
    pen.text((left, top + 25), f"{node.card.name}", fill=PALE, font=_font(13))
    pen.text((left, top + 42), f"computes as: {node.kind}", fill=PALE, font=_font(13))


def _caption(pen: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    pen.text((left, top), text, fill=PALE, font=_font(13))


def _how_different(apart: Image.Image, is_reference: bool) -> str:
    if is_reference:
        return "this is the one compared with"
    samples = apart.tobytes()
    differing = sum(value > 0 for value in samples)
    if not differing:
        return "no value differs"
    share = differing / len(samples)
    what = f"{share:.0%} of the" if share > 0.01 else f"{differing:,}"
    return f"{what} values differ, by {max(samples)} at most"


def _hash(pen: ImageDraw.ImageDraw, left: int, top: int, own: object, other: object) -> None:
    if not isinstance(own, ImageScore) or not isinstance(other, ImageScore):
        raise InvalidInputError("only image scores have a hash to draw")
    bits, reference = own.blocks[0], other.blocks[0]
    cell = TILE // 8
    for at in range(HASH_BITS):
        shift = HASH_BITS - 1 - at
        x, y = left + at % 8 * cell, top + at // 8 * cell
        is_set = bits >> shift & 1
        pen.rectangle((x + 1, y + 1, x + cell - 2, y + cell - 2), fill=SET_BIT if is_set else CLEAR_BIT)
        if (bits ^ reference) >> shift & 1:
            pen.rectangle((x + 1, y + 1, x + cell - 2, y + cell - 2), outline=BAD, width=4)
    _caption(pen, left, top + TILE + 4, own.hex)


def _finding(
    pen: ImageDraw.ImageDraw, left: int, top: int, finding: Finding, distance: int | None, done: "Round", node: str
) -> None:
    colour = _colour(finding)
    pen.rounded_rectangle((left, top, left + TILE, top + 96), radius=10, outline=colour, width=3)
    pen.text((left + 14, top + 8), str(finding), fill=colour, font=_font(24))
    if distance is not None:
        pen.text((left + 14, top + 42), f"{distance} of 64 bits differ", fill=INK, font=_font(16))
    before, after = done.stakes[node]
    if after < before:
        stake = f"stake {before} -> {after}: slashed"
    elif finding is Finding.VALID:
        stake = f"stake {before} kept, fee {done.group.fee // len(done.stakes)} earned"
    else:
        stake = f"stake {before} kept, no fee"
    pen.text((left + 14, top + 66), stake, fill=INK, font=_font(16))


def _lines(done: "Round", cheat: "DemoNode | None") -> list[str]:
    """What stands below, line by line."""
    policy = done.group.policy
    lines = [
        "Honest machines with different hardware can get slightly different pixels, but nearly the same hash. So "
        "the hashes are compared, not the pixels:",
        f"fewer than {policy.threshold} differing bits count as the same picture. A node that agrees with most of the "
        f"group is paid; a node that is {policy.slash_threshold} bits or more away loses its stake.",
    ]
    lines.append(
        "An audit does a part of the work again, from what each machine kept of its steps. Honest machines are off by "
        "rounding alone, inside the green band."
    )
    if cheat is not None:
        really = f"What {cheat.id} really ran: {_difference(done.task, CHEATS[cheat.cheat][1](done.task))}."
        if _passed(done, cheat):
            really += " The hash hardly sees that. What it did not compute, it made up."
        lines.append(really)
    return lines


def _difference(asked: ImageTask, ran: ImageTask) -> str:
    changes = [
        f"{name} {getattr(ran, name)!r} in place of {getattr(asked, name)!r}"
        for name in ("prompt", "seed", "steps")
        if getattr(asked, name) != getattr(ran, name)
    ]
    return ", ".join(changes)


def _colour(finding: Finding) -> str:
    return {Finding.VALID: GOOD, Finding.INVALID: BAD, Finding.WITHHELD: BAD}.get(finding, UNSURE)


def _frame(pen: ImageDraw.ImageDraw, left: int, top: int, colour: str) -> None:
    pen.rectangle((left - 4, top - 4, left + TILE + 3, top + TILE + 3), outline=colour, width=4)
