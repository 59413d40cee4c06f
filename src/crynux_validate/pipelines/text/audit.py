"""Auditing a text: one pass over prompt and claimed tokens, and how far each is from what the task would choose."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import torch

from crynux_validate.answers import TextScore
from crynux_validate.audits.bands import AuditBands, bands_or_shipped, installed
from crynux_validate.audits.findings import AuditFinding, check_kinds
from crynux_validate.audits.text_bands import TextBand
from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.text_result import TextAudit
from crynux_validate.audits.top import LARGEST, OPENED, Place, audit_positions, entries, told
from crynux_validate.encoding import check_flag, check_function, check_type, shorten
from crynux_validate.errors import InvalidAnswerError, InvalidInputError, PipelineError
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.guard.probe import find_device
from crynux_validate.pipelines.models.loading import quiet
from crynux_validate.pipelines.pictures import check_pictures
from crynux_validate.pipelines.text import reference
from crynux_validate.pipelines.text.generating import first_end
from crynux_validate.pipelines.text.margins import Margins, incomparable
from crynux_validate.pipelines.text.models import LoadedText
from crynux_validate.pipelines.text.prompts import input_ids, model_input, new_tokens
from crynux_validate.pipelines.text.sampling import Float32s, TokenIds
from crynux_validate.pipelines.text.top import contradicts
from crynux_validate.tasks import DTYPES, Dtype, ModelRef, QuantizeBits, TextTask
from crynux_validate.tasks.text import check_bits

_LEAST: Final = 1e-9
"""A difference of rows that counts as none: its logarithm must be a number."""

_LARGEST: Final = 8.0
"""The largest margin that an audit of a whole text tells from larger ones, in logits."""

_SAME: Final = (
    "messages",
    "pictures",
    "prompt",
    "token_ids",
    "tools",
    "template_args",
    "date",
    "seed",
    "sequences",
    "max_new_tokens",
    "do_sample",
)
"""What a second hypothesis has as the task has it: the same input, noise and length."""


class TextAuditor:
    """A float32 reference, loaded once, that audits many texts; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    model
        Which weights.
    dtype
        The dtype of the tasks: the reference is made from the weights as they are in it.
    device
        As for `Runner`. The reference needs four bytes for each weight that is not quantized.
    quantize_bits
        That of the tasks: the reference has the same weights of 4 or 8 bits, and computes with them in float32.
    pictures
        As for `Runner`.

    Raises
    ------
    InvalidInputError, ModelError, DeterminismError
        As for `Runner`.
    """

    def __init__(
        self,
        model: ModelRef,
        dtype: Dtype = "bfloat16",
        device: "str | torch.device | None" = None,
        *,
        quantize_bits: QuantizeBits = None,
        pictures: bool = False,
    ) -> None:
        check_type(model, ModelRef, "model", "a ModelRef")
        check_flag(pictures, "pictures")
        if dtype not in DTYPES:
            raise InvalidInputError(f"dtype is {shorten(dtype)}; expected one of {', '.join(DTYPES)}")
        self.model, self.dtype, self.device = model, dtype, find_device(device)
        self.quantize_bits = check_bits(quantize_bits)
        with deterministic():
            self._loaded: LoadedText | None = reference.load(
                model, dtype, self.device, quantize_bits, pictures=pictures
            )

    @classmethod
    def for_task(cls, task: TextTask, device: "str | torch.device | None" = None) -> Self:
        """Load the reference of a task; parameters and errors as for the class."""
        check_type(task, TextTask, "the task", "a TextTask")
        check_pictures(task)
        return cls(task.model, task.dtype, device, quantize_bits=task.quantize_bits, pictures=bool(task.pictures))

    def audit(
        self,
        task: TextTask,
        answer: TextScore,
        proof: TextProof,
        *,
        seed: bytes | None = None,
        count: int = OPENED,
        kinds: tuple[str, str] | None = None,
        bands: AuditBands | None = None,
        against: TextTask | None = None,
        whole: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> TextAudit:
        """Say whether a text was computed as its task says; for parameters and errors see `audit_text`."""
        check_flag(whole, "whole")
        check_function(on_progress, "on_progress")
        band, uncalibrated, ready = prepared(task, answer, proof, seed, count, bands, against, kinds)
        if ready is not None:
            return ready
        self._check(task)
        loaded = self._loaded
        if loaded is None:
            raise PipelineError("this auditor is closed; make a new one")
        start, without_margins = time.perf_counter(), incomparable(task)
        with deterministic(), quiet("transformers"):
            length = sum(map(len, proof.token_ids))
            passes = 1 if against is None else 2

            def heard(tokens: int) -> None:
                if on_progress is not None:
                    on_progress(tokens, passes * length)

            looked = _Look(loaded, task, proof, band, heard, whole)
            finding, reason = looked.all()
            other = None
            if finding is AuditFinding.NOISE and against is not None and without_margins is None:
                # Its pictures are the task's, of which it is known where they lie.
                second = against.replace(pictures=task.pictures)
                other = looked.margins - self._of(second, proof, band, lambda tokens: heard(length + tokens))
        limits = None if looked.top is None or uncalibrated else band.top_limits(len(looked.logs))
        if other is not None and other > band.against:
            finding, reason = AuditFinding.CHEAT, "the second hypothesis explains the text better than the task does"
        elif looked.top is not None and finding is AuditFinding.NOISE:
            finding, reason = _by_rows(looked.top, limits, band)
        if finding is AuditFinding.NOISE and without_margins is not None:
            finding, reason = AuditFinding.INCOMPARABLE, f"{without_margins}; the bound logits show no cheat"
        tokens = looked.tokens if without_margins is None else 0
        return TextAudit(
            task, answer, finding, reason, uncalibrated, tokens, sum(map(len, proof.token_ids)), len(looked.odd),
            looked.margins, band.most(tokens), looked.top, limits, other,
            None if other is None else band.against, time.perf_counter() - start,
            tuple(looked.odd), tuple(looked.logs), kinds, dict(installed()),
        )  # fmt: skip

    def _of(self, against: TextTask, proof: TextProof, band: TextBand, heard: Callable[[int], None]) -> float:
        """The sum of the margins under a second hypothesis."""
        wanted = (against.model, against.dtype, against.quantize_bits)
        if wanted == (self.model, self.dtype, self.quantize_bits) and self._loaded is not None:
            return _summed(self._loaded, against, proof, band, heard)
        other = reference.load(against.model, against.dtype, self.device, against.quantize_bits)
        return _summed(other, against, proof, band, heard)

    def _check(self, task: TextTask) -> None:
        for name in ("model", "dtype", "quantize_bits"):
            wanted, loaded = getattr(task, name), getattr(self, name)
            if wanted != loaded:
                raise InvalidInputError(
                    f"the task asks for {name} {wanted}, but this auditor has loaded {loaded}; use"
                    " TextAuditor.for_task(task)"
                )

    def close(self) -> None:
        """Free the reference and its memory. Closing twice is fine."""
        self._loaded = None
        gc.collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._loaded is None else "loaded"
        return f"<TextAuditor {self.model} {self.dtype} on {self.device}, {state}>"


def prepared(
    task: TextTask,
    answer: TextScore,
    proof: TextProof,
    seed: bytes | None,
    count: int,
    bands: AuditBands | None,
    against: TextTask | None,
    kinds: tuple[str, str] | None = None,
) -> tuple[TextBand, str, TextAudit | None]:
    """Check all that can be checked without a model.

    Returns
    -------
    band, uncalibrated
        The band of the task, and why it was not made for it; empty where it was.
    audit
        The audit, where it can be said already; otherwise None.
    """
    check_type(proof, TextProof, "the proof", "a TextProof")
    proof.check(task, answer)
    _check_places(task, answer, proof, seed, count)
    if against is not None:
        _check_against(task, against)
    check_kinds(kinds)
    found = bands_or_shipped(bands).for_text(task)
    # Bound rows can be judged without margins.
    reason = (incomparable(task) if proof.top is None else None) or (None if against is None else incomparable(against))
    if found is None:
        reason = f"the bands have none for {task.dtype}"
    if reason is None and found is not None:
        return *found, None
    length = sum(map(len, proof.token_ids))
    audit = TextAudit(task, answer, AuditFinding.INCOMPARABLE, str(reason), str(reason), tokens=0, of=length,
                      odd=0, margins=0.0, limit=0.0, kinds=kinds)  # fmt: skip
    return TextBand(1.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0), str(reason), audit


def _check_places(task: TextTask, answer: TextScore, proof: TextProof, seed: bytes | None, count: int) -> None:
    if proof.top is None:
        if seed is not None:
            raise InvalidInputError(f"a seed is given, but the task binds {task.binding} alone; leave it out")
        return
    if seed is None:
        raise InvalidInputError("the task binds the largest logits; give the seed that drew the positions of the proof")
    drawn = audit_positions(seed, task, answer, proof.token_ids, count)
    if proof.top.places != drawn:
        other = next((place for place in proof.top.places if place not in drawn), None)
        raise InvalidAnswerError(
            f"the proof shows {told(other)}, which this seed did not draw; ask for the drawn positions"
            if other is not None
            else f"the proof shows {len(proof.top.places)} of the {len(drawn)} positions that this seed drew"
        )


def _check_against(task: TextTask, against: TextTask) -> None:
    check_type(against, TextTask, "against", "a TextTask, or None")
    for name in _SAME:
        if getattr(task, name) != getattr(against, name):
            raise InvalidInputError(
                f"{name} of the second hypothesis is not the task's; change model or sampling alone"
            )


def _summed(
    loaded: LoadedText, task: TextTask, proof: TextProof, band: TextBand, heard: Callable[[int], None]
) -> float:
    looked = _Look(loaded, task, proof, band, heard)
    for _ in looked.each():
        pass
    return looked.margins


@dataclass
class _Look:
    """One pass over a proof: what was seen so far."""

    loaded: LoadedText
    task: TextTask
    proof: TextProof
    band: TextBand
    heard: Callable[[int], None]
    whole: bool = False
    tokens: int = 0
    odd: list[tuple[int, float]] = field(default_factory=list)
    margins: float = 0.0
    logs: list[float] = field(default_factory=list)
    why: str | None = None
    """What is wrong with a single token."""
    nonsense: str | None = None
    """What is wrong with a row of the node itself."""

    @property
    def top(self) -> float | None:
        """The mean of the logarithms of how far rows are off; None before there are any, and in a stopped audit."""
        wanted = 0 if self.proof.top is None else len(self.proof.top.places)
        return sum(self.logs) / wanted if wanted and len(self.logs) == wanted else None

    def all(self) -> tuple[AuditFinding, str]:
        """Look at token after token until something is found, or all have been seen."""
        prompt = input_ids(self.loaded, self.task)
        most = new_tokens(self.loaded, self.task, prompt)
        for sequence, ids in enumerate(self.proof.token_ids):
            if wrong := self._wrong_end(sequence, ids, most):
                return AuditFinding.CHEAT, wrong
        found: str | None = None
        for _ in self.each():
            if self.nonsense is not None:
                return AuditFinding.CHEAT, self.nonsense
            if found is None and self.margins > self.band.most(self.tokens):
                found = "the tokens are further from the reference's choice than honest ones"
            found = self.why or found
            if found is not None and not self.whole:
                break
        if found is not None:
            return AuditFinding.CHEAT, found
        return AuditFinding.NOISE, "the tokens are as far from the reference's choice as honest ones"

    def _wrong_end(self, sequence: int, ids: tuple[int, ...], most: int) -> str | None:
        beyond = next((token for token in ids if token >= self.loaded.vocabulary), None)
        if beyond is not None:
            raise InvalidAnswerError(
                f"sequence {sequence} has the token id {beyond}; the model knows 0 to {self.loaded.vocabulary - 1}"
            )
        if len(ids) > most:
            raise InvalidAnswerError(f"sequence {sequence} has {len(ids)} tokens; the model's context allows {most}")
        end = first_end(self.loaded, self.task, ids, most)
        if end is None:
            return f"sequence {sequence} breaks off after {len(ids)} tokens, where nothing ends it"
        if end[1] < len(ids):
            return f"sequence {sequence} goes on after its end, which is token {end[1] - 1}"
        return None

    def each(self) -> Iterator[None]:
        """Look at token after token."""
        prompt, beside = model_input(self.loaded, self.task)
        shown = {} if self.proof.top is None else dict(zip(self.proof.top.places, self.proof.top.rows, strict=True))
        for sequence, ids in enumerate(self.proof.token_ids):
            margins = Margins(self.task, sequence) if incomparable(self.task) is None else None
            seen: TokenIds = np.array([*prompt, *ids], dtype=np.int64)
            for step, logits in enumerate(reference.rows(self.loaded, prompt, ids, beside)):
                before = seen[: len(prompt) + step]
                most = max(self.band.alone, _LARGEST) if self.whole else self.band.alone
                found = 0.0 if margins is None else margins.of(logits, before, step, ids[step], most)
                if found > 0:
                    self.odd.append((self.tokens, found))
                self.tokens += 1
                self.heard(self.tokens)
                self.margins += min(found, self.band.clip)
                if found >= self.band.alone:
                    self.why = f"{told((sequence, step))} is further from the reference's choice than any honest one"
                if (sequence, step) in shown:
                    self._compare((sequence, step), shown[sequence, step], logits, before, ids[step])
                yield

    def _compare(self, place: Place, row: bytes, logits: Float32s, seen: TokenIds, token: int) -> None:
        """Compare an opened row with the reference's logits, and with the token that was chosen from it."""
        bound = entries(row)
        if len(bound) != min(LARGEST, len(logits)) or any(found >= len(logits) for found, _ in bound):
            self.nonsense = f"the bound row of {told(place)} has tokens that the model does not, or fewer than it has"
            return
        if contradicts(self.task, bound, seen, *place, token):
            self.nonsense = f"{told(place)} is not what the task chooses from the logits that the node bound itself"
        self.logs.append(math.log(max(_LEAST, row_distance(bound, logits))))


def row_distance(bound: list[tuple[int, float]], logits: Float32s) -> float:
    """Return how far a bound row is from a reference's logits: root mean square, in logits; both are centred.

    Logits that the row leaves out, although the reference has them among the largest, count by how far they stand above
    the row's least.
    """
    ids = np.array([token for token, _ in bound])
    values = np.array([value for _, value in bound], dtype=np.float64)
    expected = logits[ids].astype(np.float64)
    usable = np.isfinite(values) & np.isfinite(expected)
    if (np.isfinite(values) != np.isfinite(expected)).any():
        return math.inf
    shift = float((values - expected)[usable].mean())
    apart = (values - expected - shift)[usable]
    least = float(expected[usable].min())
    rest = np.setdiff1d(np.flatnonzero(logits > least), ids)
    left_out = logits[rest].astype(np.float64) - least
    # The least of the row may itself be off; what stands above it by no more than that says nothing new.
    return math.sqrt(float((apart**2).sum() + (left_out[np.argsort(-left_out)[:LARGEST]] ** 2).sum()) / len(values))


def _by_rows(found: float, limits: tuple[float, float] | None, band: TextBand) -> tuple[AuditFinding, str]:
    if found > math.log(band.alone):
        # On any model: logits that are off by so much would have shown in the tokens.
        return AuditFinding.CHEAT, "the bound logits have nothing to do with the reference's"
    if limits is None:
        return AuditFinding.NOISE, (
            "the tokens are as far from the reference's choice as honest ones; the bound logits were not judged, since "
            "no band was made for them"
        )
    if found > limits[1]:
        return AuditFinding.CHEAT, "the bound logits are further from the reference's than honest ones"
    if found < limits[0]:
        return AuditFinding.CHEAT, "the bound logits are nearer to the reference's than the task's dtype allows"
    return AuditFinding.NOISE, "tokens and bound logits are as far from the reference's as honest ones"


def audit_text(
    task: TextTask,
    answer: TextScore,
    proof: TextProof,
    *,
    seed: bytes | None = None,
    count: int = OPENED,
    kinds: tuple[str, str] | None = None,
    bands: AuditBands | None = None,
    against: TextTask | None = None,
    whole: bool = False,
    device: "str | torch.device | None" = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TextAudit:
    """Say whether a text was computed as its task says: one pass over input and claimed tokens, in float32.

    The machine may be of another class than the node's. Parameters and errors as of `crynux_validate.audit`. For many
    texts of one model use a `TextAuditor`.
    """
    _, _, ready = prepared(task, answer, proof, seed, count, bands, against, kinds)
    if ready is not None:
        return ready
    with TextAuditor.for_task(task, device) as auditor:
        return auditor.audit(
            task, answer, proof,
            seed=seed, count=count, kinds=kinds, bands=bands, against=against, whole=whole, on_progress=on_progress,
        )  # fmt: skip
