"""What is wrong with a data set: problems, which spoil a result, and notes, which explain one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq

from eval.checks.picture_checks import Seen, copies, look_at, missing
from eval.datasets import EvalDataset
from vlp.data.index import sidecar_path

TOP_5_FROM = 6  # classes; among fewer every answer is one of the best five
_JOINED_BY = ["key", "src_sha256"]


@dataclass(kw_only=True)
class Findings:
    """Sentences about a data set."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)


def find_defects(dataset: EvalDataset, *, everything: bool) -> Findings:
    """Look for all that is known to go wrong.

    Args:
        dataset: as opened.
        everything: decode every picture, and not only some.
    """
    found = Findings(seen=look_at(dataset, everything=everything))
    _check_keys(dataset, found)
    _check_pictures(dataset, found)
    _check_labels(dataset, found)
    _check_prompts(dataset, found)
    _check_captions(dataset, found)
    _check_selection(dataset, found)
    _check_sidecars(dataset, found)
    return found


def sidecars(dataset: EvalDataset) -> dict[str, list[str]]:
    """{sidecar: the shards that have it}, without the index."""
    shards = list(dict.fromkeys(source.shard for source in dataset.sources or ()))
    names: dict[str, list[str]] = {}
    for shard in shards:
        for folder in sorted(sidecar_path(shard, "index").parents[1].iterdir()):
            if folder.name != "index" and sidecar_path(shard, folder.name).is_file():
                names.setdefault(folder.name, []).append(shard)
    return names


def some(names: Iterable[object], most: int = 5) -> str:
    """The first few of many, for a line."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _check_keys(dataset: EvalDataset, found: Findings) -> None:
    repeated = [key for key, n in Counter(dataset.keys).items() if n > 1]
    if repeated:
        found.problems.append(f"{len(repeated):,} keys are there twice: {some(repeated)}")


def _check_pictures(dataset: EvalDataset, found: Findings) -> None:
    gone = missing(dataset)
    if gone:
        found.problems.append(f"{len(gone):,} samples have no picture: {some(gone)}")
    broken = [(key, why) for key, why in found.seen.unreadable if key not in set(gone)]
    if broken:
        key, why = broken[0]
        found.problems.append(
            f"{len(broken):,} of {found.seen.looked_at:,} pictures looked at cannot be read, the "
            f"first: {key}: {why}"
        )
    groups = copies(dataset)
    split = [group for group in groups if _labels_differ(dataset, group)]
    if split:
        found.problems.append(
            f"{len(split):,} pictures stand under different labels: {_named(dataset, split[0])}"
        )
    if groups:
        spare = sum(len(group) - 1 for group in groups)
        found.notes.append(
            f"{spare:,} pictures are copies of another one, byte for byte: "
            f"{some(dataset.keys[i] for i in groups[0])}"
        )


def _labels_differ(dataset: EvalDataset, group: Sequence[int]) -> bool:
    labels = dataset.labels if dataset.labels is not None else dataset.label_sets
    return labels is not None and bool((labels[group] != labels[group[0]]).any())


def _named(dataset: EvalDataset, group: Sequence[int]) -> str:
    if dataset.labels is None:
        return some(dataset.keys[i] for i in group)
    names = dict(enumerate(dataset.classnames or ()))
    labels = {i: int(dataset.labels[i]) for i in group}
    return some(f"{dataset.keys[i]} ({names.get(label, label)})" for i, label in labels.items())


def _check_labels(dataset: EvalDataset, found: Findings) -> None:
    counts = label_counts(dataset)
    if counts is None:
        return
    names = dataset.classnames
    if dataset.labels is not None:
        classes = len(names) if names else int(dataset.labels.max()) + 1
        outside = np.flatnonzero((dataset.labels < 0) | (dataset.labels >= classes))
        if len(outside):
            first = outside[0]
            found.problems.append(
                f"{len(outside):,} labels are outside 0 to {classes - 1}, the first: "
                f"{dataset.keys[first]} has {dataset.labels[first]}"
            )
    empty = np.flatnonzero(counts == 0).tolist()
    if empty:
        listed = some(names[label] if names else label for label in empty)
        found.notes.append(f"{len(empty):,} of {len(counts):,} classes have no sample: {listed}")
    if np.count_nonzero(counts) == 1:
        found.problems.append("all samples are of one class: there is nothing to tell apart")
    elif len(counts) < TOP_5_FROM and dataset.labels is not None:
        found.notes.append(f"{len(counts)} classes are too few for a top-5 accuracy")


def label_counts(dataset: EvalDataset) -> np.ndarray | None:
    """Samples of each class, [C]; None without labels."""
    if dataset.label_sets is not None:
        return np.asarray(dataset.label_sets.sum(0))
    if dataset.labels is None:
        return None
    inside = dataset.labels[dataset.labels >= 0]
    if dataset.classnames:
        inside = inside[inside < len(dataset.classnames)]
    return np.bincount(inside, minlength=len(dataset.classnames or ()))


def _check_prompts(dataset: EvalDataset, found: Findings) -> None:
    names = dataset.classnames or []
    blank = [label for label, name in enumerate(names) if not name.strip()]
    if blank:
        found.problems.append(f"classes without a name: label {some(blank)}")
    repeated = [name for name, n in Counter(names).items() if n > 1 and name.strip()]
    if repeated:
        found.problems.append(
            f"{len(repeated):,} class names are there twice, so that their scores tie and both "
            f"count as wrong: {some(repeated)}"
        )
    bad = [form for form in dataset.templates or () if "{c}" not in form and "{}" not in form]
    if bad:
        found.problems.append(f"{len(bad)} templates have no place for the class name: {bad[0]!r}")


def _check_captions(dataset: EvalDataset, found: Findings) -> None:
    pairs = [(i, text) for i, own in enumerate(dataset.captions or ()) for text in own]
    empty = [dataset.keys[i] for i, text in pairs if not text.strip()]
    if empty:
        found.problems.append(f"{len(empty):,} captions are empty: {some(empty)}")
    pictures: dict[str, set[int]] = {}
    for i, text in pairs:
        pictures.setdefault(text, set()).add(i)
    shared = [text for text, own in pictures.items() if len(own) > 1]
    if shared:
        affected = len(set().union(*(pictures[text] for text in shared)))
        found.notes.append(
            f"{len(shared):,} captions stand under several pictures ({affected:,} pictures), where "
            f"retrieval can only tie: {some(map(repr, shared), 2)}"
        )


def _check_selection(dataset: EvalDataset, found: Findings) -> None:
    chosen = dataset.selection
    if chosen is None:
        return
    empty = sum(not text.strip() for text in chosen.texts)
    if empty:
        found.problems.append(f"{empty:,} texts to choose from are empty")
    texts = np.array(chosen.texts)
    same = (chosen.right[:, 0] == chosen.wrong[:, 0]) & (
        texts[chosen.right[:, 1]] == texts[chosen.wrong[:, 1]]
    )
    if same.any():
        items = dict.fromkeys(chosen.names[i] for i in chosen.item[same])
        found.problems.append(f"{len(items):,} items have a right answer twice: {some(items)}")


def _check_sidecars(dataset: EvalDataset, found: Findings) -> None:
    of_shard: dict[str, dict[str, str]] = {}
    for source in dataset.sources or ():
        of_shard.setdefault(source.shard, {})[source.key] = source.src_sha256
    for name, shards in sidecars(dataset).items():
        if len(shards) < len(of_shard):
            found.problems.append(
                f"the sidecar {name} is there for {len(shards)} of {len(of_shard)} shards only"
            )
        stale = 0
        for shard in shards:
            try:
                rows = pq.read_table(sidecar_path(shard, name), columns=_JOINED_BY).to_pylist()
            except (ValueError, OSError, KeyError) as error:  # Arrow's are among these
                found.problems.append(f"{sidecar_path(shard, name)} cannot be read: {error}")
                continue
            fresh = {row["key"] for row in rows if _is_fresh(row, of_shard[shard])}
            stale += len({row["key"] for row in rows} & of_shard[shard].keys() - fresh)
        if stale:
            found.problems.append(
                f"the sidecar {name}: {stale:,} samples have rows of another caption only, which "
                "are not used"
            )


def _is_fresh(row: dict[str, str], digests: dict[str, str]) -> bool:
    return digests.get(row["key"]) == row["src_sha256"]
