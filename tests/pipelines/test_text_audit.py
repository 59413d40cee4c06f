"""Audits of texts: honest ones pass on any kind of machine, cheats do not, and bad input is told early."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crynux_validate as cv
from crynux_validate import ModelRef, Runner, TextTask
from crynux_validate.audits.bands import AuditBands, shipped_bands
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.text_bands import TextBands
from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.top import TopLogits, audit_positions, entries, row_of
from crynux_validate.pipelines.noise import gumbel, token_uniform
from crynux_validate.pipelines.text import reference
from crynux_validate.pipelines.text.audit import TextAuditor, audit_text, row_distance
from crynux_validate.pipelines.text.passes import Passes
from crynux_validate.pipelines.text.prompts import input_ids
from crynux_validate.pipelines.text.sampling import choose, warpers
from crynux_validate.pipelines.text.top import contradicts, top_row
from crynux_validate.testing import fake_hardware, tiny_text_model
from tests.pipelines import jobs

ASKED = [{"role": "user", "content": "And the king said unto his servants,"}]
SEED = b"a beacon's value"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A small model that has read a book."""
    return tiny_text_model(tmp_path_factory.mktemp("trained") / "llama")


@pytest.fixture(scope="module")
def task(model: ModelRef) -> TextTask:
    """Fifty tokens, drawn, with the largest logits bound."""
    return TextTask(model=model, messages=ASKED, do_sample=True, temperature=0.8, top_k=40, seed=3,
                    max_new_tokens=50, eos_token_ids=[], binding="top")  # fmt: skip


@pytest.fixture(scope="module")
def writer(task: TextTask) -> Iterator[Runner]:
    """The model as a node has it."""
    with Runner.for_task(task, "cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def auditor(task: TextTask) -> Iterator[TextAuditor]:
    """Its reference."""
    with TextAuditor.for_task(task, "cpu") as loaded:
        yield loaded


def shown(result: Any, seed: bytes = SEED) -> TextProof:
    """What a node hands in."""
    top = result.top
    if top is None:
        return TextProof(result.task.digest, result.token_ids)
    places = audit_positions(seed, result.task, result.score, result.token_ids)
    return TextProof(result.task.digest, result.token_ids, top.open(places))


def audited(auditor: TextAuditor, result: Any, **settings: Any) -> Any:
    """The audit of a result by its own task."""
    seed = SEED if result.top is not None else None
    return auditor.audit(result.task, result.score, shown(result), seed=seed, **settings)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 4, "sequences": 2},
        {"do_sample": False, "temperature": 1.0, "top_k": 0},
        {"top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.1},
        {"binding": "tokens"},
        {"binding": "logits"},
        {"stop": ["LORD", "and"], "binding": "tokens"},
        {"eos_token_ids": None, "binding": "tokens", "max_new_tokens": 80},
    ],
    ids=str,
)
def test_an_honest_text_is_noise(writer: Runner, auditor: TextAuditor, task: TextTask, changes: dict[str, Any]) -> None:
    result = writer.run(task.replace(**changes))
    found = audited(auditor, result)
    assert found.finding is AuditFinding.NOISE, found
    assert found.calibrated
    assert found.tokens == found.of == sum(map(len, result.token_ids))
    assert found.margins < found.limit / 3
    assert (found.top is None) == (result.top is None)
    assert str(found).startswith("finding      NOISE")
    assert found.to_dict()["finding"] == "NOISE"


def test_how_far_an_audit_is(writer: Runner, auditor: TextAuditor, task: TextTask) -> None:
    """Two passes where there is a second hypothesis; each tells every token."""
    result: Any = writer.run(task.replace(sequences=2, max_new_tokens=5))
    told: list[tuple[int, int]] = []
    found = audited(auditor, result, on_progress=lambda *far: told.append(far))
    assert told == [(token + 1, found.of) for token in range(found.of)]
    told.clear()
    other = result.task.replace(temperature=0.9)
    audited(auditor, result, against=other, on_progress=lambda *far: told.append(far))
    assert told == [(token + 1, 2 * found.of) for token in range(2 * found.of)]


def test_a_node_of_another_kind_is_honest(
    task: TextTask, auditor: TextAuditor, fake_hardware_workers: fake_hardware.Workers
) -> None:
    asked = task.replace(binding="tokens", seed=11)
    worker = fake_hardware_workers["oldest"]
    written = worker.run(jobs.write, asked.model.path, asked.to_json())
    found = auditor.audit(asked, written["score"], TextProof(asked.digest, written["tokens"]))
    assert found.finding is AuditFinding.NOISE, found


def test_texts_that_are_written_at_once_are_honest(writer: Runner, auditor: TextAuditor, task: TextTask) -> None:
    """What measurements of false alarms are made of: alone to the bit as a node writes, and beside others as honest."""
    from benchmarks.text_audits.together import together

    longer = task.replace(messages=[{"role": "user", "content": "Hear the words of the king." * 3}], seed=8)
    longer = longer.replace(max_new_tokens=30, repetition_penalty=1.1)
    loaded: Any = writer._loaded
    with cv.deterministic():
        ((ids, rows),) = together(loaded, [task])
        assert (tuple(ids), tuple(rows)) == (writer.run(task).token_ids[0], writer.run(task).top.rows[0])  # type: ignore[union-attr]
        found = together(loaded, [task, longer])
    for asked, (ids, rows) in zip([task, longer], found, strict=True):
        top = TopLogits(asked, [rows])
        assert len(ids) == asked.max_new_tokens
        score = cv.TextScore.from_tokens([ids], top=top.root)
        places = audit_positions(SEED, asked, score, [ids])
        audit = auditor.audit(asked, score, TextProof(asked.digest, [ids], top.open(places)), seed=SEED)  # type: ignore[arg-type]
        assert audit.finding is AuditFinding.NOISE, audit


@pytest.mark.parametrize(
    "done",
    [
        {"seed": 4},
        {"temperature": 1.6},
        {"top_k": 0, "temperature": 1.3},
        {"do_sample": False, "temperature": 1.0, "top_k": 0},
    ],
    ids=str,
)  # fmt: skip
def test_who_samples_in_another_way_is_found(
    writer: Runner, auditor: TextAuditor, task: TextTask, done: dict[str, Any]
) -> None:
    asked = task.replace(binding="tokens")
    result = writer.run(asked.replace(**done))
    found = auditor.audit(asked, result.score, TextProof(asked.digest, result.token_ids))
    assert found.finding is AuditFinding.CHEAT, found
    assert found.tokens <= found.of


def test_an_audit_stops_early(writer: Runner, auditor: TextAuditor, task: TextTask) -> None:
    asked = task.replace(binding="tokens")
    result = writer.run(asked.replace(seed=99))
    found = auditor.audit(asked, result.score, TextProof(asked.digest, result.token_ids))
    assert found.tokens < 20, "a wrong seed is told within a few tokens"


def test_a_whole_float32_text_is_quieter_than_bfloat16_can_be(
    model: ModelRef, task: TextTask, auditor: TextAuditor
) -> None:
    with Runner(model, "text", "float32", "cpu") as other:
        result = other.run(task.replace(dtype="float32"))
    top = TopLogits(task, result.top.rows)  # type: ignore[union-attr]
    score = cv.TextScore.from_tokens(result.token_ids, top=top.root)
    places = audit_positions(SEED, task, score, result.token_ids)
    found = auditor.audit(task, score, TextProof(task.digest, result.token_ids, top.open(places)), seed=SEED)
    assert found.finding is AuditFinding.CHEAT, found
    assert "nearer" in found.reason


def test_rounded_weights_show_in_the_bound_logits(
    model: ModelRef, task: TextTask, auditor: TextAuditor, tmp_path: Path
) -> None:
    from benchmarks.divergence.copies import rounded_copy

    copy = ModelRef.local(rounded_copy(str(model.path), str(tmp_path / "int8"), 8))
    with Runner(copy, "text", task.dtype, "cpu") as other:
        result = other.run(task.replace(model=copy))
    top = TopLogits(task, result.top.rows)  # type: ignore[union-attr]
    score = cv.TextScore.from_tokens(result.token_ids, top=top.root)
    places = audit_positions(SEED, task, score, result.token_ids, 50)
    found = auditor.audit(task, score, TextProof(task.digest, result.token_ids, top.open(places)), seed=SEED, count=50)
    assert found.finding is AuditFinding.CHEAT, found
    assert "bound logits are further" in found.reason


def test_bound_logits_that_are_not_those_of_the_tokens(writer: Runner, auditor: TextAuditor, task: TextTask) -> None:
    """Tokens of one run, with honest logits for them that were computed afterwards."""
    asked = task.replace(do_sample=False, temperature=1.0, top_k=0)
    tokens = list(writer.run(asked).token_ids[0])
    prompt = input_ids(auditor._loaded, asked)  # type: ignore[arg-type]
    rows = [top_row(row) for row in reference.rows(auditor._loaded, prompt, tokens)]  # type: ignore[arg-type]
    second = [entries(row)[1] for row in rows]
    at = min(range(50), key=lambda step: entries(rows[step])[0][1] - second[step][1])
    tokens[at] = second[at][0]
    top = TopLogits(asked, [rows])
    score = cv.TextScore.from_tokens([tokens], top=top.root)
    places = audit_positions(SEED, asked, score, [tokens], 50)
    found = auditor.audit(asked, score, TextProof(asked.digest, [tokens], top.open(places)), seed=SEED, count=50)  # type: ignore[arg-type]
    assert found.finding is AuditFinding.CHEAT, found
    assert "is not what the task chooses from the logits that the node bound itself" in found.reason


@pytest.mark.parametrize("cut", [1, 20])
def test_a_text_that_breaks_off(writer: Runner, auditor: TextAuditor, task: TextTask, cut: int) -> None:
    asked = task.replace(binding="tokens")
    tokens = [writer.run(asked).token_ids[0][:-cut]]
    found = auditor.audit(asked, cv.TextScore.from_tokens(tokens), TextProof(asked.digest, tokens))  # type: ignore[arg-type]
    assert found.finding is AuditFinding.CHEAT, found
    assert f"breaks off after {50 - cut} tokens" in found.reason


def test_a_text_that_goes_on_after_its_end(writer: Runner, auditor: TextAuditor, task: TextTask) -> None:
    asked = task.replace(binding="tokens")
    result = writer.run(asked)
    ends = asked.replace(eos_token_ids=[result.token_ids[0][10]])
    found = auditor.audit(ends, result.score, TextProof(ends.digest, result.token_ids))
    assert found.finding is AuditFinding.CHEAT, found
    assert "goes on after its end" in found.reason


@pytest.mark.parametrize("at", [0, 7])
def test_one_token_of_the_nodes_own_choice_is_found(
    writer: Runner, auditor: TextAuditor, task: TextTask, at: int
) -> None:
    """An end that nothing led to saves all the work, and one word can turn an answer around."""
    asked = task.replace(binding="tokens", eos_token_ids=[2])
    honest = writer.run(asked.replace(eos_token_ids=[])).token_ids[0]
    ended = [[*honest[:at], 2]]
    found = auditor.audit(asked, cv.TextScore.from_tokens(ended), TextProof(asked.digest, ended))  # type: ignore[arg-type]
    assert found.finding is AuditFinding.CHEAT, found
    assert f"token {at} of sequence 0 is further from the reference's choice than any honest one" in found.reason
    assert found.tokens == at + 1


def own_bands(texts: TextBands) -> AuditBands:
    return AuditBands({}, {"bfloat16": texts}, shipped_bands().versions)


def test_a_second_hypothesis(writer: Runner, auditor: TextAuditor, task: TextTask) -> None:
    asked = task.replace(binding="tokens")
    wide = shipped_bands().texts["bfloat16"]
    bands = own_bands(dataclasses.replace(wide, band=dataclasses.replace(wide.band, slope=0.05)))
    other = asked.replace(temperature=0.6)
    result = writer.run(other)
    settings: dict[str, Any] = {"bands": bands, "against": other}
    found = auditor.audit(asked, result.score, TextProof(asked.digest, result.token_ids), **settings)
    assert found.finding is AuditFinding.CHEAT, found
    assert "second hypothesis" in found.reason
    honest = writer.run(asked)
    found = auditor.audit(asked, honest.score, TextProof(asked.digest, honest.token_ids), **settings)
    assert found.finding is AuditFinding.NOISE
    assert found.against is not None
    assert found.against < 0
    with pytest.raises(cv.errors.InvalidInputError, match="seed of the second hypothesis"):
        auditor.audit(asked, honest.score, TextProof(asked.digest, honest.token_ids), against=other.replace(seed=8))


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 0, "typical_p": 0.9},
        {"top_p": 0.9, "repetition_penalty": 1.2,
         "warper_order": ["top_k", "repetition_penalty", "top_p", "min_p", "temperature", "typical_p"]},
    ],
    ids=["typical_p", "repetition penalty stands between"],
)  # fmt: skip
def test_bound_rows_are_judged_where_tokens_have_no_margins(
    model: ModelRef, writer: Runner, auditor: TextAuditor, task: TextTask, changes: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    asked = task.replace(**changes)
    result = writer.run(asked)
    found = audited(auditor, result)
    assert found.finding is AuditFinding.INCOMPARABLE, "honest rows do not acquit tokens"
    assert request.node.callspec.id in found.reason
    assert found.top is not None
    with Runner(model, "text", "float32", "cpu") as other:
        quiet = other.run(asked.replace(dtype="float32"))
    top = TopLogits(asked, quiet.top.rows)  # type: ignore[union-attr]
    score = cv.TextScore.from_tokens(quiet.token_ids, top=top.root)
    places = audit_positions(SEED, asked, score, quiet.token_ids)
    found = auditor.audit(asked, score, TextProof(asked.digest, quiet.token_ids, top.open(places)), seed=SEED)
    assert found.finding is AuditFinding.CHEAT, found
    assert "nearer" in found.reason


@pytest.mark.parametrize(
    "changes", [{"do_sample": False, "temperature": 1.0, "top_k": 0, "beams": 2}, {"typical_p": 0.9}], ids=str
)
def test_what_cannot_be_compared_says_why_without_a_model(task: TextTask, changes: dict[str, Any]) -> None:
    asked = task.replace(binding="tokens", model=ModelRef("no/such-model", revision="0" * 40), **changes)
    tokens = [[1, 2]]
    found = audit_text(asked, cv.TextScore.from_tokens(tokens), TextProof(asked.digest, tokens))  # type: ignore[arg-type]
    assert found.finding is AuditFinding.INCOMPARABLE
    assert any(word in found.reason for word in ("beam", "typical_p"))
    assert str(found)


def test_a_proof_of_another_task_is_an_error_before_a_model_is_loaded(task: TextTask) -> None:
    """Who mixes up two tasks is told so: the node is no cheat for that."""
    asked = task.replace(binding="tokens", model=ModelRef("no/such-model", revision="0" * 40))
    tokens = [[1, 2]]
    other = TextProof(asked.replace(seed=9).digest, tokens)  # type: ignore[arg-type]
    with pytest.raises(
        cv.errors.InvalidAnswerError, match=f"for the task {other.task_digest[:16]}..., not for {asked.digest[:16]}"
    ):
        audit_text(asked, cv.TextScore.from_tokens(tokens), other)


def test_another_model_or_dtype(auditor: TextAuditor, task: TextTask) -> None:
    tokens = [[1]]
    for name, changes in (("model", {"model": ModelRef("a/b", revision="0" * 40)}), ("dtype", {"dtype": "float32"})):
        other = task.replace(binding="tokens", **changes)
        with pytest.raises(cv.errors.InvalidInputError, match=f"asks for {name}"):
            auditor.audit(other, cv.TextScore.from_tokens(tokens), TextProof(other.digest, tokens))  # type: ignore[arg-type]


def test_tokens_that_the_model_does_not_have(auditor: TextAuditor, task: TextTask) -> None:
    asked, tokens = task.replace(binding="tokens"), [[1, 1536]]
    with pytest.raises(cv.errors.InvalidAnswerError, match="token id 1536; the model knows 0 to 1535"):
        auditor.audit(asked, cv.TextScore.from_tokens(tokens), TextProof(asked.digest, tokens))  # type: ignore[arg-type]


def test_positions_and_seeds(writer: Runner, auditor: TextAuditor, task: TextTask) -> None:
    result = writer.run(task)
    with pytest.raises(cv.errors.InvalidInputError, match="give the seed"):
        auditor.audit(task, result.score, shown(result))
    with pytest.raises(cv.errors.InvalidAnswerError, match="this seed did not draw"):
        auditor.audit(task, result.score, shown(result), seed=b"another")
    with pytest.raises(cv.errors.InvalidAnswerError, match="shows 32 of the 40 positions"):
        auditor.audit(task, result.score, shown(result), seed=SEED, count=40)
    plain = writer.run(task.replace(binding="tokens"))
    with pytest.raises(cv.errors.InvalidInputError, match="leave it out"):
        auditor.audit(plain.task, plain.score, shown(plain), seed=SEED)


def test_a_closed_auditor(task: TextTask) -> None:
    auditor = TextAuditor.for_task(task, "cpu")
    auditor.close()
    asked, tokens = task.replace(binding="tokens"), [[1]]
    with pytest.raises(cv.errors.PipelineError, match="closed"):
        auditor.audit(asked, cv.TextScore.from_tokens(tokens), TextProof(asked.digest, tokens))  # type: ignore[arg-type]
    assert "closed" in repr(auditor)


def test_what_is_saved_opens_the_answer(writer: Runner, task: TextTask, tmp_path: Path) -> None:
    result = writer.run(task)
    result.save(tmp_path)
    top = TopLogits.from_bytes(task, (tmp_path / "top.bin").read_bytes())
    assert top == result.top
    read = TextProof.from_json((tmp_path / "answer.json").read_bytes())
    assert read.token_ids == result.token_ids
    assert read.task_digest == task.digest
    places = audit_positions(SEED, task, result.score, result.token_ids)
    proof = TextProof(task.digest, result.token_ids, top.open(places))
    answer = cv.answers.answer_from_bytes((tmp_path / "answer.bin").read_bytes())
    proof.check(task, answer)  # type: ignore[arg-type]
    writer.run(task.replace(binding="tokens")).save(tmp_path)
    assert not (tmp_path / "top.bin").exists(), "nothing is left of an earlier result"


def test_binding_the_largest_logits_changes_no_token(writer: Runner, task: TextTask) -> None:
    bound, plain = writer.run(task), writer.run(task.replace(binding="tokens"))
    assert bound.token_ids == plain.token_ids
    assert bound.score.algorithm == "top/1"
    assert bound.score.result_digest == plain.score.score


def test_one_pass_gives_the_logits_of_decoding(auditor: TextAuditor, task: TextTask) -> None:
    """In parts that follow one another, and longer than the first two."""
    loaded: Any = auditor._loaded
    prompt = input_ids(loaded, task)
    ids = [(7 * at) % 1500 for at in range(330)]
    with cv.deterministic():
        rows = np.stack(list(reference.rows(loaded, prompt, ids)))
        passes = Passes(loaded.model, loaded.calls)
        decoded = [passes(prompt)]
        decoded += [passes([token]) for token in ids[:-1]]
    expected = np.stack([row.detach().numpy() for row in decoded])
    assert rows.shape == expected.shape
    assert np.abs(rows - expected).max() < 1e-3


def test_a_reference_that_overflows(auditor: TextAuditor, task: TextTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_computed", lambda *given: np.full((given[2], 1536), np.nan, np.float32))
    asked, tokens = task.replace(binding="tokens"), [[1] * 50]
    with pytest.raises(cv.errors.PipelineError, match="NaN or infinite"):
        auditor.audit(asked, cv.TextScore.from_tokens(tokens), TextProof(asked.digest, tokens))  # type: ignore[arg-type]


def test_a_bound_row_of_tokens_that_the_model_does_not_have(
    writer: Runner, auditor: TextAuditor, task: TextTask
) -> None:
    result = writer.run(task)
    assert result.top is not None
    strange = row_of([(9_999 + at, -float(at)) for at in range(8)])
    top = TopLogits(task, [[strange] * 50])
    score = cv.TextScore.from_tokens(result.token_ids, top=top.root)
    places = audit_positions(SEED, task, score, result.token_ids)
    found = auditor.audit(task, score, TextProof(task.digest, result.token_ids, top.open(places)), seed=SEED)
    assert found.finding is AuditFinding.CHEAT, "its answer binds the row, so it is no error of the auditor's"
    assert "tokens that the model does not" in found.reason


def test_bound_rows_of_nonsense_are_found_without_a_band_of_the_model(
    writer: Runner, auditor: TextAuditor, task: TextTask
) -> None:
    """Right tokens, and rows that were made up to lead to them."""
    result = writer.run(task)
    ids = result.token_ids[0]
    made_up = [row_of([(ids[at], 90.0), *((1400 + other, -float(other)) for other in range(7))]) for at in range(50)]
    top = TopLogits(task, [made_up])
    score = cv.TextScore.from_tokens(result.token_ids, top=top.root)
    places = audit_positions(SEED, task, score, result.token_ids)
    proof = TextProof(task.digest, result.token_ids, top.open(places))
    unknown = own_bands(dataclasses.replace(shipped_bands().texts["bfloat16"], models=()))
    found = auditor.audit(task, score, proof, seed=SEED, bands=unknown)
    assert (found.finding, found.calibrated) == (AuditFinding.CHEAT, False), found
    assert "nothing to do with the reference's" in found.reason
    assert audited(auditor, result, bands=unknown).finding is AuditFinding.NOISE


@pytest.mark.parametrize("number", ["1e999", "NaN", "Infinity"])
def test_a_band_is_of_numbers(number: str, tmp_path: Path) -> None:
    text = json.dumps(shipped_bands().to_dict()).replace("0.276", number)
    assert number in text
    (tmp_path / "bands.json").write_text(text)
    with pytest.raises(cv.errors.InvalidInputError):
        AuditBands.load(tmp_path / "bands.json")


def test_the_distance_of_a_row() -> None:
    logits = np.linspace(3, -3, 20).astype(np.float32)
    row = entries(top_row(logits))
    assert row_distance(row, logits) == pytest.approx(0, abs=1e-6)
    assert row_distance(row, logits + 5) == pytest.approx(0, abs=1e-6), "centred"
    moved = logits.copy()
    moved[0] += 0.8
    assert row_distance(row, moved) == pytest.approx(0.8 * math.sqrt(7 / 64), abs=1e-6)
    low = entries(top_row(np.flip(logits)))
    assert row_distance(low, logits) > 1, "the wrong tokens"


def test_a_top_row_takes_ties_by_the_lowest_id() -> None:
    logits = np.zeros(30, dtype=np.float32)
    logits[[29, 4]] = 2.0, -0.0
    assert [token for token, _ in entries(top_row(logits))] == [29, 0, 1, 2, 3, 4, 5, 6]
    assert len(entries(top_row(logits[:3]))) == 3


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "changes",
    [
        {}, {"top_k": 3}, {"top_k": 40, "temperature": 0.5}, {"top_p": 0.7}, {"min_p": 0.1, "temperature": 1.5},
        {"repetition_penalty": 1.4}, {"top_p": 0.7, "repetition_penalty": 1.4},
        {"top_p": 0.5, "top_k": 12, "warper_order": ["top_p", "top_k", "min_p", "temperature", "typical_p",
                                                     "repetition_penalty"]},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_node_chose_never_contradicts_its_row(task: TextTask, changes: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = task.replace(**{"temperature": 1.0, "top_k": 0, "seed": seed} | changes)
    seen, found = np.array([1, 2, 3]), 0
    for step in range(40):
        logits = (rng.standard_normal(60) * 2).astype(np.float32)
        token = choose(asked, warpers(asked), logits, seen, 0, step)
        bound = entries(top_row(logits))
        assert not contradicts(asked, bound, seen, 0, step, token)
        found += contradicts(asked, bound, seen, 0, step, (token + 1) % 60)
    with_unknown_cuts = asked.repetition_penalty != 1.0 and asked.top_p < 1.0
    assert with_unknown_cuts == (found == 0)


@pytest.mark.parametrize(
    "changes", [{}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.05}, {"repetition_penalty": 1.3}], ids=str
)
def test_no_honest_choice_contradicts_its_row_where_scores_are_large(task: TextTask, changes: dict[str, Any]) -> None:
    """At low temperatures float32 rounds scores by more than what parts two tokens."""
    asked = task.replace(**{"temperature": 0.01, "top_k": 0} | changes)
    rng, seen = np.random.default_rng(1), np.array([1, 2, 3])
    for step in range(300):
        logits = (rng.standard_normal(20) - 60).astype(np.float32)
        first, second = rng.choice(20, 2, replace=False)
        logits[first] = 40 + rng.standard_normal()
        logits[second] = logits[first] + np.float32(0.01) * rng.standard_normal() * 3
        tied = _evened(asked, logits, int(first), int(second), step)
        for one in tied:
            token = choose(asked, warpers(asked), one, seen, 0, step)
            assert not contradicts(asked, entries(top_row(one)), seen, 0, step, token)


def _evened(task: TextTask, logits: Any, first: int, second: int, step: int) -> list[Any]:
    """Logits around the one at which the choice between two tokens turns."""
    noise = gumbel(token_uniform(task.seed, sequence=0, step=step, tokens=np.array([first, second])))
    centre = np.float32(logits[first] + task.temperature * (noise[0] - noise[1]))
    found = []
    for away in range(-3, 4):
        moved = logits.copy()
        moved[second] = centre + away * np.spacing(centre)
        found.append(moved)
    return found


def test_the_second_look_is_skipped_where_the_first_says_it(monkeypatch: pytest.MonkeyPatch, task: TextTask) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(reference, "load", refuse)
    asked, tokens = task.replace(binding="tokens"), [[1] * 51]
    with pytest.raises(cv.errors.InvalidAnswerError, match="51 tokens; the task allows 50"):
        audit_text(asked, cv.TextScore.from_tokens(tokens), TextProof(asked.digest, tokens))  # type: ignore[arg-type]
