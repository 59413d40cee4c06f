"""Loading language models: the right files, all of them, none of their defaults, and templates that nodes share."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crynux_validate.errors import ModelError, PipelineError
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.models.loading import quiet
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.pipelines.text import prompts
from crynux_validate.pipelines.text.generating import TextResult
from crynux_validate.tasks import ModelRef, TextTask

ASKED = [{"role": "user", "content": "what is the sea?"}]
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.fixture
def copied(text_model: ModelRef, tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(str(text_model.path), folder)
    return folder


def write(folder: Path, **changes: Any) -> TextResult:
    """Run a small task on what is in a folder now."""
    fields: dict[str, Any] = {"model": ModelRef.local(folder), "messages": ASKED, "max_new_tokens": 6} | changes
    return run(TextTask(**fields), device="cpu")


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(file.read_text("utf-8"))
    change(value)
    file.write_text(json.dumps(value), "utf-8")


def set_template(folder: Path, template: str | None) -> None:
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, "utf-8")


def test_the_repositorys_generation_defaults_change_nothing(copied: Path) -> None:
    sampled: dict[str, Any] = {"do_sample": True, "max_new_tokens": 20, "seed": 3}
    kinds: list[dict[str, Any]] = [{}, sampled, {"beams": 2}]
    task = TextTask(model=ModelRef.local(copied), messages=ASKED, max_new_tokens=6)
    with Runner.for_task(task, "cpu") as runner:
        before = [runner.run(task.replace(**changes)) for changes in kinds]
    defaults = {
        "do_sample": True, "temperature": 0.3, "top_k": 2, "top_p": 0.5, "repetition_penalty": 4.0, "min_p": 0.5,
        "max_length": 20, "max_new_tokens": 1, "eos_token_id": None, "num_beams": 4, "pad_token_id": 3,
        "no_repeat_ngram_size": 1, "suppress_tokens": list(range(100, 500)), "cache_implementation": "static",
    }  # fmt: skip
    (copied / "generation_config.json").write_text(json.dumps(defaults), "utf-8")
    task = task.replace(model=ModelRef.local(copied))
    with Runner.for_task(task, "cpu") as runner:
        after = [runner.run(task.replace(**changes)) for changes in kinds]
    assert [result.token_ids for result in after] == [result.token_ids for result in before]


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def drop_a_weight(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    tensors.pop("model.norm.weight")
    save_file(tensors, file, metadata={"format": "pt"})


def rename_a_weight(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    tensors["other"] = tensors.pop("model.norm.weight")
    save_file(tensors, file, metadata={"format": "pt"})


def quantize(folder: Path, method: str, **settings: Any) -> None:
    """Say that the weights are small; nothing may look at these first."""
    (folder / "model.safetensors").write_bytes(b"")
    edit(folder / "config.json", lambda config: config.update(quantization_config={"quant_method": method, **settings}))


def store(folder: Path, dtype: torch.dtype) -> None:
    """Store weights in 8 bits, and say nothing of it."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    small = {name: (10 * tensor).to(dtype) for name, tensor in tensors.items() if "proj" in name}
    save_file({**tensors, **small}, folder / "model.safetensors", metadata={"format": "pt"})


OWN = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel", "AutoTokenizer": ["own.Own", None]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda at: cut_off(at / "model.safetensors"), "the model in .* cannot be loaded"),
        (lambda at: (at / "model.safetensors").unlink(), "the model in .* cannot be loaded.*no file named"),
        (lambda at: (at / "model.safetensors").rename(at / "pytorch_model.bin"), "the model in .* cannot be loaded"),
        (
            lambda at: drop_a_weight(at / "model.safetensors"),
            r"the model in .*: config.json asks for \d+ weights, and the files hold \d+; the first that does not fit is"
            r" 'model.norm.weight' of shape \[256\], which is missing. Get both again",
        ),
        (lambda at: rename_a_weight(at / "model.safetensors"), "1 missing keys .model.norm.weight.*would be random"),
        (lambda at: (at / "config.json").write_text("{"), "the configuration in .* cannot be loaded"),
        (lambda at: (at / "config.json").unlink(), "the configuration in .* cannot be loaded"),
        (lambda at: (at / "tokenizer.json").unlink(), "the tokenizer in .* cannot be loaded"),
        (lambda at: quantize(at, "bitsandbytes", load_in_8bit=True), "quantized as 'bitsandbytes' .*quantize_bits in"),
        (lambda at: quantize(at, "fp8", weight_block_size=[128, 128]), "the model in .* cannot be loaded: Safetensor"),
        (lambda at: quantize(at, "mxfp4"), "the model in .* cannot be loaded: Safetensor"),
        (lambda at: quantize(at, "gptq", bits=4, group_size=128), "quantized as 'gptq'"),
        (lambda at: store(at, torch.float8_e4m3fn), "stores .*proj.weight' as F8_E4M3; expected weights of F64, F32"),
        (lambda at: store(at, torch.int8), "stores .*proj.weight' as I8; expected weights of F64, F32, F16, BF16"),
        (lambda at: quantize(at, "new"), "quantized as 'new'|the configuration in .* cannot be loaded"),
        (
            lambda at: edit(at / "config.json", lambda config: config.update(vocab_size=990)),
            "the model in .* cannot be loaded: .*size mismatch|the model in .*mismatched keys|asks for",
        ),
        (
            lambda at: (at / "config.json").write_text('{"model_type": "t5", "vocab_size": 10}'),
            r"is an encoder-decoder \(t5\); supported are causal",
        ),
        *(
            (
                lambda at, kind=kind: (at / "config.json").write_text(f'{{"model_type": "{kind}"}}'),
                f"of the kind '{kind}', which transformers .* runs as a vision-language model only; supported of",
            )
            for kind in ("idefics3", "llava_next", "paligemma")
        ),
        (
            lambda at: (at / "config.json").write_text('{"model_type": "clip"}'),
            "of the kind 'clip', which transformers .* does not have as a causal language model",
        ),
        (
            lambda at: edit(at / "config.json", lambda config: config.update(model_type="mine", auto_map={})),
            "is of the kind 'mine', which transformers [0-9.]+ does not know; choose another model",
        ),
        (lambda at: edit(at / "config.json", lambda config: config.update(model_type=["x"])), "names no kind of model"),
        (lambda at: edit(at / "config.json", lambda config: config.pop("model_type")), "names no kind of model"),
        (lambda at: (at / "config.json").write_text("[1]"), "names no kind of model"),
        (
            lambda at: edit(at / "config.json", lambda config: config.update(model_type="mine", auto_map=OWN)),
            r"needs code of its own \(auto_map in config.json\), which is never run here",
        ),
        (
            lambda at: edit(
                at / "tokenizer_config.json", lambda config: config.update(tokenizer_class="Own", auto_map=OWN)
            ),
            r"needs code of its own \(auto_map in tokenizer_config.json\), which is never run here",
        ),
    ],
)
def test_damaged_models(copied: Path, damage: Any, message: str) -> None:
    damage(copied)
    with pytest.raises(ModelError, match=message):
        write(copied)


def test_code_that_lies_beside_a_model_is_neither_needed_nor_run(copied: Path) -> None:
    before = write(copied)
    (copied / "own.py").write_text("raise SystemExit('was run')")
    for name in ("config.json", "tokenizer_config.json"):
        edit(copied / name, lambda config: config.update(auto_map=OWN))
    assert write(copied).token_ids == before.token_ids


def test_a_folder_that_changed_after_it_was_named(copied: Path) -> None:
    model = ModelRef.local(copied)
    edit(copied / "config.json", lambda config: config.update(rms_norm_eps=1e-5))
    with pytest.raises(ModelError, match="holds the model"):
        Runner(model, "text", "bfloat16", "cpu")


def test_a_repository_that_is_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, text_model: ModelRef, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    shutil.copytree(str(text_model.path), tmp_path / "models--someone--tiny" / "snapshots" / ("1" * 40))
    task = TextTask(model=ModelRef("someone/tiny", revision="1" * 40), messages=ASKED, max_new_tokens=5)
    result = run(task, device="cpu")
    assert result.token_ids == run(task.replace(model=text_model), device="cpu").token_ids
    assert (result.environment.recipe or {})["model"]["revision"] == "1" * 40
    # The cache keeps the spelling by which a model was downloaded; tasks have lower case.
    (tmp_path / "models--someone--tiny").rename(tmp_path / "models--Someone--Tiny")
    (tmp_path / "models--SOMEONE--tiny").mkdir()
    assert run(task, device="cpu").token_ids == result.token_ids
    with pytest.raises(ModelError, match=r"someone/nothing@0000.*neither found in the local cache nor downloaded"):
        Runner(ModelRef("someone/nothing", revision="0" * 40), "text", "bfloat16", "cpu")


def test_messages_without_a_chat_template(copied: Path) -> None:
    set_template(copied, None)
    with pytest.raises(PipelineError, match="no chat template for messages; give the task a prompt or token_ids"):
        write(copied)
    assert write(copied, messages=None, prompt="what is the sea?").finish == ("length",)


def test_tools_for_a_template_that_knows_none(copied: Path) -> None:
    set_template(copied, "{% for message in messages %}{{ message.content }}{% endfor %}")
    assert write(copied).finish == ("length",)
    with pytest.raises(PipelineError, match="chat template ignores tools; leave them out, or choose a model"):
        write(copied, tools=TOOLS)


def test_a_template_reads_the_tasks_own_variables(copied: Path) -> None:
    """As models that think ask for them: defined or not, false, and given another name first."""
    set_template(
        copied,
        "{%- set think = enable_thinking if enable_thinking is defined else true %}{{ messages[0].content }}"
        "{%- macro style() %}{{ style_of[0].name }}{% endmacro %}"
        "{%- if style_of is defined %}{{ style() }}{% endif %}{%- if not think %}<no thoughts>{% endif %}",
    )
    given: list[dict[str, Any]] = [{}, {"enable_thinking": False}, {"style_of": [{"name": "brief"}]}]
    results = [write(copied, template_args=args) for args in given]
    assert len({result.token_ids for result in results}) == 3
    assert write(copied, template_args={"enable_thinking": True}).token_ids == results[0].token_ids
    with Runner.for_task(results[0].task, "cpu") as runner:
        loaded: Any = runner._loaded
        for result, args in zip(results, given, strict=True):
            assert runner.run(result.task).score == result.score, "nothing is left of the others"
            theirs = loaded.tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, **args)["input_ids"]
            assert prompts.input_ids(loaded, result.task) == theirs
        for wrong in ({"enable_thinkng": False}, {"think": True}):
            with pytest.raises(PipelineError, match=f"does not read {next(iter(wrong))!r} of template_args; leave it"):
                runner.run(results[0].task.replace(template_args=wrong))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refuses the messages: roles must alternate"),
        ("{{ messages[0].content.nothing.more }}", "refuses the messages"),
        ("{% for", "refuses the messages"),
        ("{{ 1 // 0 }}", "refuses the messages"),
        ("{{ ''.__class__.__mro__ }}", "refuses the messages: '__class__' of a str does not exist here"),
    ],
)
def test_templates_that_refuse(copied: Path, template: str, message: str) -> None:
    set_template(copied, template)
    with pytest.raises(PipelineError, match=message):
        write(copied)


def test_a_template_that_asks_for_the_date_gets_the_tasks(copied: Path) -> None:
    """Templates of widely used models write today's date: the clocks of honest nodes differ, or it is midnight."""
    set_template(copied, "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}")
    with pytest.raises(PipelineError, match="asks for the date, which differs between nodes; give the task one"):
        write(copied)
    first, second = (write(copied, date=date) for date in ("2026-01-31", "2026-02-01"))
    assert first.token_ids != second.token_ids
    with Runner.for_task(first.task, "cpu") as runner:
        loaded: Any = runner._loaded
        prompt = loaded.tokenizer.decode(prompts.input_ids(loaded, first.task))
    assert prompt == "31 Jan 2026 what is the sea?"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ ['a', 'b'] | random }}", "asks for the filter 'random', which does not exist here"),
        ("{{ lipsum(1) }}", "'lipsum' is undefined"),
        ("{{ messages[0].items }}", "a function, which has no value that is the same on every node"),
        ("{{ strftime_now('%s') }}", "asks for '%s' of the date, which may differ between nodes"),
        ("{{ strftime_now('%c') }}", "asks for '%c' of the date"),
        ("{{ '{}'.format() }}", "refuses the messages"),
        ("{{ '\\ud800' }}", "tokenizer refuses the input|refuses the messages"),
    ],
)
def test_templates_that_honest_nodes_would_fill_in_otherwise(copied: Path, template: str, message: str) -> None:
    set_template(copied, template)
    with pytest.raises(PipelineError, match=message):
        write(copied, date="2026-01-31")


def test_a_date_is_written_in_english_whatever_the_machine_speaks(copied: Path) -> None:
    set_template(copied, "{{ strftime_now('%A %a %d %-d %e %B %b %m %-m %Y %y %F %H:%M:%S 100%%') }}")
    task = TextTask(model=ModelRef.local(copied), messages=ASKED, date="2026-02-01", max_new_tokens=1)
    with Runner.for_task(task, "cpu") as runner:
        loaded: Any = runner._loaded
        prompt = loaded.tokenizer.decode(prompts.input_ids(loaded, task))
    assert prompt == "Sunday Sun 01 1  1 February Feb 02 2 2026 26 2026-02-01 00:00:00 100%"


def test_a_tokenizer_that_cuts_words_at_random(copied: Path) -> None:
    edit(copied / "tokenizer.json", lambda value: value["model"].update(dropout=0.3))
    with pytest.raises(ModelError, match=r"cuts words at random .dropout 0.3"):
        write(copied)


def test_a_tokenizer_that_samples_its_cuts(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unigram model has such a setting; no file carries it yet."""
    from tokenizers import models
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(copied)
    tokenizer.backend_tokenizer.model = models.Unigram(vocab=[("<unk>", 0.0), ("a", -1.0)], unk_id=0, alpha=0.1)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_args, **_settings: tokenizer)
    with pytest.raises(ModelError, match=r"cuts words at random .alpha 0.1"):
        write(copied)


def test_a_tokenizer_that_would_cut_off_or_fill_up_does_neither(text_model: ModelRef, copied: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        value["padding"] = {"strategy": {"Fixed": 99}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 3,
                            "pad_type_id": 0, "pad_token": "x"}  # fmt: skip

    plain = write(Path(str(text_model.path)))
    edit(copied / "tokenizer.json", change)
    assert write(copied).token_ids == plain.token_ids


def test_a_template_that_needs_tools(copied: Path) -> None:
    set_template(copied, "{{ tools[0].function.name }}{{ messages[0].content }}")
    assert write(copied, tools=TOOLS).finish == ("length",)
    with pytest.raises(PipelineError, match="refuses the messages"):
        write(copied)


def test_an_adapter_that_would_be_applied_on_some_nodes_only(copied: Path) -> None:
    (copied / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ModelError, match="holds an adapter"):
        write(copied)


def test_the_recipe_says_what_was_loaded(text_model: ModelRef, copied: Path) -> None:
    recipe = write(Path(str(text_model.path))).environment.recipe or {}
    assert recipe["pipeline"] == "LlamaForCausalLM"
    assert recipe["model"] == text_model.to_dict()
    assert (recipe["attention"], recipe["experts"], recipe["batch"]) == ("sdpa", "eager", 1)
    assert (recipe["kernels"], recipe["state"]) == (["flash_attention"], ["DynamicCache", "DynamicLayer"])
    assert recipe["sampler"] == "argmax"
    assert (write(copied, do_sample=True).environment.recipe or {})["sampler"] == "gumbel-max, philox4x32-10"
    assert "torch.bfloat16" in recipe["dtypes"]
    assert set(recipe["versions"]) >= {"jinja2", "tokenizers", "transformers", "unicode"}
    set_template(copied, "{{ messages[0].content }}")
    other = write(copied).environment.recipe or {}
    assert other["tokenizer"]["chat_template"] != recipe["tokenizer"]["chat_template"]
    assert other["tokenizer"]["digest"] == recipe["tokenizer"]["digest"]


def test_defaults_of_torch_are_left_alone(text_model: ModelRef) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # the guard computes with one
    try:
        check_defaults(text_model)
    finally:
        torch.set_num_threads(threads)


def check_defaults(text_model: ModelRef) -> None:
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype())
    write(Path(str(text_model.path)))
    after = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype())
    assert after == before


SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixture of experts": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "sliding window": ("Mistral", {"sliding_window": 16}),
    "sliding and full layers": ("Gemma3", {"head_dim": 16, "sliding_window": 16, "pad_token_id": 0}),
    "norms on queries and keys": ("Qwen3", {"head_dim": 16}),
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_other_architectures_run_and_give_what_transformers_gives(kind: str, copied: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    family, extra = ARCHITECTURES[kind]
    config = getattr(transformers, f"{family}TextConfig" if family == "Gemma3" else f"{family}Config")
    tokenizer = transformers.AutoTokenizer.from_pretrained(copied)
    (copied / "model.safetensors").unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForCausalLM")(config(vocab_size=len(tokenizer), **SMALL, **extra))
    with quiet("transformers"):
        model.to(torch.bfloat16).save_pretrained(copied)
    task = TextTask(model=ModelRef.local(copied), messages=ASKED, max_new_tokens=30, eos_token_ids=[])
    with Runner.for_task(task, "cpu") as runner:
        result = runner.run(task)
        assert runner.run(task).score == result.score
        sampled = task.replace(do_sample=True, binding="logits", sequences=2)
        assert runner.run(sampled).score == runner.run(sampled).score
        loaded: Any = runner._loaded
        ids = torch.tensor([prompts.input_ids(loaded, task)])
        with deterministic(), torch.inference_mode():
            output = loaded.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False, pad_token_id=0,
                eos_token_id=None, disable_compile=True,
            )  # fmt: skip
    assert list(result.token_ids[0]) == output[0, ids.shape[1] :].tolist()
    recipe = result.environment.recipe or {}
    assert (recipe["attention"], recipe["experts"]) == ("sdpa", "eager")
