"""AdamW with and without weight decay, and an update that leaves out non-finite gradients."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from training.config import OptimConfig


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices with weight decay; biases, norms, temperatures and other small tensors without.

    Sharded and whole parameters are kept apart: a fused kernel takes one kind at a time.
    """
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            kind = (parameter.ndim >= 2, isinstance(parameter, DTensor))
            kinds.setdefault(kind, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if matrices else 0.0}
        for (matrices, _), parameters in sorted(kinds.items(), key=lambda item: item[0])[::-1]
    ]


def build_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW, fused on GPUs."""
    groups = parameter_groups(module, config.weight_decay)
    on_gpu = next(module.parameters()).is_cuda
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=on_gpu or None
    )


def update(optimizer: torch.optim.Optimizer, finite: Tensor) -> None:
    """Step unless the gradients are not finite; on a GPU the kernel itself decides, so that the
    host never waits for the flag.

    Args:
        optimizer: AdamW as `build_optimizer` makes it.
        finite: [] bool, on the parameters' device.
    """
    if finite.is_cuda:
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # read by fused AdamW
        optimizer.step()
    elif finite:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
