"""Approximate search by faiss, with an index that fits the number of rows and a measured recall.

The file of faiss is immutable and holds the first rows. Later ones are looked at one by one until
they are many; then the file is continued, or, when the rows have become several times as many as
it was trained on, made anew. Cosines are always those of the stored vectors.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vlp.errors import InputError, RunError
from vlp.retrieval.backends.base import Backend, Change, Scores
from vlp.retrieval.backends.exact import search_exactly
from vlp.retrieval.backends.faiss_index import (
    FEW,
    FaissIndex,
    Setting,
    choose_factory,
    import_faiss,
)
from vlp.retrieval.backends.faiss_search import Searcher
from vlp.retrieval.backends.faiss_tuning import DEPTHS, Tuned, tune
from vlp.retrieval.background import read_background
from vlp.retrieval.snapshot import Mask, Rows, Snapshot

_TARGET = 0.95
_TAIL = 0.02  # share of the rows that may lie beside the file of faiss
_OUTGROWN = 4  # times the rows that it was trained on, and it is trained anew
_STALE = 1.25  # times the rows that it was tuned for, and it is tuned anew


class FaissBackend(Backend):
    """Options: `factory`, an index of faiss by its `index_factory`, and `recall` to tune for."""

    name = "faiss"

    def __init__(
        self, snapshot: Snapshot, options: Mapping[str, Any], state: Mapping[str, Any]
    ) -> None:
        super().__init__(snapshot, options, state)
        import_faiss()
        self._searcher: Searcher | None = None
        if state["files"]:
            path = snapshot.folder / state["files"][0]
            if path.stat().st_size != state["bytes"]:
                raise InputError(f"{path} is damaged, build the backend again: its length is wrong")
            index = FaissIndex.read(path, mapped=True)
            self._searcher = Searcher(snapshot, index, _settings(state))

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(options) - {"factory", "recall"})
        if unknown:
            raise InputError(
                f"the backend faiss has no option {', '.join(unknown)}; it has factory and recall"
            )
        import_faiss()
        factory, recall = options.get("factory"), options.get("recall", _TARGET)
        if factory is not None and not (isinstance(factory, str) and factory):
            raise InputError(f"factory must be a text such as 'IVF1024,SQ8', got {factory!r}")
        if factory is not None:
            FaissIndex.check(factory)
        if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
            raise InputError(f"recall must be above 0 and at most 1, got {recall!r}")
        return {"factory": factory, "recall": float(recall)}

    @classmethod
    def update(cls, change: Change) -> dict[str, Any]:
        rows, state = len(change.after), change.state
        if not state.get("files"):
            return _fresh(change)
        covered = state["rows"]
        if rows - covered <= max(FEW, _TAIL * rows):
            return dict(state)
        if rows > _OUTGROWN * state["trained_rows"]:
            return _fresh(change)
        index = FaissIndex.read(change.folder / state["files"][0], mapped=False)
        index.fill(change.after)
        new = {**state, **_written(change, index), "rows": rows}
        if rows > _STALE * state["tuned_rows"]:
            return _with_tuning(change, index, new)
        change.say(f"faiss {state['factory']} continued: {rows:,} rows, {rows - covered:,} new")
        return new

    def search(self, queries: Scores, k: int, allowed: Mask) -> tuple[Scores, Rows]:
        if self._searcher is None:
            return search_exactly(self.snapshot, queries, k, allowed)
        return self._searcher.search(queries, k, allowed)


def _fresh(change: Change) -> dict[str, Any]:
    """A state made anew from all rows, or one without a file while they are few."""
    rows = len(change.after)
    factory = change.options["factory"] or choose_factory(rows, change.after.dim)
    if factory is None:
        return _without(change, f"from {FEW:,} on there is something to gain")
    index = FaissIndex.make(factory, change.after.dim)
    if rows < index.least_rows:
        return _without(change, f"{factory} needs {index.least_rows:,}")
    change.say(f"faiss {factory}: training, then adding {rows:,} rows")
    try:
        index.train(change.after)
    except RunError as error:  # the change itself must not fail for it
        return _without(change, f"{factory} cannot be trained on them: {error}")
    index.fill(change.after)
    facts = {"factory": factory, "rows": rows, "trained_rows": rows}
    return _with_tuning(change, index, {**facts, **_written(change, index)})


def _without(change: Change, why: str) -> dict[str, Any]:
    if not change.state:  # else it was said before
        change.say(f"faiss: {len(change.after):,} rows are searched exactly; {why}")
    return {"files": [], "rows": 0}


def _written(change: Change, index: FaissIndex) -> dict[str, Any]:
    name = f"backend-faiss-{change.generation:06d}.index"
    index.write(change.folder / name)
    return {"files": [name], "bytes": (change.folder / name).stat().st_size}


def _with_tuning(change: Change, index: FaissIndex, state: dict[str, Any]) -> dict[str, Any]:
    snapshot, target = change.after, change.options["recall"]
    name = snapshot.manifest.background
    texts = None if name is None else read_background(change.folder / name).texts
    tuned = tune(index, snapshot, texts, target)
    change.say(_told(state["factory"], len(snapshot), index, tuned))
    if not tuned.reached:
        change.say(
            f"faiss: recall {target:g} is out of reach for these vectors at a price worth paying; "
            "the backend exact finds all"
        )
    return {
        **state,
        "tuned_rows": len(snapshot),
        "recall": tuned.recall,
        "settings": {str(depth): asdict(found) for depth, found in tuned.settings.items()},
    }


def _told(factory: str, rows: int, index: FaissIndex, tuned: Tuned) -> str:
    setting = tuned.settings[DEPTHS[0]]
    knob = "nprobe" if index.has_cells else "efSearch"
    recall = " and ".join(
        f"{value:.3f} on {tuned.queries[kind]} {kind}" for kind, value in tuned.recall.items()
    )
    return (
        f"faiss {factory} of {rows:,} rows, {knob} {index.effort(setting)}, {setting.candidates} "
        f"candidates: recall@{DEPTHS[0]} against exact {recall}; "
        f"{1e3 * tuned.seconds:.2g} ms a query (exact {1e3 * tuned.exact_seconds:.2g} ms)"
    )


def _settings(state: Mapping[str, Any]) -> dict[int, Setting]:
    return {int(depth): Setting(**found) for depth, found in state["settings"].items()}
