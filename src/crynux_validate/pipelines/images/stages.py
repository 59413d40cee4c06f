"""Which models draw the steps of an image: one, or a refiner the last ones (protocol T11)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crynux_validate.audits.layout import skipped_steps, step_count
from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.images.scheduling import make_scheduler
from crynux_validate.tasks import ImageTask, Refiner


@dataclass(frozen=True)
class Stage:
    """Steps that one model draws, one after the other.

    Parameters
    ----------
    loaded
        The model.
    task
        What it is asked, as a task of its own.
    first
        The number of its first step among all of the image.
    skipped
        How many steps of its own schedule come before.
    more
        What its pipeline is told besides.
    begins
        The argument of the pipeline that is the first latent.
    """

    loaded: LoadedModel
    task: ImageTask
    first: int = 0
    skipped: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)
    begins: str = "latents"

    def ready(self) -> Any:
        """Return a new scheduler with its whole schedule, before the first of these steps."""
        scheduler = make_scheduler(self.loaded.scheduler_settings, self.task)
        self.loaded.family.start(self.loaded.pipeline, scheduler, self.task)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(self.skipped)
        return scheduler


def stages_of(loaded: LoadedModel, task: ImageTask) -> tuple[Stage, ...]:
    """Return who draws the steps of an image, in order.

    Raises
    ------
    PipelineError
        Where the schedules leave one of the models no step, or the task says other numbers of steps.
    """
    refiner = task.refiner
    if refiner is None:
        return (Stage(loaded, task, skipped=skipped_steps(task)),)
    if loaded.refiner is None:
        raise PipelineError("refiner: none is loaded; use Runner.for_task(task)")
    base = task.replace(refiner=None)
    last = base.replace(
        model=refiner.model, steps=refiner.steps, guidance_scale=refiner.guidance_scale,
        vae=None, unet=None, loras=(), controlnet=None,
    )  # fmt: skip
    before, after = Stage(loaded, base), Stage(loaded.refiner, last)
    scheduler = before.ready()
    times, own = scheduler.timesteps, after.ready().timesteps
    # As diffusers rounds it.
    trained = scheduler.config.num_train_timesteps
    end = int(round(trained - (refiner.cutoff * trained)))  # noqa: RUF046
    taken = int((times >= end).sum()), int((own < end).sum())
    _check(task, refiner, taken)
    told = {
        "denoising_start": refiner.cutoff,
        "aesthetic_score": refiner.aesthetic_score,
        "negative_aesthetic_score": refiner.negative_aesthetic_score,
    }
    return (
        Stage(loaded, base, more={"denoising_end": refiner.cutoff}),
        Stage(loaded.refiner, last, taken[0], refiner.steps - taken[1], told, "image"),
    )


def _check(task: ImageTask, refiner: Refiner, taken: tuple[int, int]) -> None:
    for name, count, steps, way in (
        ("the model", taken[0], task.steps, "larger"),
        ("the refiner", taken[1], refiner.steps, "smaller"),
    ):
        if count == 0:
            raise PipelineError(
                f"refiner.cutoff: {refiner.cutoff:g} leaves {name} none of {steps} steps; give a {way} one"
            )
    if refiner.taken not in (None, taken):
        raise PipelineError(
            f"refiner.taken: is {list(refiner.taken or ())}, but with these models the schedules have {list(taken)}"
            " steps; name these"
        )


def steps_in_all(task: ImageTask, stages: tuple[Stage, ...]) -> int:
    """Return how many steps all of them take."""
    last = stages[-1]
    return step_count(task) if task.refiner is None else last.first + last.task.steps - last.skipped
