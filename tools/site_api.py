"""An extension of griffe, for the pages of the API: types and defaults of what it does not see in the source."""

import re
from typing import Any, Final

import griffe

_TOGETHER: Final = re.compile(r"^(\w+(?:, \w+)+)\n((?:(?: +.*)?\n)*(?: +.*))", re.MULTILINE)
"""Parameters that a docstring tells of together, and what it says."""

_PAGE: Final = re.compile(r"`docs/([\w/-]+)\.md`")
"""A page that a docstring names."""


class Api(griffe.Extension):
    """Gives each parameter a row of its own, links to pages, and the constructor that pydantic makes for a task."""

    def on_object(self, *, obj: griffe.Object, **_kwargs: Any) -> None:
        """Part what is told together: griffe would give all of it the type and the default of the first. Link pages."""
        if obj.docstring:
            apart = _TOGETHER.sub(
                lambda told: "\n".join(f"{name}\n{told[2]}" for name in told[1].split(", ")), obj.docstring.value
            )
            obj.docstring.value = _PAGE.sub(r"[\1](../\1.md)", apart)  # pages of the API lie in a folder

    def on_class_members(self, *, cls: griffe.Class, **_kwargs: Any) -> None:
        """Add the constructor of a task: its parameters are its fields."""
        if "BaseTask" not in map(str, cls.bases):
            return
        keyword = griffe.ParameterKind.keyword_only
        fields = [griffe.Parameter("model", annotation="ModelRef", kind=keyword)]
        for field in cls.attributes.values():
            if "instance-attribute" in field.labels and field.annotation is not None:
                default = "{}" if "default_factory" in str(field.value) else field.value
                fields.append(griffe.Parameter(field.name, annotation=field.annotation, kind=keyword, default=default))
        cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*fields), parent=cls))
