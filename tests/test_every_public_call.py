"""Every public function, method and constructor, with values of wrong types: never an error of Python itself.

The calls are found by looking at the package, so that a new one is tested as well, or this file says that it lacks an
example of what it takes. What must be refused, and not only survived, stands in ``test_wrong_types.py``.
"""

import inspect
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from PIL import Image

import crynux_validate as cv
from crynux_validate import audits
from crynux_validate.audits.bands import shipped_bands
from crynux_validate.audits.layout import Content
from crynux_validate.calibration import Samples
from crynux_validate.tasks import ImageSetting
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import CARD, CHECKED, HONEST, POLICY, TEXT, Network
from tests.audits.making import TASK as TRACED
from tests.audits.making import answer_of, random_trace
from tests.calibration.by_hand import calibration as measured
from tests.calibration.synthetic import answers
from tests.calibration.test_keyed import samples as keyed_samples

pytest.importorskip("cryptography")
pytest.importorskip("scipy")
pyarrow = pytest.importorskip("pyarrow")

WRONG: list[Any] = [
    None, 1, -1, 10**30, 2.5, math.nan, True, "x", "\ud800", "a\0b", b"x", bytearray(b"x"), [], [1], ("a",), [[None]],
    {}, {"a": 1}, {1: 2}, object(), Exception,
]  # fmt: skip

RECORDS = {
    "Calibration", "Candidate", "DigestProgress", "Draw", "Epoch", "Event", "Event.recorded", "Genesis", "Group",
    "Head", "Head.of", "Malformed", "Matches", "Node", "Round", "Signature", "TraceProof", "Verdicts",
    "BandRates", "CheatRates", "Curve", "Curve.at", "Curves", "Excluded", "HonestRates", "KeyedCalibration",
    "KeyedCalibration.interval", "NotEnough", "PairRates", "Rate", "Rates", "Recommendation", "Samples", "Samples.at",
    "Samples.having",
}  # fmt: skip
"""What a ledger or a rule fills, and what holds whatever it is given."""

PUBLIC = {
    name: module
    for module in (cv, *(getattr(cv, name) for name in cv._MODULES if name not in ("errors", "testing")))
    for name in module.__all__
}
"""Each public name, and the module that it is in."""

NOT_CALLED = {
    *("Beacon", "Clock", "Ledger", "MemoryStore", "Rule", "Store", "StoringLedger"),  # others write these
    *(
        "CheckedEvidence",
        "ClassFacts",
        "ExpectedGain",
        "AuditedGain",
        "AuditedStake",
        "ImageAudit",
        "RequiredStake",
        "TextAudit",
        "Totals",
        "Transfer",
        "Verdict",
    ),  # records
    *("ImageResult", "Progress", "Runner", "TextAuditor", "TextResult", "Token"),  # of a loaded model: tests/pipelines
    *("audit", "canary", "deterministic", "local_environment", "local_gpu", "run"),
    *("AuditFinding", "Finding", "MemberKind", "Outcome", "Status"),  # enumerations, as Python has them
}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """An object of each class, and for each parameter a value that its function takes."""
    folder = tmp_path_factory.mktemp("every")
    clock = ManualClock()
    network = Network(
        cv.MemoryLedger(POLICY, ledger_id="ledger-1", clock=clock, beacon=cv.ledger.LocalBeacon(b"secret")), clock
    )
    network.attest()
    ledger, settled, drawn = network.ledger, network.answered(HONEST, HONEST, HONEST), network.drawn()
    node = ledger.node(settled.members[0])
    epoch = ledger.epoch()
    node_class = cv.machines.class_of(node, epoch.in_force)
    assert node_class is not None
    environment, attestation = (
        cv.machines.Environment({"a": 1}, {"b": 2}),
        cv.machines.Attestation(7, bytes(32), bytes(32), bytes(32)),
    )
    evidence = ledger.evidence(settled.id, node.id)
    hashed = cv.image_hash(Image.new("RGB", (64, 64)))
    opening = cv.Opening.of(HONEST)
    row = b"".join(number.to_bytes(4, "little") for number in (1, 0x40000000))
    top_task = TEXT.replace(binding="top")
    top = audits.TopLogits(top_task, [[row, row]])
    trace = random_trace()
    shown = trace.prove(1, [2, 4])
    shown.save(folder / "proof.bin")
    proof = audits.TextProof(TEXT.digest, [[1, 2]])  # type: ignore[arg-type]
    bands = shipped_bands()
    bands.save(folder / "bands.json")
    calibration = measured({"noise": (0.1, 0.9)})
    calibration.save(folder / "calibration.json")
    keyed = keyed_samples()
    picture = cv.tasks.PictureRef.of(png := _png())
    setting = ImageSetting.of(CHECKED)
    control = cv.tasks.ControlNet(CHECKED.model, picture)
    (folder / "picture.png").write_bytes(png)
    table = pyarrow.table({"hashes": [[b"", b"", b""]], "image": [b""]})
    tolerance = cv.keyed.KeyedTolerance(ImageSetting.of(CHECKED), (10,) * 8)
    objects = {
        "Calibration": calibration,
        "Attestation": attestation, "CentreRule": cv.CentreRule(), "Environment": environment, "Group": drawn,
        "CrynuxRelayRule": cv.judging.CrynuxRelayRule(seconds=dict.fromkeys("abc", 1)),
        "ImageTask": CHECKED, "TextTask": TEXT,
        "LocalBeacon": cv.ledger.LocalBeacon(b"x"), "KeyedTolerance": tolerance, "Lora": cv.Lora(CHECKED.model),
        "TextualInversion": cv.tasks.TextualInversion(CHECKED.model, token="<a>"),
        "ImageSetting": setting,
        "PictureRef": picture, "ControlNet": control, "Canny": cv.tasks.Canny(),
        "StartPicture": cv.tasks.StartPicture(picture), "Refiner": cv.tasks.Refiner(CHECKED.model),
        "MemoryLedger": ledger, "ModelRef": CHECKED.model, "Opening": opening,
        "SqlLedger": cv.SqlLedger(f"sqlite:///{folder / 'ledger.db'}", POLICY, clock=ManualClock()), "Policy": POLICY,
        "Pool": settled.pool, "Round": drawn.rounds[0], "SigningKey": cv.SigningKey(bytes(range(32))),
        "AuditBands": bands, "TextProof": proof, "TopLogits": top, "TraceProof": shown,
        "Verdicts": cv.judging.judge_many(np.zeros((1, 3, 1), np.uint64)),
    }  # fmt: skip
    values = {
        "a": HONEST, "account": "app", "amount": 1, "answer": HONEST, "answer_bytes": HONEST.to_bytes(),
        "asked": ("n0",), "attestation": attestation, "b": HONEST, "beacon": b"value", "bits": bytes(8),
        "candidates": [cv.machines.Candidate("a", "b", 1)], "canary": bytes(32),
        "challenge": b"abc", "claim": settled.draw, "setting": ImageSetting.of(CHECKED),
        "classes": cv.machines.classes_of(ledger.nodes(), epoch=epoch.in_force, min_stake=1, weight_unit=1),
        "code": "failed", "commitment": bytes(32), "creator": "app", "declarations": (), "dishonest": 1, "distance": 3,
        "draw": drawn.draw, "bound_to": drawn.draw_digest,
        "environment": environment, "epoch": 1, "error": ValueError("x"), "events": ledger.events(),
        "false_alarms": 0.001, "AuditTerms.detection": 0.9,
        "evidence": evidence, "fee": 300, "finding": cv.Finding.VALID, "gpu": CARD, "group": drawn.id,
        "hashes": bytes(8), "honest": 2, "ids": ["n0"], "image": Image.new("RGB", (64, 64)), "images": 1, "k": 1,
        "kernel": bytes(32), "ledger": "ledger-1", "many": [hashed], "margin": 1.0,
        "members": dict.fromkeys("abc", HONEST),
        "memory_gib": 24, "min_owners": 1, "min_stake": 1, "name": "NVIDIA L4", "node": drawn.members[0],
        "nodes": ledger.nodes(), "nonce": bytes(32), "now": 1_000, "numerics": bytes(32), "one": hashed,
        "opening": opening, "other": environment, "outcome": cv.Outcome.VALIDATED, "owner": "o0", "owners": ["o"],
        "path": str(folder), "pool": settled.pool, "revision": "0" * 40, "round": 1, "score": bytes(32),
        "seed": bytes(32), "sequences": [[1, 2]], "size": 3, "stake": 1_000, "task": CHECKED, "threshold": 16,
        "weight_unit": 1, "weights": [1],
        "calibration": calibration, "samples": Samples.of(answers(3)), "Calibration.cheat.name": "noise",
        "Calibration.from_dict.value": calibration.to_dict(), "Calibration.load.path": folder / "calibration.json",
        "Calibration.save.path": folder / "saved.json", "required_stake.calibration": calibration,
        "expected_gain.calibration": calibration, "calibrate.groups": 3, "calibrate.seed": 0,
        "CrynuxRelayRule.seconds": {"a": 1.0}, "Environment.kernel": {}, "Environment.numerics": {},
        "KeyedScore.from_hex.text": "00" * 32, "KeyedTolerance.model": "a model", "KeyedTolerance.dtype": "float32",
        "KeyedTolerance.limits": (1,), "KeyedTolerance.from_dict.value": tolerance.to_dict(),
        "TwoAnswers.first": HONEST, "TwoAnswers.second": cv.keyed.KeyedScore.from_tokens(bytes(32), [[1]]),
        "Group.from_dict.value": settled.to_dict(),
        "Attestation.from_dict.value": attestation.to_dict(), "Environment.from_dict.value": environment.to_dict(),
        "Evidence.from_json.text": evidence.to_json(), "Evidence.group": settled, "Evidence.node": node.id,
        "GpuModel.from_dict.value": CARD.to_dict(), "GpuModel.parse.text": "NVIDIA L4, 24 GiB",
        "ImageScore.from_hex.text": "f0" * 8, "ImageScore.from_images.images": [Image.new("RGB", (64, 64))],
        "ImageTask.from_crynux.value": {"base_model": {"name": "a/b"}, "prompt": "x"},
        "ImageTask.from_fields.value": CHECKED.to_dict(), "ImageTask.model_validate_json.json_data": CHECKED.to_json(),
        "Lora.model": CHECKED.model, "Lora.from_dict.value": {"model": CHECKED.model.to_dict()},
        "TextualInversion.model": CHECKED.model, "TextualInversion.token": "<a>",
        "TextualInversion.from_dict.value": {"model": CHECKED.model.to_dict(), "token": "<a>"},
        "KeyedScore.from_bytes.data": cv.keyed.KeyedScore(bytes(32)).to_bytes(), "ModelRef.repository": "owner/name",
        "ModelRef.from_dict.value": CHECKED.model.to_dict(), "MemoryLedger.group": settled.id,
        "NodeClass.from_dict.value": node_class.to_dict(), "Opening.from_bytes.data": opening.to_bytes(),
        "Policy.from_dict.value": POLICY.to_dict(), "PerceptualHash.algorithm": "phash/1",
        "SigningKey.secret": bytes(range(32)),
        "SqlLedger.url": f"sqlite:///{folder / 'other.db'}", "SqlLedger.replay.url": f"sqlite:///{folder / 'again.db'}",
        "TextScore.from_hex.text": "f0" * 32, "TextTask.from_fields.value": TEXT.to_dict(),
        "TextTask.from_crynux.value": {"model": "a/b", "messages": [{"role": "user", "content": "x"}]},
        "TextTask.model_validate_json.json_data": TEXT.to_json(), "answer_from_bytes.data": HONEST.to_bytes(),
        "block_distances.a": bytes(8), "block_distances.b": bytes(8), "class_of.node": node,
        "hash_array.hashes": [hashed],
        "hamming.a": hashed, "hamming.b": hashed, "hamming_distances.a": hashed, "hamming_distances.b": hashed,
        "calibrate_audits.audits": [], "AuditBands.images": {}, "AuditBands.texts": {}, "AuditBands.versions": {},
        "AuditBands.from_dict.value": bands.to_dict(), "AuditBands.load.path": folder / "bands.json",
        "AuditBands.save.path": folder / "saved.json", "AuditBands.for_image.task": TRACED,
        "AuditBands.for_text.task": TEXT, "TextProof.task_digest": TEXT.digest, "TextProof.token_ids": [[1, 2]],
        "TextProof.check.task": TEXT, "TextProof.check.answer": cv.TextScore.from_tokens([[1, 2]]),
        "TextProof.from_json.data": proof.to_json(),
        "TopLogits.task": top_task, "TopLogits.rows": [[row]], "TopLogits.open.places": [(0, 1)],
        "TopLogits.from_bytes.data": top.to_bytes(), "TopLogits.from_bytes.task": top_task,
        "audit_steps.task": TRACED, "audit_steps.answer": answer_of(trace), "audit_steps.count": 3,
        "TraceProof.from_bytes.data": shown.to_bytes(), "TraceProof.from_bytes.task": TRACED,
        "TraceProof.load.task": TRACED, "TraceProof.load.path": folder / "proof.bin",
        "TraceProof.array.content": Content.LATENT, "TraceProof.array.step": 2,
        "TraceProof.save.path": folder / "saved.bin", "TraceProof.check.answer": answer_of(trace),
        "audit_positions.task": top_task, "audit_positions.token_ids": [[1, 2]],
        "audit_positions.answer": cv.TextScore.from_tokens([[1, 2]], top=top.root),
        "PictureRef.digest": picture.digest, "PictureRef.local.path": folder / "picture.png", "PictureRef.of.data": png,
        "PictureRef.located.files": {picture.digest: folder / "picture.png"},
        "ImageSetting.from_dict.value": ImageSetting.of(CHECKED).to_dict(), "ImageSetting.overlaps.other": setting,
        "calibrate_keyed.tasks": [CHECKED], "least": CHECKED, "most": CHECKED,
        "PictureRef.from_dict.value": picture.to_dict(),
        "ControlNet.model": CHECKED.model, "ControlNet.image": picture, "ControlNet.from_dict.value": control.to_dict(),
        "Canny.from_dict.value": cv.tasks.Canny().to_dict(),
        "Refiner.model": CHECKED.model, "Refiner.from_dict.value": cv.tasks.Refiner(CHECKED.model).to_dict(),
        "StartPicture.image": picture, "StartPicture.from_dict.value": cv.tasks.StartPicture(picture).to_dict(),
        "StartPicture.located.paths": {picture.digest: folder / "picture.png"}, "StartPicture.steps.whole": 25,
        "steps_needed.share": 0.5, "steps_needed.rate": 0.9, "action_from_dict.kind": ledger.events()[0].kind,
        "action_from_dict.value": ledger.events()[0].payload, "beacon_of.start": cv.ledger.genesis_of(ledger.events()),
        "Sample.kind": "a card", "Sample.role": "honest", "Sample.score": bytes(8), "Sample.algorithm": "phash/1",
        "Sample.task": "t", "Samples.of.rows": answers(3), "Samples.from_columns.algorithm": "phash/1",
        "Samples.from_columns.hashes": np.zeros((2, 1), np.uint64), "Samples.from_columns.task": ["s", "t"],
        "Samples.from_columns.role": "honest", "KeyedSample.kind": "a", "KeyedSample.picture": "p",
        "KeyedSample.key": "k", "KeyedSample.score": keyed[0].score, "calibrate_keyed.samples": keyed,
        "calibrate_keyed.model": "a model",
        "calibrate_keyed.dtype": "float32", "judge_table.table": table, "hash_table.table": table,
        "hamming_matrix.a": [hashed], "image_hashes.images": [Image.new("RGB", (64, 64))],
        "judge_many.hashes": np.zeros((1, 3, 1), np.uint64), "task_from_json.value": CHECKED.to_dict(),
    }  # fmt: skip
    return objects, values


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "PNG")
    return stream.getvalue()


def _names() -> Iterator[str]:
    """Every public call that takes something."""
    for name, module in PUBLIC.items():
        found = getattr(module, name)
        if name in NOT_CALLED:
            continue
        if inspect.isfunction(found):
            yield name
        elif inspect.isclass(found) and not issubclass(found, Exception):
            if name not in {*RECORDS, "ImageTask", "TextTask"} and inspect.signature(found).parameters:
                yield name
            for method, part in inspect.getmembers(found, callable):
                home = next((kind for kind in found.__mro__ if method in vars(kind)), object)
                if method.startswith("_") or not home.__module__.startswith("crynux_validate"):
                    continue
                if name == "SqlLedger" and home is not cv.SqlLedger:
                    continue  # as MemoryLedger
                if f"{name}.{method}" in RECORDS:
                    continue
                if set(inspect.signature(part).parameters) - {"self"}:
                    yield f"{name}.{method}"


def _call(name: str, objects: dict[str, Any]) -> Callable[..., Any]:
    kind, _, method = name.partition(".")
    found = getattr(PUBLIC[kind], kind)
    if not method:
        return found  # type: ignore[no-any-return]
    part = getattr(found, method)
    return getattr(objects[kind], method) if "self" in inspect.signature(part).parameters else part  # type: ignore[no-any-return]


def _said(call: Callable[..., Any], given: dict[str, Any]) -> str | None:
    """Call it; returns what an error of this library says, None where it does what is asked."""
    try:
        repr(call(**given))
    except (cv.CrynuxValidateError, pydantic.ValidationError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", list(_names()))
def test_no_raw_error(
    name: str, examples: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some write a file, whatever its name
    objects, values = examples
    call = _call(name, objects)
    good = {}
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        known = [
            key for key in (f"{name}.{parameter.name}", f"{name.partition('.')[0]}.{parameter.name}") if key in values
        ]
        if known:
            good[parameter.name] = values[known[0]]
        elif parameter.default is not parameter.empty:
            good[parameter.name] = parameter.default
        else:
            assert parameter.name in values, f"{name} takes {parameter.name}: give an example of one above"
            good[parameter.name] = values[parameter.name]
    calls = [good, *({**good, what: wrong} for what in good for wrong in WRONG)]
    for given in calls:
        if (said := _said(call, given)) is not None:
            assert 0 < len(said) < 600, said
