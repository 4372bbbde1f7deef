"""Devices by name, checked before anything large is loaded onto them."""

import torch

from vlp.errors import InputError


def checked_device(name: str | torch.device | None) -> torch.device:
    """A device that this machine has; without a name the GPU if there is one.

    Raises:
        InputError: there is no such device; the message lists those that there are.
    """
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count(),
    }
    if name is None:
        return torch.device("cuda" if counts["cuda"] else "cpu")
    try:
        device = torch.device(name)
        there = (device.index or 0) < counts.get(device.type, 0)
    except RuntimeError:
        there = False
    if not there:
        choices = [kind + ":N" * (count > 1) for kind, count in counts.items() if count]
        raise InputError(f"device {str(name)!r}: choices are {', '.join(choices)}")
    return device
