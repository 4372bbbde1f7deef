"""Weights on their way from one library's names to another's, none of them left behind."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from vlp.errors import InputError


class Renaming:
    """Takes tensors by their old names and holds them by their new ones.

    Args:
        state: the old names, without the prefix that the caller has cut off.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._left = dict(state)
        self.found: dict[str, Tensor] = {}

    def take(self, old: str) -> Tensor:
        """A tensor that is put under a new name by the caller."""
        return self._left.pop(old)

    def move(self, old: str, new: str, change: Callable[[Tensor], Tensor] | None = None) -> None:
        """Rename one tensor."""
        tensor = self.take(old)
        self.found[new] = tensor if change is None else change(tensor)

    def layer(self, old: str, new: str, scale: str | None = None) -> None:
        """Rename weight and bias; where there is a layer scale behind it, multiply by it.

        A weight without bias gets one of zero where the new layer has one.
        """
        weight = self.take(f"{old}.weight")
        bias = self._left.pop(f"{old}.bias", weight.new_zeros(len(weight)))
        gamma = self._left.pop(scale, None) if scale else None
        if gamma is not None:
            weight, bias = weight * gamma[:, None], bias * gamma
        self.found |= {f"{new}.weight": weight, f"{new}.bias": bias}

    def split(self, old: tuple[str, str], new: Iterable[str]) -> None:
        """Cut a joint weight and its bias into the equal parts of several layers."""
        names = list(new)
        weight, bias = self.take(old[0]), self.take(old[1])
        parts = zip(names, weight.chunk(len(names)), bias.chunk(len(names)), strict=True)
        for name, own_weight, own_bias in parts:
            self.found |= {f"{name}.weight": own_weight, f"{name}.bias": own_bias}

    def finish(self, what: str) -> dict[str, Tensor]:
        """The new state.

        Raises:
            InputError: a tensor has no place in it.
        """
        if self._left:
            raise InputError(
                f"{what} has weights that have no place there: {', '.join(self._left)}"
            )
        return {name: value.detach().clone().contiguous() for name, value in self.found.items()}


def open_clip_blocks(own: Renaming, layers: int, new: str) -> None:
    """The transformer of an open_clip tower, `transformer.resblocks`, to `{new}.encoder.layers`."""
    for index in range(layers):
        old, to = f"transformer.resblocks.{index}", f"{new}.encoder.layers.{index}"
        own.layer(f"{old}.ln_1", f"{to}.layer_norm1")
        own.layer(f"{old}.ln_2", f"{to}.layer_norm2")
        joint = (f"{old}.attn.in_proj_weight", f"{old}.attn.in_proj_bias")
        own.split(joint, [f"{to}.self_attn.{name}_proj" for name in "qkv"])
        own.layer(f"{old}.attn.out_proj", f"{to}.self_attn.out_proj", f"{old}.ls_1.gamma")
        own.layer(f"{old}.mlp.c_fc", f"{to}.mlp.fc1")
        own.layer(f"{old}.mlp.c_proj", f"{to}.mlp.fc2", f"{old}.ls_2.gamma")


def activation(module: nn.Module) -> str | None:
    """What transformers calls an activation, None for one that it may not have."""
    if isinstance(module, QuickGELU):
        return "quick_gelu"
    if isinstance(module, nn.GELU):
        return {"none": "gelu", "tanh": "gelu_pytorch_tanh"}[module.approximate]
    values = torch.linspace(-4, 4, 101)  # timm has classes of its own, for the same functions
    try:
        found = module(values.clone())
    except (TypeError, RuntimeError):
        return None
    for name, approximate in (("gelu", "none"), ("gelu_pytorch_tanh", "tanh")):
        if torch.equal(found, nn.functional.gelu(values, approximate=approximate)):
            return name
    return None


def one_of(values: Iterable[Any], what: str) -> Any:  # noqa: ANN401 (whatever the values are)
    """The value that all layers share.

    Raises:
        InputError: they differ.
    """
    found = sorted(set(values), key=str)
    if len(found) != 1:
        raise InputError(f"{what} differs between layers: {', '.join(map(str, found))}")
    return found[0]


def epsilon(tower: nn.Module, what: str) -> float:
    """That of all layer norms of a tower."""
    norms = (m for m in tower.modules() if isinstance(m, nn.LayerNorm))
    return float(one_of((norm.eps for norm in norms), f"{what}: epsilon of layer norm"))
