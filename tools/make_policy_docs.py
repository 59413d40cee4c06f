"""Write the fields of a policy, and the schedulers: ``python -m tools.make_policy_docs``.

The tables of ``docs/policy.md`` and ``docs/schedulers.md``, from the class, its docstring and the list of schedulers. A
test says that they are up to date.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from crynux_validate.ledger.policy import Policy
from crynux_validate.schedulers import MAX_STEPS, SCHEDULERS, Choices

DOCS: Final = Path(__file__).parent.parent / "docs"

ABOUT_POLICY: Final = """# Policy

A ledger's parameters. `cv.Policy(min_stake=1_000)` takes the default of every other field. The policy of a ledger never
changes. Times are in seconds, money is in the smallest unit, and *ppm* is millionths. Signs like (P4) are rules of
[the protocol](protocol.md). `python -m tools.make_policy_docs` makes this page.

| field | default | meaning |
|---|---|---|"""

ABOUT_SCHEDULERS: Final = f"""# Schedulers

What an image task may name as its `scheduler`, and give as `scheduler_args`. The names are those of diffusers. An
argument that the task does not give comes from the model's own configuration, unless the table shows a default. A
task has at most {MAX_STEPS} steps. Noise models are Stable Diffusion 1, 2 and XL; all others are flow models.
`python -m tools.make_policy_docs` makes this page.

| scheduler | what it is | for | draws noise in its steps | arguments |
|---|---|---|---|---|"""


def written() -> dict[Path, str]:
    """Return the content of each page."""
    return {
        DOCS / "policy.md": "\n".join([ABOUT_POLICY, *_fields(), ""]),
        DOCS / "schedulers.md": "\n".join([ABOUT_SCHEDULERS, *_schedulers(), ""]),
    }


def _fields() -> Iterator[str]:
    told = inspect.getdoc(Policy) or ""
    section = told.partition("Parameters\n----------\n")[2]
    meanings = {
        name.strip(): " ".join(text.split())
        for names, text in re.findall(r"^(\w[\w, ]*)\n((?:    .*\n?|\n)+)", section, re.MULTILINE)
        for name in names.split(",")
    }
    for field in dataclasses.fields(Policy):
        default = "`()`" if field.default == () else f"`{field.default}`"
        if isinstance(field.default, int) and field.default >= 10_000:
            default = f"`{field.default:_}`"
        meaning = re.sub(r"`docs/([\w-]+)\.md`", r"[\1](\1.md)", meanings[field.name])
        yield f"| `{field.name}` | {default} | {meaning.replace('``', '`').replace('|', chr(92) + '|')} |"


def _schedulers() -> Iterator[str]:
    for name, spec in SCHEDULERS.items():
        arguments = "; ".join(
            f"`{argument}`: {_choices(choices)}"
            + (f", default `{spec.defaults[argument]}`" if argument in spec.defaults else "")
            for argument, choices in spec.arguments.items()
        )
        models = "flow models" if spec.flow else "noise models"
        yield f"| `{name}` | {spec.about} | {models} | {'yes' if spec.draws_noise else 'no'} | {arguments} |"


def _choices(choices: Choices) -> str:
    if isinstance(choices, range):
        return f"{choices.start} to {choices.stop - 1}"
    if choices == (False, True):
        return "true or false"
    return ", ".join(f"`{choice}`" for choice in choices)


def main() -> None:
    """Write the pages."""
    for path, text in written().items():
        path.write_text(text, "utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
