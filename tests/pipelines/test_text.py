"""Text: the same tokens again, chosen as the task says, from a real model with a real tokenizer."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import crynux_validate as cv
from crynux_validate.answers import answer_from_bytes, check_answer, logits_digest
from crynux_validate.errors import InvalidInputError, PipelineError, PromptTooLongError
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.pipelines.text import generating as text
from crynux_validate.pipelines.text import prompts
from crynux_validate.pipelines.text.end_tokens import EndTokens
from crynux_validate.pipelines.text.generating import TextResult, Token
from crynux_validate.tasks import ModelRef, TextTask
from crynux_validate.testing import fake_hardware
from tests import crynux_examples
from tests.pipelines import jobs

ASKED = [{"role": "user", "content": "what is the sea?"}]


@pytest.fixture(scope="module")
def writer(text_model: ModelRef) -> Iterator[Runner]:
    """The tiny Llama, loaded in bfloat16 on the CPU."""
    with Runner(text_model, "text", "bfloat16", "cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def task(text_model: ModelRef) -> TextTask:
    """A few tokens, the most likely ones."""
    return TextTask(model=text_model, messages=ASKED, max_new_tokens=12)


@pytest.fixture(scope="module")
def sampled(task: TextTask) -> TextTask:
    """A few tokens, drawn."""
    return task.replace(do_sample=True, temperature=0.9, top_k=50, top_p=0.95, seed=7)


def generated(writer: Runner, task: TextTask, **settings: Any) -> list[list[int]]:
    """What transformers' own loop gives for the same input."""
    loaded: Any = writer._loaded
    prompt = torch.tensor([prompts.input_ids(loaded, task)])
    with cv.deterministic(), torch.inference_mode():
        output = loaded.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=task.max_new_tokens, do_sample=False,
            pad_token_id=0, disable_compile=True, **settings,
        )  # fmt: skip
    return [row.tolist() for row in output[:, prompt.shape[1] :]]


def test_one_call_loads_runs_and_frees(task: TextTask, writer: Runner) -> None:
    seen: list[Token] = []
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        result: TextResult = run(task, "cpu", on_token=seen.append)
        assert repr(result).isprintable()
        assert len(repr(result)) < 250
        assert result.score.hex in repr(result)
    assert said.getvalue() == ""
    assert [token.step for token in seen] == list(range(1, 13))
    assert tuple(token.id for token in seen) == result.token_ids[0]
    assert "".join(token.text for token in seen) == result.texts[0]
    assert result.finish == ("length",)
    assert result.seconds > 0
    check_answer(task, result.score)
    assert answer_from_bytes(result.score.to_bytes()) == result.score
    assert result.score == writer.run(task).score


@pytest.mark.parametrize("penalty", [1.0, 1.7])
@pytest.mark.parametrize("words", ["what is the sea?", "tell me of the dragon and the moon"])
def test_the_loop_gives_what_transformers_gives(writer: Runner, task: TextTask, penalty: float, words: str) -> None:
    asked = task.replace(
        messages=[{"role": "user", "content": words}], repetition_penalty=penalty, max_new_tokens=60, eos_token_ids=[]
    )
    (expected,) = generated(writer, asked, repetition_penalty=penalty, eos_token_id=None)
    assert list(writer.run(asked).token_ids[0]) == expected


def test_the_same_again_after_other_tasks_and_whatever_the_generators_did(writer: Runner, sampled: TextTask) -> None:
    first = writer.run(sampled)
    writer.run(sampled.replace(seed=8, sequences=2, binding="logits"))
    torch.manual_seed(99)
    np.random.default_rng(1).random()
    state = torch.get_rng_state()
    again = writer.run(sampled)
    assert torch.equal(state, torch.get_rng_state())
    assert (again.token_ids, again.score) == (first.token_ids, first.score)
    assert again.environment == first.environment


def test_a_sequence_does_not_depend_on_those_before_it(
    writer: Runner, sampled: TextTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = writer.run(sampled.replace(sequences=3))
    assert len(set(three.token_ids)) == 3
    assert writer.run(sampled).token_ids == three.token_ids[:1]
    decode = text._decode

    def later(loaded: Any, task: Any, prompt: Any, beside: Any, number: int, *rest: Any) -> Any:
        return decode(loaded, task, prompt, beside, number + 2, *rest)

    monkeypatch.setattr(text, "_decode", later)
    assert writer.run(sampled).token_ids == three.token_ids[2:]


def test_what_changes_the_tokens(writer: Runner, sampled: TextTask) -> None:
    scores = [
        writer.run(sampled.replace(**changes)).score.hex
        for changes in ({}, {"seed": 8}, {"temperature": 3.0}, {"do_sample": False, "temperature": 1.0, "top_k": 0,
        "top_p": 1.0}, {"max_new_tokens": 11}, {"sequences": 2}, {"messages": [{"role": "user", "content": "no"}]})
    ]  # fmt: skip
    assert len(set(scores)) == len(scores)


def test_three_ways_to_give_the_input(writer: Runner, task: TextTask) -> None:
    written = "<|begin|><|user|>what is the sea?<|end|><|assistant|>"
    tokens = prompts.input_ids(writer._loaded, task)  # type: ignore[arg-type]
    results = [
        writer.run(task.replace(messages=None, **given)) for given in ({"prompt": written}, {"token_ids": tokens})
    ]
    assert [result.token_ids for result in results] == [writer.run(task).token_ids] * 2


def test_tools_and_roles_reach_the_template(writer: Runner, task: TextTask) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    talk = [
        {"role": "system", "content": "be brief"},
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "weather", "arguments": {}}}]},
        {"role": "tool", "content": "rain", "tool_call_id": "1", "name": "weather"},
    ]
    loaded: Any = writer._loaded
    ids = prompts.input_ids(loaded, task.replace(messages=talk, tools=tools))
    prompt = loaded.tokenizer.decode(ids)
    assert prompt.startswith('<|begin|><|tools|>[{"function": {"name": "weather"')
    assert "<|system|>be brief<|end|><|user|>what is the sea?<|end|><|assistant|>[{" in prompt
    assert prompt.endswith("<|tool|>rain<|end|><|assistant|>")


def test_tools_are_a_part_of_what_is_asked(writer: Runner, task: TextTask) -> None:
    """From a live task's arguments to tokens: with tools, with others, and with the answer of one."""
    named = {example.name: example.arguments for example in crynux_examples.TEXT}
    asked, answered = named["tool_call_example"], named["tool_call_example, with the answers of its tools"]
    variants = [asked, asked | {"tools": asked["tools"][:1]}, asked | {"tools": None}, answered]
    tasks = [
        TextTask.from_crynux(arguments, revision="0" * 40).replace(
            model=task.model, dtype="bfloat16", max_new_tokens=12, do_sample=False, temperature=1.0, top_k=0
        )
        for arguments in variants
    ]
    results = [writer.run(one) for one in tasks]
    assert len({one.digest for one in tasks}) == len({result.score for result in results}) == 4
    assert [writer.run(one).score for one in reversed(tasks)] == [result.score for result in reversed(results)]
    loaded: Any = writer._loaded
    prompt = loaded.tokenizer.decode(prompts.input_ids(loaded, tasks[3]))
    assert prompt.index('"get_current_weather"') < prompt.index("in Tokyo") < prompt.index("<|tool|>")


def test_an_end_token_ends_a_sequence_and_stands_in_the_score(writer: Runner, task: TextTask) -> None:
    free = writer.run(task).token_ids[0]
    ended = writer.run(task.replace(eos_token_ids=[free[4], 1]))
    assert ended.finish == ("end",)
    assert ended.token_ids[0] == free[: free.index(free[4]) + 1]
    assert ended.score == cv.TextScore.from_tokens(ended.token_ids)


def test_the_models_own_end_is_the_default(writer: Runner, task: TextTask) -> None:
    loaded: Any = writer._loaded
    free = writer.run(task).token_ids[0]
    named = loaded.end
    object.__setattr__(loaded, "end", EndTokens((free[2],), "config.json"))
    try:
        ended = writer.run(task)
        told = writer.run(task.replace(eos_token_ids=[]))
    finally:
        object.__setattr__(loaded, "end", named)
    assert (ended.finish, told.finish) == (("end",), ("length",))
    for result, expected in ((ended, {"from": "config.json", "ids": [free[2]]}), (told, {"from": "task", "ids": []})):
        assert (result.environment.recipe or {})["end_tokens"] == expected


@pytest.mark.parametrize("most", [2048, 2049, 65_536])
def test_as_many_tokens_as_the_context_holds_means_what_fits(writer: Runner, task: TextTask, most: int) -> None:
    """Clients that want no limit send the context's length: no input fits with that many."""
    asked = task.replace(messages=None, token_ids=[5] * 2040, eos_token_ids=[])
    fits = writer.run(asked.replace(max_new_tokens=8))
    seen: list[int] = []
    for beams in (1, 2):
        whole = writer.run(
            asked.replace(max_new_tokens=most, beams=beams), on_token=lambda token: seen.append(token.steps)
        )
        assert (len(whole.token_ids[0]), whole.finish) == (8, ("length",))
        assert whole.task.max_new_tokens == most
        check_answer(whole.task, whole.score)
        assert set(seen) <= {8}
    assert writer.run(asked.replace(max_new_tokens=most)).token_ids == fits.token_ids
    one = writer.run(asked.replace(token_ids=[5] * 2047, max_new_tokens=most))
    assert len(one.token_ids[0]) == 1


def test_a_stop_string_ends_a_sequence_with_the_token_that_completes_it(writer: Runner, task: TextTask) -> None:
    free = writer.run(task)
    words = free.texts[0].split()
    stop = f"{words[3]} {words[4][:2]}"
    stopped = writer.run(task.replace(stop=["never", stop]))
    assert stopped.finish == ("stop",)
    assert stopped.texts[0] == free.texts[0][: free.texts[0].index(stop)]
    assert free.token_ids[0][: len(stopped.token_ids[0])] == stopped.token_ids[0]
    told: list[Token] = []
    assert writer.run(task.replace(stop=["never", stop]), on_token=told.append).texts == stopped.texts
    assert "".join(token.text for token in told) == stopped.texts[0], "a stop string was told in part"
    loaded: Any = writer._loaded
    decoded = loaded.tokenizer.decode(stopped.token_ids[0])
    assert stop in decoded
    assert stop not in loaded.tokenizer.decode(stopped.token_ids[0][:-1])


def test_characters_are_told_when_they_are_whole(writer: Runner, task: TextTask) -> None:
    loaded: Any = writer._loaded
    wanted = loaded.tokenizer("naïve 🐈 done", add_special_tokens=False).input_ids
    rows = iter([*wanted, 0])
    told: list[str] = []

    def forced(*_given: Any) -> Iterator[np.ndarray]:
        while True:
            row = np.zeros(loaded.vocabulary, dtype=np.float32)
            row[next(rows)] = 1
            yield row

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_forward", forced)
        result = writer.run(task.replace(max_new_tokens=len(wanted)), on_token=lambda token: told.append(token.text))
    assert result.texts == ("naïve 🐈 done",)
    assert "".join(told) == "naïve 🐈 done"
    assert "" in told
    assert not any("\ufffd" in piece for piece in told)


def test_what_a_callback_raises_reaches_the_caller(writer: Runner, task: TextTask) -> None:
    def stop(token: Token) -> None:
        if token.step == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        writer.run(task, on_token=stop)
    assert writer.run(task).finish == ("length",)


def test_a_callback_may_draw_random_numbers_and_a_model_may_not(writer: Runner, task: TextTask) -> None:
    random_numbers: list[torch.Tensor] = []
    writer.run(task, on_token=lambda _token: random_numbers.append(torch.rand(1)))
    loaded: Any = writer._loaded

    def draw(*_: Any) -> None:
        torch.rand(1)

    hook = loaded.model.register_forward_hook(draw)
    try:
        with pytest.raises(cv.errors.DeterminismError, match="torch's own generator"):
            writer.run(task)
    finally:
        hook.remove()


def test_beams_are_transformers_own_search(writer: Runner, task: TextTask) -> None:
    asked = task.replace(beams=3, sequences=2, eos_token_ids=[], repetition_penalty=1.2)
    result = writer.run(asked)
    expected = generated(writer, asked, num_beams=3, num_return_sequences=2, eos_token_id=None, repetition_penalty=1.2)
    assert [list(ids) for ids in result.token_ids] == expected
    recipe = result.environment.recipe or {}
    assert (recipe["batch"], recipe["sampler"]) == (3, "beam search")
    assert (recipe["kernels"], recipe["state"]) == (["flash_attention"], ["DynamicCache", "DynamicLayer"])
    told: list[Token] = []
    again = writer.run(asked, on_token=told.append)
    assert again == replace(result, seconds=again.seconds), "who listens changes nothing"
    for number, (ids, words) in enumerate(zip(result.token_ids, result.texts, strict=True)):
        mine = [token for token in told if token.sequence == number]
        assert tuple(token.id for token in mine) == ids
        assert [(token.step, token.sequences) for token in mine] == [(step, 2) for step in range(1, len(ids) + 1)]
        assert "".join(token.text for token in mine) == words
    ended = writer.run(asked.replace(sequences=1, eos_token_ids=list(range(900))))
    assert (ended.finish, len(ended.token_ids[0])) == (("end",), 1)


@pytest.mark.parametrize("sequences", [1, 2])
def test_logits_are_bound_as_the_protocol_says(writer: Runner, task: TextTask, sequences: int) -> None:
    asked = task.replace(binding="logits", sequences=sequences, max_new_tokens=3)
    result = writer.run(asked)
    loaded: Any = writer._loaded
    prompt = prompts.input_ids(loaded, asked)
    rows = []
    with cv.deterministic(), torch.inference_mode():
        cache = None
        for new in (prompt, *([token] for token in result.token_ids[0][:-1])):
            output = loaded.model(input_ids=torch.tensor([new]), past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            rows.append(logits_digest(output.logits[0, -1].float().numpy().astype("<f4").tobytes()))
    assert result.score == cv.TextScore.from_tokens(result.token_ids, [rows] * sequences)
    assert result.score.algorithm == "logits/1"
    assert result.score.result_digest == cv.TextScore.from_tokens(result.token_ids).score
    check_answer(asked, result.score)
    with pytest.raises(cv.errors.InvalidAnswerError, match="tokens/1; the task needs logits/1"):
        check_answer(asked, cv.TextScore.from_tokens(result.token_ids))


def test_an_int8_copy_with_the_same_tokens_fails_where_logits_are_bound(task: TextTask) -> None:
    """Short answers can be guessed, or computed with a cheaper model; their logits cannot."""
    asked = [task.replace(max_new_tokens=1, messages=[{"role": "user", "content": word}]) for word in "abcdefgh"]
    with (
        Runner.for_task(task, "cpu") as honest,
        Runner.for_task(task, "cpu") as cheap,
    ):
        loaded: Any = cheap._loaded
        with torch.no_grad():
            for layer in loaded.model.modules():
                if isinstance(layer, torch.nn.Linear):
                    scale = layer.weight.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-6) / 127
                    layer.weight.copy_(torch.round(layer.weight.float() / scale) * scale)
        same = [one for one in asked if honest.run(one).token_ids == cheap.run(one).token_ids]
        assert len(same) >= 2, "the copy is good"
        for one in same:
            bound = one.replace(binding="logits")
            for which, finding in ((one, "VALID"), (bound, "INVALID")):
                mine, theirs = honest.run(which).score, cheap.run(which).score
                verdict = cv.judge({"node-1": mine, "node-2": honest.run(which).score, "cheap": theirs})
                assert verdict.findings["cheap"] == finding


def test_other_processes_and_other_machines(
    writer: Runner, sampled: TextTask, text_model: ModelRef, fake_hardware_workers: fake_hardware.Workers
) -> None:
    """Equal machines give equal tokens; where kernels differ, tokens soon do; numpy's kernels do not matter."""
    long = sampled.replace(max_new_tokens=200, temperature=1.0, top_k=0, top_p=1.0)
    kinds = [kind for kind in ("native", "oldest", "libraries-plain") if kind in fake_hardware_workers]
    waiting = {kind: fake_hardware_workers[kind].submit(jobs.write, text_model.path, long.to_json()) for kind in kinds}
    here = writer.run(long)
    found = {kind: future.result() for kind, future in waiting.items()}
    native = found["native"]
    assert (native["tokens"], native["score"]) == (here.token_ids, here.score)
    for part in ("numerics_digest", "recipe_digest"):
        assert {getattr(one["environment"], part) for one in found.values()} == {getattr(here.environment, part)}, part
    plain, oldest = found["libraries-plain"], found["oldest"]
    assert plain["tokens"] == here.token_ids, "sampling hangs on numpy's kernels"
    assert oldest["environment"].kernel_digest != here.environment.kernel_digest
    assert oldest["tokens"] != here.token_ids, "other kernels, the same 200 tokens: this model is too robust to show it"
    assert cv.judge({"a": here.score, "b": native["score"], "c": oldest["score"]}).findings["c"] == "INVALID"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_dtypes(text_model: ModelRef, task: TextTask, dtype: Any) -> None:
    result = run(task.replace(dtype=dtype, max_new_tokens=3), device="cpu")
    recipe = result.environment.recipe or {}
    assert f"torch.{dtype}" in recipe["dtypes"]
    assert (recipe["attention"], recipe["kernels"]) == ("sdpa", ["flash_attention"])


def test_saving(writer: Runner, task: TextTask, tmp_path: Path) -> None:
    writer.run(task.replace(sequences=3)).save(tmp_path / "result")
    result = writer.run(task)
    (tmp_path / "result" / "mine.txt").write_text("keep me")
    folder = result.save(tmp_path / "result")
    assert {path.name for path in folder.iterdir()} == {
        "text-0.txt", "task.json", "answer.bin", "answer.json", "environment.json", "mine.txt",
    }  # fmt: skip
    assert (folder / "text-0.txt").read_text("utf-8") == result.texts[0]
    assert answer_from_bytes((folder / "answer.bin").read_bytes()) == result.score
    assert cv.task_from_json((folder / "task.json").read_bytes()) == task
    with pytest.raises(PipelineError, match="cannot be saved"):
        result.save(folder / "text-0.txt")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"max_new_tokens": 2047}, PromptTooLongError, "max_new_tokens is 2047; the model's context holds 2048"),
        ({"messages": None, "token_ids": [5] * 2048, "max_new_tokens": 2048}, PromptTooLongError, "has 2048 tokens"),
        ({"messages": None, "token_ids": [5] * 2040}, PromptTooLongError, "the input has 2040 tokens"),
        ({"messages": None, "token_ids": [5, 70_000]}, PipelineError, "the token id 70000; the model knows 0 to"),
        ({"messages": None, "prompt": ""}, PipelineError, "the input has no tokens"),
        ({"dtype": "float32"}, InvalidInputError, "asks for dtype float32, but this runner has loaded bfloat16"),
    ],
)
def test_what_this_model_cannot_do(writer: Runner, task: TextTask, changes: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        writer.run(task.replace(**changes))
    assert writer.run(task).finish == ("length",)


def test_the_wrong_kind(writer: Runner, task: TextTask, image_model: ModelRef) -> None:
    picture = cv.ImageTask(model=task.model, prompt="a cat")
    with pytest.raises(InvalidInputError, match="asks for kind image, but this runner has loaded text"):
        writer.run(picture)
    with pytest.raises(InvalidInputError, match="on_step is given, but TextTask runs never call it"):
        writer.run(task, on_step=print)  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match="expected an ImageTask or a TextTask"):
        Runner.for_task("a cat")  # type: ignore[arg-type]
    closed = Runner.for_task(task, "cpu")
    closed.close()
    with pytest.raises(PipelineError, match="this runner is closed"):
        closed.run(task)
    with pytest.raises(cv.errors.ModelError, match=r"configuration in .* cannot be loaded|has no|not a"):
        Runner(image_model, "text", "bfloat16", "cpu")


def test_numbers_that_are_none(writer: Runner, task: TextTask) -> None:
    loaded: Any = writer._loaded
    hook = loaded.model.lm_head.register_forward_hook(lambda _m, _i, output: output * float("nan"))
    try:
        for changes in ({}, {"do_sample": True, "top_k": 5}, {"beams": 2}):
            with pytest.raises(PipelineError, match="are NaN or infinite"):
                writer.run(task.replace(**changes))
    finally:
        hook.remove()
