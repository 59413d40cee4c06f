"""Generating a task's tokens with transformers: the same task gives the same tokens on the same kind of machine.

A decoding loop of our own runs over the model's forward pass: one sequence at a time, without padding, with a cache
that grows, and none of the repository's generation defaults. `pipelines.text.sampling` chooses the tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from crynux_validate.answers import TextScore, logits_digest
from crynux_validate.audits.top import TopLogits
from crynux_validate.encoding import shorten, summary
from crynux_validate.errors import PipelineError
from crynux_validate.machines.environment import Environment
from crynux_validate.pipelines import results
from crynux_validate.pipelines.guard.attention import watched
from crynux_validate.pipelines.guard.generators import Untouched
from crynux_validate.pipelines.models.loading import RUNNING, first_line, quiet
from crynux_validate.pipelines.models.recipe import TextRan
from crynux_validate.pipelines.text.beams import search
from crynux_validate.pipelines.text.models import LoadedText
from crynux_validate.pipelines.text.passes import Passes
from crynux_validate.pipelines.text.prompts import model_input, new_tokens
from crynux_validate.pipelines.text.sampling import Float32s, check_finite, choose, warpers
from crynux_validate.pipelines.text.top import top_row
from crynux_validate.pipelines.text.written import Written
from crynux_validate.shown import Shown
from crynux_validate.tasks import TextTask

Finish = Literal["end", "stop", "length"]
"""Why a sequence ended: an end-of-sequence token, a stop string, or as many tokens as were asked for."""

_WATCHED: Final = 2
"""Passes in which attention's kernels are recorded: the input, and one token. Later ones have the same."""


@dataclass(frozen=True)
class Token:
    """A token that was just generated; after a beam search, one of a sequence that was found.

    Parameters
    ----------
    sequence, sequences
        The index of its sequence, from 0, and the number of sequences.
    step, steps
        The number of tokens of the sequence so far, and the largest number that it can have.
    id
        The token's id.
    text
        The text that the token adds, without special tokens. It is empty while a character is incomplete, or while the
        text may become a stop string. All texts of a sequence together are the text of the result.
    """

    sequence: int
    sequences: int
    step: int
    steps: int
    id: int
    text: str


@dataclass(frozen=True)
class TextResult(Shown):
    """The result of a text task.

    Parameters
    ----------
    task
        The task.
    token_ids
        The new tokens of each sequence, with the end-of-sequence token if there is one.
    texts
        The text of each sequence, without special tokens, and cut before the stop string that ended it.
    finish
        Why each sequence ended: ``end``, ``stop`` or ``length``.
    score
        The answer to submit.
    environment
        The machine, the guard's switches and the loaded model.
    seconds
        The time of the generation, without loading.
    top
        With ``binding="top"`` the largest logits of each token, which a node must keep as long as its answer can be
        audited; otherwise None.
    """

    task: TextTask
    token_ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    finish: tuple[Finish, ...]
    score: TextScore
    environment: Environment
    seconds: float
    top: TopLogits | None = None

    def __repr__(self) -> str:
        tokens = f"of {', '.join(str(len(ids)) for ids in self.token_ids)} tokens"
        return summary(self, tokens, self.score, f"task {self.task.digest[:12]}", f"{self.seconds:.1f} s")

    def __str__(self) -> str:
        several = "s" * (len(self.texts) > 1)
        lines = [results.headline(self.task, self.score, f"{len(self.texts)} text{several}", self.seconds)]
        for number, (ids, text, end) in enumerate(zip(self.token_ids, self.texts, self.finish, strict=True)):
            lines.append(f"  text {number}  {len(ids)} tokens, {end}: {shorten(text)}")
        return "\n".join(lines)

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the result into a folder, which is made if it does not exist.

        The files are ``text-0.txt`` and so on (UTF-8), ``task.json`` (canonical bytes), ``answer.bin`` (the bytes to
        commit to), ``answer.json`` (the answer in readable form, with the tokens), ``environment.json``, and with
        ``binding="top"`` ``top.bin`` (the largest logits). Files of an earlier result are replaced or removed. Other
        files in the folder are not changed.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        PipelineError
            If the folder cannot be written.
        """
        answer = {"token_ids": self.token_ids, "finish": self.finish, "seconds": self.seconds}
        files = {f"text-{number}.txt": text.encode("utf-8") for number, text in enumerate(self.texts)}
        if self.top is not None:
            files[results.TOP] = self.top.to_bytes()
        return results.save(folder, self.task, self.score, self.environment, answer, files)


@dataclass(frozen=True)
class Generated:
    """One sequence as it came out of the loop: tokens, text, end, and what is bound of the logits of each token.

    That is with ``logits`` their digest, with ``top`` the row of the largest, otherwise nothing.
    """

    ids: tuple[int, ...]
    text: str
    finish: Finish
    bound: tuple[bytes, ...]


def generate(
    loaded: LoadedText, task: TextTask, on_token: Callable[[Token], None] | None
) -> tuple[list[Generated], dict[str, Any]]:
    """Generate all sequences of a task; enter the guard first.

    Returns
    -------
    sequences
        In order; none depends on those before it.
    recipe
        The loaded model's, with what ran.

    Raises
    ------
    PipelineError
        As `model_input` does; and where the computation fails, or gives something that is no number.
    DeterminismError
        Where random numbers were drawn from torch's own generators.
    """
    sampler = "beam search" if task.beams > 1 else "gumbel-max, philox4x32-10" if task.do_sample else "argmax"
    ran = TextRan(sampler, task.beams)
    with quiet("transformers"):
        prompt, beside = model_input(loaded, task)
        ran.see(beside)
        recipe = {**loaded.recipe, "end_tokens": loaded.end.of(task).to_dict()}
        task = task.replace(max_new_tokens=new_tokens(loaded, task, prompt))
        if task.beams > 1:
            rows = search(loaded, task, prompt, _end(loaded, task), ran)
            found = [_told(loaded, task, number, row, on_token) for number, row in enumerate(rows)]
        else:
            found = [_decode(loaded, task, prompt, beside, number, on_token, ran) for number in range(task.sequences)]
    return found, {**recipe, **ran.to_dict()}


def _decode(
    loaded: LoadedText,
    task: TextTask,
    prompt: list[int],
    beside: Mapping[str, torch.Tensor],
    sequence: int,
    on_token: Callable[[Token], None] | None,
    ran: TextRan,
) -> Generated:
    """Generate one sequence, token by token."""
    end = _end(loaded, task)
    chain = warpers(task)
    seen = np.empty(len(prompt) + task.max_new_tokens, dtype=np.int64)
    seen[: len(prompt)] = prompt
    ids: list[int] = []
    bound: list[bytes] = []
    finish: Finish | None = None
    written = Written(lambda window: _text(loaded, window), task.stop)
    generators = Untouched(loaded.model.device)
    for step, logits in enumerate(_forward(loaded, prompt, beside, ids, ran)):
        if task.binding == "logits":
            bound.append(logits_digest(logits.astype("<f4", copy=False).tobytes()))
        elif task.binding == "top":
            bound.append(top_row(logits))
        ids.append(choose(task, chain, logits, seen[: len(prompt) + step], sequence, step))
        seen[len(prompt) + step] = ids[-1]
        finish, piece = _write(written, ids[-1], ids[-1] in end, len(ids) == task.max_new_tokens)
        if on_token is not None:
            generators.check()
            on_token(Token(sequence, task.sequences, len(ids), task.max_new_tokens, ids[-1], piece))
            generators.reset()
        if finish is not None:
            break
    generators.check()
    return Generated(tuple(ids), written.text, finish or "length", tuple(bound))


def first_end(loaded: LoadedText, task: TextTask, ids: Sequence[int], most: int) -> tuple[Finish, int] | None:
    """Return why a sequence ends and after how many of these tokens; None where nothing ends it yet.

    Parameters
    ----------
    ids
        New tokens of the vocabulary.
    most
        As many as it can have (`crynux_validate.pipelines.text.prompts.new_tokens`).
    """
    end = _end(loaded, task)
    written = Written(lambda window: _text(loaded, window), task.stop)
    for step, token in enumerate(ids, start=1):
        finish, _ = _write(written, token, token in end, step == most)
        if finish is not None:
            return finish, step
    return None


def _write(written: Written, token: int, is_end: bool, is_last: bool) -> tuple[Finish | None, str]:
    """Add a token to the text; return why the sequence ends with it, if it does, and what to tell."""
    if is_end:
        return "end", written.end(token)
    piece = written.add(token)
    if written.stopped:
        return "stop", piece
    return ("length", piece + written.end()) if is_last else (None, piece)


def _forward(
    loaded: LoadedText, prompt: list[int], beside: Mapping[str, torch.Tensor], ids: list[int], ran: TextRan
) -> Iterator[Float32s]:
    """Yield the logits after the input, and after each token that has been added to `ids` meanwhile."""
    passes = Passes(loaded.model, loaded.calls, beside)
    new = prompt
    while True:
        try:
            with torch.inference_mode(), watched(ran.kernels) if len(ids) < _WATCHED else nullcontext():
                row = passes(new).to(device="cpu", dtype=torch.float32).numpy()
        except RUNNING as error:
            raise PipelineError(
                f"token {len(ids)} could not be computed: {type(error).__name__}: {first_line(error)}"
            ) from error
        if not ids:
            ran.keep(passes.state)
        check_finite(float(row.max()), len(ids))
        yield row
        new = ids[-1:]


def _told(
    loaded: LoadedText, task: TextTask, sequence: int, ids: list[int], on_token: Callable[[Token], None] | None
) -> Generated:
    """Tell the tokens that a search found, when it is done: which they are is not known before."""
    end = ids[-1] in _end(loaded, task)
    written = Written(lambda window: _text(loaded, window))
    for step, token in enumerate(ids, start=1):
        _, piece = _write(written, token, end and step == len(ids), step == len(ids))
        if on_token is not None:
            on_token(Token(sequence, task.sequences, step, task.max_new_tokens, token, piece))
    return Generated(tuple(ids), written.text, "end" if end else "length", ())


def _end(loaded: LoadedText, task: TextTask) -> frozenset[int]:
    return frozenset(loaded.end.of(task).ids)


def _text(loaded: LoadedText, ids: Sequence[int]) -> str:
    text = loaded.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)
