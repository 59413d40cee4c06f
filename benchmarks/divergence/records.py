"""What was seen, and a file that keeps it: tables and picture can be made again without the runs."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Native:
    """A text of the native kind.

    Parameters
    ----------
    margins
        For each new token: how far the second best was behind, in what the token was chosen by (logits; when sampled,
        logits divided by the temperature, plus noise).
    entropies
        For each: that of the softmax of its logits, in nats.
    """

    margins: list[float]
    entropies: list[float]


@dataclass(frozen=True)
class Beside:
    """The same text from another machine or copy, beside the native kind's.

    Parameters
    ----------
    first
        The first new token that differs, counted from 0; None where none does.
    apart
        The largest difference of a logit, over all tokens until then: further on the two read different texts.
    """

    first: int | None
    apart: float


@dataclass(frozen=True)
class Measurements:
    """Everything that was seen: by way of writing, and by kind or copy; one for each prompt, in order."""

    tokens: int
    native: dict[str, list[Native]]
    kinds: dict[str, dict[str, list[Beside]]]
    copies: dict[str, dict[str, list[Beside]]]

    def to_json(self) -> str:
        """Everything, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        value = json.loads(text)
        return cls(
            tokens=value["tokens"],
            native={way: [Native(**one) for one in found] for way, found in value["native"].items()},
            kinds=_beside(value["kinds"]),
            copies=_beside(value["copies"]),
        )


def _beside(value: Any) -> dict[str, dict[str, list[Beside]]]:
    return {name: {way: [Beside(**one) for one in ways[way]] for way in ways} for name, ways in value.items()}
