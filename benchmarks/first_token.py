"""The time to a first token, here and in plain transformers: ``python -m benchmarks.first_token [--rounds 9]``.

One process, one thread, the small Llama of random weights: load it, generate one token, free it. Rounds take turns, and
what is compared is the processor's time.
"""

import argparse
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from crynux_validate.pipelines.models.loading import quiet
from crynux_validate.pipelines.runner import run
from crynux_validate.tasks import TextTask
from crynux_validate.testing import tiny_text_model


def here(task: TextTask) -> None:
    """With the library."""
    run(task, "cpu")


def plain(task: TextTask) -> None:
    """As the documentation of transformers does it."""
    library: Any = transformers
    tokenizer = library.AutoTokenizer.from_pretrained(task.model.path)
    model = library.AutoModelForCausalLM.from_pretrained(task.model.path, dtype=torch.float32).eval()
    given = tokenizer(task.prompt, return_tensors="pt")
    model.generate(**given, max_new_tokens=1, do_sample=False, pad_token_id=0)


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch, quiet("transformers"):
        model = tiny_text_model(Path(scratch) / "model", random=True)
        task = TextTask(model=model, prompt="and the king said", max_new_tokens=1, dtype="float32")
        found: list[tuple[float, float]] = []
        for _ in range(rounds + 1):
            seconds = []
            for way in (plain, here):
                gc.collect()
                start = time.process_time()
                way(task)
                seconds.append(time.process_time() - start)
            found.append((seconds[0], seconds[1]))
    theirs, ours = zip(*found[1:], strict=True)  # the first round warms up
    ratio = statistics.median(b / a for a, b in found[1:])
    print("transformers {:.0f} ms, here {:.0f} ms".format(*(1000 * statistics.median(each) for each in (theirs, ours))))
    print(f"ratio, the median of the rounds: {ratio:.2f}")


if __name__ == "__main__":
    main()
