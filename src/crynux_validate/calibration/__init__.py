"""What a threshold is worth: error rates of honest machines and of cheats, measured, with bounds that hold.

`calibrate` takes `Samples` and returns a `Calibration`. A name is imported when it is first used: a saved calibration
is read without numpy.
"""

import crynux_validate.lazy as _lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.calibration.reading import kind_of, read_samples, sample_of
    from crynux_validate.calibration.samples import Sample, Samples
    from crynux_validate.calibration.tables import write_samples

_MODULE_OF = {
    "Sample": "samples",
    "Samples": "samples",
    "kind_of": "reading",
    "read_samples": "reading",
    "sample_of": "reading",
    "write_samples": "tables",
}
_NEEDS = dict.fromkeys(_MODULE_OF, ("calibration", ("numpy",)))

__all__ = ["Sample", "Samples", "kind_of", "read_samples", "sample_of", "write_samples"]

__getattr__ = _lazy.importer(__name__, _MODULE_OF, _NEEDS)
