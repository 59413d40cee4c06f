"""Which texts are written: distinct prompts and seeds, on every kind of machine in turn, and what cheats hand in.

The plan has no end: text n is the same whatever the number of texts, so that a longer run goes on where a shorter one
stopped. From `CARDS_FROM` on stand those that cost more: of emulated cards, and in float16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.divergence.openings import openings
from crynux_validate import ModelRef, TextTask
from crynux_validate.testing import fake_hardware
from crynux_validate.testing.fake_hardware import NumericKind

TOKENS: Final = 300

WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "bfloat16, sampled": {"dtype": "bfloat16", "do_sample": True, "temperature": 0.8, "top_k": 40},
    "bfloat16, greedy": {"dtype": "bfloat16"},
    "bfloat16, all cuts": {
        "dtype": "bfloat16", "do_sample": True, "temperature": 0.9, "top_k": 60, "top_p": 0.9, "min_p": 0.02,
        "repetition_penalty": 1.1,
    },
    "float32, sampled": {"dtype": "float32", "do_sample": True, "temperature": 0.8, "top_k": 40},
    "float16, sampled": {"dtype": "float16", "do_sample": True, "temperature": 0.8, "top_k": 40},
}  # fmt: skip
"""How texts are written: fields of a task."""

HONEST: Final = "honest"
CHEATS: Final = ("int8", "int4", "temperature 1.1", "a block left out", "float32")
"""What the node computes in place of the task; ``float32`` is a text of a half-precision task that was computed so."""

CARDS: Final = ("ampere", "hopper", "cdna3")
"""Emulated cards; the others of `gpu_kinds` have the bits of one of these, or no bfloat16."""

CARDS_FROM: Final = 200_000
_CARD_ROUND: Final = 20
"""Of so many texts three are of cards in bfloat16, three of cards in float16, ten of processors, and four cheats'."""
_CARD_CHEATS: Final = ("int8", "int4", "temperature 1.1", "float32")

AT_ONCE: Final = ", at once"
"""What is added to the name of a kind for texts that were written many at once."""
ASKED: Final = 1_000
"""Texts with less numbers are looked at under other hypotheses as well, and so are the costly ones."""

_HONEST_WAYS: Final = (*("bfloat16, sampled",) * 7, "bfloat16, greedy", "bfloat16, all cuts", "float32, sampled")
_CHEAT_WAYS: Final = ("bfloat16, sampled", "bfloat16, sampled", "bfloat16, greedy", "float32, sampled")
_HONEST_OF_TEN: Final = 7
_SEEDS: Final = 1_000_000
_OPENINGS: Final = tuple(openings(576))


@dataclass(frozen=True)
class Text:
    """One text of the plan: its number, what the node does, the way, and its kind of machine's number or name."""

    number: int
    who: str
    way: str
    machine: int | str

    @property
    def kind(self) -> NumericKind:
        """The kind of machine that writes it; a cheat's is this processor as it is."""
        kinds = fake_hardware.kinds()
        if isinstance(self.machine, str):
            return next(kind for kind in fake_hardware.gpu_kinds() if kind.name == self.machine)
        return kinds[self.machine % len(kinds) if self.who == HONEST else 0]

    @property
    def asked(self) -> bool:
        """Whether it is looked at under other hypotheses as well."""
        return self.number < ASKED or self.number >= CARDS_FROM

    @property
    def half(self) -> int:
        """Which half of the prompts it belongs to; both have texts of every kind."""
        return self.number // (10 if self.number < CARDS_FROM else _CARD_ROUND) % 2

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
    if number >= CARDS_FROM:
        return _of_cards(number)
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


def _of_cards(number: int) -> Text:
    """Text n of the costly ones."""
    lap, place = divmod(number - CARDS_FROM, _CARD_ROUND)
    if place < 2 * len(CARDS):
        way = "bfloat16, sampled" if place < len(CARDS) else "float16, sampled"
        return Text(number, HONEST, way, CARDS[place % len(CARDS)])
    turn = place - 2 * len(CARDS)
    honest = _CARD_ROUND - 2 * len(CARDS) - len(_CARD_CHEATS)
    if turn < honest:
        return Text(number, HONEST, "float16, sampled", honest * lap + turn)
    return Text(number, _CARD_CHEATS[turn - honest], "float16, sampled", lap)


def prompt(number: int) -> str:
    """Prompt n: two openings; no two numbers below 300,000 have the same."""
    count = len(_OPENINGS)
    lap, one = divmod(number, count)
    return f"{_OPENINGS[one]} {_OPENINGS[(one + 1 + lap % (count - 1)) % count]}"
