"""Running a language model over a text, pass by pass; and checking when it is loaded that this computes what it should.

Families of models differ in what they keep between passes and in who counts the positions. A model's `forward` takes
any argument, so a name that it does not know is ignored without a word: the model forgets the text before. Here each
model gets its state under the name that it has for it, as in transformers' `generate()`, and positions as it counts
them itself.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from crynux_validate.errors import ModelError
from crynux_validate.pipelines.guard.generators import Untouched
from crynux_validate.pipelines.models.loading import RUNNING, first_line

_STATES: Final = ("past_key_values", "cache_params", "state")
"""What families call that which they keep between passes: attention, Mamba and xLSTM, RWKV."""

_PROMPT: Final = 4
_STEPS: Final = 5

_LIMITS: Final = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.12}
"""How far decoded logits may be from computed ones, as a part of their spread ("Families of language models" in
docs/measurements/speed.md)."""

_HUGE: Final = 1e4
"""Logits that are larger are no logits: families write them, or infinity, for tokens that must not be chosen."""


@dataclass(frozen=True)
class Calls:
    """How a model is called.

    Parameters
    ----------
    state
        Its name for what it keeps between passes.
    positions
        Whether it is given positions, counted from 0: it counts so by itself too, but some families begin again in each
        pass.
    last
        Whether it can compute the logits of the last position alone.
    beams
        Whether transformers can search with beams on it: that gives every model positions from 0, and must put what
        the model keeps into another order, which only transformers' own cache does.
    """

    state: str
    positions: bool
    last: bool
    beams: bool


class Passes:
    """One text, and what a model keeps of it.

    Parameters
    ----------
    model
        Of transformers.
    calls
        How it is called.
    seen
        What the model is given beside the first tokens, all of which these must be that it belongs to: pictures. It
        counts the positions itself then, since those of a picture do not follow each other in all families.
    """

    def __init__(self, model: Any, calls: Calls, seen: Mapping[str, torch.Tensor] | None = None) -> None:
        self._model = model
        self._calls = calls
        self._seen = dict(seen or {})
        self._counts = calls.positions and not self._seen
        _forget(model)
        self._length = 0
        self.state = _empty(model)

    def __call__(self, new: Sequence[int]) -> torch.Tensor:
        """Run over the tokens that are new, and return the logits after the last of them, shape (vocabulary,)."""
        return self.rows(new, 1)[0]

    def rows(self, new: Sequence[int], last: int) -> torch.Tensor:
        """Run over the tokens that are new, and return the logits after the last ones, shape (last, vocabulary)."""
        device, given = self._model.device, {}
        if self.state is not None:
            given[self._calls.state] = self.state
        for name, values in self._seen.items():
            given[name] = values.to(device)
        self._seen = {}
        if self._counts:
            end = self._length + len(new)
            given["position_ids"] = torch.arange(self._length, end, dtype=torch.int64, device=device)[None]
        if self._calls.last:
            given["logits_to_keep"] = last
        ids = torch.tensor([new], dtype=torch.int64, device=device)
        output = self._model(input_ids=ids, use_cache=True, return_dict=True, **given)
        # A few families change what they were given, and do not return it.
        found = getattr(output, self._calls.state, None)
        self.state = self.state if found is None else found
        if self.state is None:
            raise ValueError(f"it returns no {self._calls.state}: it keeps nothing of the tokens before")
        self._length += len(new)
        logits: torch.Tensor = output.logits[0, -last:]
        return logits


def _forget(model: Any) -> None:
    """Drop what some families keep of the pictures of an earlier text, outside of what they are given."""
    inner = model.base_model
    if getattr(inner, "rope_deltas", None) is not None:
        inner.rope_deltas = None


def calls_of(name: object, model: Any, vocabulary: int, context: int | None, avoid: Collection[int]) -> Calls:
    """Find out how a model is called, and check that it decodes what it computes.

    A few fixed tokens are run one by one, and all in one pass; in each step the logits must be nearly equal. This
    takes the time of generating seven tokens, and twice that where the model counts positions in a way of its own.

    Parameters
    ----------
    name
        The model, in words.
    model
        Of transformers.
    vocabulary, context
        How many ids it knows, and how many tokens it holds; None where that is not known.
    avoid
        Ids with a meaning of their own, such as padding, which some families skip.

    Raises
    ------
    ModelError
        Where the model keeps nothing between tokens, cannot be run, or decodes something else than it computes.
    DeterminismError
        Where it draws random numbers.
    """
    takes = inspect.signature(model.forward).parameters
    state = next((name for name in _STATES if name in takes), None)
    kind = type(model).__name__
    if state is None:
        raise ModelError(
            f"{name} ({kind}) keeps nothing between tokens under a name that is known here ({', '.join(_STATES)}), so "
            "it cannot be decoded token by token; use a model of another family"
        )
    ids = _probe(vocabulary, context, avoid)
    generators, limit = Untouched(model.device), _LIMITS[model.dtype]
    try:
        with torch.inference_mode():
            computed = _computed(model, ids)
            calls = Calls(state, "position_ids" in takes, "logits_to_keep" in takes, beams=True)
            passes = Passes(model, calls)
            apart = _gap(_decoded(passes, ids), computed[_start(ids) :])
            if calls.positions and not apart <= limit and _counts_otherwise(model, ids, computed):
                calls = replace(calls, positions=False, beams=False)
                passes = Passes(model, calls)
                apart = _gap(_decoded(passes, ids), computed[_start(ids) :])
    except RUNNING as error:
        raise ModelError(f"{name} ({kind}) cannot be decoded token by token: {first_line(error)}") from error
    generators.check()
    if not apart <= limit:
        raise ModelError(
            f"{name} ({kind}) gives other logits token by token than in one pass: {apart:.2g} of their spread apart, "
            f"at most {limit:g} is allowed. This version of transformers may forget the text before, or the numbers "
            "overflow. Use another version, dtype or model"
        )
    from transformers import DynamicCache

    return replace(calls, beams=calls.beams and type(passes.state) is DynamicCache)


def _empty(model: Any) -> Any:
    """Return what a model begins with, as `generate()` decides it: some families make a state of their own."""
    from transformers import DynamicCache

    if not model._supports_default_dynamic_cache():
        return None
    return DynamicCache(config=model.config.get_text_config(decoder=True))


def _probe(vocabulary: int, context: int | None, avoid: Collection[int]) -> list[int]:
    """Return fixed tokens from all over the vocabulary, as many as the model holds."""
    size = min(_PROMPT + _STEPS, max(2, context or _PROMPT + _STEPS))
    spread = dict.fromkeys((11 + 7919 * number) % vocabulary for number in range(8 * size))
    ids = [token for token in spread if token not in avoid] or [0]
    return (ids * size)[:size]


def _start(ids: Sequence[int]) -> int:
    """Return the first position whose token is decoded alone."""
    return min(_PROMPT, len(ids) - 1)


def _computed(model: Any, ids: Sequence[int], **given: Any) -> torch.Tensor:
    output = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False, return_dict=True, **given)
    return _on_host(output.logits[0])


def _decoded(passes: Passes, ids: Sequence[int]) -> torch.Tensor:
    start = _start(ids)
    passes(ids[:start])
    return torch.stack([_on_host(passes(ids[at : at + 1])) for at in range(start, len(ids))])


def _on_host(logits: torch.Tensor) -> torch.Tensor:
    return logits.to(device="cpu", dtype=torch.float64)


def _counts_otherwise(model: Any, ids: Sequence[int], computed: torch.Tensor) -> bool:
    """Whether positions from 0 are not what the model counts by itself."""
    positions = torch.arange(len(ids), device=model.device)[None]
    return not _gap(_computed(model, ids, position_ids=positions), computed) <= _LIMITS[model.dtype]


def _gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return how far rows of logits are apart, as a part of their spread: the median of the rows.

    One row may be far off in half precision: rounding sends a token to another expert.
    """
    parts = []
    for row, beside in zip(found, expected, strict=True):
        usable = (row.abs() < _HUGE) & (beside.abs() < _HUGE)
        spread = float(beside[usable].std(correction=0)) if usable.any() else 0.0
        apart = float((row - beside)[usable].square().mean().sqrt()) if usable.any() else float("nan")
        parts.append(0.0 if apart == 0.0 else apart / spread if spread else float("inf"))
    return float(torch.tensor(parts).median())
