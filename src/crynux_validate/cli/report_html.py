"""Pieces of a report's page."""

from collections.abc import Iterable, Sequence
from typing import Final

from crynux_validate.cli import report_drawings
from crynux_validate.judging import Finding
from crynux_validate.shown import shown

_COLOURS: Final = {
    Finding.VALID: report_drawings.GOOD,
    Finding.INVALID: report_drawings.BAD,
    Finding.WITHHELD: report_drawings.BAD,
}
MEANING: Final = {
    Finding.VALID: "agrees with most of the group: paid",
    Finding.INVALID: "does not agree, and is far enough away: slashed",
    Finding.BORDERLINE: "neither close enough for pay nor far enough for a slash",
    Finding.UNDECIDED: "most of the group agreed on nothing: nobody is slashed",
    Finding.ERROR: "reported an error",
    Finding.ABSENT: "submitted nothing",
    Finding.WITHHELD: "committed to an answer and did not reveal it: slashed",
}
STYLE: Final = """
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1c2430; }
body { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 2px solid #d5dae1; }
p, li { max-width: 48rem; }
.scroll { overflow-x: auto; }
.scroll table { min-width: 28rem; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
td:last-child, th:last-child { padding-right: 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid #e7ebf0; }
th { font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre, .stranger { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
pre, .stranger { white-space: pre-wrap; }
.stranger { background: #f4f6f9; padding: 0 .25em; border-radius: 3px; }
.finding { font-weight: 700; }
.members { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; }
.member { border: 2px solid #d5dae1; border-radius: 8px; padding: .8rem; break-inside: avoid; }
.member h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
.member img { max-width: 100%; display: block; margin: .5rem 0; }
svg.wide { width: 100%; min-width: 40rem; height: auto; font-family: system-ui, sans-serif; }
svg.small { width: 100%; min-width: 25rem; max-width: 40rem; height: auto; font-family: system-ui, sans-serif; }
svg.bits { width: 10rem; max-width: 100%; height: auto; display: block; margin: .5rem 0; }
.pale { color: #5b6675; }
@media print { body { padding: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def stranger(text: object) -> str:
    """Return text of others as HTML."""
    return f'<span class="stranger">{shown(text)}</span>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that may stand in a page."""
    top = f"<tr>{''.join(f'<th>{shown(name)}</th>' for name in head)}</tr>" if head else ""
    cell = "td" if head else "th"
    body = "".join(
        f"<tr><{cell}>{row[0]}</{cell}>{''.join(f'<td>{value}</td>' for value in row[1:])}</tr>" for row in rows
    )
    return f'<div class="scroll"><table>{top}{body}</table></div>'


def bullets(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{shown(line)}</li>' for line in lines)}</ul>"


def short(name: str) -> str:
    """A name that fits beside a drawing."""
    return name if len(name) <= 18 else f"{name[:17]}…"


def named(finding: Finding) -> str:
    return f'<span class="finding" style="color: {colour_of(finding)}">{finding.value}</span>'


def colour_of(finding: Finding) -> str:
    return _COLOURS.get(finding, report_drawings.UNSURE)
