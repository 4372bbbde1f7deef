"""`dedup`: which of near pictures stay, and which are too near to evaluation sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_tools.annotate import Made, Recipe, SidecarOptions, annotate, conserved, unfinished
from data_tools.deduplication.caption_hashes import (
    caption_recipe,
    hash_captions,
    hashes_of_evaluation,
)
from data_tools.deduplication.embeddings import Embeddings
from data_tools.deduplication.pool import Pool, Repeated, canonical_order
from data_tools.deduplication.references import References
from data_tools.deduplication.search import HashSearch, Search, SemanticSearch
from data_tools.deduplication.signatures import sign_shard, signature_recipe
from data_tools.deduplication.verdicts import Rule, Verdicts
from data_tools.filtering.kept import SCHEMA, check_name
from data_tools.samples import find_shards
from vlp.errors import InputError

_DISTANCE, _EPSILON, _EMBEDDINGS = 4, 0.05, "embeddings"
_LARGEST_DISTANCE = 31  # two unrelated hashes differ in 32 bits


@dataclass(frozen=True, kw_only=True)
class Dedup(SidecarOptions):
    """Keep one of pictures that are the same, or nearly, and none that evaluation sets show.

    Of near pictures the one with the best score stays, then the first in the order of shards and
    samples. Others go if they are near to one that stays. The seed draws the first centroids.

    Args:
        by: exact compares the pictures' bytes; phash 64-bit perceptual hashes, which are for
            photographs and blind to colour; semantic the embeddings that `score --embeddings`
            wrote.
        name: of the sidecar, keep or keep-NAME.
        distance: for phash, bits in which near hashes differ at most; default 4.
        epsilon: for semantic, pictures are near with a cosine above 1 - epsilon; default 0.05.
        clusters: for semantic, k-means clusters within which all are compared; default one for
            each 10,000 pictures. 1 compares everything.
        embeddings: for semantic, the sidecar of embeddings; default embeddings.
        prefer: the sidecar of scores (scores, scores-NAME) by which the better picture stays.
        against: evaluation sets, whose pictures and what is near to them must not stay: tars of any
            WebDataset layout, folders of tars or pictures; for semantic, shards with embeddings.
        captions: captions of evaluation sets (.txt, .json, tables, tars, folders of these); samples
            with the same words in a caption, save articles, must not stay.
        only_against: leave duplicates among the shards alone.
        groups: a file for the groups, one JSON object a line.
    """

    by: Literal["exact", "phash", "semantic"]
    name: str = "keep-dedup"
    distance: int | None = None
    epsilon: float | None = None
    clusters: int | None = None
    embeddings: str | None = None
    prefer: str | None = None
    against: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    only_against: bool = False
    groups: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name, None)
        for option, by in (
            ("distance", "phash"),
            ("epsilon", "semantic"),
            ("clusters", "semantic"),
            ("embeddings", "semantic"),
        ):
            if getattr(self, option) is not None and self.by != by:
                raise InputError(f"--{option}: belongs to --by {by}, not to --by {self.by}")
        if not 0 <= (self.distance or 0) <= _LARGEST_DISTANCE:
            raise InputError(f"--distance {self.distance}: expected 0 to {_LARGEST_DISTANCE} bits")
        if not 0 <= (self.epsilon or 0) <= 1:
            raise InputError(f"--epsilon {self.epsilon}: expected 0 to 1")
        if self.clusters is not None and self.clusters < 1:
            raise InputError(f"--clusters {self.clusters}: expected 1 or more")
        if self.only_against and not (self.against or self.captions):
            raise InputError("--only-against: give --against or --captions")


def dedup(options: Dedup) -> None:
    """Run the command.

    Raises:
        InputError: nothing matches, or a sidecar that is asked for is missing or stale.
        RunError: some shards or evaluation pictures could not be read.
    """
    shards = find_shards(options.shards)
    left = _first_pass(shards, options)
    if left:
        print(
            f"{left:,} of {len(shards):,} shards are still to be hashed, by other parts; then the "
            "same command, of any part, finds the duplicates"
        )
        return
    pool = Pool.of(shards)
    evidence = _gather(pool, options)
    recipe = Recipe(name=options.name, schema=SCHEMA, settings=_settings(pool, options))
    verdicts = None
    if options.groups is not None or unfinished(shards, recipe, options.restart):
        verdicts = _judge(pool, evidence, options)
    # what decides is in this process, and writing it is little work
    here = replace(options, executor="serial", part="1/1")
    done = annotate(_keep_rows, shards, recipe, verdicts, here)
    parts = {"kept": done.counts.pop("kept", 0), **dict(sorted(done.counts.items()))}
    print(conserved(len(pool), parts))
    if verdicts is not None:
        print(verdicts.summary())
    if verdicts is not None and options.groups is not None:
        verdicts.write_groups(options.groups)
        print(f"groups: {options.groups}")
    print(f"sidecars: {options.name}")
    done.finish()


@dataclass(frozen=True)
class _Evidence:
    """All that was read to judge by."""

    search: Search
    scores: np.ndarray | None
    references: References | None
    captions: Repeated | None


def _first_pass(shards: Sequence[Path], options: Dedup) -> int:
    """Hash the shards of this part; returns how many are still missing of all parts."""
    left = set()
    if options.by != "semantic":
        recipe = signature_recipe(options.name, options.by)
        annotate(sign_shard, shards, recipe, options.by, options).finish()
        left |= set(unfinished(shards, recipe))
    if options.captions:
        recipe = caption_recipe(options.name)
        annotate(hash_captions, shards, recipe, None, options).finish()
        left |= set(unfinished(shards, recipe))
    return len(left)


def _gather(pool: Pool, options: Dedup) -> _Evidence:
    search = _search(pool, options)
    scores = None if options.prefer is None else pool.scores(options.prefer)
    references = search.references(options.against) if options.against else None
    if references is not None:
        pool.note("against", references.values.tobytes())
        more = f" ({references.unreadable:,} more are unreadable)" if references.unreadable else ""
        print(f"against {len(references.names):,} pictures{more}")
    known = hashes_of_evaluation(options.captions)
    if known:
        print(f"against {len(known):,} different captions")
    found = pool.with_captions(caption_recipe(options.name).name, known) if known else None
    return _Evidence(search, scores, references, found)


def _search(pool: Pool, options: Dedup) -> Search:
    if options.by == "semantic":
        return SemanticSearch(
            pool=pool,
            embeddings=Embeddings(options.embeddings or _EMBEDDINGS),
            epsilon=_EPSILON if options.epsilon is None else options.epsilon,
            clusters=options.clusters,
            seed=options.seed,
        )
    readable, signatures = pool.signatures(signature_recipe(options.name, options.by).name)
    return HashSearch(
        by=options.by,
        limit=_limit(options),
        readable=readable,
        signatures=signatures,
        options=options,
    )


def _limit(options: Dedup) -> int:
    if options.by == "exact":
        return 0
    return _DISTANCE if options.distance is None else options.distance


def _judge(pool: Pool, evidence: _Evidence, options: Dedup) -> Verdicts:
    """Evaluation pictures first, then evaluation captions, then duplicates among what is left."""
    left = evidence.search.there.copy()
    rules = []
    if evidence.references is not None:
        keepers, distances = evidence.search.contaminated(evidence.references)
        names = evidence.references.names
        rules.append(Rule.of(f"contaminated-{options.by}", keepers, distances, left, names))
    if evidence.captions is not None:
        keepers = evidence.captions.keepers
        names = evidence.captions.names
        rules.append(Rule.of("contaminated-caption", keepers, np.zeros(len(pool)), left, names))
    if not options.only_against:
        order = canonical_order(np.flatnonzero(left), evidence.scores)
        keepers, distances = evidence.search.duplicates(order)
        rules.append(Rule.of(f"duplicate-{options.by}", keepers, distances, left))
    return Verdicts(pool, np.flatnonzero(~evidence.search.there), rules)


def _settings(pool: Pool, options: Dedup) -> dict[str, Any]:
    """All that decides; what was read is in it as a hash."""
    settings: dict[str, Any] = {
        "by": options.by,
        "only_against": options.only_against,
        "samples": len(pool),
        **pool.read,
    }
    if options.by == "phash":
        settings["distance"] = _limit(options)
    if options.by == "semantic":
        settings["epsilon"] = _EPSILON if options.epsilon is None else options.epsilon
        settings |= {"clusters": options.clusters, "seed": options.seed}
    return settings


def _keep_rows(shard: Path, verdicts: Verdicts | None) -> Made:
    assert verdicts is not None  # some shard is unfinished
    return verdicts.keep_rows(shard)
