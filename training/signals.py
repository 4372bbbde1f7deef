"""What a run's data and teachers provide, and what its objectives need of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.config import TrainConfig
from vlp.data.loader import DataConfig
from vlp.data.sidecars import (
    COUNTS,
    KEEP,
    NEGATIVES,
    NEIGHBOURS,
    REWRITES,
    TEACHER,
    kind_of,
    kinds_not_there,
)
from vlp.data.source import Source, SourceConfig
from vlp.data.texts import ORIGINAL
from vlp.objectives import Objective
from vlp.signals import COUNTER, HARD, MORE, NUMBER, TEXT_SIGNALS

log = logging.getLogger(__name__)
_SIDECAR_OF = {HARD: NEGATIVES, COUNTER: COUNTS, NUMBER: COUNTS}


@dataclass(frozen=True, kw_only=True)
class DataNeeds:
    """What the loader must give besides pictures and captions."""

    kinds: frozenset[str]  # of further texts
    stored: tuple[str, ...]  # teacher sidecars
    hashes: bool  # of captions and pictures

    @property
    def signals(self) -> frozenset[str]:
        """The names of what it gives."""
        masks = {f"{kind}_mask" for kind in self.kinds}
        sides = {f"{name}_{side}" for name in self.stored for side in ("image", "text")}
        hashes = {"caption_id", "image_id"} if self.hashes else set()
        return frozenset(masks | sides | hashes)


def data_needs(config: TrainConfig) -> DataNeeds:
    """What the objectives need of the data, as far as the data have it.

    Raises:
        ValueError: something is configured that no objective would read.
    """
    needs = needed(config.objectives)
    sources = config.data.sources
    kinds = {
        kind
        for kind, signal in TEXT_SIGNALS.items()
        if signal in needs and _there(kind, config.data, sources)
    }
    stored = {
        name
        for source in sources.values()
        for name in source.sidecars
        if kind_of(name) == TEACHER and f"{name}_image" in needs
    }
    for name in stored:
        lacking = [other for other, source in sources.items() if name not in source.sidecars]
        if lacking:
            raise ValueError(
                f"data.sources.{lacking[0]}.sidecars lacks {name!r}, which other sources have: a "
                "stored teacher must know every sample"
            )
    _refuse_idle(config.data, needs)
    found = DataNeeds(
        kinds=frozenset(kinds),
        stored=tuple(sorted(stored)),
        hashes=bool(needs & {"caption_id", "image_id"}),
    )
    _warn_of_idle(sources, found, hard_images=config.data.hard_images)
    return found


def check_hard_kinds(kinds: Sequence[str], sources: Mapping[str, Source]) -> None:
    """Refuse a kind of hard captions that is nowhere: nothing would be drawn of it.

    Raises:
        ValueError: it names the kind.
    """
    left = set(kinds)
    for source in sources.values():
        for name in source.config.sidecars:
            if kind_of(name) == NEGATIVES and left:
                left &= kinds_not_there(sorted(left), name, source.shards)
    if left:
        raise ValueError(
            f"data.texts.hard_kinds: no negatives sidecar has a text of kind {sorted(left)[0]!r}"
        )


def needed(objectives: Mapping[str, Objective]) -> frozenset[str]:
    """The signals of the objectives, those of single samples also where only `all_X` is named."""
    names = frozenset[str]().union(*(objective.needs for objective in objectives.values()))
    return names | {name.removeprefix("all_") for name in names}


def _there(kind: str, data: DataConfig, sources: Mapping[str, SourceConfig]) -> bool:
    if kind == MORE:
        return data.texts.captions > 1
    return any(source.has(_SIDECAR_OF[kind]) for source in sources.values())


def _refuse_idle(data: DataConfig, needs: frozenset[str]) -> None:
    if data.texts.captions > 1 and "texts" not in needs:
        raise ValueError(
            f"data.texts.captions is {data.texts.captions}, but no objective takes more than one; "
            "InfoNCE does with variant: {every_caption: true}"
        )
    if (data.texts.hard_kinds or data.texts.hard_captions > 1) and "hard_text" not in needs:
        raise ValueError(
            "data.texts has hard_kinds or hard_captions, but no objective takes hard captions; "
            "InfoNCE does with hard_captions: true"
        )
    sets = {ORIGINAL} | {
        name
        for source in data.sources.values()
        for name in source.sidecars
        if kind_of(name) == REWRITES
    }
    unknown = sorted(data.texts.weights.keys() - sets)
    if unknown:
        raise ValueError(
            f"data.texts.weights: {unknown[0]!r} is no set of captions; choices: {sorted(sets)}"
        )


def _warn_of_idle(
    sources: Mapping[str, SourceConfig], found: DataNeeds, *, hard_images: bool
) -> None:
    used = {_SIDECAR_OF[kind] for kind in found.kinds if kind in _SIDECAR_OF}
    used |= {NEIGHBOURS} if hard_images else set()
    for name, source in sources.items():
        for sidecar in source.sidecars:
            if kind_of(sidecar) not in used | {REWRITES, KEEP} and sidecar not in found.stored:
                log.warning("data.sources.%s.sidecars: nothing reads %s", name, sidecar)
