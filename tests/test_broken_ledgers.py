"""The ledgers that the kit is tested with are really broken: a short story ends otherwise than in `MemoryLedger`."""

from pathlib import Path

import pytest

import crynux_validate as cv
from tests.elsewhere import broken, broken_rules, stories


def test_there_are_many_kinds_and_each_has_a_story() -> None:
    caught = {**broken.CAUGHT_BY, **broken_rules.CAUGHT_BY}
    assert len(caught) >= 44
    assert set(caught) == set(stories.STORIES) | set(broken.MAKERS)


@pytest.mark.parametrize("kind", stories.STORIES, ids=lambda kind: str(kind.__name__))
def test_a_broken_ledger_misbehaves_in_a_short_story(kind: type[broken.Broken]) -> None:
    story = stories.STORIES[kind]
    right, wrong = stories.told(cv.MemoryLedger, story), stories.told(kind, story)
    assert wrong.ends != right.ends
    assert 1 <= right.actions <= stories.MOST
    assert wrong.actions <= stories.MOST


@pytest.mark.parametrize("kind", stories.STORIES, ids=lambda kind: str(kind.__name__))
def test_what_they_are_made_of_is_right(kind: type[broken.Broken]) -> None:
    """The same story, told to a `Broken` that nothing is wrong with, ends as in `MemoryLedger`."""
    story = stories.STORIES[kind]
    assert stories.told(broken.Broken, story).ends == stories.told(cv.MemoryLedger, story).ends


def test_those_that_are_about_files_lose_what_they_acknowledged(tmp_path: Path) -> None:
    assert dict(stories.on_files(tmp_path)) == {"ForgetsTheLastAction": False, "AppendsAfterHalfALine": False}
