"""The page of ``crynux-validate report``: one file of HTML, with nothing in it that runs or loads."""

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import crynux_validate
from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import ErrorReport, ImageScore, TextScore
from crynux_validate.cli import report_drawings
from crynux_validate.cli.ledger import when
from crynux_validate.errors import BrokenEvidenceError, MissingExtraError
from crynux_validate.frozen import thaw
from crynux_validate.judging import Absent, Finding, Malformed, Member, Verdict, Withheld
from crynux_validate.ledger.evidence import Evidence, verify_evidence
from crynux_validate.tasks import ImageTask

if TYPE_CHECKING:
    from crynux_validate.calibration import Calibration
    from crynux_validate.cli.report_results import ShownResult
    from crynux_validate.ledger.interface import Event, Group

_COLOURS: Final = {
    Finding.VALID: report_drawings.GOOD,
    Finding.INVALID: report_drawings.BAD,
    Finding.WITHHELD: report_drawings.BAD,
}
_MEANING: Final = {
    Finding.VALID: "agrees with most of the group: paid",
    Finding.INVALID: "does not agree, and is far enough away: slashed",
    Finding.BORDERLINE: "neither close enough for pay nor far enough for a slash",
    Finding.UNDECIDED: "most of the group agreed on nothing: nobody is slashed",
    Finding.ERROR: "reported an error",
    Finding.ABSENT: "handed in nothing",
    Finding.WITHHELD: "committed to an answer and did not reveal it: slashed",
}
_KINDS: Final = {
    "fee": "share of the fee",
    "report": "pay for a truthful report of an invalid task",
    "refund": "goes back to whoever asked",
    "no_quorum": "burnt, since no answer was delivered",
    "slash": "slash",
}
_INVISIBLE: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that do not show, or change how others show."""

_STYLE: Final = """
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1c2430; }
body { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 2px solid #d5dae1; }
p, li { max-width: 48rem; }
.scroll { overflow-x: auto; }
.scroll table { min-width: 30rem; }
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
svg.bits { width: 10rem; max-width: 100%; height: auto; display: block; margin: .5rem 0; }
.pale { color: #5b6675; }
@media print { body { padding: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def page(
    ledger: str,
    group: "Group",
    events: "Sequence[Event]",
    head: Any,
    results: "Mapping[str, ShownResult]",
    calibration: "Calibration | None" = None,
) -> str:
    """Return the page about a settled group.

    Everything that a stranger wrote is escaped, and characters that do not show are written as their codes.

    Parameters
    ----------
    ledger
        Its id.
    group
        Settled.
    events
        Those of the log that are of this group.
    head
        Where the log ends now: ``seq`` and ``digest``.
    results
        Results of members, as far as there are any.
    calibration
        Of the same hash and number of images, if there is one.
    """
    verdict = group.verdict
    if verdict is None:
        raise ValueError(f"{group.id} has no verdict")  # the command has refused it
    parts = [
        _summary(ledger, group, verdict),
        _asked(group),
        _members(group, verdict, results),
        _distances(group, verdict),
        "" if calibration is None else _rates(group, verdict, calibration),
        _what_happened(group, events),
        _money(group),
        _evidence(ledger, group),
        _foot(ledger, head),
    ]
    title = f"{shown(group.id)} of ledger {shown(ledger)}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def shown(text: object) -> str:
    """Return a text for a page: escaped, and characters that do not show as their codes."""
    visible = "".join(
        f"\\u{{{ord(char):x}}}" if char != "\n" and unicodedata.category(char) in _INVISIBLE else char
        for char in str(text)
    )
    return escape(visible)


def _stranger(text: object) -> str:
    """What a stranger wrote."""
    return f'<span class="stranger">{shown(text)}</span>'


def _summary(ledger: str, group: "Group", verdict: Verdict) -> str:
    lines = []
    for node, finding in verdict.findings.items():
        lost = sum(moved.amount for moved in group.transfers if moved.source == node and moved.why == "slash")
        slash = f", and lost <b>{lost}</b> of its stake" if lost else ""
        lines.append(f"<li><b>{shown(node)}</b>: {_finding(finding)}, {_MEANING[finding]}{slash}.</li>")
    return (
        f"<h1>{shown(group.id)}: {verdict.outcome.value}</h1>"
        f'<p class="pale">A report about one group of the ledger {_stranger(ledger)}, for whoever must decide whether '
        "its verdict was right. All amounts are in the smallest unit of the ledger.</p>"
        f"<ul>{''.join(lines)}</ul>"
    )


def _asked(group: "Group") -> str:
    rows = [("asked by", _stranger(group.creator)), ("fee", str(group.fee))]
    rows.append(("digest of the task", f"<code>{group.task.digest}</code>"))
    for name, value in group.task.to_dict().items():
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append((shown(name), _stranger(written)))
    return f"<h2>What was asked</h2>{_table((), rows)}"


def _members(group: "Group", verdict: Verdict, results: "Mapping[str, ShownResult]") -> str:
    delivered = verdict.delivered_score
    cards = []
    for node in group.members:
        answer, finding = group.first_answer(node), verdict.findings[node]
        parts = [f"<h3>{shown(node)}</h3><p>{_finding(finding)}, {_MEANING[finding]}.</p>"]
        if node == group.delivered_by:
            parts.append("<p>Its result is the one that was delivered.</p>")
        parts.append(_answer(answer, delivered if isinstance(delivered, ImageScore) else None))
        if len(group.rounds) > 1 and node in group.asked(2):
            parts.append(f"<p>In the second round: {_stranger(group.second_answer(node))}.</p>")
        if node in results:
            parts.append(_result(results[node]))
        cards.append(f'<div class="member" style="border-color: {_colour(finding)}">{"".join(parts)}</div>')
    words = (
        "<p>Each square is one bit of a hash. A red frame: the bit differs from that of the delivered hash.</p>"
        if isinstance(group.task, ImageTask)
        else "<p>Answers to a text task agree where they are equal.</p>"
    )
    return f'<h2>Who answered what</h2>{words}<div class="members">{"".join(cards)}</div>'


def _answer(answer: Member, delivered: ImageScore | None) -> str:
    match answer:
        case ImageScore():
            parts = []
            for at, own in enumerate(answer.blocks):
                other = delivered.blocks[at] if delivered and at < len(delivered.blocks) else None
                apart = "" if other is None else f", {(own ^ other).bit_count()} bits from the delivered one"
                plain = ", too plain to tell from others" if at in answer.degenerate else ""
                parts.append(report_drawings.bits(own, other))
                parts.append(f"<p>image {at}: <code>{own:016x}</code>{apart}{plain}</p>")
            return f"<p>{shown(answer.algorithm)}</p>{''.join(parts)}"
        case TextScore():
            return f"<p>{shown(answer.algorithm)}: <code>{shown(answer.hex)}</code></p>"
        case ErrorReport():
            return f"<p>Error report, code {_stranger(answer.code)}: {_stranger(answer.message)}</p>"
        case Malformed():
            return f"<p>An answer that breaks the rules: {_stranger(answer)}</p>"
        case Absent():
            return "<p>It committed to nothing.</p>"
        case Withheld():
            return "<p>It committed to an answer and did not reveal it.</p>"


def _result(result: "ShownResult") -> str:
    colour = {True: report_drawings.GOOD, False: report_drawings.BAD, None: report_drawings.UNSURE}[result.fits]
    pictures = "".join(f'<img src="{address}" alt="a picture of this result">' for address in result.pictures)
    texts = "".join(f"<pre>{shown(text)}</pre>" for text in result.texts)
    return f'<p style="color: {colour}">Result on hand: {shown(result.why)}.</p>{pictures}{texts}'


def _distances(group: "Group", verdict: Verdict) -> str:
    rule = group.policy.rule_for(group.task)
    if not isinstance(group.task, ImageTask):
        return ""
    if verdict.delivered_score is None:
        return "<h2>How far apart the answers are</h2><p>No answer was delivered, so nothing is measured from it.</p>"
    rows = [
        (
            shown(node if len(node) <= 18 else f"{node[:17]}…"),
            verdict.distances.get(node),
            _colour(verdict.findings[node]),
        )
        for node in group.members
    ]
    checker = (
        " The task has a safety checker, which replaces pictures by a blank one; nobody is slashed for a blank picture."
        if rule.safety_checker
        else ""
    )
    return (
        "<h2>How far apart the answers are</h2>"
        f'<div class="scroll">{report_drawings.distances(rows, rule.threshold, rule.slashes_from)}</div>'
        f"<p>Fewer than {rule.threshold} bits count as the same picture. A slash needs {rule.slashes_from} bits or "
        f"more, and that no chain of answers links the two (rule J2).{checker} With several images the largest "
        "distance counts.</p>"
    )


def _rates(group: "Group", verdict: Verdict, calibration: "Calibration") -> str:
    """How often honest machines and cheats are as far apart as the members."""
    rule = group.policy.rule_for(group.task)
    curves = [("honest", calibration.pairs["honest"].passing)]
    curves += [(name, found.passing) for name, found in calibration.pairs.items() if name != "honest"]
    names = [name for name, _ in curves[1:]]
    rows = []
    for node, distance in verdict.distances.items():
        farther = calibration.rates(distance).pairs.honest.reject if distance else None
        nearer = calibration.rates(min(HASH_BITS, distance + 1)).pairs.cheats
        honest = "all" if farther is None else f"at most {farther.high:.2g}"
        rows.append(
            (shown(node), str(distance), honest, *(f"at most {nearer[name].accept.high:.2g}" for name in names))
        )
    head = ("member", "bits", "honest, as far or farther", *(f"{name}, as near or nearer" for name in names))
    members = [(_short(node), distance) for node, distance in verdict.distances.items()]
    drawn = report_drawings.rates(calibration.thresholds, curves, members, rule.threshold, rule.slashes_from)
    pictures = ", ".join(f"{shown(name)} {count}" for name, count in calibration.pictures.items())
    notes = [*calibration.warnings]
    if isinstance(group.task, ImageTask) and (model := str(group.task.model)) not in calibration.models:
        notes.insert(
            0,
            f"This task asks for the model {model}, and the calibration is of {', '.join(calibration.models)}: its"
            " rates need not hold here.",
        )
    warnings = _list(notes) if notes else ""
    return (
        "<h2>How likely such distances are</h2>"
        f"<p>From a calibration of {len(calibration.kinds)} kinds of machines; pictures: {pictures}. Shares of pairs "
        f"of answers, each the upper end of its interval at a confidence of {calibration.confidence:g}. They say how "
        "often a distance is seen, not how likely it is that a member cheated.</p>"
        f'{warnings}<div class="scroll">{drawn}</div>{_table(head, rows)}'
    )


def _what_happened(group: "Group", events: "Sequence[Event]") -> str:
    rows = []
    for event in events:
        action = thaw(event.payload["action"])
        node = action.get("node")
        again = " (second round)" if action.get("round") == 2 else ""
        words = {
            "open_group": f"the group opened, with {len(group.pool)} candidates",
            "draw": f"{len(group.members)} members were drawn, by round {group.beacon_round} of the beacon",
            "commit": f"{_stranger(node)} committed to an answer{again}",
            "reveal": f"{_stranger(node)} revealed its answer{again}",
            "settle": "the group was judged and paid",
        }[event.kind]
        rows.append((when(event.time), f"+{event.time - group.opened} s", words, str(event.seq)))
    late = []
    for number, one in enumerate(group.rounds, 1):
        what = f"round {number}: " if len(group.rounds) > 1 else ""
        late.append(f"{what}commitments until +{one.commit_deadline - group.opened} s, ")
        late.append(f"answers until +{one.reveal_deadline - group.opened} s. ")
    deadlines = f'<p class="pale">Deadlines: {"".join(late)}</p>'
    return f"<h2>What happened when</h2>{_table(('time', 'after', 'what', 'event'), rows)}{deadlines}"


def _money(group: "Group") -> str:
    rows = []
    for moved in group.transfers:
        target = "burnt" if moved.target is None else _stranger(moved.target)
        rows.append((_stranger(moved.source), target, str(moved.amount), _KINDS.get(moved.why, shown(moved.why))))
    policy = group.policy
    bound = (
        "A slash has no bound."
        if policy.slash_per_fee is None
        else f"A slash takes at most {policy.slash_per_fee * (group.fee // policy.group_size)}: {policy.slash_per_fee} "
        "times a member's share of the fee (rule L4)."
    )
    head = ("from", "to", "amount", "what")
    return f"<h2>The money</h2>{_table(head, rows) if rows else '<p>No money moved.</p>'}<p>{bound}</p>"


def _evidence(ledger: str, group: "Group") -> str:
    parts = [
        "<h2>The evidence</h2><p>What follows was computed again from the group's own record: the draw, the openings, "
        "the signatures, the verdict and the money.</p>"
    ]
    checked = {}
    for node in group.members:
        try:
            checked[node] = verify_evidence(Evidence(ledger, node, group))
        except (BrokenEvidenceError, MissingExtraError) as error:
            what = "does not hold" if isinstance(error, BrokenEvidenceError) else "could not be checked"
            parts.append(f'<h3 style="color: {report_drawings.BAD}">{shown(node)}: {what}</h3><p>{shown(error)}</p>')
    if not checked:
        return "".join(parts)
    first = next(iter(checked.values()))
    # Most sentences are the same for every member.
    said = {line for line in first.shown if all(line in one.shown for one in checked.values())}
    believed = {line for line in first.rests_on if all(line in one.rests_on for one in checked.values())}
    for node, one in checked.items():
        parts.append(f"<h3>{shown(node)} is {one.finding.value}: this holds</h3>")
        parts.append(_list(line for line in one.shown if line not in said))
        if others := [line for line in one.rests_on if line not in believed]:
            parts.append(f"<p>To be believed besides:</p>{_list(others)}")
    parts.append(f"<h3>Shown for each of them</h3>{_list(line for line in first.shown if line in said)}")
    parts.append(
        f"<h3>To be believed besides, for each of them</h3>{_list(line for line in first.rests_on if line in believed)}"
    )
    return "".join(parts)


def _foot(ledger: str, head: Any) -> str:
    return (
        f'<p class="pale">Made by crynux-validate {crynux_validate.__version__} when the log of {_stranger(ledger)} '
        f"ended with event {head.seq}, digest <code>{head.digest}</code>. `crynux-validate ledger verify` checks the "
        "log; `crynux-validate ledger evidence` writes the evidence of one member, which anybody can check.</p>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that may stand in a page."""
    top = f"<tr>{''.join(f'<th>{shown(name)}</th>' for name in head)}</tr>" if head else ""
    cell = "td" if head else "th"
    body = "".join(
        f"<tr><{cell}>{row[0]}</{cell}>{''.join(f'<td>{value}</td>' for value in row[1:])}</tr>" for row in rows
    )
    return f'<div class="scroll"><table>{top}{body}</table></div>'


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{shown(line)}</li>' for line in lines)}</ul>"


def _short(name: str) -> str:
    """A name that fits beside a drawing."""
    return name if len(name) <= 18 else f"{name[:17]}…"


def _finding(finding: Finding) -> str:
    return f'<span class="finding" style="color: {_colour(finding)}">{finding.value}</span>'


def _colour(finding: Finding) -> str:
    return _COLOURS.get(finding, report_drawings.UNSURE)
