"""The record of audits: one line of JSON for each, which is not measured again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from crynux_validate.audits.image import SAME, Along, Errors
from crynux_validate.calibration.audits.records import ImageRecord, Origin

Rows = Sequence[dict[str, Any]]

MODEL: Final = "e9e7afdfb7ccec56b1e8d7385d05a9155e6995845187d74b26260cc6463d041d"
"""The digest of the shipped Stable Diffusion."""
VERSIONS: Final = {"torch": "2.13.0", "diffusers": "0.42.1", "transformers": "5.23.0", "numpy": "2.4.6"}
"""What the records were measured with; other versions need new records."""

COLUMNS: Final = ("length", "prediction", "smooth", "latent", "guidance", "reuse", "against")
"""What is kept of a step, of those with other bits."""
KEY: Final = ("dtype", "scheduler", "side", "count", "picture_number", "cheat", "node", "auditor")


def row_of(errors: Errors) -> list[float | None] | None:
    """The numbers of a step, to four digits; None for equal bits."""
    if errors.equal:
        return None
    return [None if (value := errors.of(name)) is None else float(f"{value:.4g}") for name in COLUMNS]


def record_of(row: dict[str, Any], *, against: bool | None = None) -> ImageRecord:
    """What the calibration takes of a row of the record; of cheats without the other model, unless it is asked for."""
    told = row["cheat"] is None if against is None else against
    steps = tuple(errors_of(one, against=told) for one in row["rows"])
    thing = tuple(row[name] for name in ("dtype", "scheduler", "side", "count", "picture_number", "cheat"))
    half, side = row["picture_number"] % 2, row["side"]
    origin = Origin(f"picture {thing}", row["dtype"], MODEL, thing, half, row["node"], row["auditor"], VERSIONS)
    return ImageRecord(origin, row["scheduler"], (side, side), steps, row["picture"], row["peak"])


def errors_of(row: list[float | None] | None, *, against: bool = False) -> Errors:
    """The errors of a step from its row in the record."""
    if row is None:
        return SAME
    of = dict(zip(COLUMNS, row, strict=True))

    def along(name: str) -> Along | None:
        value = of[name]
        return None if value is None or (name == "against" and not against) else Along(value, 0.0)

    length, prediction, smooth, latent = (float(of[name] or 0.0) for name in COLUMNS[:4])
    return Errors(
        equal=False, length=length, prediction=prediction, smooth=smooth, latent=latent,
        guidance=along("guidance"), reuse=along("reuse"), against=along("against"),
    )  # fmt: skip


class Record:
    """Lines that are appended; several files can be read as one."""

    def __init__(self, paths: list[Path]) -> None:
        self._path = paths[0]
        lines = [line for path in paths if path.exists() for line in path.read_text("utf-8").splitlines()]
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._known = {self._key(row) for row in self.rows}

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in KEY)

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it was measured."""
        return self._key(row) in self._known

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows.append(row)
        self._known.add(self._key(row))
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
