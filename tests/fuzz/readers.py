"""Every reader of strangers' bytes, with valid inputs, and what must hold whatever it is given."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from PIL import Image

import crynux_validate as cv
from crynux_validate.encoding import canonical_json, parse_json
from crynux_validate.frozen import thaw
from crynux_validate.keyed import KeyedScore
from crynux_validate.tasks import MAX_TASK_BYTES
from crynux_validate.tasks.crynux import MAX_ARGUMENT_BYTES
from crynux_validate.testing.conformance.log import rechained
from crynux_validate.testing.conformance.network import CHEAT, HONEST, HONEST_TEXT, LEDGER_ID, TASK, TEXT, Network

CORPUS: Final = Path(__file__).parent / "corpus"
REVISION: Final = "0" * 40
MAX_MESSAGE: Final = 2_000
"""No error is longer: whoever sends a megabyte does not get it written into a log."""


@dataclass(frozen=True)
class Reader:
    """One reader.

    Parameters
    ----------
    read
        Reads bytes; raises a `CrynuxValidateError` or gives a value.
    seeds
        Makes valid inputs.
    limit
        How many bytes it reads at most.
    write
        Writes what was read, where it has one form: reading that again gives the same.
    exact
        Whether only what `write` gives is read at all.
    """

    read: Callable[[bytes], Any]
    seeds: Callable[[], tuple[bytes, ...]]
    limit: int
    write: Callable[[Any], bytes] | None = None
    exact: bool = False
    structured: bool = True

    def check(self, data: bytes) -> bool:
        """Read an input and check what must hold; whether it was read at all."""
        try:
            value = self.read(data)
        except cv.CrynuxValidateError as error:
            message = str(error)
            if len(message) > MAX_MESSAGE:
                raise AssertionError(f"an error of {len(message)} characters: {message[:200]}") from error
            return False
        if self.write is not None:
            written = self.write(value)
            if self.exact and written != data:
                raise AssertionError(f"another form was read: {data[:200]!r} instead of {written[:200]!r}")
            if self.write(self.read(written)) != written:
                raise AssertionError(f"what was written reads as something else: {written[:200]!r}")
        return True


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _of_json(what: str, read: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    return lambda data: read(parse_json(data, what, MAX_TASK_BYTES))


def _tasks() -> tuple[bytes, ...]:
    asked = [{"role": "user", "content": "And the king said unto his servants, ü"}]
    text = TEXT.replace(messages=asked, prompt=None, do_sample=True, top_k=5, stop=("end",), eos_token_ids=(1, 2))
    sampler = TASK.replace(scheduler="DPMSolverMultistepScheduler", scheduler_args={"use_karras_sigmas": True})
    return tuple(task.to_json().encode() for task in (TASK, TEXT, text, sampler))


def _live_image(value: bytes) -> Any:
    return cv.ImageTask.from_crynux(value, revision=REVISION)


def _live_text(value: bytes) -> Any:
    return cv.TextTask.from_crynux(value, revision=REVISION)


def _live_images() -> tuple[bytes, ...]:
    scheduler = {"method": "EulerAncestralDiscreteScheduler", "args": {"timestep_spacing": "trailing"}}
    return (
        _json(
            {"base_model": {"name": "owner/name", "variant": "fp16"}, "prompt": "a cat", "task_config": {"steps": 20}}
        ),
        _json(
            {"base_model": {"name": "owner/name"}, "prompt": "a cat", "negative_prompt": "b", "scheduler": scheduler}
        ),
    )


def _live_texts() -> tuple[bytes, ...]:
    messages = [{"role": "user", "content": "hi"}]
    generation = {"max_new_tokens": 30, "do_sample": True, "temperature": 0.8, "top_p": 0.9, "num_return_sequences": 1}
    return (
        _json({"model": "owner/name", "messages": messages, "seed": 42, "dtype": "float16"}),
        _json({"model": "owner/name", "messages": messages, "generation_config": generation}),
    )


def _answers() -> tuple[bytes, ...]:
    reports = cv.ErrorReport("failed", "out of memory ü"), cv.ErrorReport("limits")
    two = cv.ImageScore(HONEST.hashes * 2, bytes(32), "phash-go/1")
    return tuple(answer.to_bytes() for answer in (HONEST, CHEAT, two, HONEST_TEXT, *reports))


@cache
def _network() -> Network:
    """A small ledger in memory: a cheat was slashed, a second group found some candidates taken, a node is leaving."""
    from crynux_validate.testing import ManualClock

    clock = ManualClock()
    network = Network(
        cv.MemoryLedger(ledger_id=LEDGER_ID, clock=clock, beacon=cv.ledger.LocalBeacon(b"secret")), clock, nodes=9
    )
    ledger = network.ledger
    opened = [network.opened(), network.opened()]
    clock.advance(1)
    ledger.draw(opened[1].id)
    for group in (ledger.group(one.id) for one in opened):
        for node, answer in zip(group.members, (HONEST, HONEST, CHEAT), strict=True):
            # Not a random nonce: the same number gives the same input in every process.
            opening = cv.Opening(answer.to_bytes(), hashlib.sha256(node.encode()).digest())
            network.openings[group.id, node] = opening
            ledger.commit(group.id, node, opening.commitment(group.draw_digest, node=node))
        for node in group.members:
            network.reveal(group.id, node)
        ledger.settle(group.id)
    ledger.deposit("o0", 10**24)
    ledger.top_up("n0", 10**20)
    network.opened()
    ledger.leave("n1")
    return network


def _evidence() -> tuple[bytes, ...]:
    ledger = _network().ledger
    groups = ledger.group("group-1"), ledger.group("group-2")
    assert groups[1].draw is not None
    assert groups[1].draw.unavailable, "the words of the second draw hit candidates that were taken"
    return tuple(ledger.evidence(group.id, node).to_json().encode() for group in groups for node in group.members)


def _checked(evidence: cv.ledger.Evidence) -> bytes:
    try:
        text = str(cv.verify_evidence(evidence))
    except cv.errors.BrokenEvidenceError as error:
        text = str(error)
    if not (text.isascii() and text.replace("\n", "").isprintable()):
        raise AssertionError(f"a report that a terminal cannot show: {text[:200]!r}")
    return evidence.to_json().encode()


def _log() -> tuple[bytes, ...]:
    events = list(_network().ledger.events())
    action = {**events[0].payload["action"], "beacon": "drand/quicknet"}
    of_another_beacon = rechained(events[:12], 0, payload={"action": action, "result": {}})
    return tuple(b"\n".join(event.canonical_bytes for event in log) for log in (events, of_another_beacon))


def _replay(data: bytes) -> Any:
    """Read a log of lines as a ledger's own reader does, and repeat it."""
    events = []
    for line in data.split(b"\n"):
        value = parse_json(line, "an event", MAX_TASK_BYTES)
        if not isinstance(value, dict) or set(value) != {"seq", "time", "kind", "payload", "previous"}:
            raise cv.errors.InvalidInputError("not an event")
        events.append(cv.ledger.Event(**value))
    return cv.MemoryLedger.replay(events)


def _actions() -> tuple[bytes, ...]:
    events = [
        {"kind": event.kind, "time": event.time, "payload": thaw(event.payload)} for event in _network().ledger.events()
    ]
    return (_json(events),)


def _repeat(value: Any) -> Any:
    """Repeat actions whose chain is made anew: damage within an action reaches the rules."""
    events: list[cv.ledger.Event] = []
    for one in value if isinstance(value, list) else ():
        if not isinstance(one, dict) or set(one) != {"kind", "time", "payload"}:
            raise cv.errors.InvalidInputError("not an event")
        previous = events[-1].digest if events else "0" * 64
        events.append(cv.ledger.Event(len(events), one["time"], one["kind"], one["payload"], previous))
    return cv.MemoryLedger.replay(events)


def _attestations() -> tuple[bytes, ...]:
    return tuple(
        canonical_json(cv.machines.Attestation(epoch, bytes([1] * 32), bytes([2] * 32), bytes([3] * 32)).to_dict())
        for epoch in (0, 20_000)
    )


def _classes() -> tuple[bytes, ...]:
    gpu = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)
    return (canonical_json(cv.machines.NodeClass(gpu, bytes([1] * 32), bytes([2] * 32), bytes([3] * 32)).to_dict()),)


def _environments() -> tuple[bytes, ...]:
    return (
        canonical_json(
            cv.machines.Environment({"torch": "2.13", "cpu": {"threads": 1}}, {"tf32": False}, {"dtype": "x"}).to_dict()
        ),
    )


def _gpus() -> tuple[bytes, ...]:
    names = "NVIDIA GeForce RTX 4090", "2x NVIDIA GeForce RTX 4090 TP+docker", "Apple M2 Max", "NVIDIA A100, 24 GiB"
    return tuple(name.encode() for name in names)


def _gpu(data: bytes) -> Any:
    return cv.GpuModel.parse(data.decode("utf-8", "replace"), 24)


def _pictures() -> tuple[bytes, ...]:
    found = []
    picture = Image.radial_gradient("L").resize((96, 64)).convert("RGB")
    for form, mode in (
        ("PNG", "RGB"),
        ("PNG", "L"),
        ("PNG", "P"),
        ("JPEG", "RGB"),
        ("BMP", "RGB"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
    ):
        stream = io.BytesIO()
        picture.convert(mode).save(stream, form)
        found.append(stream.getvalue())
    return tuple(found)


def _groups() -> tuple[bytes, ...]:
    scored = {"answer": "score", "score": HONEST.hex}
    members = {"n1": scored, "n2": {"answer": "absent"}, "n3": {"answer": "failed", "message": "x"}}
    return (
        _json({"members": members}),
        _json({"algorithm": "phash-go/1", "threshold": 20, "members": members}),
        _json({"rule": "crynux-relay", "members": {f"n{at}": scored | {"seconds": 1.5} for at in range(3)}}),
    )


def _judge(value: Any) -> Any:
    from crynux_validate.judging import judge
    from crynux_validate.judging.reading import read_group

    members, rule = read_group(value)
    return judge(members, rule)


_POLICIES: Final = (
    cv.Policy(),
    cv.Policy.crynux(),
    cv.Policy(
        group_size=5, min_fee=50, slash_per_fee=2**31, no_quorum_ppm=500_000, fault_fee_ppm=500_000, min_pool_ppm=0,
        beacon_delay_seconds=30, slash_account="treasury", min_class_stake=0, second_algorithm="digest/1",
        admitted_declarations=("ab" * 32,),
    ),
)  # fmt: skip


def _policies() -> tuple[bytes, ...]:
    return tuple(canonical_json(policy.to_dict()) for policy in _POLICIES)


def _canonical(value: Any) -> bytes:
    return canonical_json(thaw(value.to_dict()))


READERS: Final[Mapping[str, Reader]] = {
    "task": Reader(cv.task_from_json, _tasks, MAX_TASK_BYTES, lambda task: task.to_json().encode()),
    "live-image-task": Reader(_live_image, _live_images, MAX_ARGUMENT_BYTES, None),
    "live-text-task": Reader(_live_text, _live_texts, MAX_ARGUMENT_BYTES, None),
    "answer": Reader(
        cv.answers.answer_from_bytes, _answers, 4_000, lambda answer: answer.to_bytes(), exact=True, structured=False
    ),
    "opening": Reader(
        cv.Opening.from_bytes,
        lambda: tuple(cv.Opening(answer, bytes(range(32))).to_bytes() for answer in _answers()),
        4_096,
        lambda opening: opening.to_bytes(),
        exact=True,
        structured=False,
    ),
    "keyed-score": Reader(
        KeyedScore.from_bytes,
        lambda: (KeyedScore(bytes(range(32))).to_bytes(), KeyedScore(6 * bytes([4, *range(30)]), "keyed/1").to_bytes()),
        4_096,
        lambda score: score.to_bytes(),
        exact=True,
        structured=False,
    ),
    "evidence": Reader(cv.ledger.Evidence.from_json, _evidence, 64 * 2**20, _checked, exact=True),
    "log": Reader(_replay, _log, 2**20, structured=False),
    "actions": Reader(_of_json("the actions", _repeat), _actions, MAX_TASK_BYTES),
    "attestation": Reader(
        _of_json("an attestation", cv.machines.Attestation.from_dict), _attestations, MAX_TASK_BYTES, _canonical
    ),
    "class": Reader(_of_json("a class", cv.machines.NodeClass.from_dict), _classes, MAX_TASK_BYTES, _canonical),
    "environment": Reader(_of_json("an environment", cv.machines.Environment.from_dict), _environments, MAX_TASK_BYTES),
    "gpu": Reader(_gpu, _gpus, 2**16, structured=False),
    "picture": Reader(cv.image_hash, _pictures, 2**24, structured=False),
    "group": Reader(_of_json("the group", _judge), _groups, 1_000_000),
    "policy": Reader(_of_json("a policy", cv.Policy.from_dict), _policies, MAX_TASK_BYTES, _canonical),
}
"""The readers by name; the corpus has a folder for each that something was found in."""


def corpus(name: str) -> list[Path]:
    """Return the inputs that are kept for a reader: what was once read wrongly, and what random damage rarely finds."""
    return sorted(path for folder in ("json", name) for path in (CORPUS / folder).glob("*") if path.is_file())
