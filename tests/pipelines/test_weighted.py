"""Prompts with weights and of any length: compel's encodings to the bit, what counts, and what stays behind (T9)."""

import contextlib
import importlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from crynux_validate.errors import PromptTooLongError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.weighted import encodings
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.tasks import ImageTask, ModelRef
from crynux_validate.testing import tensor_cores, tiny_sdxl_model, tiny_textual_inversion
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines

SENTENCE = "a big blue star on sand. "
PROMPTS = [
    ("a red cat", ""),
    ("a red++ cat", "snow--, (two words)0.3, sand- (all)0"),
    (SENTENCE * 11 + "the (last sentence is cut)0.5", "snow+"),
    ("a red cat, " * 20 + "and- one", SENTENCE * 20),
    ("red " * 80, "x" * 200),
]


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return tiny_sdxl_model(tmp_path_factory.mktemp("models") / "xl")


def theirs(compel: Any, pipeline: Any, prompt: str, negative: str) -> dict[str, torch.Tensor]:
    """What the live network's nodes give their pipelines."""
    if hasattr(pipeline, "tokenizer_2"):
        found = importlib.import_module("compel.convenience_wrappers").CompelForSDXL(pipeline)(
            prompt, negative_prompt=negative
        )
        return {
            "prompt_embeds": found.embeds, "negative_prompt_embeds": found.negative_embeds,
            "pooled_prompt_embeds": found.pooled_embeds, "negative_pooled_prompt_embeds": found.negative_pooled_embeds,
        }  # fmt: skip
    maker = compel.Compel(
        tokenizer=pipeline.tokenizer, text_encoder=pipeline.text_encoder, truncate_long_prompts=False,
        textual_inversion_manager=compel.DiffusersTextualInversionManager(pipeline),
    )  # fmt: skip
    both = maker([prompt, negative])
    return {"prompt_embeds": both[:1], "negative_prompt_embeds": both[1:]}


@pytest.mark.parametrize(("kind", "dtype"), [("sd", "float32"), ("sd", "bfloat16"), ("xl", "float32")])
def test_they_are_compels_to_the_bit(
    kind: str, dtype: Any, task: ImageTask, xl: ModelRef, model: ModelRef, tmp_path: Path
) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        compel = pytest.importorskip("compel")
    thing = [tiny_textual_inversion(tmp_path, model)] if kind == "sd" else []
    asked = task.replace(model=xl if kind == "xl" else model, dtype=dtype, textual_inversions=thing)
    with Runner.for_task(asked, "cpu") as opened, deterministic():
        pipeline = opened._loaded.pipeline  # type: ignore[union-attr]
        for prompt, negative in [
            *PROMPTS[: 3 if kind == "xl" else None],
            *([("a <thing>++ red", "<thing>")] if thing else []),
        ]:
            expected = theirs(compel, pipeline, prompt, negative)
            given: Any = SimpleNamespace(prompt=prompt, negative_prompt=negative, prompt_syntax="compel")
            found = encodings(pipeline, given)
            assert {name for name, value in found.items() if value is not None} == set(expected)
            for name, value in expected.items():
                assert torch.equal(found[name], value), (name, prompt)


def test_a_weight_counts_and_nothing_stays_behind(runner: Any, task: ImageTask) -> None:
    plain = runner.run(task)
    scores = {
        text: runner.run(task.replace(prompt=text, prompt_syntax=syntax)).score
        for syntax, text in (
            ("compel", "a red++ cat"), ("compel", "a red-- cat"), ("compel", "(a red cat)0.2"),
            ("webui", "a (red:3) cat"),
            ("compel", "a red cat " * 40), ("webui", "a red cat " * 30),
        )
    }  # fmt: skip
    assert len({score.hex for score in scores.values()} | {plain.score.hex}) == 7
    same = runner.run(task.replace(prompt="a (red)1.0 cat", prompt_syntax="compel"))
    assert same.score.hashes == runner.run(task.replace(prompt_syntax="compel")).score.hashes == plain.score.hashes
    assert same.environment.recipe["prompts"] == "compel"
    assert runner.run(task).score == plain.score


def test_a_negative_prompt_can_have_weights(runner: Any, task: ImageTask) -> None:
    found = {
        runner.run(task.replace(negative_prompt=text, prompt_syntax="webui")).score.hex
        for text in ("", "snow", "(snow:2)", "[snow]")
    }
    assert len(found) == 4


def test_no_negative_prompt_is_none_of_sdxl(task: ImageTask, xl: ModelRef) -> None:
    asked = task.replace(model=xl, prompt="a red++ cat", prompt_syntax="compel")
    with Runner.for_task(asked, "cpu") as runner:
        empty, none = (runner.run(asked.replace(negative_prompt=text)).score for text in ("", None))
        pipeline: Any = runner._loaded.pipeline  # type: ignore[union-attr]
        pipeline.register_to_config(force_zeros_for_empty_prompt=False)
        assert runner.run(asked.replace(negative_prompt=None)).score == empty
    assert empty != none


def test_there_is_an_end_to_prompts(runner: Any, task: ImageTask) -> None:
    for name in ("prompt", "negative_prompt"):
        with pytest.raises(PromptTooLongError, match=f"^{name}: has 1201 tokens, which is more than 16 windows"):
            runner.run(task.replace(prompt_syntax="compel").replace(**{name: "a " * 1201}))
    assert runner.run(task.replace(steps=1, prompt="a " * 1200, prompt_syntax="webui")).score


def test_two_kinds_of_machines_agree(machines: Machines, runner: Any, task: ImageTask) -> None:
    asked = task.replace(prompt="a red++ cat- " * 12, prompt_syntax="compel", negative_prompt="(snow)0.5")
    here = runner.run(asked)
    for name, machine in machines.items():
        found = machine.run(jobs.draw, task.model.path, asked.to_json())
        assert hamming(found["score"].hashes, here.score.hashes) <= (0 if name == "native" else 2)


def test_it_runs_in_the_arithmetic_of_a_card(task: ImageTask) -> None:
    asked = task.replace(prompt="a red++ cat", prompt_syntax="compel", dtype="bfloat16", steps=1)
    with tensor_cores("hopper"):
        assert run(asked, "cpu").score == run(asked, "cpu").score


@pytest.mark.parametrize("syntax", ["compel", "webui"])
def test_its_steps_can_be_audited(task: ImageTask, syntax: Any) -> None:
    asked = task.replace(
        prompt="a (red:1.4) cat++ " * 12,
        prompt_syntax=syntax,
        binding="trace",
        dtype="bfloat16",
        negative_prompt="snow",
    )
    with Runner.for_task(asked, "cpu") as runner:
        result = runner.run(asked)
        assert result.trace is not None
        proof = result.trace.prove(0, range(3))
        assert runner.audit(asked, result.score, proof, seed=b"a seed", count=3).finding == "MATCH"
        plain = runner.run(asked.replace(prompt="a red cat"))
        claimed = result.score
        assert plain.score.hashes != claimed.hashes or plain.score != claimed
