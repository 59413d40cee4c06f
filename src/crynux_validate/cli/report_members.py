"""The members of a report: what each answered, how far apart they are, and how often that is seen."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import ErrorReport, ImageScore, TextScore
from crynux_validate.cli import report_drawings
from crynux_validate.cli.report_html import MEANING, bullets, colour_of, named, short, stranger, table
from crynux_validate.hashing.bands import BANDS, STEPS, VALUES
from crynux_validate.judging import Absent, Malformed, Member, TwoAnswers, Verdict, Withheld
from crynux_validate.keyed import FAR, KeyedScore, keyed_apart
from crynux_validate.shown import shown
from crynux_validate.tasks import ImageTask

if TYPE_CHECKING:
    from crynux_validate.calibration import Calibration
    from crynux_validate.cli.report_results import ShownResult
    from crynux_validate.ledger.interface import Group


def members_of(group: "Group", verdict: Verdict, results: "Mapping[str, ShownResult]") -> str:
    delivered = verdict.delivered_score
    cards = []
    for node in group.members:
        answer, finding = group.first_answer(node), verdict.findings[node]
        parts = [f"<h3>{shown(node)}</h3><p>{named(finding)}, {MEANING[finding]}.</p>"]
        if node == group.delivered_by:
            parts.append("<p>Its result is the one that was delivered.</p>")
        parts.append(_answer(answer, delivered if isinstance(delivered, ImageScore) else None))
        if len(group.rounds) > 1 and node in group.asked(2):
            parts.append(f"<p>In the second round: {stranger(group.second_answer(node))}.</p>")
        if node in results:
            parts.append(_result(results[node]))
        cards.append(f'<div class="member" style="border-color: {colour_of(finding)}">{"".join(parts)}</div>')
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
            return f"<p>Error report, code {stranger(answer.code)}: {stranger(answer.message)}</p>"
        case TwoAnswers():
            return f"{_answer(answer.first, delivered)}<p>Then {shown(answer.second)}.</p>"
        case Malformed():
            return f"<p>An answer that breaks the rules: {stranger(answer)}</p>"
        case Absent():
            return "<p>It committed to nothing.</p>"
        case Withheld():
            return "<p>It committed to an answer and did not reveal it.</p>"


def _result(result: "ShownResult") -> str:
    colour = {True: report_drawings.GOOD, False: report_drawings.BAD, None: report_drawings.UNSURE}[result.fits]
    pictures = "".join(f'<img src="{address}" alt="a picture of this result">' for address in result.pictures)
    texts = "".join(f"<pre>{shown(text)}</pre>" for text in result.texts)
    return f'<p style="color: {colour}">Result on hand: {shown(result.why)}.</p>{pictures}{texts}'


def distances_of(group: "Group", verdict: Verdict) -> str:
    rule = group.policy.rule_for(group.task)
    if not isinstance(group.task, ImageTask):
        return ""
    if verdict.delivered_score is None:
        return "<h2>How far apart the answers are</h2><p>No answer was delivered, so nothing is measured from it.</p>"
    rows = [
        (
            shown(short(node)),
            verdict.distances.get(node),
            colour_of(verdict.findings[node]),
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


def values_of(group: "Group", verdict: Verdict) -> str:
    """How far apart the keyed values of the second round are, band by band; empty where there are none."""
    limits = group.policy.rule_for(group.task).keyed_limits
    if limits is None:
        return ""
    seconds = {node: group.second_answer(node) for node in group.asked(2)}
    delivered = seconds.get(group.delivered_by or "")
    if not isinstance(delivered, KeyedScore):
        return "<h2>How far apart the values of the pictures are</h2><p>No answer was delivered to compare with.</p>"
    rows = []
    for node in group.members:
        second = seconds.get(node)
        apart = keyed_apart(second, delivered, limits) if isinstance(second, KeyedScore) else None
        rows.append((shown(short(node)), apart, colour_of(verdict.findings[node])))
    names = [band.name for band in BANDS[: len(limits)]]
    drawn = report_drawings.bands(rows, names, FAR**0.5)
    head = ("band", "limit, of the contrast", *(shown(short(node)) for node in group.members))
    table_rows = [
        (
            name,
            f"{(limit / VALUES) ** 0.5 / STEPS:.3f}",
            *("-" if apart is None else f"{apart[at]:.2f}" for _, apart, _ in rows),
        )
        for at, (name, limit) in enumerate(zip(names, limits, strict=True))
    ]
    return (
        "<h2>How far apart the values of the pictures are</h2>"
        f'<div class="scroll">{drawn}</div>'
        "<p>In the second round each member gave values of its picture under a seed that nobody knew before. A bar is "
        "the difference from the delivered picture in one band, the detail of one size of brightness (luma) or colour "
        "(chroma), in multiples of the policy's limit. Up to 1 in every band counts as the same picture, more than 2 "
        "in any is far enough for a slash (rule J7). With several images the largest difference counts.</p>"
        f"{table(head, table_rows)}"
    )


def rates_of(group: "Group", verdict: Verdict, calibration: "Calibration") -> str:
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
    members = [(short(node), distance) for node, distance in verdict.distances.items()]
    drawn = report_drawings.rates(calibration.thresholds, curves, members, rule.threshold, rule.slashes_from)
    pictures = ", ".join(f"{shown(name)} {count}" for name, count in calibration.pictures.items())
    notes = [*calibration.warnings]
    if isinstance(group.task, ImageTask) and (model := group.task.loads) not in calibration.models:
        notes.insert(
            0,
            f"This task asks for {model}, and the calibration is of {', '.join(calibration.models)}: its"
            " rates need not hold here.",
        )
    warnings = bullets(notes) if notes else ""
    return (
        "<h2>How likely such distances are</h2>"
        f"<p>From a calibration of {len(calibration.kinds)} kinds of machines; pictures: {pictures}. Shares of pairs "
        f"of answers, each the upper end of its interval at a confidence of {calibration.confidence:g}. They say how "
        "often a distance is seen, not how likely it is that a member cheated.</p>"
        f'{warnings}<div class="scroll">{drawn}</div>{table(head, rows)}'
    )
