"""Running models pass by pass: each family as it counts and remembers, and none that computes something else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crynux_validate.errors import ModelError, PipelineError
from crynux_validate.pipelines.models.loading import quiet
from crynux_validate.pipelines.runner import Runner
from crynux_validate.pipelines.text import passes
from crynux_validate.pipelines.text.passes import Calls, Passes, calls_of
from crynux_validate.tasks import ModelRef, TextTask
from crynux_validate.testing import tiny_text_model

transformers: Any = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "mamba": {"state_size": 16, "time_step_rank": 8},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1},
    "falcon_mamba": {"state_size": 16, "time_step_rank": 8},
    "rwkv": {"attention_hidden_size": 64, "context_length": 256},
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16},
    "minimax": {"num_local_experts": 2, "head_dim": 16},
    "roberta": {"is_decoder": True, "max_position_embeddings": 200},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 200},
    "mistral": {"sliding_window": 4},
    "gemma2": {"head_dim": 16},
    "recurrent_gemma": {"num_hidden_layers": 3, "attention_window_size": 64},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "openai-gpt": ({"n_embd": 64, "n_layer": 2, "n_head": 4}, "keeps nothing between tokens under a name"),
    "xlnet": ({"d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 96}, "keeps nothing between tokens under a name"),
    "bert": ({"is_decoder": False}, "other logits token by token than in one pass"),
    "cpmant": ({"dim_head": 16, "dim_ff": 96, "prompt_length": 4}, "cannot be decoded token by token"),
}


def made(kind: str, extra: dict[str, Any], dtype: torch.dtype = torch.float32, scale: float = 3) -> Any:
    """A small model of random weights; large ones let the text before matter, and overflow in float16."""
    cls = type(transformers.AutoConfig.for_model(kind))
    known = cls().to_dict()
    fields = {**{name: value for name, value in SMALL.items() if name in known}, **extra}
    with torch.random.fork_rng(devices=[]), quiet("transformers"):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(cls(**fields), dtype=torch.float32).eval()
        with torch.no_grad():
            for weights in model.parameters():
                if weights.dim() > 1:
                    weights.mul_(scale)
    return model.to(dtype)


def found(model: Any) -> Calls:
    with quiet("transformers"):
        return calls_of("it", model, 1000, None, {0, 1, 2})


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_gives_what_recomputing_the_whole_text_gives(kind: str) -> None:
    model = made(kind, FAMILIES[kind])
    calls = found(model)
    text, alone = [5, 17, 33, 250, 71, 9, 101], [0]
    with torch.inference_mode(), quiet("transformers"):
        one = Passes(model, calls)
        new = text
        for _ in range(12):
            logits = one(new)
            whole = model(input_ids=torch.tensor([text])).logits[0, -1]
            torch.testing.assert_close(logits, whole, rtol=1e-3, atol=1e-3)
            new = [int(whole.argmax())]
            text = text + new
        alone = [int(model(input_ids=torch.tensor([[token]])).logits[0, -1].argmax()) for token in text[7:-1]]
    assert alone != text[8:], "this model does not show whether the text before is forgotten"


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", FAMILIES)
def test_no_family_is_refused_for_the_rounding_of_a_dtype(kind: str, dtype: torch.dtype) -> None:
    assert found(made(kind, FAMILIES[kind], dtype, scale=1))


@pytest.mark.parametrize("kind", REFUSED)
def test_families_that_cannot_be_decoded_token_by_token(kind: str) -> None:
    extra, message = REFUSED[kind]
    with pytest.raises(ModelError, match=message):
        found(made(kind, extra))


def test_who_counts_positions() -> None:
    assert found(made("llama", {})) == Calls("past_key_values", positions=True, last=True, beams=True)
    assert found(made("bamba", FAMILIES["bamba"])).positions, "it begins again at 0 in each pass unless it is told"
    roberta = found(made("roberta", FAMILIES["roberta"]))
    assert (roberta.positions, roberta.beams) == (False, False), "it counts from another number than 0"
    assert found(made("mamba", FAMILIES["mamba"])) == Calls("cache_params", positions=False, last=True, beams=True)
    assert not found(made("minimax", FAMILIES["minimax"])).beams, "transformers cannot reorder its own cache"


def forget(self: Passes, call: Callable[..., Any], new: list[int]) -> Any:
    self.state = None
    return call(self, new)


def begin_again(self: Passes, call: Callable[..., Any], new: list[int]) -> Any:
    self._length = 0
    return call(self, new)


def skip_one(self: Passes, call: Callable[..., Any], new: list[int]) -> Any:
    self._length += len(new) == 1 and self._length == 4
    return call(self, new)


@pytest.mark.parametrize(
    ("fault", "dtype"),
    [
        (forget, "float32"), (begin_again, "float32"), (skip_one, "float32"), (forget, "float16"),
        (begin_again, "float16"), (forget, "bfloat16"),
    ],
)  # fmt: skip
def test_faults_are_found_in_a_trained_model(
    fault: Callable[..., Any], dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_text_model(tmp_path / "model")
    call = Passes.__call__
    monkeypatch.setattr(Passes, "__call__", lambda self, new: fault(self, call, new))
    with pytest.raises(ModelError, match=r"other logits token by token than in one pass: .* apart"):
        Runner(model, "text", dtype, "cpu")


@pytest.mark.parametrize(("vocabulary", "context"), [(1, 12), (3, 12), (5, 2), (1000, 3), (1000, 0), (1000, None)])
def test_the_probe_fits_every_model(vocabulary: int, context: int | None) -> None:
    ids = passes._probe(vocabulary, context, {0, 1, 2})
    assert 2 <= len(ids) <= 12
    assert context is None or len(ids) <= max(2, context) or context == 0
    assert all(0 <= token < vocabulary for token in ids)
    if vocabulary > 100:
        assert not {0, 1, 2} & set(ids)


def test_a_model_whose_numbers_overflow_is_refused() -> None:
    model = made("llama", {})
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="or the numbers overflow"):
        found(model)


def test_tokens_that_must_not_be_chosen_hide_no_fault() -> None:
    rows = torch.randn(8, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    other = rows.roll(1, 0)
    for never in (float("-inf"), -3.4e38, 1e30):
        masked, beside = rows.clone(), other.clone()
        masked[:, 10:] = beside[:, 10:] = never
        assert passes._gap(masked, masked) == 0.0
        assert passes._gap(masked, beside) > 0.3


def test_a_beam_search_that_would_be_wrong_is_refused(text_model: ModelRef, tmp_path: Path) -> None:
    folder = tmp_path / "roberta"
    shutil.copytree(str(text_model.path), folder)
    (folder / "model.safetensors").unlink()
    with quiet("transformers"):
        made("roberta", FAMILIES["roberta"]).save_pretrained(folder)
    task = TextTask(model=ModelRef.local(folder), token_ids=[5, 6, 7], max_new_tokens=4, dtype="float32", beams=2)
    with Runner.for_task(task, "cpu") as runner:
        with pytest.raises(PipelineError, match=r"cannot search with beams on RobertaForCausalLM: .*; set beams to 1"):
            runner.run(task)
        assert runner.run(task.replace(beams=1)).finish == ("length",)


def test_memory_is_linear_in_the_prompt(text_model: ModelRef) -> None:
    """No operation of a long pass has as many results as there are pairs of tokens."""
    size = 1500
    largest = 0

    mode: Any = TorchDispatchMode

    class Watch(mode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            output = func(*args, **(kwargs or {}))
            for value in output if isinstance(output, tuple | list) else (output,):
                if isinstance(value, torch.Tensor):
                    largest = max(largest, value.numel())
            return output

    with Runner(text_model, "text", "bfloat16", "cpu") as runner:
        loaded: Any = runner._loaded
        with torch.inference_mode(), Watch():
            Passes(loaded.model, loaded.calls)([5] * size)
    widest = json.loads((Path(str(text_model.path)) / "config.json").read_text("utf-8"))["intermediate_size"]
    assert 0 < largest <= size * widest < size * size


def test_families_without_fused_attention_use_the_formula(text_model: ModelRef, tmp_path: Path) -> None:
    folder = tmp_path / "gemma2"
    shutil.copytree(str(text_model.path), folder)
    (folder / "model.safetensors").unlink()
    with quiet("transformers"):
        made("gemma2", FAMILIES["gemma2"]).save_pretrained(folder)
    task = TextTask(model=ModelRef.local(folder), token_ids=[5, 6, 7], max_new_tokens=4, dtype="float32")
    with Runner.for_task(task, "cpu") as runner:
        recipe = runner.run(task).environment.recipe or {}
    assert (recipe["attention"], recipe["kernels"]) == ("eager", [])
