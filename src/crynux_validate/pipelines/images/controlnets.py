"""ControlNets: a second network whose outputs are added inside the UNet (arXiv 2302.05543)."""

from typing import Any, Final

import torch

from crynux_validate.encoding import shorten
from crynux_validate.errors import ModelError
from crynux_validate.pipelines.images.components import Source, check_equal, load_component
from crynux_validate.pipelines.models.files import read_object
from crynux_validate.tasks import Dtype

CONTROLNET: Final = ("diffusers", "ControlNetModel")
"""Library and class."""

_CLASS: Final = CONTROLNET[1]

_SAME: Final = (
    "in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "addition_embed_type",
    "addition_time_embed_dim", "projection_class_embeddings_input_dim", "class_embed_type", "encoder_hid_dim_type",
)  # fmt: skip
"""Settings in which it must equal the UNet: what both are handed, and where its outputs are added."""

_FIXED: Final = {
    "conditioning_channels": 3,
    "global_pool_conditions": False,
    "controlnet_conditioning_channel_order": "rgb",
}
"""Settings that must be so: a picture in colours, as it is."""


def check_controlnet(net: Source, unet: Source) -> None:
    """Refuse a ControlNet that was made for another model; no weights are read for that.

    Raises
    ------
    ModelError
        Names the setting in which both differ.
    """
    there = read_object(net.folder / "config.json")
    if there.get("_class_name") != _CLASS:
        raise ModelError(
            f"{net.where} is a {shorten(there.get('_class_name'))}; expected a {_CLASS}, as diffusers saves it"
        )
    check_equal(_SAME, (net, _CLASS), (unet, "UNet2DConditionModel"))
    for name, wanted in _FIXED.items():
        found = there.get(name, wanted)
        if found != wanted:
            raise ModelError(f"{net.where} has {name} {shorten(found)}; supported is {wanted}")


def load_controlnet(net: Source, dtype: Dtype, device: torch.device) -> Any:
    """Load one that was checked; raises `ModelError` where a weight is missing or of another shape."""
    return load_component("controlnet", *CONTROLNET, net, dtype, device)
