"""The guard: every switch that decides bits, and what this machine is under it."""
