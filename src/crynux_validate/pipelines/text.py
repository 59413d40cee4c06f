"""Generating a task's tokens with transformers: the same task gives the same tokens on the same kind of machine.

A decoding loop of our own runs over the model's forward pass: one sequence at a time, without padding, with a cache
that grows, and none of the repository's generation defaults. `crynux_validate.pipelines.sampling` chooses the tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from crynux_validate.answers import TextScore, logits_digest
from crynux_validate.encoding import summary
from crynux_validate.errors import PipelineError
from crynux_validate.machines.environment import Environment
from crynux_validate.pipelines import results
from crynux_validate.pipelines.generators import Untouched
from crynux_validate.pipelines.loading import RUNNING, first_line, quiet
from crynux_validate.pipelines.prompts import input_ids
from crynux_validate.pipelines.sampling import Float32s, check_finite, choose, warpers
from crynux_validate.pipelines.text_models import LoadedText
from crynux_validate.tasks import TextTask

Finish = Literal["end", "stop", "length"]
"""Why a sequence ended: an end-of-sequence token, a stop string, or as many tokens as were asked for."""

_CUT: Final = "\ufffd"
"""What a decoder writes for bytes that are no whole character yet."""


@dataclass(frozen=True)
class Token:
    """A token that was just generated.

    Parameters
    ----------
    sequence, sequences
        The sequence that it belongs to, counted from 0, and how many there are.
    step, steps
        How many tokens the sequence has now, and how many it can have.
    id
        The token.
    text
        What it adds to the text, special tokens left out; empty while a character is not whole.
    """

    sequence: int
    sequences: int
    step: int
    steps: int
    id: int
    text: str


@dataclass(frozen=True)
class TextResult:
    """What a task came to.

    Parameters
    ----------
    task
        The task.
    token_ids
        For each sequence its new tokens, with the end-of-sequence token if it was produced.
    texts
        The same as text, without special tokens, and cut before the stop string that ended it.
    finish
        Why each sequence ended: ``end``, ``stop`` or ``length``.
    score
        The answer to submit.
    environment
        The machine, the guard's switches and what was loaded.
    seconds
        Wall time of the generation, without loading.
    """

    task: TextTask
    token_ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    finish: tuple[Finish, ...]
    score: TextScore
    environment: Environment
    seconds: float

    def __repr__(self) -> str:
        tokens = f"of {', '.join(str(len(ids)) for ids in self.token_ids)} tokens"
        return summary(self, tokens, self.score, f"task {self.task.digest.hex()[:12]}", f"{self.seconds:.1f} s")

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the result into a folder, which is made if it is not there.

        ``text-0.txt`` and so on (UTF-8), ``task.json`` (canonical bytes), ``answer.bin`` (the bytes to commit to),
        ``answer.json`` (the same, to read, with the tokens) and ``environment.json``. Files of these names are
        replaced, and texts of an earlier result removed; everything else in the folder is left alone.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        PipelineError
            Where the folder cannot be written.
        """
        answer = {"token_ids": self.token_ids, "finish": self.finish, "seconds": self.seconds}
        files = {f"text-{number}.txt": text.encode("utf-8") for number, text in enumerate(self.texts)}
        return results.save(folder, self.task, self.score, self.environment, answer, files, "text-*.txt")


@dataclass(frozen=True)
class Generated:
    """One sequence as it came out of the loop: tokens, text, end, and with ``logits`` the digests of their logits."""

    ids: tuple[int, ...]
    text: str
    finish: Finish
    logits: tuple[bytes, ...]


def generate(
    loaded: LoadedText, task: TextTask, on_token: Callable[[Token], None] | None
) -> tuple[list[Generated], dict[str, Any]]:
    """Generate all sequences of a task; enter the guard first.

    Returns
    -------
    sequences
        In order; none depends on those before it.
    recipe
        The loaded model's, with the layout of the batch.

    Raises
    ------
    PipelineError
        As `input_ids` does; and where the computation fails, or gives something that is no number.
    DeterminismError
        Where random numbers were drawn from torch's own generators.
    """
    with quiet("transformers"):
        prompt = input_ids(loaded, task)
        if task.beams > 1:
            return _search(loaded, task, prompt), {**loaded.recipe, "batch": task.beams, "sampler": "beam search"}
        return [_decode(loaded, task, prompt, number, on_token) for number in range(task.sequences)], {**loaded.recipe}


def _decode(
    loaded: LoadedText, task: TextTask, prompt: list[int], sequence: int, on_token: Callable[[Token], None] | None
) -> Generated:
    """Generate one sequence, token by token."""
    end = _end(loaded, task)
    chain = warpers(task)
    seen = np.empty(len(prompt) + task.max_new_tokens, dtype=np.int64)
    seen[: len(prompt)] = prompt
    ids: list[int] = []
    digests: list[bytes] = []
    finish: Finish = "length"
    told = ""
    generators = Untouched(loaded.model.device)
    for step, logits in enumerate(_forward(loaded, prompt, ids)):
        if task.binding == "logits":
            digests.append(logits_digest(logits.astype("<f4", copy=False).tobytes()))
        ids.append(choose(task, chain, logits, seen[: len(prompt) + step], sequence, step))
        seen[len(prompt) + step] = ids[-1]
        if ids[-1] in end:
            finish = "end"
        text = _text(loaded, ids) if task.stop or on_token is not None else ""
        if finish != "end" and any(stop in text for stop in task.stop):
            finish = "stop"
        last = finish != "length" or len(ids) == task.max_new_tokens
        if on_token is not None:
            whole = len(text) if last else len(text.rstrip(_CUT))
            generators.check()
            on_token(Token(sequence, task.sequences, len(ids), task.max_new_tokens, ids[-1], text[len(told) : whole]))
            generators.reset()
            told = text[: max(whole, len(told))]
        if last:
            break
    generators.check()
    text = _text(loaded, ids)
    if finish == "stop":
        text = text[: min(text.find(stop) for stop in task.stop if stop in text)]
    return Generated(tuple(ids), text, finish, tuple(digests))


def _forward(loaded: LoadedText, prompt: list[int], ids: list[int]) -> Iterator[Float32s]:
    """Yield the logits after the input, and after each token that has been added to `ids` meanwhile."""
    from transformers import DynamicCache

    model = loaded.model
    cache = DynamicCache(config=model.config)
    new = prompt
    while True:
        try:
            with torch.inference_mode():
                output = model(
                    input_ids=torch.tensor([new], dtype=torch.int64, device=model.device),
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                row = output.logits[0, -1].to(device="cpu", dtype=torch.float32).numpy()
        except RUNNING as error:
            raise _failed(len(ids), error) from error
        check_finite(float(row.max()), len(ids))
        yield row
        new = ids[-1:]


def _search(loaded: LoadedText, task: TextTask, prompt: list[int]) -> list[Generated]:
    """Search with beams, which transformers computes in one batch, without the repository's defaults."""
    from transformers import GenerationConfig

    configuration: Any = GenerationConfig
    end = _end(loaded, task)
    generators = Untouched(loaded.model.device)
    settings = configuration(
        max_new_tokens=task.max_new_tokens,
        num_beams=task.beams,
        num_return_sequences=task.sequences,
        do_sample=False,
        early_stopping=False,
        length_penalty=1.0,
        repetition_penalty=task.repetition_penalty,
        eos_token_id=sorted(end) or None,
        pad_token_id=min(end, default=0),
        use_cache=True,
        cache_implementation="dynamic",
        disable_compile=True,
    )
    tokens = torch.tensor([prompt], dtype=torch.int64, device=loaded.model.device)
    try:
        with torch.inference_mode():
            output = loaded.model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=settings,
                logits_processor=[_check_scores],
            )
    except PipelineError:
        raise
    except RUNNING as error:
        raise _failed(0, error) from error
    generators.check()
    found = []
    for row in output[:, len(prompt) :].tolist():
        stop = next((at for at, token in enumerate(row) if token in end), None)
        ids = row if stop is None else row[: stop + 1]
        found.append(Generated(tuple(ids), _text(loaded, ids), "length" if stop is None else "end", ()))
    return found


def _check_scores(seen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Stand among transformers' own processors, and refuse what is no number."""
    check_finite(float(scores.amax(dim=-1).sum()), seen.shape[1])
    return scores


def _end(loaded: LoadedText, task: TextTask) -> frozenset[int]:
    return frozenset(loaded.end if task.eos_token_ids is None else task.eos_token_ids)


def _text(loaded: LoadedText, ids: Sequence[int]) -> str:
    text = loaded.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def _failed(step: int, error: Exception) -> PipelineError:
    return PipelineError(f"token {step} could not be computed: {type(error).__name__}: {first_line(error)}")
