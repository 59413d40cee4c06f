"""Logs, by the words of L5."""

import crynux_validate as cv
from tests.vectors.reading import Vector, canonical, each, prefixed, sha256


@each("events")
def test_event(vector: Vector) -> None:
    events = [cv.ledger.Event(**event) for event in vector["events"]]
    cv.ledger.verify_chain(events, vector["head"])
    assert [event.digest for event in events] == vector["digests"]
    previous = "0" * 64
    for seq, (event, digest) in enumerate(zip(vector["events"], vector["digests"], strict=True)):
        assert (event["seq"], event["previous"]) == (seq, previous)
        previous = sha256("event/1", prefixed(canonical(event)))
        assert previous == digest
    assert previous == vector["head"]
    assert vector["events"][0]["kind"] == "genesis"
