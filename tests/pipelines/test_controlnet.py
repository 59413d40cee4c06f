"""ControlNets: the bits of diffusers' own pipeline, what each field changes, what is refused, and what stays behind."""

import importlib
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from crynux_validate import ImageTask, ModelRef
from crynux_validate.answers import ErrorReport
from crynux_validate.errors import InvalidInputError, InvalidTaskError, ModelError, PipelineError
from crynux_validate.hashing import hamming
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.canny import canny
from crynux_validate.pipelines.models.loading import DTYPES
from crynux_validate.pipelines.runner import Runner, run
from crynux_validate.tasks import Canny, ControlNet, PictureRef, task_from_json
from crynux_validate.testing import tensor_cores, tiny_controlnet, tiny_sdxl_model
from tests.pipelines import jobs
from tests.pipelines.conftest import Machines
from tests.pipelines.given_pictures import DISC, RAMP, asked, disc, noise, png, ramp, theirs


@pytest.fixture(scope="module")
def net(model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return tiny_controlnet(tmp_path_factory.mktemp("net"), model)


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return tiny_sdxl_model(tmp_path_factory.mktemp("models") / "xl")


@pytest.fixture(scope="module")
def controlled(task: ImageTask, net: ModelRef) -> ImageTask:
    return task.replace(controlnet=ControlNet(net, RAMP))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "dtype", "edges"), [("sd", "float32", True), ("sd", "bfloat16", False), ("xl", "float32", False)]
)
def test_the_picture_is_that_of_diffusers_own_pipeline(
    kind: str, dtype: Any, edges: bool, model: ModelRef, xl: ModelRef, task: ImageTask, tmp_path: Path
) -> None:
    from diffusers.models.attention_dispatch import attention_backend

    diffusers: Any = importlib.import_module("diffusers")
    base, name = (model, "StableDiffusion") if kind == "sd" else (xl, "StableDiffusionXL")
    second = tiny_controlnet(tmp_path, base)
    found = ControlNet(second, RAMP, 0.7, Canny(60, 120) if edges else None)
    given = task.replace(model=base, dtype=dtype, steps=2, controlnet=found)
    result: Any = run(given, "cpu")
    picture = ramp()
    if edges:
        picture = Image.fromarray(canny(np.asarray(picture), 60, 120)).convert("RGB")
    with deterministic(), attention_backend("native"):
        network = diffusers.ControlNetModel.from_pretrained(second.path, dtype=DTYPES[dtype])
        pipeline = theirs(f"{name}ControlNetPipeline", given, result.environment.recipe, controlnet=network)
        expected = pipeline(
            **asked(given), image=picture, controlnet_conditioning_scale=0.7, width=64, height=64, latents=noise(given)
        ).images[0]
    assert result.images[0].tobytes() == expected.tobytes()


def test_each_field_counts_and_nothing_stays_behind(
    runner: Any, task: ImageTask, net: ModelRef, model: ModelRef, tmp_path: Path
) -> None:
    plain = runner.run(task)
    base = ControlNet(net, RAMP)
    with Runner.for_task(task.replace(controlnet=base), "cpu") as loaded:
        scores = {
            name: loaded.run(task.replace(controlnet=one)).score
            for name, one in {
                "whole": base,
                "half": replace(base, scale=0.5),
                "nothing": replace(base, scale=0),
                "other picture": replace(base, image=DISC),
                "edges": replace(base, preprocess=Canny(60, 120)),
                "other edges": replace(base, preprocess=Canny(200, 900)),
                "again": base,
            }.items()
        }
        with pytest.raises(InvalidInputError, match=r"Runner.for_task"):
            loaded.run(task)
    assert scores["whole"] == scores["again"]
    another = task.replace(controlnet=replace(base, model=tiny_controlnet(tmp_path, model, seed=1)))
    scores["other network"] = run(another, "cpu").score
    assert len({score.hex for score in scores.values()} | {plain.score.hex}) == len(scores) - 1
    assert scores["nothing"] == plain.score
    assert runner.run(task).score == plain.score
    with pytest.raises(InvalidInputError, match=r"asks for parts controlnet sha256:.*has loaded no parts"):
        runner.run(task.replace(controlnet=base))


def test_the_recipe_says_what_was_told(controlled: ImageTask, net: ModelRef) -> None:
    import hashlib

    found = {}
    for name, edges in (("plain", None), ("edges", Canny())):
        given = controlled.replace(controlnet=ControlNet(net, RAMP, preprocess=edges))
        result: Any = run(given, "cpu")
        found[name] = result.environment.recipe
        assert found[name]["parts"]["controlnet"] == net.to_dict()
        assert found[name]["components"]["controlnet"]["class"] == "ControlNetModel"
    told = {name: each["pictures"]["controlnet.image"] for name, each in found.items()}
    assert told["plain"] == hashlib.sha256(ramp().tobytes()).hexdigest() != told["edges"]


def test_two_kinds_of_machines_agree(machines: Machines, controlled: ImageTask, tmp_path: Path) -> None:
    here: Any = run(controlled, "cpu")
    (tmp_path / "ramp.png").write_bytes(png(ramp()))
    net: Any = controlled.controlnet
    places = [controlled.model.path, net.model.path, tmp_path / "ramp.png"]
    found = {
        name: machine.run(jobs.draw_with_parts, places, controlled.to_json()) for name, machine in machines.items()
    }
    assert found["native"]["score"] == here.score
    assert {each["recipe"] for each in found.values()} == {here.environment.recipe_digest}
    assert not np.array_equal(found["oldest"]["pixels"][0], found["native"]["pixels"][0])
    assert hamming(found["oldest"]["score"].hashes, here.score.hashes) <= 2


def test_it_runs_in_a_cards_arithmetic(controlled: ImageTask) -> None:
    given = controlled.replace(dtype="bfloat16", steps=1)
    plain: Any = run(given, "cpu")
    with tensor_cores("hopper"):
        emulated: Any = run(given, "cpu")
    assert emulated.environment.numerics != plain.environment.numerics
    assert hamming(emulated.hashes[0], plain.hashes[0]) <= 8


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_steps_can_be_audited(controlled: ImageTask, dtype: Any) -> None:
    given = controlled.replace(binding="trace", dtype=dtype, scheduler="UniPCMultistepScheduler")
    with Runner.for_task(given, "cpu") as runner:
        result: Any = runner.run(given)
        proof = result.trace.prove(0, range(3))
        found = runner.audit(given, result.score, proof, seed=b"a seed", count=3)
        assert found.finding == "MATCH", str(found)
        net: Any = given.controlnet
        cheap = given.replace(controlnet=replace(net, scale=0.5))
        other: Any = runner.run(cheap)
        score, forged = rebound(other, given, 3)
        found = runner.audit(given, score, forged, seed=b"a seed", count=3)
    assert [step.finding for step in found.steps] == ["INCOMPARABLE"] * 3
    assert "pictures" in found.steps[0].reason


def rebound(result: Any, task: ImageTask, steps: int) -> tuple[Any, Any]:
    """The answer and the proof of a node that gives what it computed for another task."""
    from crynux_validate.audits.layout import leaves_of
    from crynux_validate.audits.trace import Trace

    proof = result.trace.prove(0, range(steps))
    trace = Trace(task, proof.latent)
    for leaf in leaves_of(task):
        trace.append(proof.contents[leaf])
    return replace(result.score, result_digest=trace.root), trace.prove(0, range(steps))


# ------------------------------------------------------------------------------------------------ refused


def test_one_for_another_model_is_refused_before_weights_are_read(
    task: ImageTask, net: ModelRef, xl: ModelRef, tmp_path: Path
) -> None:
    hollow = tmp_path / "xl"
    shutil.copytree(xl.path, hollow)  # type: ignore[arg-type]  # a folder
    for file in hollow.rglob("*.safetensors"):
        file.write_bytes(b"no weights")
    given = task.replace(model=ModelRef.local(hollow), controlnet=ControlNet(net, RAMP))
    with pytest.raises(
        ModelError, match=r"controlnet sha256:.* was made for another model: its cross_attention_dim is"
    ):
        run(given, "cpu")


def change_config(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: change_config(folder, _class_name="UNet2DConditionModel"), "expected a ControlNetModel"),
        (lambda folder: change_config(folder, global_pool_conditions=True), "global_pool_conditions True; supported"),
        (lambda folder: change_config(folder, conditioning_channels=4), "conditioning_channels 4; supported is 3"),
        (lambda folder: change_config(folder, block_out_channels=[32, 64]), "its block_out_channels is"),
        (lambda folder: (folder / "config.json").unlink(), "has no file 'config.json'"),
        (lambda folder: weights(folder).rename(folder / "diffusion_pytorch_model.bin"), "has no file 'diffusion_pyt"),
        (lambda folder: weights(folder).write_bytes(weights(folder).read_bytes()[:-9]), "cannot be loaded"),
    ],
)
def test_what_is_no_such_controlnet(
    change: Callable[[Path], Any], message: str, task: ImageTask, net: ModelRef, tmp_path: Path
) -> None:
    folder = tmp_path / "net"
    shutil.copytree(net.path, folder)  # type: ignore[arg-type]  # a folder
    change(folder)
    given = task.replace(controlnet=ControlNet(ModelRef.local(folder), RAMP))
    with pytest.raises(ModelError, match=message) as caught:
        run(given, "cpu")
    assert str(caught.value).startswith("controlnet")
    assert ErrorReport.of(caught.value).code == "failed"


def weights(folder: Path) -> Path:
    return folder / "diffusion_pytorch_model.safetensors"


def test_a_folder_that_changed_is_refused(task: ImageTask, net: ModelRef, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(net.path, folder)  # type: ignore[arg-type]  # a folder
    given = task.replace(controlnet=ControlNet(ModelRef.local(folder), RAMP))
    change_config(folder, act_fn="gelu")
    with pytest.raises(ModelError, match=r"controlnet: .* but the task asks for"):
        run(given, "cpu")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says to be large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(ramp(), "JPEG"), "is a JPEG, .*save it as PNG"),
        (png(ramp(128, 64)), "is 128x64; expected 64x64, as the task's images: resize the picture"),
        (png(disc().convert("RGBA")), "has alpha"),
        (png(disc().convert("I;16")), "has mode I;16"),
        (png(ramp())[:-40], "broken or truncated"),
        (bomb(1_000_000, 1_000_000), "1000000000000 pixels"),
        (bomb(4096, 4096), "is 4096x4096; expected 64x64"),
        (b"GIF89a", "is not a picture|is broken"),
    ],
)
def test_hostile_pictures_are_refused_before_a_model_is_loaded(
    data: bytes, message: str, task: ImageTask, net: ModelRef
) -> None:
    gone = ModelRef(digest="0" * 64)
    given = task.replace(model=gone, controlnet=ControlNet(net, PictureRef.of(data)))
    with pytest.raises(PipelineError, match=message) as caught:
        run(given, "cpu")
    assert str(caught.value).startswith("controlnet.image: ")
    assert ErrorReport.of(caught.value).code == "failed"


def test_a_picture_that_is_not_here(controlled: ImageTask, tmp_path: Path) -> None:
    read: Any = task_from_json(controlled.to_json())
    net: Any = controlled.controlnet
    with pytest.raises(PipelineError, match=r"controlnet.image: the file of the picture .* name it with task.at"):
        run(read.at(controlled.model.path, net.model.path), "cpu")
    (tmp_path / "disc.png").write_bytes(png(disc()))
    with pytest.raises(InvalidInputError, match=r"the task asks for controlnet.image sha256:"):
        read.at(tmp_path / "disc.png")


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"scale": 11}, "scale", "limits"),
        ({"scale": float("nan")}, "scale", "schema"),
        ({"scale": True}, "scale", "schema"),
        ({"image": "0" * 64}, "image", "schema"),
        ({"model": "owner/name"}, "model", "schema"),
        ({"preprocess": "canny"}, "preprocess", "schema"),
    ],
)
def test_fields_that_are_refused(change: dict[str, Any], field: str, code: str, net: ModelRef) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        replace(ControlNet(net, RAMP), **change)
    assert (caught.value.field, caught.value.code) == (field, code)


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"preprocess": {"method": "openpose"}}, "controlnet.preprocess.method", "unsupported"),
        ({"preprocess": {"method": "canny/2", "sigma": 1}}, "controlnet.preprocess.method", "unsupported"),
        ({"preprocess": {"method": 1}}, "controlnet.preprocess.method", "schema"),
        ({"preprocess": {"low": 300}}, "controlnet.preprocess.low", "limits"),
        ({"preprocess": {"low": 1.0}}, "controlnet.preprocess.low", "schema"),
        ({"preprocess": {"high": 2041}}, "controlnet.preprocess.high", "limits"),
        ({"preprocess": []}, "controlnet.preprocess", "schema"),
        ({"image": {"digest": "0" * 63}}, "controlnet.image.digest", "schema"),
        ({"image": None}, "controlnet.image", "schema"),
        ({"model": {"repository": "a/b", "revision": "main"}}, "controlnet.model.revision", "schema"),
        ({"guess_mode": True}, "controlnet.guess_mode", "unsupported"),
    ],
)
def test_a_strangers_controlnet(changes: dict[str, Any], field: str, code: str, controlled: ImageTask) -> None:
    fields: Any = controlled.to_dict()
    fields["controlnet"] |= changes
    with pytest.raises(InvalidTaskError) as caught:
        task_from_json(fields)
    assert (caught.value.field, caught.value.code) == (field, code)
    with pytest.raises(InvalidTaskError) as caught:
        task_from_json(fields | {"controlnet": {"scale": 1}})
    assert (caught.value.field, caught.value.code) == ("controlnet.model", "schema")


def test_json_and_back(controlled: ImageTask) -> None:
    net: Any = controlled.controlnet
    for edges in (None, Canny(1, 2)):
        given = controlled.replace(controlnet=replace(net, preprocess=edges))
        again: Any = task_from_json(given.to_json())
        assert again == given
        assert again.controlnet == given.controlnet
    assert not controlled.replace(
        controlnet=ControlNet(ModelRef("a/b", revision="main", allow_unpinned=True), RAMP)
    ).pinned
