"""What a threshold is worth: error rates of honest machines and of cheats, measured, with bounds that hold.

`calibrate` takes `Samples` and returns a `Calibration`. A name is imported when it is first used: a saved calibration
is read without numpy.
"""

import crynux_validate.lazy as _lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.calibration.calibrating import calibrate
    from crynux_validate.calibration.recommendation import NotEnough, Recommendation
    from crynux_validate.calibration.result import (
        Calibration,
        CheatRates,
        Curve,
        Curves,
        Excluded,
        HonestRates,
        PairRates,
        Rate,
        Rates,
    )
    from crynux_validate.calibration.samples import Sample, Samples

_MODULE_OF = {
    "calibrate": "calibrating",
    "NotEnough": "recommendation",
    "Recommendation": "recommendation",
    "Sample": "samples",
    "Samples": "samples",
} | dict.fromkeys(
    (
        "Calibration", "CheatRates", "Curve", "Curves", "Excluded", "HonestRates", "PairRates", "Rate", "Rates",
    ),
    "result",
)  # fmt: skip

_NEEDS = {
    "calibrate": ("calibration", ("numpy", "scipy")),
    "Sample": ("calibration", ("numpy",)),
    "Samples": ("calibration", ("numpy",)),
}

__all__ = [
    "Calibration",
    "CheatRates",
    "Curve",
    "Curves",
    "Excluded",
    "HonestRates",
    "NotEnough",
    "PairRates",
    "Rate",
    "Rates",
    "Recommendation",
    "Sample",
    "Samples",
    "calibrate",
]

__getattr__ = _lazy.importer(__name__, _MODULE_OF, _NEEDS)
