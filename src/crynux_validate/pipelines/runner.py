"""A loaded model that runs many tasks."""

import gc
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from crynux_validate.answers import ImageScore, TextScore
from crynux_validate.audits.top import TopLogits
from crynux_validate.encoding import check_flag, check_function, check_type, shorten
from crynux_validate.errors import InvalidInputError, MissingExtraError, PipelineError
from crynux_validate.log import log
from crynux_validate.machines.environment import Environment
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.guard.foreign import emulated
from crynux_validate.pipelines.guard.probe import find_device, local_environment
from crynux_validate.pipelines.pictures import check_pictures
from crynux_validate.tasks import DTYPES, Dtype, ImageTask, ModelRef, QuantizeBits, Task, TextTask
from crynux_validate.tasks.parts import NO_PARTS, Parts
from crynux_validate.tasks.text import check_bits

if TYPE_CHECKING:
    import torch

    from crynux_validate.audits.bands import AuditBands
    from crynux_validate.audits.image import ImageAudit
    from crynux_validate.audits.proof import TraceProof
    from crynux_validate.pipelines.images.drawing import ImageResult
    from crynux_validate.pipelines.images.models import LoadedModel
    from crynux_validate.pipelines.text.generating import TextResult, Token
    from crynux_validate.pipelines.text.models import LoadedText

_LOG = log.getChild("runner")

Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    image, images
        The image that is being drawn, counted from 0, and how many there are.
    step, steps
        How many of its steps are done, from 1, and how many it has. Some schedulers take more than the task names.
    """

    image: int
    images: int
    step: int
    steps: int


class Runner:
    """A model, loaded once, that runs tasks one after the other; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    model
        Which weights; of a local folder the digest is checked before it is loaded.
    kind
        What it makes: ``image`` (needs the extra of this name) or ``text`` (likewise).
    dtype
        ``float32``, ``float16`` or ``bfloat16``: what the weights are loaded as and the computation runs in.
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the first that is there of cuda, mps, cpu.
    safety_checker
        Load the model's own safety checker, which must be there then; for images only.
    parts
        What is loaded beside the model (`ImageTask.parts`); for images only. It stays for all tasks of this runner,
        and a task that names other parts is refused.
    quantize_bits
        4 or 8: round the weights of linear layers to as many bits (protocol T6); for text only.
    pictures
        The tasks show pictures: a model that cannot be shown any is refused before its weights are read; for text only.

    Raises
    ------
    InvalidInputError
        For a kind, dtype or device that does not exist.
    MissingExtraError
        Where the packages of that kind are not installed.
    ModelError
        Where the model cannot be loaded, or is not what `model` names.
    DeterminismError
        Where the guard cannot be entered.

    Notes
    -----
    Runs of one process wait for each other: the guard's switches belong to the whole process.
    """

    def __init__(
        self,
        model: ModelRef,
        kind: Kind = "image",
        dtype: Dtype = "float32",
        device: "str | torch.device | None" = None,
        *,
        safety_checker: bool = False,
        parts: Parts = NO_PARTS,
        quantize_bits: QuantizeBits = None,
        pictures: bool = False,
    ) -> None:
        if not isinstance(model, ModelRef):
            raise InvalidInputError(f"model is {shorten(model)}; expected a ModelRef")
        if kind not in KINDS:
            raise InvalidInputError(f"kind is {shorten(kind)}; expected one of {', '.join(KINDS)}")
        if dtype not in DTYPES:
            raise InvalidInputError(f"dtype is {shorten(dtype)}; expected one of {', '.join(DTYPES)}")
        check_flag(safety_checker, "safety_checker")
        if safety_checker and kind != "image":
            raise InvalidInputError("safety_checker is True; only image models have one")
        check_type(parts, Parts, "parts", "the parts of an image task (task.parts)")
        if parts != NO_PARTS and kind != "image":
            raise InvalidInputError(f"parts are {shorten(parts)}; only image models have some")
        if check_bits(quantize_bits) is not None and kind != "text":
            raise InvalidInputError(f"quantize_bits is {quantize_bits}; only text models can be loaded so")
        check_flag(pictures, "pictures")
        if pictures and kind != "text":
            raise InvalidInputError("pictures is True; only text models are shown some")
        self.model = model
        self.kind = kind
        self.dtype = dtype
        self.device = find_device(device)
        self.safety_checker = safety_checker
        self.parts = parts
        self.quantize_bits = quantize_bits
        self._sees = pictures
        self._machine = local_environment(self.device)
        start = time.perf_counter()
        self._loaded: LoadedModel | LoadedText | None = self._load()
        self._reference: LoadedModel | None = None
        _LOG.info("loaded %s as %s on %s in %.1f s", model, dtype, self.device, time.perf_counter() - start)

    @classmethod
    def for_task(cls, task: Task, device: "str | torch.device | None" = None) -> Self:
        """Load what a task names; parameters and errors as for the class. Its pictures are looked at before."""
        if not isinstance(task, ImageTask | TextTask):
            raise InvalidInputError(f"task is {shorten(task)}; expected an ImageTask or a TextTask")
        check_pictures(task)
        if isinstance(task, TextTask):
            return cls(
                task.model,
                "text",
                task.dtype,
                device,
                quantize_bits=task.quantize_bits,
                pictures=bool(task.pictures),
            )
        return cls(task.model, "image", task.dtype, device, safety_checker=task.safety_checker, parts=task.parts)

    @overload
    def run(
        self, task: ImageTask, on_step: Callable[[Progress], None] | None = None, on_token: None = None
    ) -> "ImageResult": ...

    @overload
    def run(
        self, task: TextTask, on_step: None = None, on_token: "Callable[[Token], None] | None" = None
    ) -> "TextResult": ...

    def run(
        self,
        task: Task,
        on_step: Callable[[Progress], None] | None = None,
        on_token: "Callable[[Token], None] | None" = None,
    ) -> "ImageResult | TextResult":
        """Run a task: the same task gives the same bits, whatever ran before it.

        Parameters
        ----------
        task
            A task for the loaded model, dtype, safety checker and bits.
        on_step
            For images: called after each denoising step. What it raises ends the run and reaches the caller.
        on_token
            For text: called after each token, likewise; for a beam search when it is done, for each token of it.

        Raises
        ------
        InvalidInputError
            For a task that names something else than what is loaded, or a callback of the other kind.
        PromptTooLongError
            For a prompt that the model cannot hold.
        PipelineError
            Where the computation fails or overflows, the model cannot be given this input, or the runner is closed.
        DeterminismError
            Where a switch did not hold, or something drew from torch's own generators.
        """
        self._check(task)
        if self._loaded is None:
            raise PipelineError("this runner is closed; make a new one")
        _check_callbacks(task, on_step, on_token)
        result = self._generate(task, on_token) if isinstance(task, TextTask) else self._draw(task, on_step)
        _LOG.info("ran the task %s in %.1f s: %s", task.digest, result.seconds, result.score)
        return result

    def audit(
        self,
        task: ImageTask,
        answer: ImageScore,
        proof: "TraceProof",
        *,
        seed: bytes,
        count: int,
        kinds: tuple[str, str] | None = None,
        bands: "AuditBands | None" = None,
        against: "Runner | None" = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> "ImageAudit":
        """Audit an answer with the loaded model; parameters and errors as for `crynux_validate.audit`.

        `against` is a runner that has loaded the other model, in the task's dtype. Of float16 and bfloat16 a copy of
        each model in float32 is made where it is needed, and kept.
        """
        from crynux_validate.pipelines.images.audit import audit_image, check_proof

        check_proof(task, answer, proof, seed, count, kinds, bands)
        check_function(on_progress, "on_progress")
        if against is not None:
            check_type(against, Runner, "against", "a Runner of the other model")
            against._check(task.replace(model=against.model))
        self._check(task)
        if self._loaded is None:
            raise PipelineError("this runner is closed; make a new one")
        loaded: Any = self._loaded
        start = time.perf_counter()
        with deterministic():
            other = None if against is None else against._in_float32
            found = audit_image(
                loaded, task, answer, proof, kinds, bands,
                reference=self._in_float32, against=other, on_progress=on_progress,
            )  # fmt: skip
        _LOG.info("audited image %d of the task %s in %.1f s", proof.image, task.digest, time.perf_counter() - start)
        return found

    def _in_float32(self) -> "LoadedModel":
        """The image model in float32, made once."""
        from crynux_validate.pipelines.images.recomputing import in_float32

        if self._loaded is None:
            raise PipelineError("this runner is closed; make a new one")
        if self._reference is None:
            loaded: Any = self._loaded
            self._reference = in_float32(loaded)
        return self._reference

    def _load(self) -> "LoadedModel | LoadedText":
        try:
            with deterministic():
                if self.kind == "text":
                    from crynux_validate.pipelines.text import models as text_models

                    return text_models.load(
                        self.model, self.dtype, self.device, self.quantize_bits, pictures=self._sees
                    )
                from crynux_validate.pipelines.images import models as image_models

                return image_models.load(
                    self.model, self.dtype, self.device, safety_checker=self.safety_checker, beside=self.parts
                )
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"a Runner for {self.kind}", self.kind, error.name or "transformers") from error

    def _draw(self, task: ImageTask, on_step: Callable[[Progress], None] | None) -> "ImageResult":
        from crynux_validate.pipelines.images.drawing import ImageResult, draw_images

        def report(image: int, step: int, steps: int) -> None:
            if on_step is not None:
                on_step(Progress(image, task.images, step, steps))

        loaded: Any = self._loaded
        start = time.perf_counter()
        with deterministic():
            machine = self._here()
            images, recipe, trace = draw_images(loaded, task, None if on_step is None else report)
        seconds = time.perf_counter() - start
        score = ImageScore.from_images(images, task.algorithm)
        if trace is not None:
            score = replace(score, result_digest=trace.root)
        return ImageResult(task, tuple(images), score, replace(machine, recipe=recipe), seconds, trace)

    def _generate(self, task: TextTask, on_token: "Callable[[Token], None] | None") -> "TextResult":
        from crynux_validate.pipelines.text.generating import TextResult, generate

        loaded: Any = self._loaded
        start = time.perf_counter()
        with deterministic():
            machine = self._here()
            found, recipe = generate(loaded, task, on_token)
        seconds = time.perf_counter() - start
        tokens = tuple(sequence.ids for sequence in found)
        bound = [sequence.bound for sequence in found]
        top = TopLogits(task, bound) if task.binding == "top" else None
        return TextResult(
            task=task,
            token_ids=tokens,
            texts=tuple(sequence.text for sequence in found),
            finish=tuple(sequence.finish for sequence in found),
            score=TextScore.from_tokens(
                tokens, bound if task.binding == "logits" else None, None if top is None else top.root
            ),
            environment=replace(machine, recipe=recipe),
            seconds=seconds,
            top=top,
        )

    def _here(self) -> Environment:
        """What computes now: a model may be loaded in one arithmetic and run in another."""
        return replace(self._machine, numerics={**self._machine.numerics, "tensor_cores": emulated()})

    def close(self) -> None:
        """Free the model and its memory. Closing twice is fine."""
        if self._loaded is None:
            return
        import torch

        pipeline = getattr(self._loaded, "pipeline", None)
        parts = [getattr(self._loaded, "model", None)] if pipeline is None else pipeline.components.values()
        networks = [weakref.ref(part) for part in parts if isinstance(part, torch.nn.Module)]
        del pipeline, parts
        self._loaded = self._reference = None
        if not networks or any(network() is not None for network in networks):
            gc.collect()  # it goes through all that the process holds: only where something holds itself
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._loaded is None else "loaded"
        bits = "" if self.quantize_bits is None else f" in {self.quantize_bits} bits"
        return f"<Runner {self.model} {self.dtype}{bits} on {self.device}, {state}>"

    def _check(self, task: Task) -> None:
        """Refuse a task that names something else than what is loaded."""
        if not isinstance(task, ImageTask | TextTask):
            raise InvalidInputError(f"task is {shorten(task)}; expected an ImageTask or a TextTask")
        asked: dict[str, tuple[Any, Any]] = {
            "kind": ("text" if isinstance(task, TextTask) else "image", self.kind),
            "model": (task.model, self.model),
            "dtype": (task.dtype, self.dtype),
            "safety_checker": (isinstance(task, ImageTask) and task.safety_checker, self.safety_checker),
            "parts": (task.parts if isinstance(task, ImageTask) else NO_PARTS, self.parts),
            "quantize_bits": (task.quantize_bits if isinstance(task, TextTask) else None, self.quantize_bits),
        }
        for name, (wanted, loaded) in asked.items():
            if wanted != loaded:
                raise InvalidInputError(
                    f"the task asks for {name} {wanted}, but this runner has loaded {loaded}; use Runner.for_task(task)"
                )


def _check_callbacks(task: Task, on_step: object, on_token: object) -> None:
    """Refuse a callback that cannot be called, or that such a run never calls."""
    unused = "on_step" if isinstance(task, TextTask) else "on_token"
    for name, callback in (("on_step", on_step), ("on_token", on_token)):
        if callback is not None and name == unused:
            raise InvalidInputError(f"{unused} is given, but {type(task).__name__} runs never call it; leave it out")
        if callback is not None and not callable(callback):
            raise InvalidInputError(
                f"{name} is {shorten(callback)}; expected a function that is called as the run goes on (a device is"
                " named when the model is loaded: Runner.for_task(task, device))"
            )


@overload
def run(
    task: ImageTask,
    device: "str | torch.device | None" = None,
    *,
    on_step: Callable[[Progress], None] | None = None,
) -> "ImageResult": ...


@overload
def run(
    task: TextTask,
    device: "str | torch.device | None" = None,
    *,
    on_token: "Callable[[Token], None] | None" = None,
) -> "TextResult": ...


def run(
    task: Task,
    device: "str | torch.device | None" = None,
    *,
    on_step: Callable[[Progress], None] | None = None,
    on_token: "Callable[[Token], None] | None" = None,
) -> "ImageResult | TextResult":
    """Load a task's model, run the task, free the model; parameters and errors as for `Runner`.

    For more than one task of a model make a `Runner`: loading takes longer than most tasks.
    """
    if isinstance(task, Task):
        _check_callbacks(task, on_step, on_token)  # before a model is loaded
    with Runner.for_task(task, device) as runner:
        if isinstance(task, TextTask):
            return runner.run(task, on_token=on_token)
        return runner.run(task, on_step)
