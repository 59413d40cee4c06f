"""Textual inversions: vectors for a word that a text encoder does not know (arXiv 2208.01618)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.models.loading import own_memory, reading
from crynux_validate.pipelines.models.parts import PartFile, read_part
from crynux_validate.tasks.parts import TextualInversion

_BOTH: Final = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""What files for two text encoders call their vectors."""

_MOST: Final = 75
"""The most vectors of a word: as many tokens as a prompt can have."""


@dataclass(frozen=True)
class ReadEmbedding:
    """A textual inversion that fits the model.

    Parameters
    ----------
    token
        The word.
    vectors
        (vectors, width) by the text encoder that they are for.
    record
        What a recipe says of it: JSON values.
    """

    token: str
    vectors: Mapping[str, torch.Tensor]
    record: Mapping[str, Any]


def read_embeddings(inversions: Sequence[TextualInversion], skeletons: Mapping[str, nn.Module]) -> list[ReadEmbedding]:
    """Read textual inversions, and check that they fit, before the model's weights are read.

    Parameters
    ----------
    inversions
        Those of a task.
    skeletons
        The components of the model, without weights.

    Raises
    ------
    ModelError
        Names the inversion: its file is missing or damaged, or was made for another model.
    """
    return [_read(f"textual_inversions.{at}", each, skeletons) for at, each in enumerate(inversions)]


def _read(name: str, inversion: TextualInversion, skeletons: Mapping[str, nn.Module]) -> ReadEmbedding:
    file = read_part(name, inversion)
    where = f"{name}: {inversion}"
    encoders = [part for part in ("text_encoder", "text_encoder_2") if part in skeletons]
    found = _by_encoder(where, file)
    if sorted(found) != encoders:
        raise ModelError(
            f"{where} was made for another model: it has vectors for {' and '.join(sorted(found))}, and the model has "
            f"{' and '.join(encoders)}"
        )
    for part, vectors in found.items():
        embeddings: Any = skeletons[part]
        width = embeddings.get_input_embeddings().weight.shape[1]
        if vectors.shape[1] != width:
            raise ModelError(
                f"{where} was made for another model: its vectors have {vectors.shape[1]} numbers, and those of the "
                f"model's {part} {width}"
            )
        if not vectors.isfinite().all():
            raise ModelError(f"{where} has vectors that hold values that are NaN or infinite; get it again")
    counts = {part: len(vectors) for part, vectors in found.items()}
    return ReadEmbedding(inversion.token, found, {**inversion.to_dict(), "sha256": file.sha256, "vectors": counts})


def _by_encoder(where: str, file: PartFile) -> dict[str, torch.Tensor]:
    names = sorted(file.tensors)
    if set(names) == set(_BOTH):
        found = {part: file.tensors[name] for name, part in _BOTH.items()}
    elif len(names) == 1:
        found = {"text_encoder": file.tensors[names[0]]}
    else:
        raise ModelError(
            f"{where} holds {', '.join(map(shorten, names[:3])) or 'nothing'}; expected the vectors of one word alone, "
            "or clip_l and clip_g"
        )
    for part, vectors in found.items():
        found[part] = vectors = vectors[None] if vectors.dim() == 1 else vectors
        if vectors.dim() != 2 or not 1 <= len(vectors) <= _MOST or not vectors.is_floating_point():
            raise ModelError(
                f"{where} holds a tensor of {vectors.dtype} and {tuple(vectors.shape)}; expected 1 to {_MOST} vectors"
            )
    return found


def teach(pipeline: Any, embeddings: Sequence[ReadEmbedding]) -> None:
    """Let a pipeline know the words, as diffusers does it.

    Raises
    ------
    ModelError
        For a word that its tokenizer knows already.
    """
    for found in embeddings:
        for part, vectors in found.vectors.items():
            tokenizer = getattr(pipeline, part.replace("text_encoder", "tokenizer"))
            encoder = getattr(pipeline, part)
            if found.token in tokenizer.get_vocab():
                raise ModelError(
                    f"the model's tokenizer knows {shorten(found.token)} already; name another token for the textual "
                    "inversion, and in the prompt"
                )
            given = {found.token: vectors}
            # New rows are random until their vectors are written into them.
            with torch.random.fork_rng(devices=[encoder.device] if encoder.device.type == "cuda" else []):
                reading(
                    f"the textual inversion {shorten(found.token)}",
                    "the model",
                    lambda given=given, tokenizer=tokenizer, encoder=encoder, token=found.token: (  # type: ignore[misc]
                        pipeline.load_textual_inversion(given, token=token, tokenizer=tokenizer, text_encoder=encoder)
                    ),
                )
            own_memory(encoder)
