"""Vision-language models: transformers' own inputs and tokens, by Pillow alone, and nothing left of a picture."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import crynux_validate as cv
from crynux_validate import ModelRef, Runner, TextTask
from crynux_validate.answers import TextScore, logits_digest
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.top import audit_positions
from crynux_validate.errors import InvalidInputError, InvalidTaskError, ModelError, PipelineError
from crynux_validate.pipelines.text.audit import TextAuditor
from crynux_validate.tasks import PictureRef
from crynux_validate.testing import fake_hardware, tensor_cores, tiny_vision, tiny_vision_model
from crynux_validate.testing.tiny_base import fill, save
from tests.pipelines import jobs

_transformers: Any = transformers

IMAGE: Final = {"type": "image"}
WORDS: Final = {"type": "text", "text": "what is the dog?"}
KINDS: Final = ("llava", "qwen2_vl")


def picture(seed: int = 0, size: tuple[int, int] = (90, 60)) -> PictureRef:
    """A few large spots."""
    spots = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(spots).resize(size).save(file, "PNG")
    return PictureRef.of(file.getvalue())


def pixels(shown: PictureRef) -> Image.Image:
    return Image.open(io.BytesIO(shown.data())).convert("RGB")


def asked(model: ModelRef, *pictures: PictureRef, **changes: Any) -> TextTask:
    messages = [{"role": "user", "content": [*[IMAGE] * len(pictures), WORDS]}]
    settings: dict[str, Any] = {"messages": messages, "pictures": pictures, "max_new_tokens": 10, "binding": "logits"}
    return TextTask(model=model, **(settings | changes))


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """Each kind of small vision-language model."""
    return tiny_vision_model(tmp_path_factory.mktemp("vision") / request.param, kind=request.param)


@pytest.fixture(scope="module")
def runner(model: ModelRef) -> Iterator[Runner]:
    """The model in float32."""
    with Runner(model, "text", "float32", "cpu", pictures=True) as loaded:
        yield loaded


@pytest.fixture
def task(model: ModelRef) -> TextTask:
    """A question about a picture, in float32."""
    return asked(model, picture(), dtype="float32")


def theirs(kind: str, runner: Runner, shown: list[PictureRef], count: int) -> TextScore:
    """What transformers' own processor and loop give; Qwen2-VL's input by hand, since its processor wants videos."""
    loaded: Any = runner._loaded
    images = [pixels(each) for each in shown]
    path = str(runner.model.path)
    if kind == "llava":
        processor = _transformers.AutoProcessor.from_pretrained(path)
        content = [*[{"type": "image", "image": each} for each in images], WORDS]
        given = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
    else:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        prepared = Qwen2VLImageProcessorPil.from_pretrained(path)(images, return_tensors="pt")
        places = "".join(
            "<|vision_start|>" + "<|image_pad|>" * (int(grid.prod()) // 4) + "<|vision_end|>"
            for grid in prepared["image_grid_thw"]
        )
        text = f"<|begin|><|user|>{places}{WORDS['text']}<|end|><|assistant|>"
        ids = loaded.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        pad = loaded.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        given = {**prepared, "input_ids": ids, "mm_token_type_ids": (ids == pad).int()}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    with cv.deterministic(), torch.inference_mode():
        output = loaded.model.generate(
            **given, max_new_tokens=count, do_sample=False, pad_token_id=0, disable_compile=True, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    ids = output.sequences[0, given["input_ids"].shape[1] :].tolist()
    return TextScore.from_tokens([ids], [[logits_digest(row[0].numpy().tobytes()) for row in output.logits]])


def test_tokens_and_logits_are_those_of_transformers(model: ModelRef, runner: Runner, task: TextTask) -> None:
    kind = "llava" if "llava" in str(model.path) else "qwen2_vl"
    for shown in ([picture()], [picture(1, (40, 90)), picture(2)]):
        result = runner.run(asked(model, *shown, dtype="float32"))
        assert result.score == theirs(kind, runner, shown, task.max_new_tokens)


def test_a_picture_decides_and_is_forgotten(model: ModelRef, runner: Runner, task: TextTask) -> None:
    """Each picture has an answer of its own, whatever came before it; and so has a question without one."""
    plain = task.replace(messages=[{"role": "user", "content": WORDS["text"]}], pictures=[])
    many = [task, task.replace(pictures=[picture(1)]), plain, asked(model, picture(), picture(1), dtype="float32")]
    first = [runner.run(each).score for each in many]
    assert len(set(first)) == len(many)
    assert [runner.run(each).score for each in reversed(many)] == first[::-1]
    with Runner.for_task(plain, "cpu") as fresh:
        assert fresh.run(plain).score == first[2]


def test_pixels_count_and_not_the_file(runner: Runner, task: TextTask) -> None:
    file = io.BytesIO()
    pixels(task.pictures[0]).save(file, "PNG", compress_level=0)
    other = task.replace(pictures=[PictureRef.of(file.getvalue())])
    assert other.digest != task.digest
    assert runner.run(other).score == runner.run(task).score


@pytest.mark.parametrize("changes", [
    {"do_sample": True, "temperature": 0.8, "top_k": 50, "seed": 5, "sequences": 2}, {"binding": "top"},
])  # fmt: skip
def test_other_ways_to_choose(runner: Runner, task: TextTask, changes: dict[str, Any]) -> None:
    one, again = (runner.run(task.replace(**changes)) for _ in range(2))
    assert one.score == again.score
    assert runner.run(task.replace(**changes, pictures=[picture(3)])).score != one.score


def test_the_recipe_says_what_was_shown(model: ModelRef, runner: Runner, task: TextTask) -> None:
    first: Any = runner.run(task).environment.recipe
    other: Any = runner.run(task.replace(pictures=[picture(1)])).environment.recipe
    assert first["pictures"]["class"].endswith("Pil")
    assert first["pictures"]["settings"]["image_mean"]
    assert first["pictures"]["versions"]["pillow"]
    assert first["seen"] != other["seen"]
    plain: Any = runner.run(task.replace(messages=[{"role": "user", "content": "a"}], pictures=[])).environment.recipe
    assert plain["seen"] is None


def test_on_other_machines(model: ModelRef, fake_hardware_workers: fake_hardware.Workers) -> None:
    task = asked(model, picture())
    shown = [each.data() for each in task.pictures]
    names = [name for name in ("native", "oldest") if name in fake_hardware_workers]
    waiting = [fake_hardware_workers[name].submit(jobs.write, model.path, task.to_json(), shown) for name in names]
    native, oldest = (each.result() for each in waiting)
    here = cv.run(task, "cpu")
    assert native["score"] == here.score != oldest["score"]
    assert native["environment"].recipe == here.environment.recipe
    recipe: Any = here.environment.recipe
    assert oldest["environment"].recipe["seen"] == recipe["seen"], "the same pixels everywhere"


def test_in_the_arithmetic_of_a_card(model: ModelRef) -> None:
    task = asked(model, picture(), max_new_tokens=2)
    with Runner.for_task(task, "cpu") as loaded:
        with tensor_cores("hopper") as cores:
            first, again = loaded.run(task), loaded.run(task)
        assert cores.multiply_adds > 0
        assert first.score == again.score != loaded.run(task).score


@pytest.mark.parametrize("bits", [4, 8])
def test_with_small_weights(model: ModelRef, bits: Any) -> None:
    task = asked(model, picture(), quantize_bits=bits, dtype="float32", max_new_tokens=3)
    assert cv.run(task, "cpu").score != cv.run(task.replace(quantize_bits=None), "cpu").score


# ------------------------------------------------------------------------------------------------ audits


def test_an_audit_sees_the_picture(runner: Runner, task: TextTask) -> None:
    """One pass over prompt, picture and claimed tokens: an honest text is noise, another picture's is not."""
    bound = task.replace(binding="top", max_new_tokens=30)
    with TextAuditor.for_task(bound, "cpu") as auditor:
        for shown, finding in ((task.pictures[0], AuditFinding.NOISE), (picture(1), AuditFinding.CHEAT)):
            result = runner.run(bound.replace(pictures=[shown]))
            top = cv.audits.TopLogits(bound, result.top.rows)  # type: ignore[union-attr]
            score = TextScore.from_tokens(result.token_ids, None, top.root)
            places = audit_positions(b"seed", bound, score, result.token_ids)
            proof = TextProof(bound.digest, result.token_ids, top.open(places))
            audit = auditor.audit(bound, score, proof, seed=b"seed")
            assert audit.finding is finding, audit
            assert not audit.calibrated, "no band was made from this model"


def test_a_claimed_token_can_be_the_one_of_a_picture(runner: Runner, task: TextTask) -> None:
    """Whoever claims it is a cheat, and no error."""
    loaded: Any = runner._loaded
    token = int(loaded.model.config.image_token_id)
    tokens = task.replace(binding="tokens")
    claimed = (*runner.run(tokens).token_ids[0][:4], token, *[3] * 5)
    score = TextScore.from_tokens([claimed])
    with TextAuditor.for_task(tokens, "cpu") as auditor:
        audit = auditor.audit(tokens, score, TextProof(tokens.digest, (claimed,)))
    assert audit.finding is AuditFinding.CHEAT


def test_a_second_hypothesis_sees_the_same_picture(runner: Runner, task: TextTask) -> None:
    """The second task comes from elsewhere: where the picture lies is known of the first."""
    tokens = task.replace(binding="tokens", do_sample=True, temperature=0.8)
    result = runner.run(tokens)
    elsewhere = cv.task_from_json(tokens.replace(temperature=0.5).to_json())
    assert isinstance(elsewhere, TextTask)
    with TextAuditor.for_task(tokens, "cpu") as auditor:
        proof = TextProof(tokens.digest, result.token_ids)
        audit = auditor.audit(tokens, result.score, proof, against=elsewhere.replace(model=tokens.model))
        assert audit.finding is AuditFinding.NOISE
        with pytest.raises(InvalidInputError, match="pictures of the second hypothesis"):
            auditor.audit(tokens, result.score, proof, against=tokens.replace(pictures=[picture(1)]))


# ------------------------------------------------------------------------------------------------ Pillow alone


def test_pillow_is_taken_where_torchvision_is_installed_too(
    model: ModelRef, task: TextTask, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.auto import image_processing_auto

    monkeypatch.setattr(image_processing_auto, "is_torchvision_available", lambda: True)
    with Runner.for_task(task, "cpu") as loaded:
        assert loaded.run(task).score == runner.run(task).score


def test_an_image_processor_of_another_kind_is_refused(model: ModelRef, tmp_path: Path) -> None:
    copy = copied(model, tmp_path / "model")
    edited(copy, image_processor_type="ViTImageProcessor")
    with pytest.raises(ModelError, match="prepares pictures by 'ViTImageProcessor'; supported for"):
        Runner.for_task(asked(ModelRef.local(copy), picture()), "cpu")


# ------------------------------------------------------------------------------------------------ errors


def copied(model: ModelRef, to: Path) -> Path:
    shutil.copytree(str(model.path), to)
    return to


def edited(folder: Path, **changes: Any) -> None:
    """Change the settings of the image processor, in whichever file they stand."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text())
            settings.get("image_processor", settings).update(changes)
            (folder / name).write_text(json.dumps(settings))


def without_weights(model: ModelRef, to: Path) -> ModelRef:
    """A copy whose weights are no weights: whoever reads them fails."""
    copy = copied(model, to)
    for file in copy.glob("*.safetensors"):
        file.write_bytes(b"no weights")
    return ModelRef.local(copy)


def test_a_language_model_with_pictures_is_refused_before_its_weights(text_model: ModelRef, tmp_path: Path) -> None:
    task = asked(without_weights(text_model, tmp_path / "model"), picture())
    said = "of the kind 'llama', which cannot be shown .*: llava, qwen2_vl, qwen2_5_vl"
    for load in (Runner.for_task, TextAuditor.for_task):
        with pytest.raises(ModelError, match=said):
            load(task, "cpu")
    with Runner(text_model, "text", "bfloat16", "cpu") as loaded, pytest.raises(PipelineError, match=said):
        loaded.run(asked(text_model, picture()))


def test_pictures_that_cannot_be_used_are_refused_before_the_weights(model: ModelRef, tmp_path: Path) -> None:
    weights = without_weights(model, tmp_path / "model")
    unknown = cv.task_from_json(asked(weights, picture()).to_json())
    for task, problem in (
        (asked(weights, PictureRef.of(b"abc")), r"pictures\.0: the picture .* cannot be used: .* is not a picture"),
        (unknown, r"pictures\.0: the file of the picture .* is not known"),
    ):
        for load in (Runner.for_task, TextAuditor.for_task):
            with pytest.raises(PipelineError, match=problem):
                load(task, "cpu")  # type: ignore[arg-type]


def test_long_strips_are_refused(runner: Runner, task: TextTask) -> None:
    """A file of a few bytes would become a picture of more pixels than any machine can hold."""
    for size in ((1 << 20, 1), (1, 101)):
        with pytest.raises(PipelineError, match=r"pictures\.0 is [0-9x]+; expected at most 100 times as wide as high"):
            runner.run(task.replace(pictures=[picture(0, size)]))


def test_only_text_models_see() -> None:
    with pytest.raises(InvalidInputError, match="only text models"):
        Runner(ModelRef(digest="0" * 64), "image", pictures=True)


def test_words_that_stand_for_a_picture_are_refused(runner: Runner, task: TextTask) -> None:
    loaded: Any = runner._loaded
    word = loaded.tokenizer.convert_ids_to_tokens(loaded.model.config.image_token_id)
    for content, pictures in (([IMAGE, {"type": "text", "text": word}], task.pictures), (word, ())):
        with pytest.raises(PipelineError, match=r"refuses the [01] pictures or the messages"):
            runner.run(task.replace(messages=[{"role": "user", "content": content}], pictures=pictures))


def test_no_beams_and_no_videos(task: TextTask) -> None:
    with pytest.raises(InvalidTaskError, match=r"pictures.* with a beam search; expected none"):
        task.replace(binding="tokens", beams=2)
    with pytest.raises(InvalidTaskError, match="video and audio are not supported"):
        task.replace(messages=[{"role": "user", "content": [{"type": "video"}]}], pictures=[])


def test_a_context_that_a_picture_fills(runner: Runner, task: TextTask) -> None:
    with pytest.raises(PipelineError, match="the model's context holds 512"):
        runner.run(task.replace(max_new_tokens=500))


def test_models_of_other_families_are_refused_by_name(text_model: ModelRef, tmp_path: Path) -> None:
    copy = copied(text_model, tmp_path / "model")
    (copy / "config.json").write_text('{"model_type": "idefics3"}')
    with pytest.raises(ModelError, match="runs as a vision-language model only; supported of these are llava"):
        Runner(ModelRef.local(copy), "text", "float32", "cpu")


def test_qwen2_5_vl_is_shown_pictures_likewise(tmp_path: Path) -> None:
    """The live network's example is of this family; its repositories name the image processor of Qwen2-VL."""
    older, tokenizer, images = tiny_vision.qwen2_vl(0)
    vision = {"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128, "out_hidden_size": 64,
              "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}  # fmt: skip
    config = older.config.to_dict() | {"model_type": "qwen2_5_vl", "vision_config": vision}
    config["text_config"] |= {"model_type": "qwen2_5_vl_text"}
    with torch.random.fork_rng(devices=[]):
        made = _transformers.Qwen2_5_VLForConditionalGeneration(_transformers.Qwen2_5_VLConfig(**config))
    for part in (fill(made, 0, 3), tokenizer, images):
        save(part, tmp_path)
    model = ModelRef.local(tmp_path)
    with Runner(model, "text", "float32", "cpu", pictures=True) as loaded:
        for shown in ([picture()], [picture(1, (40, 90)), picture(2)]):
            result = loaded.run(asked(model, *shown, dtype="float32"))
            assert result.score == theirs("qwen2_5_vl", loaded, shown, 10)
