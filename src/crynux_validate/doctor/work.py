"""The tasks of an examination, and what a process computes of them: also in a process of its own, which prints it.

``python -m crynux_validate.doctor.work FOLDER DEVICE`` prints one line of JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import crynux_validate as cv
from crynux_validate.testing import tiny_image_model, tiny_text_model

CHALLENGE: Final = b"crynux-validate doctor"


def tasks(folder: Path) -> tuple[cv.ImageTask, cv.ImageTask, cv.TextTask]:
    """Return a picture, another picture, and a text; the models that the package carries are put into the folder."""
    model = tiny_image_model(folder / "image")
    picture = cv.ImageTask(model=model, prompt="a big blue star on sand", seed=7, steps=8, width=128, height=128)
    text = cv.TextTask(
        model=tiny_text_model(folder / "text"),
        messages=[{"role": "user", "content": "In the beginning"}],
        dtype="bfloat16",
        do_sample=True,
        seed=7,
        max_new_tokens=24,
    )
    return picture, picture.replace(prompt="a small red heart on snow", seed=8), text


def computed(folder: Path, device: str) -> dict[str, Any]:
    """Compute all tasks, the first picture again after the others; returns what came of them."""
    picture, other, text = tasks(folder)
    started = time.perf_counter()
    with cv.Runner.for_task(picture, device) as images, cv.Runner.for_task(text, device) as texts:
        loaded = time.perf_counter() - started
        first = images.run(picture)
        images.run(other)
        written = texts.run(text)
        again = images.run(picture)
        return {
            "picture": _of(first.score),
            "picture_again": _of(again.score),
            "hash": first.score.hex,
            "text": _of(written.score),
            "text_again": _of(texts.run(text).score),
            "token_ids": list(written.token_ids[0]),
            "canary": [cv.canary(CHALLENGE, device).hex() for _ in range(2)],
            "seconds": {"loading": loaded, "picture": first.seconds, "text": written.seconds},
        }


def _of(score: "cv.answers.Score") -> str:
    return b"".join((score.to_bytes(), score.result_digest or b"")).hex()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(computed(Path(sys.argv[1]), sys.argv[2])) + "\n")
