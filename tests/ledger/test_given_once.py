"""Which groups keep their task from being given again: those with an answer that could be copied (protocol L9)."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crynux_validate as cv
from crynux_validate.errors import AlreadyDoneError
from crynux_validate.ledger.base import StoringLedger
from tests.ledger import backends
from tests.ledger.helpers import FALSE_REPORT, HONEST, HONEST_TEXT, POLICY, TASK, TEXT, Network

REPORT = FALSE_REPORT.to_bytes()
FREE = replace(POLICY, min_pool_ppm=0, suspend_after=99, stake_per_fee=0, slash_ppm=0, withheld_ppm=0)


def settled(network: Network, *answers: bytes | None, task: cv.tasks.Task = TASK) -> cv.Group:
    """A settled group whose members opened these bytes; None stays away."""
    group = network.drawn(fee=3, task=task)
    for node, data in zip(group.members, answers, strict=True):
        if data is not None:
            network.openings[group.id, node] = opening = cv.Opening(data)
            network.ledger.commit(group.id, node, opening.commitment(group.draw_digest, node=node))
    if None in answers:
        network.clock.now = group.commit_deadline
    for node in network.ledger.group(group.id).commitments:
        network.reveal(group.id, node)
    return network.ledger.settle(group.id)


def can_be_given(ledger: StoringLedger, task: cv.tasks.Task) -> bool:
    """Whether a ledger takes a task; a batch that is undone leaves nothing of it."""

    class EnoughError(Exception):
        """Ends a batch."""

    try:
        with ledger.batch():
            ledger.open_group(task, creator="app", fee=3)
            raise EnoughError
    except EnoughError:
        return True
    except AlreadyDoneError:
        return False


def check(network: Network, group: cv.Group, *, keeps: bool) -> None:
    """The ledger, whoever opens it again, and a replay of its log say the same."""
    assert group.keeps_task is keeps
    again = backends.current.again(network.ledger)
    replayed = cv.MemoryLedger.replay(network.ledger.events(), clock=network.clock)
    for ledger in (network.ledger, again, replayed):
        assert ledger.group(group.id).keeps_task is keeps
        assert can_be_given(ledger, group.task) is not keeps
    if isinstance(again, cv.SqlLedger):
        again.verify_records()


@pytest.mark.parametrize(
    "answer",
    [
        b"\x01",
        b"\x01\x00",
        HONEST.to_bytes()[:-1],
        HONEST.to_bytes() + b"\x00",
        b"\x01" + bytes(4_000),
        b"\x02",
        HONEST_TEXT.to_bytes(),
        HONEST_TEXT.to_bytes()[:40],
        HONEST.to_bytes(),
    ],
    ids=["kind", "two", "short", "long", "huge", "text kind", "text", "short text", "score"],
)
def test_a_score_counts_however_it_is_written(answer: bytes) -> None:
    """A malformed one as well: the bytes of the picture may be in it, and are public."""
    network = Network(nodes=4, policy=FREE)
    check(network, settled(network, REPORT, answer, None), keeps=True)


@pytest.mark.parametrize("answer", [b"\x00", b"\x03", b"\x04\x01", b"\xff" * 60, b"\x80", REPORT])
def test_what_is_no_score_does_not_count(answer: bytes) -> None:
    network = Network(nodes=4, policy=FREE)
    group = settled(network, answer, answer, None)
    check(network, group, keeps=False)
    assert network.ledger.open_group(group.task, creator="app", fee=3).task == group.task


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.binary(min_size=1, max_size=70), min_size=3, max_size=3))
def test_any_three_answers(answers: list[bytes | None]) -> None:
    network = Network(nodes=3, policy=FREE)
    group = settled(network, *answers)
    check(network, group, keeps=any(data is not None and data[0] in (1, 2) for data in answers))


def test_an_answer_that_was_not_opened_does_not_count() -> None:
    network = Network(nodes=4, policy=FREE)
    group = network.drawn(fee=3)
    for node in group.members:
        network.commit(group.id, node, HONEST)
    network.reveal(group.id, group.members[0])
    assert network.ledger.group(group.id).keeps_task
    network.clock.now = group.reveal_deadline
    check(network, network.ledger.settle(group.id), keeps=True)
    other = network.drawn(fee=3)
    for node in other.members:
        network.commit(other.id, node, HONEST)
    network.clock.now = other.reveal_deadline
    check(network, network.ledger.settle(other.id), keeps=False)


def test_the_same_task_under_another_form_is_the_same() -> None:
    """What is compared is the digest: defaults that are written out, and a copy, are no other task."""
    network = Network(nodes=9, policy=FREE)
    group = network.opened(fee=3)
    copy = cv.task_from_json(group.task.to_json())
    assert copy.digest == group.task.digest
    assert not can_be_given(network.ledger, copy)
    assert can_be_given(network.ledger, copy.replace(seed=copy.seed + 1))
    with pytest.raises(AlreadyDoneError, match=f"{group.id} had this task .{copy.digest}.*another seed"):
        network.ledger.open_group(copy, creator="nobody", fee=3)


def test_an_image_and_a_text_task_are_two() -> None:
    network = Network(nodes=9, policy=FREE)
    network.attest()
    first = network.opened(fee=3, task=TEXT)
    assert can_be_given(network.ledger, TASK)
    assert not can_be_given(network.ledger, first.task)
