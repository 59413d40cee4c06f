"""Tasks, which are complete: the same task on the same kind of machine gives the same answer.

The name of a task is the digest of its canonical bytes (protocol T2). Fields that are left out have defaults, which are
written into these bytes (T1). JSON from others is validated before it is used (T3). `ImageTask`, `TextTask`,
`ModelRef`, `Lora` and `task_from_json` are in `crynux_validate`.
"""

from crynux_validate.tasks.base import DTYPES as DTYPES
from crynux_validate.tasks.base import MAX_TASK_BYTES as MAX_TASK_BYTES
from crynux_validate.tasks.base import Dtype as Dtype
from crynux_validate.tasks.control import Canny, ControlNet
from crynux_validate.tasks.folder import DigestProgress, folder_digest
from crynux_validate.tasks.folder import OnDigest as OnDigest
from crynux_validate.tasks.image import MAX_IMAGES as MAX_IMAGES
from crynux_validate.tasks.image import ImageTask as ImageTask
from crynux_validate.tasks.model import ModelRef as ModelRef
from crynux_validate.tasks.parts import Lora as Lora
from crynux_validate.tasks.parts import Parts, TextualInversion
from crynux_validate.tasks.pictures import PictureRef
from crynux_validate.tasks.reading import Task
from crynux_validate.tasks.reading import task_from_json as task_from_json
from crynux_validate.tasks.refiner import Refiner
from crynux_validate.tasks.setting import ImageSetting
from crynux_validate.tasks.start import StartPicture
from crynux_validate.tasks.text import MAX_SEQUENCES as MAX_SEQUENCES
from crynux_validate.tasks.text import QUANTIZE_BITS as QUANTIZE_BITS
from crynux_validate.tasks.text import WARPERS as WARPERS
from crynux_validate.tasks.text import QuantizeBits as QuantizeBits
from crynux_validate.tasks.text import TextTask as TextTask

__all__ = [
    "Canny",
    "ControlNet",
    "DigestProgress",
    "ImageSetting",
    "Parts",
    "PictureRef",
    "Refiner",
    "StartPicture",
    "Task",
    "TextualInversion",
    "folder_digest",
]
