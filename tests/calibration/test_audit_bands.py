"""Bands from audits of honest nodes: what they say, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

import crynux_validate as cv
from crynux_validate.audits import AuditBands, AuditFinding, TextAudit
from crynux_validate.audits.bands import installed, shipped_bands
from crynux_validate.audits.image import Along, Errors, ImageAudit, PartAudit, judge_step
from crynux_validate.calibration import calibrate_audits, read_audits
from crynux_validate.cli import main
from crynux_validate.errors import InvalidInputError

MODEL = cv.ModelRef("owner/model", revision="0" * 40)
MATCH = PartAudit(AuditFinding.MATCH, 0.0, times=0.0)
VERSIONS = {"torch": "2.13.0+cu130", "diffusers": "0.42.1", "transformers": "5.23.0"}


def image(number: int, larger: float = 1.0, **changes: Any) -> ImageAudit:
    """An audit of five steps of a node that is `larger` times as far off as an honest one."""
    rng = np.random.default_rng(number)
    settings: Any = {"dtype": "bfloat16", "binding": "trace", "steps": 20}
    task = cv.ImageTask(model=MODEL, prompt=f"picture {number}", seed=number, **settings)
    sizes = larger * (1 + 0.05 * rng.standard_normal(5))
    aside = 0.1 * rng.standard_normal((2, 5))
    steps = tuple(
        judge_step(at, Errors(False, 0.02, size, 0.27 * size, 0.0, Along(along, 0.0), Along(back, 0.0)), None)
        for at, size, along, back in zip((1, 4, 9, 13, 18), sizes, *aside, strict=True)
    )
    picture = PartAudit(AuditFinding.INCOMPARABLE, 0.1 + 0.01 * rng.random(), "other pixels", 1)
    fields: dict[str, Any] = {"kinds": (("l4", "t4", "a100")[number % 3], "h100"), "versions": VERSIONS, **changes}
    score = cv.ImageScore(bytes(8), bytes(32))
    return ImageAudit(task, score, 0, steps, None, MATCH, picture, "no band", **fields)


def text(number: int, larger: float = 1.0) -> TextAudit:
    """An audit of a whole text of 100 tokens."""
    rng = np.random.default_rng(number)
    task = cv.TextTask(model=MODEL, prompt=f"text {number}", seed=number, binding="top")
    margins = tuple((int(at), larger * 0.01 * rng.random()) for at in rng.choice(100, 2, replace=False))
    rows = tuple(float(one) for one in np.log(larger) - 4 + 0.3 * rng.standard_normal(32))
    answer = cv.TextScore.from_tokens([[1, 2]])
    return TextAudit(
        task, answer, AuditFinding.NOISE, "", "", 100, 100, 2, 0.01, 1.0, odd_margins=margins, row_logs=rows,
        kinds=(("l4", "t4")[number % 2], "h100"), versions=VERSIONS,
    )  # fmt: skip


HONEST = [image(number) for number in range(40)]
TEXTS = [text(number) for number in range(30)]
ALL: list[ImageAudit | TextAudit] = [*HONEST, *TEXTS]


@pytest.fixture(scope="module")
def bands() -> AuditBands:
    return calibrate_audits(ALL, made_from="cards that nobody has")


def test_a_band_says_what_it_was_made_from(bands: AuditBands) -> None:
    found = bands.images["bfloat16"]
    assert found.kinds == (("a100", "h100"), ("h100", "l4"), ("h100", "t4"))
    assert (found.pictures, found.steps, found.schedulers) == (40, 200, {"DDIMScheduler": 40})
    assert bands.versions["torch"] == "2.13.0", "without its build: a wheel for another CUDA computes alike"
    assert (bands.texts["bfloat16"].texts, bands.texts["bfloat16"].tokens) == (30, (100, 100))
    for rates in (found.rates, found.held_out, bands.texts["bfloat16"].rates, bands.texts["bfloat16"].held_out):
        assert rates is not None
        assert rates.accused == 0
        assert rates.accused_most >= 1 - 0.025 ** (1 / rates.things) - 1e-3, "0 of n is never 0"
    assert "0 of 2000 audits accused" in str(bands)


def test_bands_are_saved_and_read(bands: AuditBands, tmp_path: Path) -> None:
    bands.save(tmp_path / "bands.json")
    again = AuditBands.load(tmp_path / "bands.json")
    assert again.to_dict() == bands.to_dict()
    assert again == bands
    shipped_bands().save(tmp_path / "shipped.json")
    assert AuditBands.load(tmp_path / "shipped.json") == shipped_bands()


def test_a_band_judges_its_own_machines(bands: AuditBands) -> None:
    task, kinds = HONEST[0].task, ("t4", "h100")
    band = bands.for_image(task, kinds)
    assert band is not None
    here = installed()["torch"] == "2.13.0"
    assert (band.uncalibrated == "") == here
    assert {judge_step(0, step.errors, band).finding for audit in HONEST for step in audit.steps} == {
        AuditFinding.NOISE
    }
    assert judge_step(0, image(3, larger=3.0).steps[0].errors, band).finding is AuditFinding.CHEAT
    other = bands.for_image(task, ("v100", "h100"))
    assert other is not None
    assert "no band was made from v100 with h100" in other.uncalibrated


def test_files_of_nodes_give_the_same_bands(bands: AuditBands, tmp_path: Path) -> None:
    lines = [json.dumps(audit.to_dict()) for audit in HONEST[:20]]
    (tmp_path / "audits.jsonl").write_text("\n".join(lines))
    for number, audit in enumerate(ALL[20:]):
        folder = tmp_path / f"node-{number}"
        folder.mkdir()
        (folder / "audit-0.json").write_text(json.dumps(audit.to_dict()))
    found = calibrate_audits(read_audits(tmp_path), made_from=bands.made_from)
    found.save(tmp_path / "one")
    bands.save(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_the_command_makes_bands(bands: AuditBands, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "audits.jsonl", tmp_path / "bands.json"
    file.write_text("\n".join(json.dumps(audit.to_dict()) for audit in ALL))
    assert main(["calibrate-audits", str(file), "--out", str(out), "--made-from", bands.made_from]) == 0
    assert "images in bfloat16: 3 pairs of kinds" in capsys.readouterr().out
    assert AuditBands.load(out) == bands
    assert main(["calibrate-audits", str(file), "--out", str(file)]) == 2
    assert "--out" in capsys.readouterr().err
    assert file.read_text().startswith("{"), "what is read is not written over"


def changed(at: int, change: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    values = [json.loads(json.dumps(audit.to_dict())) for audit in HONEST]
    change(values[at])
    return values


@pytest.mark.parametrize(
    ("audits", "said"),
    [
        ([], "there are no audits"),
        (HONEST[:9], "9 pictures in bfloat16"),
        ([HONEST[0]] * 2, r"audits\[1\] is of the same answer and machines as audits\[0\]"),
        ([*HONEST, image(90, kinds=None)], r"audits\[40\] has the kinds None"),
        ([*HONEST, image(90, versions={})], "does not say which torch"),
        ([*HONEST, image(90, versions={**VERSIONS, "torch": "2.12.1"})], "torch '2.12.1', others with 2.13.0"),
        ([*HONEST, image(90, larger=1.6)], r"audits\[40\] is \d+ deviations from the others in its prediction"),
        ([image(number, larger=2.0) for number in range(40)], "half of the audits in bfloat16 are off by 2"),
        (TEXTS[:19], "19 texts in bfloat16"),
        ([*TEXTS, text(90, larger=3.0)], r"audits\[30\] is \d+ deviations from the others in its bound rows"),
        (changed(3, lambda one: one["steps"][0].update(prediction=None)), "prediction of step 1 of .* expected a fin"),
        (changed(3, lambda one: one["steps"][0].update(smooth=-1.0)), "smooth of step 1"),
        (changed(3, lambda one: one["steps"][0].update(step=4)), "expected different ones"),
        (changed(3, lambda one: one["first"].update(finding="CHEAT")), "another seed's latent"),
        (changed(3, lambda one: one["picture"].update(finding="CHEAT")), "shows a picture that its answer does not"),
        (changed(3, lambda one: one["task"].update(prompt="another")), r"audits\[3\] is of the task"),
        (changed(3, lambda one: one.pop("task")), "does not hold its task"),
        (changed(3, lambda one: one.pop("steps")), r"audits\[3\] is no audit \(KeyError"),
        (changed(3, lambda one: one.update(steps=7)), r"audits\[3\] is no audit \(TypeError"),
        ([7], r"audits\[0\] is 7; expected an ImageAudit, a TextAudit, or their JSON values"),
        (7, "audits is 7"),
    ],
    ids=str,
)
def test_what_is_no_honest_audit_is_refused(audits: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        calibrate_audits(audits)


def test_a_text_that_was_not_read_to_its_end_is_refused() -> None:
    stopped = {**json.loads(json.dumps(TEXTS[0].to_dict())), "tokens": 7}
    with pytest.raises(InvalidInputError, match="looked at 7 of 100 tokens; audit it with whole=True"):
        calibrate_audits([*TEXTS[1:], stopped])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.update(schema="crynux-validate/audit-bands/2"),
        lambda value: value.update(more=1),
        lambda value: value["images"]["bfloat16"]["statistics"].pop("prediction"),
        lambda value: value["images"]["bfloat16"]["statistics"]["prediction"].update(reach=0.0, odd=0.0),
        lambda value: value["images"]["bfloat16"]["statistics"]["prediction"].update(within="0.1"),
        lambda value: value["images"]["bfloat16"]["statistics"]["prediction"].update(within=-1.0),
        lambda value: value["images"]["bfloat16"].update(pictures=3),
        lambda value: value["images"]["bfloat16"].update(room=0.5),
        lambda value: value["images"].update(int8=value["images"]["bfloat16"]),
        lambda value: value["texts"]["bfloat16"]["band"].update(clip=9.0),
        lambda value: value["texts"]["bfloat16"]["band"].pop("slope"),
    ],
)
def test_a_file_of_bands_that_no_calibration_made_is_refused(
    spoil: Callable[[dict[str, Any]], object], bands: AuditBands, tmp_path: Path
) -> None:
    value = bands.to_dict()
    spoil(value)
    (tmp_path / "bands.json").write_text(json.dumps(value))
    with pytest.raises(InvalidInputError):
        AuditBands.load(tmp_path / "bands.json")


def test_cheats_that_are_far_off_leave_room() -> None:
    found = calibrate_audits(HONEST, cheats=[image(number, larger=100.0) for number in range(50, 53)])
    assert found.images["bfloat16"].room > 3
    assert calibrate_audits(HONEST).images["bfloat16"].room == 1.0
