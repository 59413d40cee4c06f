"""Running tasks: the guard, noise, models. Only this package imports torch, diffusers and transformers.

`run`, `Runner` and their results are in `crynux_validate`. Modules are imported when they are first used.
"""

import crynux_validate.lazy as _lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.pipelines.runner import Progress
    from crynux_validate.pipelines.text.audit import TextAuditor
    from crynux_validate.pipelines.text.generating import Token

_MODULE_OF = {
    "Progress": "runner",
    "TextAuditor": "text.audit",
    "Token": "text.generating",
}

_NEEDS = {
    "Progress": ("all", ("torch",)),
    "TextAuditor": ("text", ("torch", "transformers", "numpy")),
    "Token": ("text", ("torch", "transformers", "numpy")),
}

__all__ = [
    "Progress",
    "TextAuditor",
    "Token",
]

__all__ = _lazy.public(__all__, _NEEDS)
if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, _MODULE_OF, _NEEDS)


def __dir__() -> "list[str]":
    return __all__
