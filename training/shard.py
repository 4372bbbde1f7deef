"""Parameters sharded over ranks: torch's FSDP2 (`fully_shard`) on the towers.

Each block of a transformer is a unit, and the model is the root. The scale and the bias stay whole,
as scalars cannot be sharded, and so do the objectives' own parameters: their gradients are averaged
by `average_whole`. A checkpoint holds whole tensors, so it goes on under either wrapping.
"""

import inspect
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.accumulate import average_gradients
from vlp.dist import active, world_size
from vlp.model import DualEncoder


def shard(model: DualEncoder, device: torch.device) -> None:
    """Shard the towers over all ranks, in place.

    Raises:
        ValueError: there is one process.
    """
    if not active():
        raise ValueError("parallel: fsdp shards over ranks, but there is one process; use ddp")
    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise ValueError(f"parallel: fsdp needs torch 2.7 or newer, this is {torch.__version__}")
    mesh = init_device_mesh(device.type, (world_size(),))
    whole = {p for p in model.parameters() if p.ndim == 0}
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=whole)


def _blocks(model: nn.Module) -> Iterable[nn.Module]:
    """The repeated blocks of the towers: the members of open_clip's and timm's lists of them."""
    lists = ("resblocks", "cross_attn", "blocks", "layer")
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and name.rpartition(".")[2] in lists:
            yield from module.children()


def average_whole(module: nn.Module) -> None:
    """The mean over ranks of the gradients of parameters that are not sharded."""
    average_gradients(p for p in module.parameters() if not isinstance(p, DTensor))


def whole(value: Tensor) -> Tensor:
    """The tensor, put together where it is sharded; all ranks call it."""
    if not isinstance(value, DTensor):
        return value
    together: Tensor = value.full_tensor()
    return together


def collected(values: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors, sharded ones as copies on the CPU; without `keep` nothing, but all ranks call.

    One after the other: the device holds one whole tensor at a time.
    """
    found = {}
    for name, value in values.items():
        together = whole(value)
        if keep:
            found[name] = together.cpu() if isinstance(value, DTensor) else value
    return found


@torch.no_grad()
def put(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded; all ranks have the same `value`."""
    if isinstance(target, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    target.copy_(value)


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Clip the gradients of sharded and whole parameters to a common norm; the norm before."""
    kinds: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for parameter in parameters:
        if parameter.grad is not None:
            kinds[isinstance(parameter, DTensor)].append(parameter)
    used = [kind for kind in kinds.values() if kind]
    gradients = [[p.grad for p in kind if p.grad is not None] for kind in used]
    norms = [whole(nn.utils.get_total_norm(kind)) for kind in gradients]
    total = torch.stack([n.float() for n in norms]).norm() if norms else torch.zeros(())
    for kind in used:
        nn.utils.clip_grads_with_norm_(kind, limit, total)
    return total
