"""How a repository's name is spelled where this machine keeps it."""

from pathlib import Path
from typing import Any, Final

from crynux_validate.tasks import ModelRef

_PREFIX: Final = "models--"


def spelled(model: ModelRef) -> str:
    """Return the name to ask the hub and its cache for.

    A task's name is in lower case (protocol T1), and the hub does not tell names apart by case. Its cache does: the
    folder has the name by which the model was downloaded, mostly its makers' spelling.

    Returns
    -------
    str
        The spelling of the cache that has the model's revision; the task's own where none has.
    """
    from transformers.utils import hub

    module: Any = hub
    name = str(model.repository)
    cache = Path(module.constants.HF_HUB_CACHE)
    wanted = _PREFIX + name.replace("/", "--")
    found = sorted(folder.name for folder in cache.iterdir() if folder.name.lower() == wanted) if cache.is_dir() else []
    for folder in found:
        at = cache / folder
        if (at / "snapshots" / str(model.revision)).is_dir() or (at / "refs" / str(model.revision)).is_file():
            return folder.removeprefix(_PREFIX).replace("--", "/", 1)
    return name
