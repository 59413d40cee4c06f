"""Weights of 4 and 8 bits: one rule, one result on every machine, and the same tokens again."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import crynux_validate as cv
from crynux_validate import ModelRef, Runner, TextTask
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.top import TopLogits, audit_positions
from crynux_validate.errors import InvalidInputError, ModelError
from crynux_validate.pipelines.noise import Purpose, normal
from crynux_validate.pipelines.text.audit import TextAuditor
from crynux_validate.pipelines.text.quantized import SmallLinear, quantize, rounded_4, rounded_8, widened_4, widened_8
from crynux_validate.testing import fake_hardware, tensor_cores
from tests.pipelines import jobs

ASKED = [{"role": "user", "content": "what is the sea?"}]
FP4 = (0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3)
"""Twelfths, by their code."""


@pytest.fixture(scope="module")
def task(text_model: ModelRef) -> TextTask:
    """A few tokens with their logits, from weights of 4 bits."""
    return TextTask(model=text_model, messages=ASKED, max_new_tokens=10, binding="logits", quantize_bits=4)


@pytest.fixture(scope="module", params=[4, 8])
def bits(request: pytest.FixtureRequest) -> Any:
    """Both."""
    return request.param


@pytest.fixture(scope="module")
def writers(text_model: ModelRef) -> Iterator[dict[Any, Runner]]:
    """The tiny Llama as it is, and in 4 and 8 bits."""
    found = {some: Runner(text_model, "text", "bfloat16", "cpu", quantize_bits=some) for some in (None, 4, 8)}
    yield found
    for runner in found.values():
        runner.close()


def weights(rows: int, columns: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    values = normal(seed, image=0, draw=0, shape=(rows, columns), purpose=Purpose.WEIGHTS)
    return torch.from_numpy(0.05 * values).to(dtype)


# ------------------------------------------------------------------------------------------------ the rule


@settings(max_examples=40)
@given(
    st.integers(1, 9),
    st.integers(1, 200),
    st.integers(0, 1000),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_four_bits_by_hand(rows: int, columns: int, seed: int, dtype: torch.dtype) -> None:
    """The nearest of the sixteen values, in blocks of 64; said again with numpy, one weight after the other."""
    weight = weights(rows, columns, seed, dtype)
    codes, scales = rounded_4(weight)
    found = widened_4(codes, scales, (rows, columns)).numpy().reshape(-1)
    flat = weight.float().numpy().reshape(-1)
    assert len(codes) == (len(flat) + 1) // 2
    assert len(scales) == -(-len(flat) // 64)
    table = np.array(FP4, np.float32) / np.float32(12)
    for at, value in enumerate(flat):
        block = np.abs(flat[at - at % 64 : at - at % 64 + 64])
        assert scales[at // 64] == block.max()
        code = int(codes[at // 2]) >> (0 if at % 2 else 4) & 15
        share = value / block.max() if block.max() else np.float32(0)
        assert abs(table[code] - share) <= np.abs(table - share).min() + 1e-6
        assert found[at] == table[code] * block.max()


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 200), st.integers(0, 1000), st.sampled_from([torch.float32, torch.bfloat16]))
def test_eight_bits_by_hand(rows: int, columns: int, seed: int, dtype: torch.dtype) -> None:
    weight = weights(rows, columns, seed, dtype)
    codes, scales = rounded_8(weight)
    flat = weight.float().numpy()
    largest = np.abs(flat).max(axis=1, keepdims=True)
    assert np.array_equal(scales.numpy(), largest)
    assert np.array_equal(codes.numpy(), np.rint(flat * (np.float32(1) / largest * np.float32(127))).astype(np.int8))
    widened = widened_8(codes, scales, (rows, columns)).numpy()
    assert np.array_equal(widened, codes.numpy().astype(np.float32) * largest * np.float32(1 / 127))
    assert (np.abs(widened - flat) <= largest * 0.51 / 127).all()


def test_the_values_of_bitsandbytes() -> None:
    """What bitsandbytes 0.50.2 makes of 128 weights from 1 to -1: FP4 in blocks of 64, and integers of two rows."""
    weight = torch.linspace(1, -1, 128).to(torch.bfloat16).view(2, 64)
    codes, scales = rounded_4(weight)
    assert codes.numpy().tobytes().hex() == FOUR_BITS
    assert scales.tolist() == [1.0, 1.0]
    assert hashlib.sha256(rounded_8(weight)[0].numpy().tobytes()).hexdigest() == EIGHT_BITS


FOUR_BITS = (
    "3333333333322222222222222225555555555544444447777776666666611111"
    "99999eeeeeeeeffffffcccccccdddddddddddaaaaaaaaaaaaaaaabbbbbbbbbbb"
)
EIGHT_BITS = "c2c67bf16f43feb46238078e4873927caab8cea81c034828175006e02fba6334"


@pytest.mark.parametrize("rounded", [rounded_4, rounded_8])
def test_weights_of_zero_stay_zero(rounded: Any) -> None:
    weight = torch.zeros(3, 70, dtype=torch.bfloat16)
    weight[2] = torch.linspace(-1, 1, 70)
    widen: Any = widened_4 if rounded is rounded_4 else widened_8
    found = widen(*rounded(weight), (3, 70))
    assert torch.equal(found[0], torch.zeros(70))
    assert torch.isfinite(found).all()


def test_rounding_again_changes_nothing(bits: int) -> None:
    layer = nn.Linear(130, 7, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weights(7, 130, 1, torch.float32))
    small = SmallLinear(layer, bits)
    with torch.no_grad():
        layer.weight.copy_(small.weight)
    again = SmallLinear(layer, bits)
    assert torch.equal(again.get_buffer("codes"), small.get_buffer("codes")) or torch.equal(again.weight, small.weight)


# ------------------------------------------------------------------------------------------------ models


def test_a_task_gives_what_the_plain_model_gives_with_widened_weights(
    writers: dict[Any, Runner], task: TextTask, text_model: ModelRef, bits: Any
) -> None:
    asked = task.replace(quantize_bits=bits)
    found = writers[bits].run(asked)
    with Runner(text_model, "text", "bfloat16", "cpu") as plain:
        model: Any = plain._loaded.model  # type: ignore[union-attr]
        small = {name: layer.weight for name, layer in modules(writers[bits]) if isinstance(layer, SmallLinear)}
        assert small
        with torch.no_grad():
            for name, weight in small.items():
                model.get_submodule(name).weight.copy_(weight)
        assert plain.run(task.replace(quantize_bits=None)).score == found.score


def modules(runner: Runner) -> Any:
    loaded: Any = runner._loaded
    return loaded.model.named_modules()


def test_every_linear_layer_is_small_but_the_output(writers: dict[Any, Runner], bits: Any) -> None:
    linear = {name for name, layer in modules(writers[None]) if isinstance(layer, nn.Linear)}
    assert {name for name, layer in modules(writers[bits]) if isinstance(layer, SmallLinear)} == linear - {"lm_head"}
    kept = sum(buffer.nbytes for _, layer in modules(writers[bits]) for buffer in layer.buffers(recurse=False))
    plain = sum(layer.weight.nbytes for name, layer in modules(writers[None]) if name in linear - {"lm_head"})
    assert kept < plain * (0.33 if bits == 4 else 0.55)


def test_bits_are_in_the_task_its_digest_and_the_recipe(writers: dict[Any, Runner], task: TextTask) -> None:
    tasks = {some: task.replace(quantize_bits=some) for some in (None, 4, 8)}
    results = {some: writers[some].run(asked) for some, asked in tasks.items()}
    assert len({asked.digest for asked in tasks.values()}) == 3
    assert len({result.score for result in results.values()}) == 3
    assert len({result.environment.recipe_digest for result in results.values()}) == 3
    assert results[None].environment.recipe["quantized"] is None  # type: ignore[index]
    four = results[4].environment.recipe["quantized"]  # type: ignore[index]
    assert four == {"bits": 4, "layers": 28, "weights": 2_359_296, "of": 2_859_264}
    for some, asked in tasks.items():
        assert writers[some].run(asked).score == results[some].score, "the same again, after the others"


def test_other_processes_and_other_machines(
    writers: dict[Any, Runner], task: TextTask, text_model: ModelRef, fake_hardware_workers: fake_hardware.Workers
) -> None:
    """Weights are rounded to the same bits everywhere; what is computed with them is a machine's own."""
    names = [name for name in ("native", "oldest") if name in fake_hardware_workers]
    weights_there = [fake_hardware_workers[name].submit(jobs.small_weights, text_model.path) for name in names]
    tokens = [fake_hardware_workers[name].submit(jobs.write, text_model.path, task.to_json()) for name in names]
    assert {future.result() for future in weights_there} == {jobs.small_weights(Path(str(text_model.path)))}
    native, oldest = (future.result() for future in tokens)
    here = writers[4].run(task)
    assert native["score"] == here.score
    assert oldest["score"] != here.score
    assert native["environment"].recipe_digest == here.environment.recipe_digest


def test_in_the_arithmetic_of_a_card(writers: dict[Any, Runner], task: TextTask) -> None:
    """All of it is torch's own operations, and so a card's arithmetic can be computed too."""
    asked = task.replace(max_new_tokens=2)
    with tensor_cores("hopper") as cores:
        first, again = writers[4].run(asked), writers[4].run(asked)
    assert cores.multiply_adds > 0
    assert first.score == again.score != writers[4].run(asked).score


def test_a_reference_has_the_same_small_weights(writers: dict[Any, Runner], task: TextTask, bits: Any) -> None:
    """An audit compares with the rounded weights in float32: an honest node is noise, whole weights are not."""
    asked = task.replace(quantize_bits=bits, binding="top", max_new_tokens=40)
    seed = b"a beacon's value"
    with TextAuditor.for_task(asked, "cpu") as auditor:
        for which, finding in ((bits, AuditFinding.NOISE), (4 if bits == 8 else None, AuditFinding.CHEAT)):
            found = writers[which].run(asked.replace(quantize_bits=which))
            result = TopLogits(asked, found.top.rows)  # type: ignore[union-attr]
            score = cv.TextScore.from_tokens(found.token_ids, None, result.root)
            proof = TextProof(
                asked.digest, found.token_ids, result.open(audit_positions(seed, asked, score, found.token_ids))
            )
            audit = auditor.audit(asked, score, proof, seed=seed)
            assert audit.finding is finding, (which, audit)
            assert not audit.calibrated
        plain = asked.replace(quantize_bits=None, binding="tokens")
        with pytest.raises(InvalidInputError, match="asks for quantize_bits None, but this auditor has loaded"):
            auditor.audit(plain, cv.TextScore.from_tokens(found.token_ids), TextProof(plain.digest, found.token_ids))


def test_what_a_runner_has_loaded_is_what_it_runs(writers: dict[Any, Runner], task: TextTask) -> None:
    with pytest.raises(InvalidInputError, match=r"asks for quantize_bits 4, but this runner has loaded None"):
        writers[None].run(task)
    with pytest.raises(InvalidInputError, match=r"asks for quantize_bits None, but this runner has loaded 8"):
        writers[8].run(task.replace(quantize_bits=None))
    assert "in 8 bits" in repr(writers[8])


def test_arguments_that_are_none(text_model: ModelRef, image_model: ModelRef) -> None:
    wrong: Any = 5
    for make in (
        lambda: Runner(text_model, "text", quantize_bits=wrong),
        lambda: TextAuditor(text_model, quantize_bits=wrong),
    ):
        with pytest.raises(InvalidInputError, match="quantize_bits is 5; expected 4, 8 or None"):
            make()
    with pytest.raises(InvalidInputError, match="only text models"):
        Runner(image_model, quantize_bits=4)


def test_models_that_have_nothing_to_round(text_model: ModelRef) -> None:
    class Odd(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def get_output_embeddings(self) -> None:
            return None

    with pytest.raises(ModelError, match="no linear layers"):
        quantize(text_model, Odd(nn.Embedding(3, 3)), 4)
    broken = nn.Linear(3, 3)
    with torch.no_grad():
        broken.weight[1, 1] = torch.inf
    with pytest.raises(ModelError, match="in layer that are no finite numbers, which have no 8 bits"):
        quantize(text_model, Odd(broken), 8)


@pytest.mark.parametrize(
    ("family", "settings", "named"),
    [
        ("Mixtral", {"num_local_experts": 2, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2,
                     "num_key_value_heads": 2, "num_hidden_layers": 1}, r"mlp.experts' \(MixtralExperts\)"),
        ("GPT2", {"n_embd": 32, "n_layer": 1, "n_head": 2}, r"transformer.h.0.attn.c_attn' \(Conv1D\)"),
    ],
    ids=["mixture", "gpt2"],
)  # fmt: skip
def test_weights_in_layers_of_another_kind_are_refused(family: str, settings: dict[str, Any], named: str) -> None:
    """They are most of such a model: a task of 4 bits whose weights stay large would be one in name only."""
    import transformers

    library: Any = transformers
    config = getattr(library, f"{family}Config")(vocab_size=50, **settings)
    name = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    with torch.random.fork_rng(devices=[]):
        model = getattr(library, name)(config)
    with pytest.raises(ModelError, match=named):
        quantize(ModelRef("a/b", revision="0" * 40), model, 4)


def test_a_layer_in_two_places_is_one() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(3, 3)

        def get_output_embeddings(self) -> None:
            return None

    model = Shared()
    assert quantize(ModelRef("a/b", revision="0" * 40), model, 8)["layers"] == 1
    assert model.first is model.second
