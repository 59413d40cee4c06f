"""Drawn pictures: the check, which is not told what was drawn, sees what the prompt says."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.training import picture_check, pictures
from tools.training.pictures import Scene

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_check_sees_what_was_drawn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scene = pictures.draw_scene(generator)
    picture = pictures.draw(scene, generator)
    assert picture.shape == (128, 128, 3)
    assert picture.dtype == np.uint8
    assert picture_check.look(picture) == scene


@pytest.mark.parametrize("shape", pictures.SHAPES)
def test_every_shape_is_told_apart_at_every_size(shape: str) -> None:
    for size, seed in itertools.product(pictures.SIZES, range(4)):
        scene = Scene(shape, "purple", "stripes", size)
        assert picture_check.look(pictures.draw(scene, np.random.default_rng(seed))) == scene


@given(SEEDS)
@settings(max_examples=100)
def test_a_prompt_says_everything_and_nothing_else(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scene = pictures.draw_scene(generator)
    for prompt in (pictures.prompt_of(scene), pictures.prompt_of(scene, generator)):
        words = prompt.replace(",", " ").split()
        for name, choices in (
            ("shape", pictures.SHAPES), ("colour", pictures.COLOURS), ("background", pictures.BACKGROUNDS),
            ("size", [size for size in pictures.SIZES if size]),
        ):  # fmt: skip
            told = getattr(scene, name)
            assert [word for word in words if word in choices] == ([told] if told else [])
        assert [place for place in pictures.PLACES if place and place in prompt] == [scene.place] * bool(scene.place)


def test_the_same_seed_draws_the_same_picture() -> None:
    scene = Scene("star", "red", "grass", "small", "on the left")
    one, again, other = (pictures.draw(scene, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_background_alone_is_no_shape() -> None:
    for colour in pictures.BACKGROUNDS.values():
        assert picture_check.look(np.full((128, 128, 3), colour, np.uint8)) is None


def test_agreement_is_by_part() -> None:
    asked = Scene("star", "red", "grass", "small", "on the left")
    seen = Scene("star", "blue", "grass", "small", "")
    assert picture_check.agreement(asked, asked) == dict.fromkeys(vars(asked), True)
    assert picture_check.agreement(asked, None) == dict.fromkeys(vars(asked), False)
    assert picture_check.agreement(asked, seen) == {
        "shape": True, "colour": False, "background": True, "size": True, "place": False,
    }  # fmt: skip


@pytest.mark.parametrize("shape", pictures.SHAPES)
def test_edges_are_smooth(shape: str) -> None:
    mask = pictures.outline(shape, (64.0, 64.0), 30.0, 0.05)
    assert mask.min() == 0
    assert mask.max() == 1
    between = ((mask > 0) & (mask < 1)).sum()
    assert between > math.sqrt(mask.sum())
