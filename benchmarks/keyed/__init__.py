"""Keyed values of pictures on held-out pictures: what honest machines differ by, and which cheats pass.

``python -m benchmarks.keyed FOLDER`` draws pictures into FOLDER, goes on where it was stopped, and prints the tables of
``docs/measurements/keyed.md``.
"""
