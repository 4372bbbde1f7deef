"""Choosing the caption of a picture among near misses of it, or the picture of a caption.

One task for every set of this sort: SugarCrepe, Winoground, ARO, VALSE and the others that
`eval/datasets` reads, one's own rows with `negatives`, and indexed shards with that sidecar. What
is scored are the pairs that an item compares, and no others.
"""

import re
import time
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from eval.captions import digest, own_captions
from eval.datasets import EvalDataset
from eval.datasets.items import Items
from eval.datasets.selection import IMAGE, TEXT, Selection
from eval.datasets.sidecars import read_sidecar
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.data.sidecars import COLUMNS, NEGATIVES
from vlp.metrics import chance
from vlp.metrics.choice import Compared, compare_scores, pair_scores, solved_items
from vlp.metrics.outcomes import Linear, Ratio, clustered, combined

NAME = "image_caption_selection"
TIE_RULE = "the right pair must score strictly higher than the wrong one"
_KINDS = 60  # of more of them only the mean is shown

Integers = NDArray[np.int64]


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    selection, stale = find_selection(dataset)
    if not len(selection):
        raise ValueError(
            f"task {NAME}: no near miss for any of {len(dataset)} samples of data {dataset.path} "
            f"({stale or 0} rows belong to another source caption)"
        )


def run(given: TaskInput) -> TaskResult:
    """Compare the pairs of every item all of whose pictures can be read."""
    selection, stale = find_selection(given.dataset)
    if not len(selection):
        raise ValueError(f"task {NAME}: no item with pictures that can be read")
    started = time.perf_counter()
    pairs, cell = np.unique(
        np.concatenate([selection.right, selection.wrong]), axis=0, return_inverse=True
    )  # [p, 2], [2 c]
    used, text = np.unique(pairs[:, 1], return_inverse=True)
    written = [selection.texts[i] for i in used]
    features = given.encode_text(written)  # [t, D]
    truncated = given.truncated(written)
    encoded = time.perf_counter()

    device = given.image.device
    image = given.image[torch.from_numpy(pairs[:, 0]).to(device)]
    scores = pair_scores(image, features[torch.from_numpy(text).to(device)]).cpu().numpy()  # [p]
    right, wrong = np.split(cell.reshape(-1), 2)
    compared = compare_scores(scores[right], scores[wrong])
    outcomes = _outcomes(selection, compared, selection.units(_photos(given.dataset)))
    kinds = sorted(set(selection.kinds) - {""})
    return TaskResult(
        metrics={name: outcome.value for name, outcome in outcomes.items()},
        outcomes=outcomes,
        counts={
            "images": len(np.unique(pairs[:, 0])),
            "texts": len(used),
            "classes": None,
            "items": len(selection),
            "comparisons": len(selection.item),
            "ties": int(compared.tied.sum()),
            "truncated_texts": truncated,
            "left_out": selection.left_out,
            "identical": selection.identical,
            "stale_rows": stale,
        },
        protocol={
            "tie_rule": TIE_RULE,
            "captions": "of the set" if given.dataset.selection else "first",
            "captions_sha": digest([written, selection.kinds]),
            "kinds": len(kinds),
            "macro_from": selection.macro_from,
            "bootstrap": "clustered by picture",
        },
        predictions=_predictions(given.dataset, selection, scores[right], scores[wrong]),
        chance=_chance(selection, right, wrong),
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


def find_selection(dataset: EvalDataset) -> tuple[Selection, int | None]:
    """What is to be chosen: the set's own items, or those of the sidecar `negatives`, in which the
    first caption of a picture stands against its near misses. With the sidecar, how many of its
    rows belong to another caption.

    Raises:
        ValueError: there is neither, or a row of the sidecar has not one kind a text.
    """
    if dataset.selection is not None:
        return dataset.selection, None
    captions = own_captions(NAME, dataset)
    if dataset.sources is None:
        raise ValueError(
            f"task {NAME}: data {dataset.path} ({dataset.layout}) has nothing to choose from; "
            f"needs a set of such items, rows with `negatives`, or the sidecar {NEGATIVES}, which "
            "only indexed shards have"
        )
    sidecar = read_sidecar(dataset, NEGATIVES, COLUMNS[NEGATIVES])
    items = Items()
    for place, row in enumerate(sidecar.rows):
        negatives = [] if row is None else row.negatives()
        items.choose_text(dataset.keys[place], place, captions[place][0], negatives)
    return items.selection(), sidecar.stale


def _parts(selection: Selection) -> dict[str, Integers]:
    """{metric: the comparisons [.] of which an item must win all it has}"""
    chosen = np.array(selection.chosen)
    parts = {"acc": np.arange(len(selection.item))}
    if {TEXT, IMAGE} <= set(selection.chosen):
        parts |= {f"{side}_acc": np.flatnonzero(chosen == side) for side in (TEXT, IMAGE)}
    same = _same_words(selection)
    if same.any() and (~same & (chosen == TEXT)).any():
        parts["acc_word_permutation"] = np.flatnonzero(same)
    kinds = _by_kind(selection)
    return parts | (kinds if len(kinds) <= _KINDS else {})


def _by_kind(selection: Selection) -> dict[str, Integers]:
    kinds = np.array(selection.kinds)
    names = sorted(set(selection.kinds) - {""})
    return {f"acc_{name}": np.flatnonzero(kinds == name) for name in names}


def _averaged(selection: Selection) -> list[Integers]:
    """The comparisons of the kinds over which the macro average goes; none for a single kind."""
    kinds = list(_by_kind(selection).values())
    large = [rows for rows in kinds if len(np.unique(selection.item[rows])) >= selection.macro_from]
    return large if len(kinds) > 1 else []


def _same_words(selection: Selection) -> NDArray[np.bool_]:
    """Whether the near miss of a comparison is its caption in another order of words, [c].

    Of SugarCrepe's swaps some are, and some are not.
    """
    words = [sorted(re.findall(r"\w+", text.lower())) for text in selection.texts]
    pairs = zip(selection.right[:, 1], selection.wrong[:, 1], selection.chosen, strict=True)
    return np.array([side == TEXT and words[a] == words[b] for a, b, side in pairs])


def _outcomes(
    selection: Selection, compared: Compared, unit: Integers
) -> Mapping[str, Ratio | Linear]:
    """Of each metric; the units are pictures with all that is asked of them."""
    units = int(unit.max()) + 1

    def share(rows: Integers) -> Ratio:
        which, solved = solved_items(selection.item[rows], compared.holds[rows])
        return clustered(solved, unit[which], units)

    parts = {name: share(rows) for name, rows in _parts(selection).items()}
    shares: dict[str, Ratio | Linear] = {
        "acc": parts.pop("acc"),
        "pair_acc": clustered(compared.holds, unit[selection.item], units),
        **parts,
    }
    averaged = [share(rows) for rows in _averaged(selection)]
    if averaged:
        shares["macro_acc"] = combined([1 / len(averaged)] * len(averaged), averaged)
    return shares


def _chance(selection: Selection, right: Integers, wrong: Integers) -> dict[str, float]:
    """What a random order of all pairs scores, exactly."""

    def share(rows: Integers) -> float:
        return chance.choice(selection.item[rows], right[rows], wrong[rows])

    shares = {name: share(rows) for name, rows in _parts(selection).items()} | {"pair_acc": 0.5}
    averaged = [share(rows) for rows in _averaged(selection)]
    return shares | ({"macro_acc": float(np.mean(averaged))} if averaged else {})


def _photos(dataset: EvalDataset) -> Integers:
    """The photo of each picture, [n]: parts of one photo are not independent."""
    photos = [(place.file, place.offset) if place else None for place in dataset.places]
    number = {photo: i for i, photo in enumerate(dict.fromkeys(photos))}
    return np.array([number[photo] for photo in photos], dtype=np.int64)


def _predictions(
    dataset: EvalDataset, selection: Selection, right: Array, wrong: Array
) -> dict[str, Array]:
    """Items [k], comparisons [c]; pictures and texts by their place in `picture_key`, `text`."""
    return {
        "key": np.array(selection.names),
        "picture_key": np.array(dataset.keys),
        "text": np.array(selection.texts),
        "item": selection.item,
        "kind": np.array(selection.kinds),
        "chosen": np.array(selection.chosen),
        "right_picture": selection.right[:, 0],
        "right_text": selection.right[:, 1],
        "wrong_picture": selection.wrong[:, 0],
        "wrong_text": selection.wrong[:, 1],
        "right_score": right,
        "wrong_score": wrong,
    }


TASK = Task(
    name=NAME,
    main="acc",
    needs="a set of items to choose in (SugarCrepe and others), `negatives` of rows or the sidecar",
    metrics="items solved, by kind, of texts and of pictures; comparisons that hold",
    source="Thrush et al. 2022 (Winoground), arXiv 2204.03162; Hsieh et al. 2023 (SugarCrepe)",
    check=check,
    run=run,
)
