"""SogCLR: Σ_j w_ij·h_ij/(G − 1), h_ij = s_ij − s_ii, with denominators averaged over time.

Yuan et al. 2022 (SogCLR, arXiv 2202.12387) and Qiu et al. 2023 (iSogCLR, arXiv 2305.11965),
in the bimodal form. Each sample i has for image and text a moving average s_i of
g_i = Σ_j exp(h_ij/τ_i)/(G − 1), so w_ij = exp(h_ij/τ_i)/s_i estimates the gradient of the loss over
the whole data set from a small batch. iSogCLR (`individual`) also moves τ_i. All exponentials carry
a running maximum b_i against overflow. The value is no loss to compare with InfoNCE's: its gradient
is what counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vlp.objectives.base import Facts, Objective
from vlp.signals import Signals

_FIELDS = ("s", "b", "u", "tau")
_SIDES = ("image", "text")


class _State(NamedTuple):
    """Of some samples, [B] each."""

    s: Tensor  # moving average of g·exp(−b); 0 for a sample that was never seen
    b: Tensor  # running maximum of h/τ
    u: Tensor  # moving average of the temperature's gradient
    tau: Tensor  # temperature


@dataclass(frozen=True, kw_only=True)
class Individual:
    """A learned temperature per sample (iSogCLR).

    Args:
        rho: strength of the pull towards sharper temperatures.
        lr: step size.
        momentum: share of the new gradient in its moving average, in (0, 1].
        lowest: lower bound of the temperatures; the upper one is 1.
    """

    rho: float = 6.0
    lr: float = 0.03
    momentum: float = 0.9
    lowest: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.momentum <= 1:
            raise ValueError(f"individual.momentum must be in (0, 1], got {self.momentum}")
        if not 0 < self.lowest < 1:
            raise ValueError(f"individual.lowest must be in (0, 1), got {self.lowest}")


class SogCLR(Objective):
    """The global contrastive loss with a state per sample, kept by `sample_id`.

    Args:
        weight: factor of the term in the total loss.
        gamma: share of the new value in the moving average of denominators, in (0, 1].
        temperature: τ, or its start, in (0, 1].
        individual: options of temperatures per sample; without it τ is fixed.
        samples: size of the table; in a run it is that of the data set.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        gamma: float = 0.8,
        temperature: float = 0.01,
        individual: Individual | None = None,
        samples: int = 0,
    ) -> None:
        super().__init__(weight=weight)
        for name, value in (("gamma", gamma), ("temperature", temperature)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {value}")
        self.gamma = gamma
        self.temperature = temperature
        self.individual = individual
        self.sized = samples > 0
        for side in _SIDES:
            for field in _FIELDS:
                self.register_buffer(f"{side}_{field}", self._fresh(field, samples))
        self._rows: dict[str, Tensor] = {}

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "text", "all_image", "all_text", "sample_id"})

    def prepare(self, facts: Facts) -> None:
        if not facts.samples:
            raise ValueError("SogCLR keeps a state per sample: it needs an indexed data set")
        self._grow(facts.samples)
        self.sized = True

    def forward(self, signals: Signals) -> Tensor:
        ids = signals["sample_id"]
        if not self.sized:  # outside a run nobody has said how many samples there are
            self._grow(int(ids.max()) + 1)
        image, text = signals["image"], signals["text"]
        own = (image * text).sum(1, keepdim=True)  # [B, 1]
        cosines = {
            "image": image @ signals["all_text"].T,
            "text": text @ signals["all_image"].T,
        }  # [B, G]
        rows = {"sample_id": ids}
        total = image.new_zeros(())
        for side in _SIDES:
            value, state = self._side(cosines[side] - own, self._read(side, ids))
            total = total + value
            rows |= {f"{side}_{k}": v for k, v in zip(_FIELDS, state, strict=True)}
        self._rows = rows
        return total

    def _side(self, h: Tensor, state: _State) -> tuple[Tensor, _State]:
        """The term of one side for differences h [B, G], and the samples' new state."""
        others = max(h.shape[1] - 1, 1)
        with torch.no_grad():
            scaled = h.detach().float() / state.tau[:, None]
            b = torch.maximum(state.b, scaled.amax(1))
            powers = torch.exp(scaled - b[:, None])  # [B, G]
            g = powers.sum(1) / others
            before = state.s * torch.exp(state.b - b)
            s = torch.where(state.s > 0, (1 - self.gamma) * before + self.gamma * g, g)
            weights = powers / (s[:, None] + 1e-14)
            u, tau = state.u, state.tau
            if (own := self.individual) is not None:
                pull = s.clamp(min=1e-30).log() + b + own.rho
                slope = pull - (weights * scaled).sum(1) / others
                u = (1 - own.momentum) * u + own.momentum * slope.clamp(-5, 5)
                tau = (tau - own.lr * u).clamp(own.lowest, 1.0)
        value = (weights.to(h.dtype) * h).sum(1).mean() / others
        return value, _State(s, b, u, tau)

    def state_rows(self) -> dict[str, Tensor]:
        return self._rows

    @torch.no_grad()
    def after_step(self, rows: Mapping[str, Tensor]) -> None:
        """Write the samples' new state; a sample that is in the batch twice takes the mean."""
        ids = rows["sample_id"]
        if not self.sized:
            self._grow(int(ids.max()) + 1)
        order = ids.argsort(stable=True)
        ids = ids[order]
        fresh = torch.ones_like(ids)
        fresh[1:] = (ids[1:] != ids[:-1]).long()
        group = fresh.cumsum(0) - 1  # [G], rows of one sample have the same
        zeros = torch.zeros(len(ids), device=ids.device)
        times = zeros.index_add(0, group, torch.ones_like(zeros))
        for side in _SIDES:
            new = {field: rows[f"{side}_{field}"][order] for field in _FIELDS}
            top = zeros.scatter_reduce(0, group, new["b"], "amax", include_self=False)[group]
            new["s"], new["b"] = new["s"] * torch.exp(new["b"] - top), top  # s exp(b) stays
            for field in _FIELDS:
                table = self.get_buffer(f"{side}_{field}")
                mean = (zeros.index_add(0, group, new[field]) / times)[group]
                table[ids] = torch.where(torch.isfinite(mean), mean, table[ids])

    def _read(self, side: str, ids: Tensor) -> _State:
        return _State(*(self.get_buffer(f"{side}_{field}")[ids] for field in _FIELDS))

    def _fresh(self, field: str, samples: int) -> Tensor:
        start = {"s": 0.0, "b": 0.0, "u": 0.0, "tau": self.temperature}
        return torch.full((samples,), start[field])

    def _grow(self, samples: int) -> None:
        for name, table in list(self.named_buffers()):
            if samples > len(table):
                new = self._fresh(name.partition("_")[2], samples - len(table)).to(table.device)
                setattr(self, name, torch.cat([table, new]))
