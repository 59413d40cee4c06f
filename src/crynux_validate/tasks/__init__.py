"""What is asked, complete: the same task on the same kind of machine gives the same answer.

A task is named by its digest, which is taken over its canonical bytes (protocol T2). Whatever a task does not name has
a default that is written into those bytes (T1). JSON from a stranger is validated before anything else touches it (T3).
"""

from crynux_validate.tasks.base import DTYPES, MAX_TASK_BYTES, Dtype
from crynux_validate.tasks.folder import DigestProgress, OnDigest, folder_digest
from crynux_validate.tasks.image import MAX_IMAGES, ImageTask
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.parts import Lora, Parts, TextualInversion
from crynux_validate.tasks.reading import Task, task_from_json
from crynux_validate.tasks.setting import ImageSetting
from crynux_validate.tasks.text import MAX_SEQUENCES, QUANTIZE_BITS, WARPERS, QuantizeBits, TextTask

__all__ = [
    "DTYPES",
    "MAX_IMAGES",
    "MAX_SEQUENCES",
    "MAX_TASK_BYTES",
    "QUANTIZE_BITS",
    "WARPERS",
    "DigestProgress",
    "Dtype",
    "ImageSetting",
    "ImageTask",
    "Lora",
    "ModelRef",
    "OnDigest",
    "Parts",
    "QuantizeBits",
    "Task",
    "TextTask",
    "TextualInversion",
    "folder_digest",
    "task_from_json",
]
