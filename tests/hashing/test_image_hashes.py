"""Many pictures at once: each as one alone, in order, and what happens to the bad ones."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crynux_validate.errors import InvalidImageError, InvalidInputError
from crynux_validate.hashing import image_hash, image_hashes, registry


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.png" for number in range(12)]
    for seed, path in enumerate(found):
        samples = np.random.default_rng(seed).integers(0, 256, (30 + seed, 40, 3), dtype=np.uint8)
        Image.fromarray(samples).save(path)
    return found


@pytest.mark.parametrize("threads", [None, 1, 2, 30])
@pytest.mark.parametrize("algorithm", ["phash/1", "phash-go/1"])
def test_they_are_the_hashes_of_each_in_order(paths: list[Path], algorithm: Any, threads: int | None) -> None:
    expected = [image_hash(path, algorithm) for path in paths]
    assert len(set(expected)) == len(paths)
    assert image_hashes(paths, algorithm, threads=threads) == expected
    assert image_hashes(iter(paths), algorithm, threads=threads, return_errors=True) == expected


def test_every_form_of_a_picture(paths: list[Path]) -> None:
    with Image.open(paths[0]) as image:
        forms: list[Any] = [paths[0], str(paths[0]), paths[0].read_bytes(), image.copy(), np.asarray(image)]
    assert len(set(image_hashes(forms))) == 1


def test_options_reach_every_picture() -> None:
    clear = Image.new("RGBA", (9, 9))
    with pytest.raises(InvalidImageError, match="alpha"):
        image_hashes([clear])
    assert image_hashes([clear, clear], background="white") == [image_hash(clear, background="white")] * 2
    with pytest.raises(InvalidImageError, match="at most 80"):
        image_hashes([clear], background="white", max_pixels=80)


def test_the_first_bad_picture_is_raised_and_the_rest_left_alone(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    one = registry.image_hash

    def watched(picture: Any, *rest: Any, **more: Any) -> Any:
        seen.append(picture)
        return one(picture, *rest, **more)

    monkeypatch.setattr(registry, "image_hash", watched)
    with pytest.raises(InvalidImageError, match=r"missing\.png"):
        image_hashes(["missing.png", *paths * 50], threads=1)
    assert len(seen) < 1 + 12 * 50


def test_errors_can_be_given_in_place(paths: list[Path]) -> None:
    found = image_hashes([paths[0], "missing.png", paths[1], b"no picture"], return_errors=True)
    assert [type(value).__name__ for value in found] == [
        "PerceptualHash", "InvalidImageError", "PerceptualHash", "InvalidImageError",
    ]  # fmt: skip
    assert "missing.png" in str(found[1])
    with pytest.raises(InvalidInputError, match="algorithm is"):
        image_hashes(paths, "phash/9", return_errors=True)  # type: ignore[call-overload]


def test_pictures_are_hashed_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that wait for each other only end where both are under way."""
    both = threading.Barrier(2, timeout=60)
    one = registry.image_hash

    def meet(picture: Any, *rest: Any, **more: Any) -> Any:
        both.wait()
        return one(picture, *rest, **more)

    monkeypatch.setattr(registry, "image_hash", meet)
    picture = np.zeros((8, 8), np.uint8)
    assert len(image_hashes([picture, picture], threads=2)) == 2


def test_no_pictures() -> None:
    assert image_hashes([]) == []


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_that_are_none(threads: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"threads is .*expected an integer"):
        image_hashes([], threads=threads)


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 3}, {"processes": 1}, {"processes": 2}])
def test_results_are_told_in_order_as_they_come(paths: list[Path], options: Any) -> None:
    paths.insert(3, Path("missing.png"))
    told: list[tuple[int, Any]] = []
    main = threading.get_ident()

    def tell(place: int, result: Any) -> None:
        assert threading.get_ident() == main
        told.append((place, result))

    found = image_hashes(paths, return_errors=True, on_result=tell, **options)
    assert [place for place, _ in told] == list(range(len(paths)))
    assert [result for _, result in told] == found


def test_results_come_before_the_last_is_hashed(paths: list[Path]) -> None:
    others_told = threading.Event()
    told: list[int] = []

    class Last(os.PathLike[str]):
        def __fspath__(self) -> str:
            assert others_told.wait(30), "the results before this one were not told"
            return str(paths[0])

    def tell(place: int, _: Any) -> None:
        told.append(place)
        if len(told) == len(paths):
            others_told.set()

    images: list[Any] = [*paths, Last()]
    image_hashes(images, on_result=tell, threads=2)
    assert told == list(range(len(images)))


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 3}, {"processes": 1}, {"processes": 2}])
def test_what_was_hashed_before_an_interrupt_is_told(paths: list[Path], options: Any) -> None:
    """Ctrl-C comes while a result is told; those that were hashed meanwhile are told too, and the others left alone."""
    told: dict[int, Any] = {}

    def tell(place: int, result: Any) -> None:
        told[place] = result
        if place == 4 and len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_hashes(paths * 50, on_result=tell, **options)
    assert set(range(5)) <= set(told)
    assert len(told) < len(paths) * 50
    assert all(result == image_hash(paths[place % len(paths)]) for place, result in told.items())
