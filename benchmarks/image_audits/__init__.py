"""How far honest machines and cheats are off in one step of an image: ``python -m benchmarks.image_audits``."""
