"""One step of an image again: the model's prediction for a latent, and what the scheduler makes of a prediction.

The pipeline itself runs, so that prompts, guidance and sizes are what they are in a whole run: its scheduler hands it
the latents that a proof shows, one after the other, and keeps what it is told of them.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from crynux_validate.audits.layout import Content, earlier_steps
from crynux_validate.audits.proof import TraceProof
from crynux_validate.errors import CrynuxValidateError, PipelineError
from crynux_validate.pipelines.guard.generators import Untouched
from crynux_validate.pipelines.images.given import call_for
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.images.noising import Noise
from crynux_validate.pipelines.images.scheduling import make_scheduler, without_scale
from crynux_validate.pipelines.images.stages import Stage, stages_of
from crynux_validate.pipelines.images.starting import Begun
from crynux_validate.pipelines.models.loading import DTYPES, RUNNING
from crynux_validate.tasks import ImageTask


@dataclass(frozen=True)
class Prediction:
    """What the model says of a latent.

    Parameters
    ----------
    value
        After guidance: what the scheduler is told.
    guidance
        The prediction with the prompt less that without; None without guidance.
    """

    value: torch.Tensor
    guidance: torch.Tensor | None


def in_float32(loaded: LoadedModel) -> LoadedModel:
    """Return a copy of a model that computes in float32 with the weights as they were rounded to its dtype.

    It is what a node in float16 or bfloat16 is compared with: nearly all of the difference is the node's own rounding.
    A model in float32 is returned itself.
    """
    if loaded.denoiser.dtype == torch.float32:
        return loaded
    # In one go: a refiner has the VAE of the model before it.
    pipelines = [each.pipeline for each in (loaded, loaded.refiner) if each is not None]
    (pipeline, *later), controlnet = copy.deepcopy((pipelines, loaded.controlnet))
    for part in (*(part for each in (pipeline, *later) for part in each.components.values()), controlnet):
        if isinstance(part, torch.nn.Module):
            part.float()
    refiner = None if loaded.refiner is None else replace(loaded.refiner, pipeline=later[0])
    return replace(loaded, pipeline=pipeline, controlnet=controlnet, refiner=refiner)


class Proved:
    """The leaves of a proof as tensors (1, channels, height, width) in the task's dtype, on the auditor's device."""

    def __init__(self, proof: TraceProof, device: torch.device, first: int = 0) -> None:
        self._proof = proof
        self._device = device
        self._first = first

    def counted_from(self, first: int) -> "Proved":
        """Return the same, with steps counted from one of them."""
        return Proved(self._proof, self._device, first)

    def latent(self, step: int) -> torch.Tensor:
        """The latent before a step, or after the last."""
        return self._tensor(Content.LATENT, step)

    def prediction(self, step: int) -> torch.Tensor:
        """The prediction of a step."""
        return self._tensor(Content.PREDICTION, step)

    def corrected(self, step: int) -> torch.Tensor:
        """The latent as UniPC corrected it in a step."""
        return self._tensor(Content.CORRECTED, step)

    def _tensor(self, content: Content, step: int) -> torch.Tensor:
        found = torch.from_numpy(self._proof.array(content, self._first + step).copy())[None]
        return found.to(device=self._device, dtype=DTYPES[self._proof.task.dtype])


@torch.no_grad()
def predict(
    loaded: LoadedModel, task: ImageTask, latents: Mapping[int, torch.Tensor], heard: Callable[[], None]
) -> dict[int, Prediction]:
    """Let the model, or for steps of its own the refiner, predict for some latents of one image.

    Parameters
    ----------
    latents
        By the step that each goes into.
    heard
        Called after each prediction.

    Raises
    ------
    PipelineError
        Where the computation fails.
    """
    stages, found = stages_of(loaded, task), dict[int, Prediction]()
    ends = [*(stage.first for stage in stages[1:]), max(latents) + 1]
    for stage, end in zip(stages, ends, strict=True):
        own = {step - stage.first: latent for step, latent in latents.items() if stage.first <= step < end}
        if own:
            predicted = _predict(stage, own, loaded.latent_shape(task), heard)
            found |= {stage.first + step: one for step, one in predicted.items()}
    return found


def _predict(
    stage: Stage, latents: Mapping[int, torch.Tensor], shape: tuple[int, ...], heard: Callable[[], None]
) -> dict[int, Prediction]:
    """Likewise for steps of one model, counted from its first, all with one encoding of the prompt."""
    from diffusers.models.attention_dispatch import attention_backend

    loaded, task, skipped = stage.loaded, stage.task, stage.skipped
    call, family, order = call_for(loaded, task), loaded.family, sorted(latents)
    pipeline = call.pipeline
    scheduler = make_scheduler(loaded.scheduler_settings, task)
    without_scale(scheduler)
    own_times = scheduler.set_timesteps
    rest = iter(order[1:])
    found: dict[int, Prediction] = {}
    raw: list[Any] = []
    generators = Untouched(loaded.device)

    @functools.wraps(own_times)
    def set_timesteps(*args: Any, **kwargs: Any) -> None:
        own_times(*args, **kwargs)
        scheduler.timesteps = scheduler.timesteps[[skipped + at for at in order]]
        scheduler._step_index = skipped + order[0]

    def step(prediction: torch.Tensor, _time: Any, latent: torch.Tensor, **_settings: Any) -> tuple[torch.Tensor]:
        way = family.direction(raw) if family.guided(pipeline, task) else None
        raw.clear()
        found[order[len(found)]] = Prediction(
            family.unpacked(prediction, shape), None if way is None else family.unpacked(way, shape)
        )
        heard()
        following = next(rest, None)
        if following is None:
            return (latent,)
        scheduler._step_index = skipped + following
        return (family.packed(latents[following]),)

    scheduler.set_timesteps, scheduler.step = set_timesteps, step
    pipeline.scheduler = scheduler
    watch = loaded.denoiser.register_forward_hook(lambda _network, _given, output: raw.append(output[0]))
    try:
        with attention_backend("native"):
            begun = {stage.begins: family.handed(latents[order[0]])}
            pipeline(**call.arguments, **stage.more, **begun, output_type="latent")
    except CrynuxValidateError:
        raise
    except RUNNING as error:
        raise PipelineError(f"the steps {order} could not be computed: {type(error).__name__}: {error}") from error
    finally:
        watch.remove()
    generators.check()
    return found


@torch.no_grad()
def advance(
    loaded: LoadedModel, task: ImageTask, image: int, step: int, proved: Proved, begun: Begun
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return what the scheduler makes of a proved prediction: the next latent, and UniPC's corrected one."""
    stage = max((each for each in stages_of(loaded, task) if each.first <= step), key=lambda each: each.first)
    scheduler, own, proved = stage.ready(), step - stage.first, proved.counted_from(stage.first)
    _remember(scheduler, stage, own, proved)
    family, shape = loaded.family, loaded.latent_shape(task)
    try:
        with Noise(task.seed, image, first=step + 1):
            # As the pipeline has them: the noise of a step is drawn in their order.
            prediction, latent = (family.packed(each(own)) for each in (proved.prediction, proved.latent))
            time = scheduler.timesteps[stage.skipped + own]
            after = scheduler.step(prediction, time, latent, return_dict=False)[0]
        after = family.unpacked(after, shape)
        if begun.kept is not None:
            after = begun.kept.put_back(scheduler, task, step, after)
    except CrynuxValidateError:
        raise
    except RUNNING as error:
        raise PipelineError(f"step {step} could not be taken: {type(error).__name__}: {error}") from error
    return after, scheduler.last_sample if task.scheduler == "UniPCMultistepScheduler" else None


def _remember(scheduler: Any, stage: Stage, step: int, proved: Proved) -> None:
    """Bring a new scheduler into the state that it has before a step (protocol U3)."""
    match stage.task.scheduler:
        case "DDIMScheduler":
            pass
        case "PNDMScheduler":
            _remember_pndm(scheduler, step, earlier_steps(stage.task, step), proved)
        case "DPMSolverMultistepScheduler" | "UniPCMultistepScheduler":
            _remember_solver(scheduler, stage.skipped, step, proved)
        case _:
            scheduler._step_index = stage.skipped + step
            scheduler.is_scale_input_called = True


def _remember_solver(scheduler: Any, skipped: int, step: int, proved: Proved) -> None:
    order = scheduler.config.solver_order
    corrects = type(scheduler).__name__ == "UniPCMultistepScheduler"
    for at in range(max(0, step - order + (not corrects)), step):
        scheduler._step_index = skipped + at
        converted = scheduler.convert_model_output(proved.prediction(at), sample=proved.latent(at))
        scheduler.model_outputs[order - (step - at)] = converted
    scheduler._step_index = skipped + step
    scheduler.lower_order_nums = min(step, order)
    if corrects and step > 0:
        left = len(scheduler.timesteps) - skipped - (step - 1)
        final = min(order, left) if scheduler.config.lower_order_final else order
        scheduler.this_order = min(final, min(step - 1, order) + 1)
        scheduler.last_sample = proved.corrected(step - 1)


def _remember_pndm(scheduler: Any, step: int, earlier: tuple[int, ...], proved: Proved) -> None:
    scheduler.counter = step
    if step < len(scheduler.prk_timesteps):
        for weight, at in zip(_runge_kutta(), earlier, strict=False):
            scheduler.cur_model_output += weight * proved.prediction(at)
        if earlier:
            scheduler.cur_sample = proved.latent(earlier[0])
        return
    scheduler.ets = [proved.prediction(at) for at in earlier]
    if step == 1:
        scheduler.cur_sample = proved.latent(0)


def _runge_kutta() -> Iterator[float]:
    yield from (1 / 6, 1 / 3, 1 / 3)
