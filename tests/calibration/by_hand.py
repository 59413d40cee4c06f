"""Calibrations whose numbers are written down."""

from collections.abc import Mapping
from typing import Any

from crynux_validate.calibration.recommendation import NotEnough, Recommendation
from crynux_validate.calibration.result import Calibration, Curve, Curves

RECOMMENDED = Recommendation(threshold=10, slash_threshold=20)
NOT_ENOUGH = NotEnough("false_slash_rate", pictures=58, needed=2_938)


def calibration(cheats: Mapping[str, tuple[float, float]], **changes: Any) -> Calibration:
    """A calibration of cheats by their names: the upper end of how often one is accepted, the lower of slashed."""

    def curve(low: float, rate: float, high: float) -> Curve:
        return Curve(100, (rate,), (low,), (high,), (0,))

    roles = {
        name: Curves(curve(0, high / 2, high), curve(low, (1 + low) / 2, 1)) for name, (high, low) in cheats.items()
    }
    honest = {"honest": Curves(curve(0, 0, 0.01), curve(0, 0, 0.001))}
    fields: dict[str, Any] = {
        "algorithm": "phash/1", "images": 1, "group_size": 3, "safety_checker": False, "confidence": 0.95,
        "false_reject_rate": 0.01, "false_slash_rate": 0.001, "models": ("m",), "kinds": ("a", "b"), "merged": {},
        "pictures": {"honest": 100, **dict.fromkeys(cheats, 100)}, "thresholds": (1,), "groups": honest | roles,
        "pairs": honest | roles, "left_out": (), "recommendation": RECOMMENDED, "warnings": (), "versions": {},
        "seed": 0,
    }  # fmt: skip
    return Calibration(**(fields | changes))
