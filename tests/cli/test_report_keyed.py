"""The page about a dispute of a group whose second round was of keyed values."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from crynux_validate import Group, ImageScore
from crynux_validate.cli.report_page import page
from crynux_validate.cli.report_results import shown_result
from crynux_validate.hashing.bands import bands_apart
from crynux_validate.keyed import KeyedScore, keyed_agree, keyed_apart
from tests.ledger.keyed_pictures import ASKED, LIMITS, PICTURE, enlarged, noisy
from tests.ledger.test_keyed_round import KeyedRounds

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HEAD = SimpleNamespace(seq=1, digest="00" * 32)


@pytest.fixture(scope="module")
def disputed() -> Group:
    """One member enlarged the picture from 16 pixels, and the plain hash sees no difference."""
    return KeyedRounds().through(PICTURE, noisy(PICTURE, 1), enlarged(PICTURE, 16))


def test_bands_are_drawn_beside_their_limits(disputed: Group) -> None:
    found = page("disputed", disputed, [], HEAD, {})
    assert "How far apart the values of the pictures are" in found
    seconds = [disputed.second_answer(node) for node in disputed.members]
    delivered = disputed.second_answer(disputed.delivered_by or "")
    for second in seconds:
        assert isinstance(second, KeyedScore)
        assert isinstance(delivered, KeyedScore)
        apart = keyed_apart(second, delivered, LIMITS)
        assert apart is not None
        assert (max(apart) <= 1) is keyed_agree(second, delivered, LIMITS)
        squares = bands_apart(second.score, delivered.score)
        for share, square, limit in zip(apart, squares, LIMITS, strict=True):
            assert share**2 * limit == pytest.approx(square)
            assert f">{share:.2f}<" in found
    drawing = re.findall(r"<svg class=\"wide\".*?</svg>", found)[1]
    assert drawing.count("luma-64") == drawing.count("chroma-16") == len(disputed.members)
    assert "far enough for a slash" in drawing


def test_who_gave_no_values_has_no_bars() -> None:
    network = KeyedRounds()
    group = network.first(PICTURE, PICTURE, PICTURE)
    answer = KeyedScore.from_images(network.seed(group), [PICTURE]).to_bytes()
    settled = network.second(group, [answer, answer, None])
    assert "no values" in page("disputed", settled, [], HEAD, {})
    network = KeyedRounds()
    group = network.first(PICTURE, PICTURE, PICTURE)
    settled = network.second(group, [answer, None, None])
    assert "No answer was delivered to compare with" in page("disputed", settled, [], HEAD, {})


def test_a_group_of_one_round_has_none() -> None:
    network = KeyedRounds()
    network = KeyedRounds(replace(network.ledger.policy, second_algorithm=None, keyed_tolerances=()))
    group = network.committed(*3 * [ImageScore.from_images([Image.fromarray(PICTURE)])], task=ASKED)
    for node in group.members:
        network.reveal(group.id, node)
    assert "values of the pictures" not in page("disputed", network.ledger.settle(group.id), [], HEAD, {})


def test_several_images_and_limits_of_nothing() -> None:
    flat = bytes([4]) + bytes(30)
    one, other = (KeyedScore(flat * 2 + flat[:1] + bytes([value]) + flat[2:] + flat, "keyed/1") for value in (0, 6))
    assert keyed_apart(one, other, (9, 0)) == [2.0, 0.0], "the larger of two images"
    assert keyed_apart(one, other, (0, 0)) == [np.inf, 0.0]
    assert keyed_apart(one, KeyedScore(bytes(32)), (9, 0)) is None


def test_values_of_a_result_on_hand_are_compared_with_those_that_were_revealed(tmp_path: Path) -> None:
    """So a member that revealed values of another picture than it bound is found, without another member."""
    network, other = KeyedRounds(), noisy(PICTURE, 1)
    group = network.first(PICTURE, PICTURE, PICTURE)
    seed = network.seed(group)
    values = [KeyedScore.from_images(seed, [one]).to_bytes() for one in (PICTURE, other, PICTURE)]
    settled = network.second(group, [*values[:2], None])
    Image.fromarray(PICTURE).save(tmp_path / "image-0.png")
    (tmp_path / "task.json").write_bytes(settled.task.canonical_bytes)
    said = ("are theirs", "are not theirs", "revealed no values of them")
    for node, words, fits in zip(settled.members, said, (True, False, True), strict=True):
        (tmp_path / "answer.bin").write_bytes(settled.openings[node].answer_bytes)
        found = shown_result(settled, node, tmp_path)
        assert (found.fits, words in found.why) == (fits, True), found.why


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to render the page with")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_renders_the_bars(disputed: Group, width: int, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page("disputed", disputed, [], HEAD, {}), "utf-8")
    picture = tmp_path / "page.png"
    ran = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'browser'}", f"--window-size={width},4000", f"--screenshot={picture}",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert picture.is_file(), ran.stderr
    with Image.open(picture) as image:
        colours = {name for _, name in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x1A, 0x7F, 0x4B), (0xC0, 0x26, 0x2D), (0xFA, 0xF3, 0xE3)} <= colours, (
        "bars that agree, that do not, a zone"
    )
