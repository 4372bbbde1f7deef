"""`score`: how well each picture and its caption agree, by a model, as a sidecar."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from data_tools.annotate import (
    Recipe,
    SidecarOptions,
    annotate,
    conserved,
    read_sidecar,
    unfinished,
)
from data_tools.engine import own_part
from data_tools.samples import find_shards, open_index
from vlp.data.index import sidecar_path
from vlp.errors import InputError

if TYPE_CHECKING:
    from data_tools.scoring.model_worker import Identity, WorkerModel

_BINS = 4000  # of a histogram over [-1, 1]


@dataclass(frozen=True, kw_only=True)
class Score(SidecarOptions):
    """Score how well pictures and captions agree: the cosine of their embeddings by a model.

    Nothing is drawn, so the seed changes nothing.

    Args:
        model: a run folder, an open_clip name with its tag (ViT-B-32/openai), a local-dir: folder
            or a Hugging Face folder.
        name: of the sidecar, scores or scores-NAME; several models take several names.
        batch: pictures, or texts, at a time.
        device: auto takes the GPUs that are there, one worker each.
        precision: of the model's arithmetic; scores are float32 in any case.
        captions: first scores the source caption; all adds every caption's score and the highest.
        embeddings: also write the embeddings, as float16, to this sidecar (embeddings,
            embeddings-NAME or, with all captions, teacher-NAME for distillation).
    """

    model: str
    name: str = "scores"
    batch: int = 256
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    captions: Literal["first", "all"] = "first"
    embeddings: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 1:
            raise InputError(f"--batch {self.batch}: expected 1 or more")
        check_sidecar_name("--name", self.name, ("scores",))
        if self.embeddings is not None:
            check_sidecar_name("--embeddings", self.embeddings, ("embeddings", "teacher"))
            if self.embeddings.startswith("teacher") and self.captions != "all":
                raise InputError(
                    f"--embeddings {self.embeddings}: a teacher needs the embeddings of every "
                    "caption; give --captions all"
                )


def check_sidecar_name(option: str, name: str, kinds: Sequence[str]) -> None:
    """Raises InputError for a name that is neither a kind nor a kind with a suffix."""
    kind, dash, suffix = name.partition("-")
    if kind not in kinds or (dash and not suffix) or "/" in name:
        raise InputError(
            f"{option} {name}: choices are {', '.join(kinds)}, each also with a suffix "
            f"({kinds[0]}-NAME)"
        )


def score(options: Score) -> None:
    """Run the command.

    Raises:
        InputError: nothing matches, a shard has no index, or the model cannot be loaded.
        RunError: some shards could not be scored.
    """
    from data_tools.scoring.model_worker import identify, plan, workers_for  # torch takes its time
    from data_tools.scoring.shard import Scoring, score_shard

    shards = find_shards(options.shards)
    model = plan(options.model, options.device, options.precision, options)
    identity = identify(model)
    scores, embeddings = _recipes(options, identity)
    if embeddings is not None:
        _forget_scores_without_embeddings(shards, scores, embeddings, options)
    left = unfinished(own_part(shards, options), scores, options.restart)
    workers = min(workers_for(model, options), max(1, len(left)))
    _announce(identity, model, workers)
    scoring = Scoring(
        model=model, captions=options.captions, batch=options.batch, embeddings=embeddings
    )
    started = time.perf_counter()
    ran = replace(options, workers=workers)
    done = annotate(score_shard, shards, scores, scoring, ran)
    seconds = time.perf_counter() - started
    fresh = sum(len(open_index(shard)) for shard in left if str(shard) not in done.run.failures)
    _print_counts(done.counts, identity.context_length)
    if fresh:
        print(f"{fresh:,} samples in {seconds:,.1f} s: {fresh / seconds:,.1f} samples a second")
    finished = [s for s in own_part(shards, options) if str(s) not in done.run.failures]
    print(summary(finished, options.name))
    written = [options.name] if embeddings is None else [options.name, embeddings.name]
    print(f"sidecars: {', '.join(written)}")
    done.finish()


def summary(shards: Sequence[Path], name: str) -> str:
    """Mean and quantiles of `clip_score` over shards, the latter from a histogram."""
    total, count = 0.0, 0
    bins = np.zeros(_BINS, np.int64)
    edges = np.linspace(-1, 1, _BINS + 1)
    for shard in shards:
        values = read_sidecar(shard, name)["clip_score"].drop_null().to_numpy()
        total += float(values.sum(dtype=np.float64))
        count += len(values)
        bins += np.histogram(values.clip(-1, 1), edges)[0]
    if not count:
        return "clip_score: of no sample"
    reached = np.cumsum(bins) / count
    low, middle, high = (edges[np.searchsorted(reached, q) + 1] for q in (0.1, 0.5, 0.9))
    return (
        f"clip_score: mean {total / count:.4f}; a tenth up to {low:.3f}, half up to {middle:.3f}, "
        f"nine tenths up to {high:.3f}"
    )


def _recipes(options: Score, identity: "Identity") -> tuple[Recipe, Recipe | None]:
    from data_tools.scoring.shard import SCORES, SCORES_OF_ALL, embeddings_schema

    # device and batch change no more than the last bits, and a run may go on with others
    settings = {**identity.settings, "captions": options.captions}
    schema = SCORES if options.captions == "first" else SCORES_OF_ALL
    scores = Recipe(name=options.name, schema=schema, settings=settings, what="scoring")
    if options.embeddings is None:
        return scores, None
    layout = embeddings_schema(identity.width)
    return scores, Recipe(name=options.embeddings, schema=layout, settings=settings)


def _forget_scores_without_embeddings(
    shards: Sequence[Path], scores: Recipe, embeddings: Recipe, options: Score
) -> None:
    """Scores are the mark of a finished shard, so a shard without embeddings must have none."""
    own = own_part(shards, options)
    unfinished(own, scores, options.restart)  # refuses to replace what another recipe made
    for shard in unfinished(own, embeddings, options.restart):
        sidecar_path(shard, scores.name).unlink(missing_ok=True)


def _announce(identity: "Identity", model: "WorkerModel", workers: int) -> None:
    print(
        f"model: {model.source}, sha256 {identity.settings['model'][:16]}; "
        f"{model.precision} on {workers} x {model.device}",
        flush=True,
    )


def _print_counts(counts: Counter[str], context_length: int) -> None:
    kinds = ("scored", "unreadable", "without a caption")
    print(conserved(counts["samples"], {kind: counts[kind] for kind in kinds}))
    print(
        f"{counts['captions']:,} captions, {counts['captions cut']:,} of them longer than the "
        f"{context_length} tokens that the model reads"
    )
