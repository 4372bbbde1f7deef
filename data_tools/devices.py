"""Where models run."""

from typing import TYPE_CHECKING

from vlp.errors import InputError

if TYPE_CHECKING:
    import torch


def device_of(name: str) -> "torch.device":
    """The device that a name means, auto being a GPU where there is one.

    Raises:
        InputError: there is no such device.
    """
    import torch  # here, as command lines must start fast

    has_gpu = torch.cuda.is_available()
    try:
        device = torch.device(("cuda" if has_gpu else "cpu") if name == "auto" else name)
    except RuntimeError:
        raise InputError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not has_gpu):
        raise InputError(f"--device {name}: torch finds no such device here")
    return device
