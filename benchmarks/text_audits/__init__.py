"""Error rates of text audits, from honest texts and cheats: ``python -m benchmarks.text_audits FOLDER``.

Everything is kept in a folder, so that a run goes on where it was stopped: the texts, what the reference makes of them,
and the bands.
"""
