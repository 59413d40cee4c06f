"""The one room that imports torch, diffusers and transformers: guard, noise, probe, runner.

Nothing is imported here: whoever needs only noise does not pay for torch.
"""
