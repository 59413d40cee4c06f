"""Calibrations whose numbers are written down."""

from collections.abc import Mapping
from typing import Any

from crynux_validate.calibration.rates import Curve, Curves
from crynux_validate.calibration.recommendation import NotEnough, Recommendation
from crynux_validate.calibration.result import Calibration

PICTURES = 10_000
RECOMMENDED = Recommendation(threshold=10, slash_threshold=20)
NOT_ENOUGH = NotEnough("false_slash_rate", pictures=58, needed=2_938)


def calibration(cheats: Mapping[str, tuple[float, float]], **changes: Any) -> Calibration:
    """A calibration of cheats by their names: the upper end of how often one is accepted, the lower of slashed."""

    def curve(low: float, high: float, count: int) -> Curve:
        return Curve(PICTURES, ((low + high) / 2,) * count, (low,) * count, (high,) * count, (0,) * count)

    groups, pairs = (
        {name: Curves(curve(0, high, 3), curve(low, 1, count)) for name, (high, low) in cheats.items()}
        for count in (6, 3)
    )
    groups["honest"] = Curves(_honest(0.5, 0.01, 0.01), _honest(0.5, 0.5, 0.5, 0.5, 0.001, 0.001))
    pairs["honest"] = Curves(_honest(0.5, 0.01, 0.01), _honest(0.5, 0.5, 0.001))
    fields: dict[str, Any] = {
        "algorithm": "phash/1", "images": 1, "group_size": 3, "safety_checker": False, "confidence": 0.95,
        "false_reject_rate": 0.01, "false_slash_rate": 0.001, "models": ("m",), "kinds": ("a", "b"), "merged": {},
        "pictures": {"honest": PICTURES, **dict.fromkeys(cheats, PICTURES)}, "thresholds": (1, 10, 20),
        "groups": groups, "pairs": pairs, "left_out": (), "recommendation": RECOMMENDED, "warnings": (), "versions": {},
        "seed": 0,
    }  # fmt: skip
    return Calibration(**(fields | changes))


def _honest(*high: float) -> Curve:
    """Upper ends; nothing was seen."""
    return Curve(PICTURES, (0.0,) * len(high), (0.0,) * len(high), high, (0,) * len(high))
