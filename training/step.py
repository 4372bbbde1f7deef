"""One training step as one module: model, sources and objectives over one forward pass."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from vlp.model import DualEncoder
from vlp.objectives import Objective
from vlp.signals import Signals, as_signals, get, remedy
from vlp.sources import Momentum
from vlp.sources.gather import gather_all

log = logging.getLogger(__name__)
Autocast = Callable[[], AbstractContextManager[object]]
DATA_SIGNALS = frozenset({"pixels", "tokens", "sample_id", "step"})
SCALARS = frozenset({"scale", "bias"})  # of the model: no rows of a batch


class TrainStep(nn.Module):
    """Everything that is trained, so that wrapping this one module wraps all of it.

    Args:
        model: the towers.
        sources: modules that add signals, in the order in which they run. Those of scope "sample"
            run with the model, those of scope "batch" on the whole local batch.
        objectives: by the name under which their loss is logged.
        autocast: context for the towers; objectives run in float32.
        data: further signals that the data give, besides `DATA_SIGNALS`.

    Raises:
        ValueError: an objective or source needs a signal that nothing provides.
    """

    def __init__(
        self,
        model: DualEncoder,
        sources: Sequence[nn.Module],
        objectives: Mapping[str, Objective],
        autocast: Autocast,
        data: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.data = DATA_SIGNALS | frozenset(data)
        check_needs(model.provides_with(self.data), self.data, sources, objectives)
        self.model = model
        self.sources = nn.ModuleList(sources)
        self.objectives = nn.ModuleDict(objectives)
        self.autocast = autocast
        self.number = 0  # of the optimizer step
        self._freeze_unused(self.needs(self.objectives))

    def forward(self, signals: Signals) -> dict[str, Tensor]:
        """The unweighted loss of each objective by name, and their weighted sum as `total`."""
        names = tuple(self.objectives)
        encoded = self.encode(signals, self.needs(names))
        losses = self.losses(encoded, names)
        return {**losses, "total": losses["total"] + self.idle(encoded)}

    def idle(self, encoded: Signals) -> Tensor:
        """Zero, with a gradient of zero for features that no objective reads: DDP waits for all."""
        needs = self.needs(self.objectives)
        sums = [get(encoded, name).sum() for name in ("image", "text") if name not in needs]
        return 0.0 * sum(sums, encoded["image"].new_zeros(()))

    def needs(self, names: Iterable[str]) -> frozenset[str]:
        """The signals that these objectives need, and what the sources need to make them."""
        found = frozenset[str]().union(*(self.objective(name).needs for name in names))
        for source in reversed(self.sources):
            if found & _set(source.provides):
                found |= _set(source.needs)
        return found

    def encode(self, signals: Signals, wanted: frozenset[str]) -> Signals:
        """Adds those of the wanted signals that depend on single samples."""
        with self.autocast():
            encoded: Signals = self.model(signals, wanted)
        for source in self.sources:
            if source.scope == "sample" and wanted & _set(source.provides):
                encoded = source(encoded)
        return encoded

    def losses(
        self, signals: Signals, names: Sequence[str], *, with_sources: bool = True
    ) -> dict[str, Tensor]:
        """Run the sources of scope "batch", then the named objectives, in float32."""
        # made here, as wrappers would move it to the device, where reading it would wait
        signals = as_signals({**signals, "step": torch.tensor(self.number)})  # type: ignore[dict-item]
        with torch.autocast(signals["image"].device.type, enabled=False):
            for source in self.sources:
                if with_sources and source.scope == "batch":
                    signals = source(signals)
            found = {name: self.objectives[name](signals) for name in names}
        return {**found, "total": self.weighted(found)}

    def countable(self, signals: Signals) -> Signals:
        """With what objectives count items in, without running the model."""
        return as_signals({**signals, "caption_ids": signals["tokens"][:, 1:]})  # type: ignore[dict-item]

    def weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum of the losses with their weights."""
        terms = [self.objective(name).weight * loss for name, loss in losses.items()]
        return torch.stack(terms).sum()

    def objective(self, name: str) -> Objective:
        objective = self.objectives[name]
        assert isinstance(objective, Objective)
        return objective

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the model, the sources and the objectives advance what the optimizer does not."""
        self.model.after_step()
        for source in self.sources:
            if isinstance(source, Momentum):
                source.after_step(self.model)
        for name in self.objectives:
            objective = self.objective(name)
            rows = objective.state_rows()
            gathered = gather_all([value.detach() for value in rows.values()])
            objective.after_step(dict(zip(rows, gathered, strict=True)))

    def _freeze_unused(self, needs: Collection[str]) -> None:
        """What no objective reads gets no gradient: DDP would wait for it."""
        for parameter, signal in (("logit_scale", "scale"), ("logit_bias", "bias")):
            unused = getattr(self.model.clip, parameter, None)
            if unused is not None and signal not in needs:
                unused.requires_grad_(False)
        decoders = [self.model.captioner, getattr(self.model.clip, "text_decoder", None)]
        if "caption_logits" not in needs:
            for decoder in (d for d in decoders if d is not None):
                log.warning("no objective trains the captioning decoder: it stays as it is")
                decoder.requires_grad_(False)


def check_needs(
    model: frozenset[str],
    data: frozenset[str],
    sources: Sequence[nn.Module],
    objectives: Mapping[str, Objective],
) -> None:
    """Match what is needed with what is provided, before anything runs."""
    have = set(data | model)
    alone = set(have)  # what does not look at other samples
    for name, needs, source in [
        *((f"source {type(s).__name__}", _set(s.needs), s) for s in sources),
        *((f"objective {name!r}", o.needs, None) for name, o in objectives.items()),
    ]:
        missing = sorted(needs - have)
        if missing:
            wanted = missing[0]
            raise ValueError(
                f"{name} needs {missing}, which nothing provides: {wanted}: {remedy(wanted)}; "
                f"have {sorted(have)}"
            )
        if source is not None:
            twice = sorted(_set(source.provides) & have)
            if twice:
                raise ValueError(f"{name} provides {twice}, which are there already")
            have |= _set(source.provides)
            alone |= _set(source.provides) if source.scope == "sample" else set()
    for name, objective in objectives.items():
        if objective.scope not in ("batch", "sample"):
            raise ValueError(
                f"objective {name!r}: scope {objective.scope!r}: choices are batch, sample"
            )
        others = sorted(objective.needs - alone)
        if objective.scope == "sample" and others:
            raise ValueError(
                f"objective {name!r} has scope 'sample' but needs {others}, which are made of the "
                "whole batch: its scope is 'batch'"
            )


def _set(names: Any) -> frozenset[str]:  # noqa: ANN401 (nn.Module hides the types of attributes)
    return frozenset(names)
