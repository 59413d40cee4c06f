"""The shipped vectors, recomputed from the protocol's text ("Bytes") without this library's own encoders."""
