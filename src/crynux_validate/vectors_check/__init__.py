"""Check test vectors: does this machine, with this library, compute what they say?

The wheel carries vectors for everything that two implementations must have alike (``docs/vectors.md``). They can be
checked where the library is installed, without a model and without torch, and copied out for another implementation.
"""

from crynux_validate.vectors_check.checks import check_vector
from crynux_validate.vectors_check.files import FILES, Vector, export_vectors, load_vectors, shipped

__all__ = ["FILES", "Vector", "check_vector", "export_vectors", "load_vectors", "shipped"]
