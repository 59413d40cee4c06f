"""Vectors of logs (protocol L5)."""

from collections.abc import Iterator
from typing import Any

from crynux_validate.ledger.log import Event, verify_chain
from crynux_validate.vectors_check.files import Vector


def event(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The digest of each event, which the next one carries."""
    events = [Event(**event) for event in vector.content["events"]]
    yield "digests", [event.digest for event in events]
    yield "head", events[-1].digest
    verify_chain(events, vector.content["head"])
