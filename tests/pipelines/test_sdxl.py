"""Stable Diffusion XL: two text encoders, and a decoder that is cast to float32 and back in float16."""

from typing import Any

import pytest

from crynux_validate.errors import ModelError, PipelineError, PromptTooLongError
from crynux_validate.pipelines.runner import Runner
from crynux_validate.tasks import ImageTask
from crynux_validate.testing import tiny_sdxl_model


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = tiny_sdxl_model(tmp_path_factory.mktemp("models") / "xl")
    return ImageTask(model=model, prompt="a red cat", seed=7, steps=2, width=64, height=64)


def pixels(result: Any) -> list[bytes]:
    return [image.tobytes() for image in result.images]


def test_it_runs_and_repeats(asked: ImageTask) -> None:
    with Runner.for_task(asked, "cpu") as opened:
        runner: Any = opened
        first: Any = runner.run(asked)
        assert pixels(first) == pixels(runner.run(asked))
        assert pixels(first) != pixels(runner.run(asked.replace(seed=8)))
        assert {"text_encoder_2", "tokenizer_2"} <= set(first.environment.recipe["components"])
        with pytest.raises(PromptTooLongError, match="takes at most 75"):
            runner.run(asked.replace(prompt=" ".join("x" * 76)))


def test_an_interrupted_decoder_is_put_right(asked: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    half = asked.replace(dtype="float16")
    with Runner.for_task(half, "cpu") as opened:
        runner: Any = opened
        first: Any = runner.run(half)
        assert first.environment.recipe["vae"]["upcast"] is True
        vae = runner._loaded.pipeline.vae

        def fail(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("interrupted")

        with monkeypatch.context() as patch:
            patch.setattr(vae, "decode", fail)
            with pytest.raises(PipelineError, match="interrupted"):
                runner.run(half)
        assert str(vae.dtype) == "torch.float16"
        assert pixels(runner.run(half)) == pixels(first)
        assert str(vae.dtype) == "torch.float16"


def test_it_has_no_safety_checker(asked: ImageTask) -> None:
    with pytest.raises(ModelError, match="asks for a safety checker"):
        Runner(asked.model, device="cpu", safety_checker=True)


def test_every_step_of_sdxl_can_be_audited(asked: ImageTask) -> None:
    task = asked.replace(dtype="float16", binding="trace", steps=3, scheduler="UniPCMultistepScheduler")
    with Runner.for_task(task, "cpu") as runner:
        result: Any = runner.run(task)
        proof = result.trace.prove(0, range(3))
        found = runner.audit(task, result.score, proof, seed=b"a seed", count=3)
    assert found.finding == "MATCH", str(found)
