"""The models of the blind test by name: trigrams of the captions, or a causal model's folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.annotate import Recipe, SidecarOptions, annotate, unfinished
from data_tools.near_misses.blind_test import Judged, by_sidecars, by_trigrams, judged_by
from data_tools.rewriting.backends import BackendOptions

if TYPE_CHECKING:
    from data_tools.near_misses.judges import Judging

NGRAM = "ngram"


@dataclass(frozen=True)
class Judge:
    """A model that judges the texts of the sidecar `name`.

    Args:
        model: the folder and how it is run; None for trigrams.
    """

    name: str
    model: BackendOptions | None

    @property
    def told(self) -> str:
        """What to call it."""
        return "trigrams of the captions" if self.model is None else self.model.model

    def prepare(self, shards: Sequence[Path], options: SidecarOptions) -> None:
        """Score this run's part, as far as shards can be scored one by one.

        Raises:
            RunError: shards that failed.
        """
        if self.model is not None:
            from data_tools.near_misses.judges import judge_shard  # loads torch

            annotate(judge_shard, shards, self._recipe(), self._judging(), options).finish()

    def unfinished(self, shards: Sequence[Path]) -> list[Path]:
        """The shards without scores."""
        return [] if self.model is None else unfinished(shards, self._recipe())

    def judged(self, shards: Sequence[Path], seed: int) -> Judged:
        """All scores."""
        if self.model is None:
            scores = by_trigrams(shards, self.name, seed)
        else:
            scores = by_sidecars(shards, self._recipe().name)
        return judged_by(shards, self.name, scores)

    def settings(self) -> dict[str, object]:
        """What decides its scores besides the texts, for the recipe."""
        return {"model": NGRAM} if self.model is None else self._judging().settings()

    def _judging(self) -> "Judging":
        from data_tools.near_misses.judges import Judging

        assert self.model is not None
        return Judging(self.name, self.model)

    def _recipe(self) -> Recipe:
        from data_tools.near_misses import judges

        settings = self._judging().settings()
        hidden = f"{self.name}/.likelihood-{settings['model'][:12]}"
        return Recipe(
            name=hidden,
            schema=judges.SCHEMA,
            settings=settings,
            inputs=(self.name,),
            what="judging",
        )


def judge(name: str, spec: str, options: BackendOptions) -> Judge:
    """The judge of a sidecar that `ngram` or a folder stands for."""
    return Judge(name, None if spec == NGRAM else replace(options, model=spec))
