"""One training step as one module: model, sources and objectives over one forward pass."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vlp.model import DualEncoder
from vlp.objectives import Objective
from vlp.signals import Signals, as_signals

Autocast = Callable[[], AbstractContextManager[object]]
DATA_SIGNALS = frozenset({"pixels", "tokens", "sample_id"})


class TrainStep(nn.Module):
    """Everything that is trained, so that wrapping this one module wraps all of it.

    Args:
        model: the towers.
        sources: modules that add signals, in the order in which they run.
        objectives: by the name under which their loss is logged.
        autocast: context for the towers; objectives run in float32.

    Raises:
        ValueError: an objective or source needs a signal that nothing provides.
    """

    def __init__(
        self,
        model: DualEncoder,
        sources: Sequence[nn.Module],
        objectives: Mapping[str, Objective],
        autocast: Autocast,
    ) -> None:
        super().__init__()
        check_needs(model, sources, objectives)
        self.model = model
        self.sources = nn.ModuleList(sources)
        self.objectives = nn.ModuleDict(objectives)
        self.autocast = autocast
        self._freeze_unused(frozenset().union(*(o.needs for o in objectives.values())))

    def forward(self, signals: Signals) -> dict[str, Tensor]:
        """The unweighted loss of each objective by name, and their weighted sum as `total`."""
        return self.losses(self.encode(signals), tuple(self.objectives))

    def encode(self, signals: Signals) -> Signals:
        """Adds what the model provides."""
        with self.autocast():
            encoded: Signals = self.model(signals)
        return encoded

    def losses(
        self, signals: Signals, names: Sequence[str], *, with_sources: bool = True
    ) -> dict[str, Tensor]:
        """Run the sources, then the named objectives, in float32."""
        with torch.autocast(signals["pixels"].device.type, enabled=False):
            for source in self.sources if with_sources else ():
                signals = source(signals)
            found = {name: self.objectives[name](signals) for name in names}
        return {**found, "total": self.weighted(found)}

    def weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum of the losses with their weights."""
        terms = [self.objective(name).weight * loss for name, loss in losses.items()]
        return torch.stack(terms).sum()

    def objective(self, name: str) -> Objective:
        objective = self.objectives[name]
        assert isinstance(objective, Objective)
        return objective

    @torch.no_grad()
    def after_step(self, signals: Mapping[str, Tensor]) -> None:
        """Let the model and the objectives advance what the optimizer does not."""
        self.model.after_step()
        for name in self.objectives:
            self.objective(name).after_step(as_signals(dict(signals)))

    def _freeze_unused(self, needs: frozenset[str]) -> None:
        """A temperature or bias that no objective reads gets no gradient: DDP would wait for it."""
        for parameter, signal in (("logit_scale", "scale"), ("logit_bias", "bias")):
            unused = getattr(self.model.clip, parameter, None)
            if unused is not None and signal not in needs:
                unused.requires_grad_(False)


def check_needs(
    model: DualEncoder, sources: Sequence[nn.Module], objectives: Mapping[str, Objective]
) -> None:
    """Match what is needed with what is provided, before anything runs."""
    have = set(DATA_SIGNALS) | model.provides
    for name, needs, provides in [
        *((f"source {type(s).__name__}", s.needs, s.provides) for s in sources),
        *((f"objective {name!r}", o.needs, frozenset[str]()) for name, o in objectives.items()),
    ]:
        missing = sorted(needs - have)  # type: ignore[operator]  # nn.Module hides class attributes
        if missing:
            raise ValueError(f"{name} needs {missing}, which nothing provides; have {sorted(have)}")
        have |= provides  # type: ignore[arg-type]
    alone = DATA_SIGNALS | model.provides
    for name, objective in objectives.items():
        others = sorted(objective.needs - alone)
        if objective.scope == "sample" and others:
            raise ValueError(
                f"objective {name!r} has scope 'sample' but needs {others}, which are made of the "
                "whole batch: its scope is 'batch'"
            )
