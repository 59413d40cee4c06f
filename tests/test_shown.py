"""What results, verdicts and the like show of themselves: text to read, and HTML that holds no stranger's HTML."""

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crynux_validate as cv
from crynux_validate.shown import MOST, Shown, preformatted, shown
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import HONEST, POLICY, Network
from tests.calibration.by_hand import calibration


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002 - of the base class
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text())
def test_a_text_stays_text(text: str) -> None:
    seen = Tags(preformatted(text))
    assert seen.tags == ["pre"]
    if text.isascii() and text.isprintable():
        assert seen.text == text


def test_what_does_not_show_is_written_out() -> None:
    assert shown("a\u202eb<\x1b[31m>") == "a\\u{202e}b&lt;\\u{1b}[31m&gt;"


def test_a_long_text_ends() -> None:
    assert len(preformatted("x" * 10 * MOST)) < 2 * MOST


def network() -> Network:
    clock = ManualClock()
    ledger = cv.MemoryLedger(POLICY, ledger_id="ledger-1", clock=clock, beacon=cv.ledger.LocalBeacon(b"secret"))
    return Network(ledger, clock)


def test_a_group_says_what_its_members_did() -> None:
    drawn, settled = network().drawn(), network().answered(HONEST, HONEST, HONEST)
    assert f"DRAWN, fee {drawn.fee}" in str(drawn)
    assert str(drawn).count("nothing yet") == 3
    assert f"reveal until {drawn.reveal_deadline}" in str(drawn)
    lines = str(settled).splitlines()
    assert lines[0].endswith("VALIDATED")
    assert [line.split()[:2] for line in lines[1:]] == [
        [node, "VALID,"[: 6 if node == settled.delivered_by else 5]] for node in settled.members
    ]


def test_values_show_their_text_in_a_notebook() -> None:
    group = network().answered(HONEST, HONEST, HONEST)
    for value in (group, group.verdict, calibration({"noise": (0.1, 0.9)}), cv.required_stake(honest=9, dishonest=1)):
        assert isinstance(value, Shown)
        assert Tags(value._repr_html_()).text == str(value)[:MOST]


@pytest.mark.torch
def test_results_show_pictures_and_texts() -> None:
    pytest.importorskip("diffusers")
    from PIL import Image

    from tests.audits.making import TASK

    images = (Image.new("RGB", (640, 320), "red"), Image.new("RGB", (64, 64)))
    result = cv.ImageResult(TASK, images, cv.ImageScore.from_images(images), cv.machines.Environment({}, {}), 1.25)
    assert "2 images in 1.2 s" in str(result)
    assert "image 0  640 x 320  " in str(result)
    page = result._repr_html_()
    assert Tags(page).tags == ["img", "img", "pre"]
    assert "http" not in page
    with pytest.raises(cv.errors.InvalidInputError, match="binding='trace' before it is run"):
        replace(result, task=TASK.replace(binding="pixels")).prove(0, [1])
    asked = cv.TextTask(model=TASK.model, messages=[{"role": "user", "content": "x"}])
    score = cv.TextScore.from_tokens([[1, 2]])
    said = cv.TextResult(asked, ((1, 2),), ("<script>\x1b[31m",), ("end",), score, cv.machines.Environment({}, {}), 0.5)
    assert "text 0  2 tokens, end: '<script>\\x1b[31m'" in str(said)
    assert Tags(said._repr_html_()).tags == ["pre"]
