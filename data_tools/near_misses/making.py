"""The near misses of one shard, by whichever mode is asked for."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_tools.annotate import Made
from data_tools.eval_captions import evaluation_captions, fingerprint, normalised
from data_tools.lots import rng
from data_tools.near_misses.captions import Caption, Sample, read_captions
from data_tools.near_misses.lexicon import lexicon
from data_tools.near_misses.rules import RULES, Rules, frequencies
from data_tools.near_misses.sidecar import Found, made
from data_tools.rewriting.backends import BackendOptions

Mode = Literal["rules", "fill-mask", "llm"]
FILLS = ("fill-noun", "fill-adjective", "fill-verb", "fill-preposition")
ASKED = ("llm-noun", "llm-attribute", "llm-action", "llm-relation", "llm-negation")
KINDS_OF: dict[Mode, tuple[str, ...]] = {"rules": RULES, "fill-mask": FILLS, "llm": ASKED}
QUESTIONS = "questions"  # that a language model was asked
_EXCLUDE = "--exclude-captions"
EVALUATION = f"the caption is one of {_EXCLUDE}"


@dataclass(frozen=True)
class Making:
    """How near misses are made.

    Args:
        first: of the first caption of a sample alone.
        identity: of the model that fills or answers; nothing with rules.
    """

    name: str
    mode: Mode
    kinds: tuple[str, ...]
    per_caption: int
    first: bool
    guards: tuple[str, ...]
    exclude: tuple[str, ...]
    seed: int
    model: BackendOptions | None = None
    top_k: int = 0
    identity: tuple[tuple[str, Any], ...] = ()

    def excluded(self) -> Collection[str]:
        """Texts of evaluation sets, normalised, which are neither used nor made.

        Raises:
            InputError: one cannot be read.
        """
        return evaluation_captions(self.exclude, _EXCLUDE)

    def settings(self) -> dict[str, Any]:
        """All that decides the near misses besides the shard, for the recipe."""
        own = {
            "mode": self.mode,
            "kinds": list(self.kinds),
            "per_caption": self.per_caption,
            "captions": "first" if self.first else "all",
            "guard_sidecars": list(self.guards),
            "exclude_captions": fingerprint(self.excluded()),
            "seed": self.seed,
            "lists": lexicon().fingerprint(),
            "rules": RULES_VERSION,
        }
        if self.top_k:
            own["top_k"] = self.top_k
        return own | ({"model": dict(self.identity)} if self.identity else {})


RULES_VERSION = 2  # another one makes other near misses of the same lists


def make(shard: Path, making: Making) -> Made:
    """The sidecar of a shard."""
    samples = list(read_captions(shard, first=making.first, guards=making.guards))
    texts = making.excluded()
    found: dict[tuple[str, int], Found] = {}
    wanted = []
    for caption in _captions(samples):
        if normalised(caption.text) in texts:
            found[caption.key, caption.place] = (), EVALUATION
        else:
            wanted.append(caption)
    results, asked = _MODES[making.mode](shard, wanted, making)
    for caption, result in zip(wanted, results, strict=True):
        found[caption.key, caption.place] = result
    sidecar = made(samples, found, making.mode)
    sidecar.counts.update(asked)
    return sidecar


def _captions(samples: Sequence[Sample]) -> list[Caption]:
    return [caption for sample in samples for caption in sample.captions]


_Results = tuple[list[Found], Counter[str]]  # of the captions, and of what a model was asked


def _by_rules(shard: Path, captions: Sequence[Caption], making: Making) -> _Results:
    frequency = frequencies(caption.parsed for caption in captions)
    rules = Rules(making.kinds, making.per_caption, frequency, making.excluded())
    found = [
        rules.near_misses(c.parsed, c.picture, rng(making.seed, "near misses", c.key, c.text))
        for c in captions
    ]
    return list[Found](found), Counter()


def _by_filling(shard: Path, captions: Sequence[Caption], making: Making) -> _Results:
    from data_tools.near_misses.fill_mask import fill  # loads torch

    return fill(captions, making), Counter()


def _by_asking(shard: Path, captions: Sequence[Caption], making: Making) -> _Results:
    from data_tools.near_misses.llm import ask

    return ask(shard, captions, making)


_MODES = {"rules": _by_rules, "fill-mask": _by_filling, "llm": _by_asking}
