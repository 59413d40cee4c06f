"""One vector beside what this library computes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import CrynuxValidateError, MissingExtraError
from crynux_validate.vectors_check import (
    answers,
    audits,
    draws,
    groups,
    logs,
    machines,
    pictures,
    signatures,
    small_weights,
    stakes,
    tensor_cores,
)
from crynux_validate.vectors_check.files import Vector

_WRONG: Final = (CrynuxValidateError, AttributeError, LookupError, OSError, TypeError, ValueError, ZeroDivisionError)
"""What a vector that somebody broke can raise when it is checked."""

_CHECKS: Final[Mapping[str, Callable[[Vector], Iterator[tuple[str, Any]]]]] = {
    "task": answers.task,
    "answer": answers.answer,
    "text-score": answers.text_score,
    "pool": draws.pool,
    "draw": draws.draw,
    "policy": draws.policy,
    "drawn": draws.drawn,
    "verdict": groups.verdict,
    "settlement": groups.settlement,
    "stake": stakes.stake,
    "audited-stake": stakes.audited,
    "class": machines.node_class,
    "attestation": machines.attestation,
    "keyed": answers.keyed,
    "keyed-values": pictures.keyed_values,
    "signature": signatures.signature,
    "attestation-signature": signatures.attestation_signature,
    "key": signatures.key,
    "event": logs.event,
    "picture": pictures.made,
    "tensor-core": tensor_cores.product,
    "small-weights": small_weights.rounded,
    "trace": audits.trace,
    "audit-steps": audits.steps,
    "top": audits.top,
    "phash": pictures.stored,
}
"""For each kind of vector what computes its fields: pairs of a field's name and what it should be."""


def check_vector(vector: Vector) -> str | None:
    """Compute what a vector says; return None where it holds, otherwise what differs.

    Raises
    ------
    MissingExtraError
        Where computing it needs an extra that is not installed.
    """
    try:
        for name, computed in _CHECKS[vector.kind](vector):
            said = vector.content[name]
            if said != computed:
                return f"{name} is {_shown(said, computed)}, this library computes {_shown(computed, said)}"
    except MissingExtraError:
        raise
    except _WRONG as error:
        return f"it cannot be checked: {type(error).__name__}: {error}"
    return None


def _shown(value: object, other: object) -> str:
    """A value in one line; of objects only what differs."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {name: item for name, item in value.items() if name not in other or other[name] != item}
    return shorten(value)
