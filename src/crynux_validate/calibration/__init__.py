"""What a threshold is worth: error rates of honest machines and of cheats, measured, with bounds that hold.

`calibrate` takes `Samples` and returns a `Calibration`; both are in `crynux_validate`. What needs numpy is imported
when it is first used: a saved calibration is read without it.
"""

import crynux_validate.lazy as _lazy
from crynux_validate.calibration.plot import draw_plot
from crynux_validate.calibration.rates import CheatRates, Curve, Curves, HonestRates, PairRates, Rate, Rates
from crynux_validate.calibration.recommendation import NotEnough, Recommendation
from crynux_validate.calibration.result import Calibration as Calibration
from crynux_validate.calibration.result import Excluded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.calibration.audits.calibrating import calibrate_audits
    from crynux_validate.calibration.audits.records import read_audits
    from crynux_validate.calibration.calibrating import calibrate as calibrate
    from crynux_validate.calibration.keyed import BandRates, KeyedCalibration, KeyedSample, calibrate_keyed
    from crynux_validate.calibration.reading import kind_of, read_samples, sample_of
    from crynux_validate.calibration.samples import Sample, Samples
    from crynux_validate.calibration.tables import write_samples

__all__ = [
    "BandRates",
    "CheatRates",
    "Curve",
    "Curves",
    "Excluded",
    "HonestRates",
    "KeyedCalibration",
    "KeyedSample",
    "NotEnough",
    "PairRates",
    "Rate",
    "Rates",
    "Recommendation",
    "Sample",
    "Samples",
    "calibrate_audits",
    "calibrate_keyed",
    "draw_plot",
    "kind_of",
    "read_audits",
    "read_samples",
    "sample_of",
    "write_samples",
]

_MODULE_OF = {
    "calibrate_audits": "audits.calibrating", "read_audits": "audits.records",
    "BandRates": "keyed", "KeyedCalibration": "keyed", "KeyedSample": "keyed", "calibrate_keyed": "keyed",
    "calibrate": "calibrating", "kind_of": "reading", "read_samples": "reading", "sample_of": "reading",
    "Sample": "samples", "Samples": "samples", "write_samples": "tables",
}  # fmt: skip
_NEEDS = dict.fromkeys(_MODULE_OF, ("calibration", ("numpy",))) | dict.fromkeys(
    ("calibrate", "calibrate_audits", "calibrate_keyed"), ("calibration", ("numpy", "scipy"))
)

__all__ = _lazy.public(__all__, _NEEDS)
if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, _MODULE_OF, _NEEDS)
