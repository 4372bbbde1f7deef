"""AdamW over two parameter groups, and an update that leaves out non-finite gradients."""

import torch
from torch import Tensor, nn

from training.config import OptimConfig


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices with weight decay; biases, norms, temperatures and other small tensors without."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def build_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW, fused on GPUs."""
    groups = [group for group in parameter_groups(module, config.weight_decay) if group["params"]]
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
