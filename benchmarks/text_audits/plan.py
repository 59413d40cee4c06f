"""Which texts are written: distinct prompts and seeds, on every kind of machine in turn, and what cheats hand in.

The plan has no end: text n is the same whatever the number of texts, so that a longer run goes on where a shorter one
stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.divergence.openings import openings
from crynux_validate import ModelRef, TextTask

TOKENS: Final = 300

WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "bfloat16, sampled": {"dtype": "bfloat16", "do_sample": True, "temperature": 0.8, "top_k": 40},
    "bfloat16, greedy": {"dtype": "bfloat16"},
    "bfloat16, all cuts": {
        "dtype": "bfloat16", "do_sample": True, "temperature": 0.9, "top_k": 60, "top_p": 0.9, "min_p": 0.02,
        "repetition_penalty": 1.1,
    },
    "float32, sampled": {"dtype": "float32", "do_sample": True, "temperature": 0.8, "top_k": 40},
}  # fmt: skip
"""How texts are written: fields of a task."""

HONEST: Final = "honest"
CHEATS: Final = ("int8", "int4", "temperature 1.1", "a block left out", "float32")
"""What the node computes in place of the task; ``float32`` is a text of a bfloat16 task that was computed so."""

_HONEST_WAYS: Final = (*("bfloat16, sampled",) * 7, "bfloat16, greedy", "bfloat16, all cuts", "float32, sampled")
_CHEAT_WAYS: Final = ("bfloat16, sampled", "bfloat16, sampled", "bfloat16, greedy", "float32, sampled")
_HONEST_OF_TEN: Final = 7
_SEEDS: Final = 1_000_000
_OPENINGS: Final = tuple(openings(576))


@dataclass(frozen=True)
class Text:
    """One text of the plan: its number, what the node does, the way, and the number of its kind of machine."""

    number: int
    who: str
    way: str
    turn: int

    def task(self, model: ModelRef) -> TextTask:
        """The task that is asked, and audited."""
        return TextTask(
            model=model,
            messages=[{"role": "user", "content": prompt(self.number)}],
            seed=_SEEDS + self.number,
            max_new_tokens=TOKENS,
            eos_token_ids=[],
            **WAYS[self.way],
        )


def text(number: int) -> Text:
    """Text n: seven of ten are honest, the others cheats in turn."""
    tens, place = divmod(number, 10)
    if place < _HONEST_OF_TEN:
        turn = _HONEST_OF_TEN * tens + place
        # The kind changes with every text, and the way with every round of the kinds and once more after all of them.
        return Text(number, HONEST, _HONEST_WAYS[(turn // 7 + turn // 70) % len(_HONEST_WAYS)], turn)
    turn = (10 - _HONEST_OF_TEN) * tens + place - _HONEST_OF_TEN
    who = CHEATS[turn % len(CHEATS)]
    ways = _CHEAT_WAYS
    way = ways[turn // len(CHEATS) % len(ways)]
    if (who == "temperature 1.1" and "sampled" not in way) or (who == "float32" and not way.startswith("bfloat16")):
        way = ways[0]
    return Text(number, who, way, turn)


def prompt(number: int) -> str:
    """Prompt n: two openings; no two numbers below 300,000 have the same."""
    count = len(_OPENINGS)
    lap, one = divmod(number, count)
    return f"{_OPENINGS[one]} {_OPENINGS[(one + 1 + lap % (count - 1)) % count]}"
