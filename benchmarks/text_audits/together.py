"""Writing many texts at once, as a server does: every step computes a token for all of them.

All texts are at the same place in a step. Who has a longer input reads the rest of it token by token, while others
write already: so nothing is padded and nothing masked, and one text alone has the bits that a `Runner` gives it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from crynux_validate import TextTask
from crynux_validate.pipelines.text.models import LoadedText
from crynux_validate.pipelines.text.prompts import input_ids
from crynux_validate.pipelines.text.sampling import choose, warpers
from crynux_validate.pipelines.text.top import top_row


def together(loaded: LoadedText, tasks: Sequence[TextTask]) -> list[tuple[list[int], list[bytes]]]:
    """Write the texts of tasks of one model, which none ends before its length; enter the guard first.

    Returns
    -------
    list of tuple
        For each task its new tokens, and the row of the largest logits of each (protocol U7).
    """
    inputs = [input_ids(loaded, task) for task in tasks]
    chains = [warpers(task) for task in tasks]
    texts = [list(ids) for ids in inputs]
    rows: list[list[bytes]] = [[] for _ in tasks]
    state = DynamicCache(config=loaded.model.config)
    start, stop = 0, min(map(len, inputs))
    while stop < max(len(ids) + task.max_new_tokens for ids, task in zip(inputs, tasks, strict=True)):
        for number, logits in enumerate(_logits(loaded, state, [text[start:stop] for text in texts], start)):
            task, text, step = tasks[number], texts[number], stop - len(inputs[number])
            if 0 <= step < task.max_new_tokens:
                rows[number].append(top_row(logits))
                text.append(choose(task, chains[number], logits, np.array(text), 0, step))
            elif step >= 0:
                text.append(text[-1])  # it is done, and what the others compute does not depend on it
        start, stop = stop, stop + 1
    new = [text[len(ids) :][: task.max_new_tokens] for text, ids, task in zip(texts, inputs, tasks, strict=True)]
    return list(zip(new, rows, strict=True))


def _logits(loaded: LoadedText, state: DynamicCache, new: Sequence[Sequence[int]], start: int) -> Any:
    """The logits after the last of some tokens, of every text: float32, shape (texts, vocabulary)."""
    with torch.inference_mode():
        ids = torch.tensor(new, dtype=torch.int64)
        positions = torch.arange(start, start + ids.shape[1], dtype=torch.int64)[None]
        output = loaded.model(
            input_ids=ids, past_key_values=state, position_ids=positions, use_cache=True, logits_to_keep=1
        )
        return output.logits[:, -1].to(torch.float32).numpy()
