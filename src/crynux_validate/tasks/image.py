"""Image tasks: pictures to draw."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace as dataclass_replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field

from crynux_validate.algorithms import IMAGE_ALGORITHMS, ImageAlgorithm
from crynux_validate.encoding import MAX_SAFE_INTEGER, canonical_json, shorten
from crynux_validate.errors import InvalidTaskError
from crynux_validate.frozen import FrozenMapping
from crynux_validate.schedulers import MAX_STEPS, SCHEDULERS, SchedulerArgument, check_scheduler
from crynux_validate.tasks import crynux_image
from crynux_validate.tasks.base import DTYPES, BaseTask, Dtype, check_size, in_range
from crynux_validate.tasks.control import ControlNet
from crynux_validate.tasks.crynux_parts import Named
from crynux_validate.tasks.model import ModelRef, in_folder
from crynux_validate.tasks.parts import (
    COMPONENTS,
    LISTS,
    MAX_PARTS,
    Lora,
    Part,
    Parts,
    TextualInversion,
    read_component,
    read_list,
)
from crynux_validate.tasks.pictures import PictureRef, without_pictures
from crynux_validate.tasks.prompts import SYNTAXES, PromptSyntax, weighted
from crynux_validate.tasks.records import read_part
from crynux_validate.tasks.refiner import Refiner
from crynux_validate.tasks.start import StartPicture

ImageBinding = Literal["pixels", "trace"]
IMAGE_BINDINGS: Final[tuple[ImageBinding, ...]] = ("pixels", "trace")

MAX_PROMPT_BYTES: Final = 8_192
MAX_IMAGES: Final = 16
SIDES: Final = range(64, 4097, 8)
"""Width and height in pixels: latents are an eighth of them."""


class ImageTask(BaseTask):
    """A complete task to draw images (protocol T1).

    Parameters
    ----------
    model
        The model and its revision.
    prompt, negative_prompt
        UTF-8 text of at most 8,192 bytes each. A prompt that is too long for the model's tokenizer is refused when the
        task runs (`PromptTooLongError`). A negative prompt of None is none at all, which differs from an empty one for
        most SDXL models.
    prompt_syntax
        How weights are written in prompts (T9). ``plain``: there are none. ``compel``: ``word++``, ``word-`` and
        ``(two words)1.3``, as on the live network. ``webui``: ``(two words:1.3)``, ``(word)`` and ``[word]``. With the
        last two, prompts can be up to 16 times as long as the model's tokenizer allows.
    seed
        0 to 2^53-1. Noise depends on (seed, image, draw), so an image does not depend on the images before it.
    steps
        Denoising steps, 1 to 500; some schedulers allow fewer (see `crynux_validate.schedulers`).
    width, height
        Pixels, 64 to 4,096, multiples of 8.
    guidance_scale
        Classifier-free guidance (arXiv 2207.12598), 0 to 50; 1 or less is none. For FLUX.1 it is an input of the model,
        and for Z-Image only 0 is none (``docs/families.md``).
    true_cfg_scale
        For FLUX.1 and Qwen-Image: classifier-free guidance with `negative_prompt`, 1 to 50; 1 is none. Must be 1 for
        other models.
    max_sequence_length
        For SD 3, FLUX.1 and FLUX.2: the number of tokens to which each prompt is padded, 8 to 512. None means 256 for
        SD 3 and 512 for FLUX. Must be None for other models.
    images
        The number of images, 1 to 16.
    scheduler, scheduler_args
        A class name of diffusers and its arguments, from `crynux_validate.schedulers.SCHEDULERS`.
    dtype
        The dtype of the weights and of the computation.
    safety_checker
        Whether the model's own safety checker runs, which can blank an image.
    algorithm
        The perceptual hash of the score.
    vae, unet, transformer
        Components that replace those of the model: a repository or a folder with their configuration and weights. None
        for the model's own. Stable Diffusion 1, 2 and XL have a UNet, all others a transformer.
    loras
        Up to 16 LoRAs (`Lora`), which are added to the weights in this order.
    textual_inversions
        Up to 16 words with vectors of their own (`TextualInversion`), for both prompts.
    controlnet
        A second network that makes the images follow a picture (`ControlNet`); None for none.
    start
        A picture with which all images begin (`StartPicture`); None to begin with noise alone.
    refiner
        For Stable Diffusion XL: a second model that draws the last steps (`Refiner`); None for none. It can be combined
        with `loras`, `unet` and `controlnet`, which are for the first model alone, and with another `vae`.
    binding
        What the result digest binds: ``pixels``, or ``trace`` for pixels and the latents and predictions of every step,
        so that steps can be audited (protocol U1).

    Raises
    ------
    InvalidTaskError
        For an invalid field, which the message names; its `code` is what a node reports (protocol A1).
    """

    schemas: ClassVar = ("crynux-validate/image-task/1", "crynux-validate/image-task-unpinned/1")
    max_bytes: ClassVar = 65_536
    choices: ClassVar = {
        "algorithm": IMAGE_ALGORITHMS,
        "dtype": DTYPES,
        "binding": IMAGE_BINDINGS,
        "prompt_syntax": SYNTAXES,
    }
    limits: ClassVar = {
        "prompt": {"maxLength": MAX_PROMPT_BYTES},  # in characters, of which each has a byte or more
        "negative_prompt": {"maxLength": MAX_PROMPT_BYTES},
        "seed": in_range(0, MAX_SAFE_INTEGER),
        "steps": in_range(1, MAX_STEPS),
        "width": in_range(SIDES.start, SIDES.stop - 1) | {"multipleOf": SIDES.step},
        "height": in_range(SIDES.start, SIDES.stop - 1) | {"multipleOf": SIDES.step},
        "guidance_scale": in_range(0, 50),
        "true_cfg_scale": in_range(1, 50),
        "max_sequence_length": in_range(8, 512),
        "images": in_range(1, MAX_IMAGES),
        "scheduler": {"enum": list(SCHEDULERS)},
        "loras": {"maxItems": MAX_PARTS},
        "textual_inversions": {"maxItems": MAX_PARTS},
    }

    prompt: str
    negative_prompt: str | None = ""
    prompt_syntax: PromptSyntax = "plain"
    seed: int = 0
    steps: int = 25
    width: int = 512
    height: int = 512
    guidance_scale: float = 7.5
    true_cfg_scale: float = 1.0
    max_sequence_length: int | None = None
    images: int = 1
    scheduler: str = "DDIMScheduler"
    scheduler_args: Mapping[str, SchedulerArgument] = Field(default_factory=dict)
    dtype: Dtype = "float32"
    safety_checker: bool = False
    algorithm: ImageAlgorithm = "phash/1"
    vae: ModelRef | None = None
    unet: ModelRef | None = None
    transformer: ModelRef | None = None
    loras: Sequence[Lora] = ()
    textual_inversions: Sequence[TextualInversion] = ()
    controlnet: ControlNet | None = None
    start: StartPicture | None = None
    refiner: Refiner | None = None
    binding: ImageBinding = "pixels"

    @classmethod
    def from_crynux(
        cls,
        value: str | bytes | Mapping[str, Any],
        *,
        revision: str,
        parts: Mapping[str, Named] | None = None,
        algorithm: ImageAlgorithm = "phash-go/1",
        allow_unpinned: bool = False,
    ) -> Self:
        """Read the arguments of an image task of the live Crynux network (protocol T4).

        Arguments that are left out have the live network's defaults: DPMSolverMultistepScheduler, 1 step, 512 x 512, 6
        images, cfg 5, seed 0, with the safety checker. As there, weights of the variant ``fp16`` are computed in
        float16, whatever `dtype` is, and otherwise ``auto`` is float32. The images are not those of the live network's
        nodes, whose noise is different, so all nodes of a group must use this library (``docs/live-network.md``).

        Parameters
        ----------
        value
            JSON of at most 4 MiB, or its dictionary. Values must be in the ranges of the live network and of this
            class. A null is like an argument that is left out.
        revision
            The commit of the model, 40 hexadecimal digits. Tasks of the live network do not have it.
        parts
            The revisions of ``lora``, ``vae``, ``unet``, ``textual_inversion``, ``controlnet`` and ``refiner``, by
            these names, if the arguments have them: a `ModelRef` of the same repository with its commit, or of a folder
            with its digest, which is needed for a part that is downloaded from an address. A `Lora` names the file as
            well; a textual inversion must be a `TextualInversion`, with its file and its token.
        algorithm
            The perceptual hash of the score; the live network's nodes submit ``phash-go/1``.
        allow_unpinned
            Accept a revision that can change, for runs on one machine.

        Raises
        ------
        InvalidTaskError
            For an argument that is out of range, of another type, unknown, or not supported (a preprocessor other than
            canny, a refiner after a ControlNet, other arguments of a scheduler). The message names it as the live
            network does (``task_config.steps``).
        """
        return crynux_image.image_task(
            cls, value, revision=revision, parts=parts, algorithm=algorithm, allow_unpinned=allow_unpinned
        )

    def _complete(self) -> None:
        for name in ("prompt", "negative_prompt"):
            check_size(name, getattr(self, name) or "", MAX_PROMPT_BYTES)
            weighted(name, getattr(self, name) or "", self.prompt_syntax)
        arguments = check_scheduler(self.scheduler, self.scheduler_args, self.steps)
        self.__dict__["scheduler_args"] = FrozenMapping(arguments)
        for name in LISTS:
            parts = self.__dict__[name] = tuple(getattr(self, name))
            if len(parts) > MAX_PARTS:
                raise InvalidTaskError(name, f"has {len(parts)}; expected at most {MAX_PARTS}", "limits")
        tokens = [inversion.token for inversion in self.textual_inversions]
        for at, token in enumerate(tokens):
            if token in tokens[:at]:
                raise InvalidTaskError(
                    f"textual_inversions.{at}.token", f"is {shorten(token)} a second time; expected another", "limits"
                )
        self._check_start()
        self._check_refiner()
        for name in ("width", "height"):
            side = getattr(self, name)
            if side not in SIDES:
                low, high = SIDES.start, SIDES.stop - 1
                raise InvalidTaskError(
                    name, f"is {shorten(side)}; expected a multiple of 8 from {low} to {high} pixels", "limits"
                )
        self._check_ranges()

    def _check_start(self) -> None:
        if self.start is None:
            return
        if self.scheduler == "PNDMScheduler":
            raise InvalidTaskError(
                "start",
                "is not possible with PNDMScheduler, which must begin with its first step; name another scheduler",
                "unsupported",
            )
        if self.start.steps(self.steps, flow=SCHEDULERS[self.scheduler].flow) < 1:
            raise InvalidTaskError(
                "start.strength",
                f"is {self.start.strength:g}, less than one of {self.steps} steps; raise the strength or the steps",
                "limits",
            )

    def _check_refiner(self) -> None:
        refiner = self.refiner
        if refiner is None:
            return
        apart = {
            "PNDMScheduler": self.scheduler == "PNDMScheduler",
            "start": self.start is not None,
            "textual_inversions": bool(self.textual_inversions),
        }
        for name in (name for name, there in apart.items() if there):
            raise InvalidTaskError("refiner", f"does not go with {name}; leave one of the two out", "unsupported")
        try:
            check_scheduler(self.scheduler, self.scheduler_args, refiner.steps)
        except InvalidTaskError as error:
            raise InvalidTaskError("refiner.steps", error.problem, error.code) from error
        if refiner.taken is not None and refiner.taken[0] > self.steps:
            raise InvalidTaskError(
                "refiner.taken.0", f"is {refiner.taken[0]}; expected at most steps, {self.steps}", "limits"
            )
        if refiner.taken is None and self.binding == "trace":
            raise InvalidTaskError(
                "refiner.taken",
                "is missing, and a trace needs it: the steps of both models, which the recipe of a run without a trace"
                " says",
                "limits",
            )

    @property
    def parts(self) -> Parts:
        """The parts that are loaded besides the model."""
        components = {name: getattr(self, name) for name in COMPONENTS}
        lists: dict[str, Any] = {name: tuple(getattr(self, name)) for name in LISTS}
        second, last = (None if each is None else each.model for each in (self.controlnet, self.refiner))
        return Parts(**components, **lists, controlnet=second, refiner=last)

    def pictures_named(self) -> dict[str, PictureRef]:
        """Return the task's pictures, by the name of their field."""
        found = {} if self.controlnet is None else {"controlnet.image": self.controlnet.image}
        if self.start is not None:
            found["start.image"] = self.start.image
            if self.start.mask is not None:
                found["start.mask"] = self.start.mask
        return found

    def references(self) -> dict[str, ModelRef]:
        """Return all models that are loaded for the task, by the name of their field."""
        return super().references() | self.parts.references()

    @property
    def loads(self) -> str:
        """The model and the parts that are loaded besides it as one text, which a calibration records.

        The parts are in it as a digest of their fields, without pictures. Two tasks load the same if it is equal.
        """
        fields = {name.split(".")[0] for name in self.references()} - {"model"}
        if not fields:
            return super().loads
        shown = self.replace(**{name: without_pictures(getattr(self, name)) for name in fields})
        told = {name: value for name, value in shown.to_dict().items() if name in fields}
        return (
            f"{super().loads} with {', '.join(sorted(fields))} {hashlib.sha256(canonical_json(told)).hexdigest()[:32]}"
        )

    def _located(self, paths: Mapping[str, Path]) -> dict[str, Any]:
        components = {
            name: in_folder(found, paths) for name in COMPONENTS if (found := getattr(self, name)) is not None
        }
        lists = {
            name: tuple(dataclass_replace(part, model=in_folder(part.model, paths)) for part in getattr(self, name))
            for name in LISTS
        }
        alone: dict[str, Any] = {}
        if self.controlnet is not None:
            model, image = in_folder(self.controlnet.model, paths), self.controlnet.image.located(paths)
            alone["controlnet"] = dataclass_replace(self.controlnet, model=model, image=image)
        if self.start is not None:
            alone["start"] = self.start.located(paths)
        if self.refiner is not None:
            alone["refiner"] = dataclass_replace(self.refiner, model=in_folder(self.refiner.model, paths))
        return super()._located(paths) | components | lists | alone

    @classmethod
    def _read_parts(cls, fields: dict[str, Any], *, allow_unpinned: bool) -> None:
        def model(value: object) -> ModelRef:
            return ModelRef.from_dict(value, allow_unpinned=allow_unpinned)

        for name in COMPONENTS:
            if fields.get(name) is not None:
                fields[name] = read_component(name, fields[name], model)
        models: dict[str, type[ControlNet | Refiner]] = {"controlnet": ControlNet, "refiner": Refiner}
        for name, one in models.items():
            if fields.get(name) is not None:
                fields[name] = read_part(name, fields[name], partial(one.from_dict, allow_unpinned=allow_unpinned))
        if fields.get("start") is not None:
            fields["start"] = read_part("start", fields["start"], StartPicture.from_dict)
        kinds: dict[str, type[Part]] = {"loras": Lora, "textual_inversions": TextualInversion}
        for name, kind in kinds.items():
            if name in fields:
                fields[name] = read_list(name, fields[name], partial(kind.from_dict, allow_unpinned=allow_unpinned))

    def _told(self) -> tuple[str, ...]:
        many = f"{self.images} images of " if self.images > 1 else ""
        size = f"{many}{self.width}x{self.height}"
        return shorten(self.prompt), size, f"{self.steps} steps of {self.scheduler}", f"seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return the task as Python values of the JSON that `task_from_json` reads."""
        components = {name: found.to_dict() for name in COMPONENTS if (found := getattr(self, name)) is not None}
        parts: dict[str, Any] = components | {name: [part.to_dict() for part in getattr(self, name)] for name in LISTS}
        for name in ("controlnet", "start", "refiner"):
            if (found := getattr(self, name)) is not None:
                parts[name] = found.to_dict()
        return super().to_dict() | parts | {"scheduler_args": dict(self.scheduler_args)}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values, validated again.

        With another scheduler, the arguments of the old one are dropped: give new ones in the same call.
        """
        if changes.get("scheduler", self.scheduler) != self.scheduler:
            changes = {"scheduler_args": {}} | changes
        return super().replace(**changes)
