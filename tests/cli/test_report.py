"""``crynux-validate report``, as somebody who decides a dispute calls it."""

import html
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")
pytest.importorskip("PIL", reason="needs the extra 'hash'")

import numpy as np
from PIL import Image

import crynux_validate as cv
from crynux_validate.audits import AuditFinding
from crynux_validate.audits.image import Along, Errors, ImageAudit, PartAudit, judge_step, judge_together
from crynux_validate.audits.image_bands import PREDICTION, Band, MeanSpread, Spread
from crynux_validate.audits.layout import Content, Leaf
from crynux_validate.cli import main
from crynux_validate.cli.audit_told import MAX_AUDIT_BYTES, told_audit
from crynux_validate.cli.report_page import page
from crynux_validate.shown import shown
from crynux_validate.testing import ManualClock
from tests.audits.making import TASK, random_trace

HOSTILE = "<script>alert(1)</script>\u202egnp.txe\x1b[31m\n\"'&"
GPU = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)


def pictures() -> dict[str, Image.Image]:
    real = Image.radial_gradient("L").rotate(30).resize((128, 128)).convert("RGB")
    noisy = real.point(lambda value: min(255, value + 2))
    cheat = Image.linear_gradient("L").rotate(70).resize((128, 128)).convert("RGB")
    return {"honest": real, "other card": noisy, "cheat": cheat}


class Dispute:
    """A ledger in a file, with a settled group in which one member handed in another picture."""

    def __init__(self, folder: Path, task: cv.ImageTask | None = None) -> None:
        self.file = folder / "ledger.db"
        self.clock = ManualClock(1_000_000)
        self.folder = folder
        self.task = task or cv.ImageTask(model=cv.ModelRef("a/b", revision="0" * 40), prompt=HOSTILE)
        self.ledger = cv.SqlLedger(
            f"sqlite:///{self.file}",
            cv.Policy(min_stake=400),
            clock=self.clock,
            beacon=cv.ledger.LocalBeacon(b"secret"),
            ledger_id="disputed",
        )
        for number in range(4):
            self.ledger.deposit(f"owner-{number}", 1_000)
            self.ledger.join(f"node-{number}", owner=f"owner-{number}", gpu=GPU, stake=1_000)
        self.ledger.deposit("<img/src=x>", 1_000)
        opened = self.ledger.open_group(self.task, creator="<img/src=x>", fee=90)
        self.clock.advance(1)
        self.group = self.ledger.draw(opened.id)

    def answer(self, *answers: cv.answers.Answer) -> None:
        openings = {}
        for node, answer in zip(self.group.members, answers, strict=True):
            openings[node] = cv.Opening.of(answer)
            self.clock.advance(2)
            commitment = openings[node].commitment(self.group.draw_digest, node=node)
            self.ledger.commit(self.group.id, node, commitment)
        for node, opening in openings.items():
            self.clock.advance(1)
            self.ledger.reveal(self.group.id, node, opening)
        self.ledger.settle(self.group.id)
        self.group = self.ledger.group(self.group.id)

    def save(self, node: str, image: Image.Image) -> Path:
        """A folder as `run` writes it."""
        folder = self.folder / node
        folder.mkdir()
        image.save(folder / "image-0.png")
        (folder / "task.json").write_bytes(self.task.canonical_bytes)
        (folder / "answer.bin").write_bytes(self.group.openings[node].answer_bytes)
        return folder


@pytest.fixture
def dispute(tmp_path: Path) -> Dispute:
    found = Dispute(tmp_path)
    found.answer(*(cv.ImageScore.from_images([image]) for image in pictures().values()))
    return found


def report(dispute: Dispute, *options: str) -> str:
    out = dispute.folder / "report.html"
    assert main(["report", str(dispute.file), dispute.group.id, "--out", str(out), *options]) == 0
    return out.read_text("utf-8")


class _Tags(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_says_what_the_ledger_says(dispute: Dispute) -> None:
    found = report(dispute)
    verdict = dispute.group.verdict
    assert verdict is not None
    for node, finding in verdict.findings.items():
        assert f"<b>{node}</b>: " in found
        assert finding.value in found
    slash = next(moved for moved in dispute.group.transfers if moved.why == "slash")
    assert f"lost <b>{slash.amount}</b> of its stake" in found
    for moved in dispute.group.transfers:
        assert f"<td>{moved.amount}</td>" in found
    for node in dispute.group.members:
        answer = dispute.group.first_answer(node)
        assert isinstance(answer, cv.ImageScore)
        assert answer.hex in found
        assert f"{node} is {verdict.findings[node].value}: this holds" in found
    assert found.count("committed to an answer</td>") == found.count("revealed its answer</td>") == 3
    assert dispute.ledger.head().digest in found
    assert found == report(dispute), "the same ledger gives the same page"


def test_nothing_in_it_runs_or_loads(dispute: Dispute) -> None:
    folder = dispute.save(dispute.group.members[0], pictures()["honest"])
    found = report(dispute, "--result", f"{dispute.group.members[0]}={folder}")
    seen = _Tags(found)
    assert not seen.open
    allowed = {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "ul", "li", "b", "span", "code", "pre",
        "div", "table", "tr", "th", "td", "img", "svg", "rect", "line", "text", "circle", "polyline",
    }  # fmt: skip
    assert {tag for tag, _ in seen.tags} <= allowed
    for tag, attributes in seen.tags:
        assert not {name for name in attributes if name.startswith("on") or name == "href"}, tag
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/png;base64,")
    assert "default-src 'none'" in found
    assert "url(" not in found


def test_strangers_cannot_write_into_it(dispute: Dispute) -> None:
    found = report(dispute)
    assert html.escape("<script>alert(1)</script>") in found
    for character in ("\u202e", "\x1b", "<script", "<img/"):
        assert character not in found
    assert "\\u{202e}gnp" in found, "a character that turns others around is shown as its code"


def test_results_are_shown_and_compared(dispute: Dispute) -> None:
    honest, _, cheat = dispute.group.members
    right, wrong = dispute.save(honest, pictures()["honest"]), dispute.save(cheat, pictures()["honest"])
    found = report(dispute, "--result", f"{honest}={right}", "--result", f"{cheat}={wrong}")
    assert f"the pixels have the digest that {honest} bound itself to" in found
    assert f"the pixels have another digest than the one that {cheat} bound itself to" in found
    assert found.count("<img ") == 2
    (right / "answer.bin").write_bytes((wrong / "answer.bin").read_bytes())
    assert f"answer.bin is another answer than {honest} revealed" in report(dispute, "--result", f"{honest}={right}")


def test_evidence_that_does_not_hold_is_said(dispute: Dispute) -> None:
    group = dispute.group
    verdict = group.verdict
    assert verdict is not None
    cheat = group.members[2]
    forged = replace(group, verdict=replace(verdict, findings={**verdict.findings, cheat: cv.Finding.VALID}))
    told = page("disputed", forged, [], dispute.ledger.head(), {})
    assert f"{cheat}: does not hold" in told
    assert "this holds" not in told.split(cheat)[-1]


def calibrated(folder: Path) -> Path:
    """A calibration of two kinds that differ by a few bits, and of pictures that have nothing in common."""
    pytest.importorskip("scipy", reason="needs the extra 'calibration'")
    from crynux_validate.calibration import Sample, Samples

    rng = np.random.default_rng(7)
    rows = []
    for number in range(40):
        own = int.from_bytes(rng.bytes(8), "big")
        bits = {"RTX 4090": own, "H100": own ^ (1 << number % 64)}
        bits["cheat"] = own ^ 0b1111
        rows += [
            Sample("H100" if kind == "cheat" else kind, f"task-{number}", role, "phash/1", f"{found:016x}", model="sd")
            for (kind, found), role in zip(bits.items(), ("honest", "honest", "cheat:half-steps"), strict=True)
        ]
        rows.append(Sample("", f"photo-{number}", "unrelated", "phash/1", rng.bytes(8)))
    file = folder / "calibration.json"
    cv.calibrate(Samples.of(rows)).save(file)
    return file


def test_a_calibration_says_how_likely_the_distances_are(dispute: Dispute) -> None:
    file = calibrated(dispute.folder)
    found = report(dispute, "--calibration", str(file))
    rates = cv.Calibration.load(file).rates(34).pairs
    assert dispute.group.verdict is not None
    assert 34 in dispute.group.verdict.distances.values()
    assert f"<td>34</td><td>at most {rates.honest.reject.high:.2g}</td>" in found
    assert "half-steps: nearer than this" in found
    assert not _Tags(found).open
    assert "and the calibration is of sd: its rates need not hold here" in found
    assert "How likely such distances are" not in report(dispute)


def test_a_calibration_of_another_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = cv.ImageTask(model=cv.ModelRef("a/b", revision="0" * 40), prompt="x", algorithm="phash-go/1")
    dispute = Dispute(tmp_path, task)
    dispute.answer(*(cv.ImageScore.from_images([image], "phash-go/1") for image in pictures().values()))
    out, file = str(tmp_path / "a.html"), str(calibrated(tmp_path))
    assert main(["report", str(dispute.file), dispute.group.id, "--out", out, "--calibration", file]) == 2
    assert "made with algorithm phash/1, not 'phash-go/1'" in capsys.readouterr().err


def test_every_kind_of_member(tmp_path: Path) -> None:
    dispute = Dispute(tmp_path)
    score = cv.ImageScore.from_images([pictures()["honest"]])
    dispute.answer(score, score, cv.ErrorReport("failed", HOSTILE[:40]))
    found = report(dispute)
    assert "Error report, code" in found
    assert "no distance" in found
    assert not _Tags(found).open


def test_text(tmp_path: Path) -> None:
    assert shown("a\nb") == "a\nb"
    assert shown("\u2066x\x00<") == "\\u{2066}x\\u{0}&lt;"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["group-9"], "group-9"),
        (["{group}", "--out", "report.pdf"], "report.pdf; expected the name of an HTML file"),
        (["{group}", "--out", "no/such/folder/report.html"], "cannot write no/such/folder/report.html"),
        (["{group}", "--result", "node-1"], "expected NODE=DIR"),
        (["{group}", "--result", "nobody=."], "names nobody, which is no member"),
        (["{group}", "--result", "{member}=."], "has no answer.bin"),
        (["{group}", "--audit", "node-1"], "expected NODE=FILE"),
        (["{group}", "--audit", "nobody=x"], "--audit names nobody, which is no member"),
        (["{group}", "--audit", "{member}=none.json"], "cannot read"),
        (["{group}", "--result", "{member}=a", "--result", "{member}=b"], "names a member twice"),
    ],
)
def test_bad_input(
    options: list[str], expected: str, dispute: Dispute, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(dispute.folder)
    filled = [text.format(group=dispute.group.id, member=dispute.group.members[0]) for text in options]
    out = [] if "--out" in filled else ["--out", "report.html"]
    assert main(["report", str(dispute.file), *filled, *out]) == 2
    assert expected in capsys.readouterr().err
    assert not list(dispute.folder.glob("report.*"))


def test_a_group_that_is_not_settled_and_a_file_that_is_no_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dispute = Dispute(tmp_path)
    assert main(["report", str(dispute.file), dispute.group.id, "--out", str(tmp_path / "a.html")]) == 2
    assert "is DRAWN; a report is of a settled group" in capsys.readouterr().err
    other = tmp_path / "other.db"
    other.write_text(json.dumps({}))
    assert main(["report", str(other), "group-1", "--out", str(tmp_path / "a.html")]) == 2
    assert "other.db" in capsys.readouterr().err


def test_a_folder_of_another_task(dispute: Dispute, capsys: pytest.CaptureFixture[str]) -> None:
    node = dispute.group.members[0]
    folder = dispute.save(node, pictures()["honest"])
    (folder / "task.json").write_bytes(b"{}")
    out = str(dispute.folder / "a.html")
    assert main(["report", str(dispute.file), dispute.group.id, "--out", out, "--result", f"{node}={folder}"]) == 2
    assert "the result of another task" in capsys.readouterr().err


LIMIT = Spread(centre=0.0, between=1e-4, within=0.0, reach=1.0)
MEAN = MeanSpread(centre=0.0, cut=1.0, limits=((2, 1e-4),))
BAND = Band(dict.fromkeys((*PREDICTION, "latent"), LIMIT), dict.fromkeys(PREDICTION, MEAN))


def audited(dispute: Dispute, node: str) -> dict[str, Any]:
    """An audit's JSON, of a step that is off and of one that is not."""
    opening = dispute.group.openings[node]
    answer = cv.answers.answer_from_bytes(opening.answer_bytes)
    assert isinstance(answer, cv.ImageScore)
    honest = Errors(False, 5e-6, 5e-6, 1e-6, 0.0, Along(1e-6, 1e-5))
    cheat = Errors(False, 0.05, 0.05, 0.01, 1e-6, Along(-0.04, -0.2), Along(0.01, 0.1))
    steps = (judge_step(3, honest, BAND), judge_step(17, cheat, BAND))
    together = judge_together((honest, cheat), BAND)
    first, picture = PartAudit(AuditFinding.MATCH, 0.0, times=0.0), PartAudit(AuditFinding.NOISE, 0.01, "", 1, 1 / 3)
    found = ImageAudit(dispute.task, answer, 0, steps, together, first, picture, "no kinds were named")
    written: dict[str, Any] = json.loads(json.dumps(found.to_dict()))
    return written


def audit_file(dispute: Dispute, value: object, name: str = "audit.json") -> str:
    file = dispute.folder / name
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(file)


def test_an_audit_is_shown(dispute: Dispute) -> None:
    cheat = dispute.group.members[1]
    found = report(dispute, "--audit", f"{cheat}={audit_file(dispute, audited(dispute, cheat))}")
    assert f"<b>{cheat}</b>: " in found
    assert re.search(rf"<b>{cheat}</b>.*An audit of its answer says <span[^>]*>CHEAT</span>", found)
    for part in ("first latent", "step 3", "step 17", "picture"):
        assert found.count(f">{part}<") == 2, "in the drawing and in the table"
    assert "steps together" not in found, "where one step is outside, the mean says less than that step"
    assert "<td>500</td>" in found, "0.05 is 500 times 1e-4, and -0.04 along guidance is 400 times"
    assert "<td>0.333</td>" in found
    assert "Uncalibrated" in found
    assert not _Tags(found).open
    assert "<h2>Audits</h2>" not in report(dispute)


def test_small_errors_that_steps_share_are_shown(dispute: Dispute) -> None:
    value = audited(dispute, dispute.group.members[0])
    value["steps"][1].update(finding="NOISE", times=0.9)
    value["finding"] = value["together"]["finding"]
    found = report(dispute, "--audit", f"{dispute.group.members[0]}={audit_file(dispute, value)}")
    assert found.count(">2 steps together<") == 2


def test_an_audit_beside_a_result_is_shown(dispute: Dispute) -> None:
    node = dispute.group.members[0]
    folder = dispute.save(node, pictures()["honest"])
    value = audited(dispute, node)
    (folder / "audit-0.json").write_text(json.dumps(value))
    assert "image 0: <span" in report(dispute, "--result", f"{node}={folder}")


def test_strangers_cannot_write_into_an_audit(dispute: Dispute) -> None:
    node = dispute.group.members[0]
    value = audited(dispute, node)
    value["steps"][1]["reason"] = value["picture"]["reason"] = HOSTILE
    found = report(dispute, "--audit", f"{node}={audit_file(dispute, value)}")
    for character in ("\u202e", "\x1b", "<script", "<img/"):
        assert character not in found
    assert not _Tags(found).open


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda _: "no JSON", "audit.json is not JSON"),
        (lambda _: [], "is no audit"),
        (lambda _: {}, "is no audit"),
        (lambda value: value | {"steps": "x"}, "is no audit"),
        (lambda value: value | {"steps": [3]}, "is no audit"),
        (lambda value: value | {"steps": [value["steps"][0] | {"step": "<b>"}]}, "a step has no number"),
        (lambda value: value | {"steps": [value["steps"][0] | {"times": "1"}]}, "is no number"),
        (lambda value: value | {"together": value["together"] | {"steps": "<b>"}}, "have no number"),
        (lambda value: value | {"finding": "FINE"}, "is no audit"),
        (lambda value: value | {"calibrated": 1}, "calibrated is neither true nor false"),
        (lambda value: value | {"image": "0"}, "image is no number"),
        (lambda value: value | {"answer": "x"}, "is no audit"),
        (lambda value: value | {"answer": None}, "is no audit"),
        (lambda value: value | {"finding": "NOISE"}, "says NOISE, and CHEAT of its step 17"),
        (lambda value: value | {"task_digest": "0" * 64}, "audits another task than group-1 has"),
        (lambda value: value | {"answer": value["answer"][:-2] + "00"}, "audits another answer than"),
        (lambda _: " " * MAX_AUDIT_BYTES + "{}", "is larger than"),
    ],
)
def test_what_is_no_audit_of_the_group(
    spoil: Callable[[Any], Any], expected: str, dispute: Dispute, capsys: pytest.CaptureFixture[str]
) -> None:
    node, out = dispute.group.members[1], str(dispute.folder / "a.html")
    file = audit_file(dispute, spoil(audited(dispute, node)))
    assert main(["report", str(dispute.file), dispute.group.id, "--out", out, "--audit", f"{node}={file}"]) == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not Path(out).exists()


def test_an_audit_of_a_text_is_told() -> None:
    task = cv.TextTask(model=cv.ModelRef("a/b", revision="0" * 40), prompt="x")
    answer = cv.TextScore.from_tokens([[1, 2]])
    audit = cv.audits.TextAudit(task, answer, AuditFinding.CHEAT, "too odd", "", 3, 40, 2, 9.0, 4.5)
    found = told_audit(json.loads(json.dumps(audit.to_dict())))
    assert (found.task, found.answer, found.finding) == (task.digest, answer.to_bytes(), AuditFinding.CHEAT)
    (part,) = found.parts
    assert (part.name, part.times, part.reason) == ("tokens, 3 of 40", 2.0, "too odd")
    nothing = cv.audits.TextAudit(task, answer, AuditFinding.INCOMPARABLE, "beams", "beams", 0, 40, 0, 0.0, 0.0)
    assert told_audit(nothing.to_dict()).parts[0].times is None


def test_what_has_no_number_is_infinitely_far() -> None:
    """JSON has no infinite number, and an image audit writes null."""
    wild = judge_step(0, Errors(False, math.inf, math.inf, math.inf, 0.0), BAND)
    first, hidden = (
        PartAudit(AuditFinding.MATCH, 0.0, times=0.0),
        PartAudit(AuditFinding.INCOMPARABLE, None, "not shown"),
    )
    score = cv.ImageScore(bytes(8), bytes(32))
    found = ImageAudit(TASK, score, 0, (wild,), None, first, hidden)
    assert [part.times for part in told_audit(found.to_dict()).parts] == [0.0, math.inf, None]
    without = ImageAudit(TASK, score, 0, (judge_step(0, wild.errors, None),), None, first, hidden, "no band")
    assert [part.times for part in told_audit(without.to_dict()).parts] == [0.0, None, None]


def test_pixels_that_a_trace_binds(tmp_path: Path) -> None:
    trace = random_trace(TASK)
    images = [
        Image.frombytes("RGB", (64, 64), trace.prove(at, [0]).contents[Leaf(at, Content.PIXELS, TASK.steps)])
        for at in (0, 1)
    ]
    dispute = Dispute(tmp_path, TASK)
    score = replace(cv.ImageScore.from_images(images), result_digest=trace.root)
    dispute.answer(score, score, score)
    node = dispute.group.members[0]
    folder = dispute.save(node, images[0])
    images[1].save(folder / "image-1.png")
    option = ("--result", f"{node}={folder}")
    assert "there is no trace.bin" in report(dispute, *option)
    trace.save(folder / "trace.bin")
    assert f"the pixels are those in the trace that {node} bound itself to" in report(dispute, *option)
    images[0].save(folder / "image-1.png")
    assert "the pixels are others than those in the trace" in report(dispute, *option)
    random_trace(TASK, seed=2).save(folder / "trace.bin")
    assert f"the trace is another than the one that {node} bound itself to" in report(dispute, *option)


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to render the page with")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_renders_it(dispute: Dispute, width: int) -> None:
    node = dispute.group.members[0]
    audit = f"{node}={audit_file(dispute, audited(dispute, node))}"
    report(dispute, "--result", f"{node}={dispute.save(node, pictures()['honest'])}", "--audit", audit)
    picture = dispute.folder / "page.png"
    ran = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={dispute.folder / 'browser'}", f"--window-size={width},4000",
            f"--screenshot={picture}", (dispute.folder / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert picture.is_file(), ran.stderr
    with Image.open(picture) as image:
        colours = {name for _, name in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x2F, 0x4D, 0x7A), (0xC0, 0x26, 0x2D), (0xEA, 0xF5, 0xEE)} <= colours, "bits, a slash, the drawing"
    assert not re.search(r"Refused to|Content Security Policy", ran.stderr)
