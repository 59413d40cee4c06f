"""The page of ``crynux-validate report``: one file of HTML, with nothing in it that runs or loads."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import crynux_validate
from crynux_validate.cli import report_drawings
from crynux_validate.cli.ledger import when
from crynux_validate.cli.report_audits import audit_sentence, audits_of
from crynux_validate.cli.report_html import MEANING, STYLE, bullets, named, stranger, table
from crynux_validate.cli.report_members import distances_of, members_of, rates_of, values_of
from crynux_validate.errors import BrokenEvidenceError, MissingExtraError
from crynux_validate.frozen import thaw
from crynux_validate.judging import Verdict
from crynux_validate.ledger.evidence import Evidence, verify_evidence
from crynux_validate.shown import shown

if TYPE_CHECKING:
    from crynux_validate.calibration import Calibration
    from crynux_validate.cli.audit_told import ToldAudit
    from crynux_validate.cli.report_results import ShownResult
    from crynux_validate.ledger.interface import Event, Group

_KINDS: Final = {
    "fee": "share of the fee",
    "report": "pay for a truthful report of an invalid task",
    "refund": "goes back to the creator of the task",
    "no_quorum": "burnt, since no answer was delivered",
    "slash": "slash",
}


def page(
    ledger: str,
    group: "Group",
    events: "Sequence[Event]",
    head: Any,
    results: "Mapping[str, ShownResult]",
    calibration: "Calibration | None" = None,
    audits: "Mapping[str, Sequence[ToldAudit]] | None" = None,
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
    audits
        Of members' answers, as far as there are any.
    """
    verdict = group.verdict
    if verdict is None:
        raise ValueError(f"{group.id} has no verdict")  # the command has refused it
    parts = [
        _summary(ledger, group, verdict, audits or {}),
        _asked(group),
        members_of(group, verdict, results),
        distances_of(group, verdict),
        values_of(group, verdict),
        "" if calibration is None else rates_of(group, verdict, calibration),
        audits_of(audits or {}),
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
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _summary(ledger: str, group: "Group", verdict: Verdict, audits: "Mapping[str, Sequence[ToldAudit]]") -> str:
    lines = []
    for node, finding in verdict.findings.items():
        lost = sum(moved.amount for moved in group.transfers if moved.source == node and moved.why == "slash")
        slash = f", and lost <b>{lost}</b> of its stake" if lost else ""
        audit = audit_sentence(audits.get(node, ()))
        lines.append(f"<li><b>{shown(node)}</b>: {named(finding)}, {MEANING[finding]}{slash}.{audit}</li>")
    return (
        f"<h1>{shown(group.id)}: {verdict.outcome.value}</h1>"
        f'<p class="pale">A report about one group of the ledger {stranger(ledger)}, for whoever must decide whether '
        "its verdict was right. All amounts are in the smallest unit of the ledger.</p>"
        f"<ul>{''.join(lines)}</ul>"
    )


def _asked(group: "Group") -> str:
    rows = [("asked by", stranger(group.creator)), ("fee", str(group.fee))]
    rows.append(("digest of the task", f"<code>{group.task.digest}</code>"))
    for name, value in group.task.to_dict().items():
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append((shown(name), stranger(written)))
    return f"<h2>What was asked</h2>{table((), rows)}"


def _what_happened(group: "Group", events: "Sequence[Event]") -> str:
    rows = []
    for event in events:
        action = thaw(event.payload["action"])
        node = action.get("node")
        again = " (second round)" if action.get("round") == 2 else ""
        words = {
            "open_group": f"the group opened, with {len(group.pool)} candidates",
            "draw": f"{len(group.members)} members were drawn, by round {group.beacon_round} of the beacon",
            "commit": f"{stranger(node)} committed to an answer{again}",
            "reveal": f"{stranger(node)} revealed its answer{again}",
            "settle": "the group was judged and paid",
        }[event.kind]
        rows.append((when(event.time), f"+{event.time - group.opened} s", words, str(event.seq)))
    late = []
    for number, one in enumerate(group.rounds, 1):
        what = f"round {number}: " if len(group.rounds) > 1 else ""
        late.append(f"{what}commitments until +{one.commit_deadline - group.opened} s, ")
        late.append(f"answers until +{one.reveal_deadline - group.opened} s. ")
    deadlines = f'<p class="pale">Deadlines: {"".join(late)}</p>'
    return f"<h2>What happened when</h2>{table(('time', 'after', 'what', 'event'), rows)}{deadlines}"


def _money(group: "Group") -> str:
    rows = []
    for moved in group.transfers:
        target = "burnt" if moved.target is None else stranger(moved.target)
        rows.append((stranger(moved.source), target, str(moved.amount), _KINDS.get(moved.why, shown(moved.why))))
    policy = group.policy
    bound = (
        "A slash has no bound."
        if policy.slash_per_fee is None
        else f"A slash takes at most {policy.slash_per_fee * (group.fee // policy.group_size)}: {policy.slash_per_fee} "
        "times a member's share of the fee (rule L4)."
    )
    head = ("from", "to", "amount", "what")
    return f"<h2>The money</h2>{table(head, rows) if rows else '<p>No money moved.</p>'}<p>{bound}</p>"


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
        parts.append(bullets(line for line in one.shown if line not in said))
        if others := [line for line in one.rests_on if line not in believed]:
            parts.append(f"<p>Not shown by the evidence:</p>{bullets(others)}")
    parts.append(f"<h3>Shown for each of them</h3>{bullets(line for line in first.shown if line in said)}")
    parts.append("<h3>Not shown by the evidence, for each of them</h3>")
    parts.append(bullets(line for line in first.rests_on if line in believed))
    return "".join(parts)


def _foot(ledger: str, head: Any) -> str:
    return (
        f'<p class="pale">Made by crynux-validate {crynux_validate.__version__} when the log of {stranger(ledger)} '
        f"ended with event {head.seq}, digest <code>{head.digest}</code>. `crynux-validate ledger verify` checks the "
        "log; `crynux-validate ledger evidence` writes the evidence of one member, which anybody can check.</p>"
    )
