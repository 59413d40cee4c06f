"""How far honest machines and cheats are from each other on a small trained Stable Diffusion.

``python -m benchmarks.distances`` draws the same prompts on every kind of fake hardware, and on the native kind what
cheats hand in; it prints tables for ``docs/measurements/images.md`` and draws the pictures beside them.
"""
