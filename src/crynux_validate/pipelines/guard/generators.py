"""Watching torch's default generators: random numbers that come from them are not ours."""

import torch

from crynux_validate.errors import DeterminismError


class Untouched:
    """Notices whether anything drew from torch's default generators.

    Parameters
    ----------
    device
        Whose generator is watched, besides the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._states = self._read()

    def _read(self) -> list[torch.Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        elif self._device.type == "mps":
            states.append(torch.mps.get_rng_state())
        return states

    def reset(self) -> None:
        """Accept the present state: a caller's own code ran."""
        self._states = self._read()

    def check(self) -> None:
        """Raise where something has drawn since."""
        if not all(torch.equal(now, then) for now, then in zip(self._read(), self._states, strict=True)):
            raise DeterminismError(
                "the pipeline drew random numbers from torch's own generator, which differ between machines; "
                "the task cannot be reproduced with this model and scheduler"
            )
