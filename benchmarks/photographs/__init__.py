"""How often parts of unrelated photographs agree by chance: ``python -m benchmarks.photographs``.

`sources` names the pictures, `record` holds the hashes of their parts, `counting` counts pairs below each threshold and
bounds the rates, `tables` writes the tables of docs/measurements/chance.md. Beside these modules are the records of the
runs: ``photographs.json``, which the built-in chance of agreement comes from, and ``drawings.json``.
"""
