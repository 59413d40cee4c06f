"""The audits that a report shows: read from files, checked against the group, and drawn."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crynux_validate.audits.findings import AuditFinding
from crynux_validate.cli.audit_told import MAX_AUDIT_BYTES, ToldAudit, ToldPart, read_audit
from crynux_validate.cli.common import read_file
from crynux_validate.cli.report_drawings import BAD, GOOD, INK, PALE, RULE, UNSURE, box, line, words
from crynux_validate.cli.report_html import table
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.shown import shown
from crynux_validate.tasks import MAX_IMAGES

if TYPE_CHECKING:
    from crynux_validate.ledger.interface import Group

COLOURS: Final = {AuditFinding.MATCH: GOOD, AuditFinding.NOISE: GOOD, AuditFinding.CHEAT: BAD}
MEANING: Final = {
    AuditFinding.MATCH: "the same bits as the auditor's",
    AuditFinding.NOISE: "off by no more than honest machines are",
    AuditFinding.CHEAT: "further off than honest machines are",
    AuditFinding.INCOMPARABLE: "it cannot be said",
}
_LEFT, _WIDTH, _ROW, _TOP = 112, 354, 24, 30
_LEAST, _MOST = 1e-3, 1e4
"""The ends of the scale, as multiples of the band."""


def files_in(folder: Path) -> list[Path]:
    """Return the audits that lie in the folder of a result: ``audit.json``, or ``audit-0.json`` and so on by image."""
    names = ["audit.json", *(f"audit-{at}.json" for at in range(MAX_IMAGES))]
    return [folder / name for name in names if (folder / name).is_file()]


def load_audit(group: "Group", node: str, file: Path) -> ToldAudit:
    """Read an audit of a member's answer.

    Raises
    ------
    InvalidInputError
        For what is no audit, or one of another task or answer.
    """
    found = read_audit(read_file(str(file), "the audit", MAX_AUDIT_BYTES), f"the audit {file}")
    opening = group.openings.get(node)
    if found.task != group.task.digest:
        raise InvalidInputError(f"{file} audits another task than {group.id} has: {shorten(found.task[:16])}")
    if opening is None:
        raise InvalidInputError(f"{node} revealed no answer, so {file} cannot be an audit of it; leave it out")
    if found.answer != opening.answer_bytes:
        raise InvalidInputError(f"{file} audits another answer than {node} revealed")
    return found


def audits_of(audits: Mapping[str, Sequence[ToldAudit]]) -> str:
    """Return what a page says of all audits; nothing where there is none."""
    parts = [_audit(node, found) for node, each in audits.items() for found in each]
    if not parts:
        return ""
    return (
        "<h2>Audits</h2><p>An audit does a part of the work again, from what the node showed of it, and says "
        "how far the node's numbers are from the auditor's. The ledger knows nothing of it: the files were given to "
        "this command, and say what follows. They name this task and this answer. Whoever has the node's proof can "
        f"repeat an audit with <code>crynux-validate audit</code>.</p>{''.join(parts)}"
    )


def audit_sentence(found: Sequence[ToldAudit]) -> str:
    """Return what the summary of a page says of a member's audits, with a space before it; nothing without any."""
    said = {one.finding for one in found}
    return "".join(
        f' An audit of its answer says <span class="finding" style="color: {_colour(one)}">{one.value}</span>.'
        for one in AuditFinding
        if one in said
    )


def _audit(node: str, found: ToldAudit) -> str:
    image = "" if found.image is None else f", image {found.image}"
    band = (
        "The band is that of these machines, or of this model."
        if found.calibrated
        else "Uncalibrated: the band was made with other machines or another model."
    )
    rows = [
        (
            shown(part.name),
            f'<span class="finding" style="color: {_colour(part.finding)}">{part.finding.value}</span>',
            _times(part.times),
            shown(part.reason) or MEANING[part.finding],
        )
        for part in found.parts
    ]
    return (
        f'<h3>{shown(node)}{image}: <span style="color: {_colour(found.finding)}">{found.finding.value}</span>, '
        f'{MEANING[found.finding]}</h3><p>{band}</p><div class="scroll">{_drawing(found.parts)}</div>'
        f"{table(('what', 'finding', 'times the band', 'why'), rows)}"
    )


def _drawing(parts: Sequence[ToldPart]) -> str:
    """Draw how far each part is off, on a logarithmic scale that has the edge of the band in it."""
    high = _TOP + _ROW * len(parts)
    drawn = [
        f'<svg class="small" viewBox="0 0 {_LEFT + _WIDTH + 20} {high + 40}" role="img" '
        'aria-label="how far each part is off, as a multiple of what honest machines are">',
        box(_LEFT, _TOP, _at(1) - _LEFT, high - _TOP, "#eaf5ee"),
        box(_at(1), _TOP, _LEFT + _WIDTH - _at(1), high - _TOP, "#fbeaea"),
        words(_LEFT + 4, _TOP - 8, "as honest machines", GOOD),
        words(_at(1) + 4, _TOP - 8, "further off", BAD),
    ]
    for power in range(-2, 5, 2):
        drawn.append(line(_at(10.0**power), high, high + 5, PALE))
        drawn.append(words(_at(10.0**power), high + 19, f"{10.0**power:g}", PALE, "middle"))
    drawn.append(words(_LEFT + _WIDTH / 2, high + 36, "times the edge of the band", PALE, "middle"))
    for number, part in enumerate(parts):
        y = _TOP + _ROW * number + _ROW / 2
        colour = _colour(part.finding)
        drawn.append(words(_LEFT - 10, y + 5, part.name, INK, "end"))
        if part.times is None:
            drawn.append(words(_LEFT + 6, y + 5, part.finding.value, colour))
            continue
        drawn.append(f'<line x1="{_LEFT}" y1="{y:g}" x2="{_LEFT + _WIDTH}" y2="{y:g}" stroke="{RULE}"/>')
        drawn.append(f'<circle cx="{_at(part.times):.1f}" cy="{y:g}" r="6" fill="{colour}"/>')
    return "".join([*drawn, "</svg>"])


def _at(times: float) -> float:
    share = math.log(min(max(times, _LEAST), _MOST) / _LEAST) / math.log(_MOST / _LEAST)
    return _LEFT + 8 + share * (_WIDTH - 16)


def _times(times: float | None) -> str:
    if times is None:
        return ""
    return "no number" if math.isinf(times) else f"{times:,.3g}" if times < 1000 else f"{times:,.0f}"


def _colour(finding: AuditFinding) -> str:
    return COLOURS.get(finding, UNSURE)
