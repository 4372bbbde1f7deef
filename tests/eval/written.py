"""Small files and pictures, and what a data set makes of them."""

import csv
import json

from eval.run import check
from eval.spec import EvalSpec
from tests.eval.conftest import ConstantEncoder, picture
from tests.eval.grey import record_of

TASK = "image_caption_selection"


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_csv(path, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_pictures(folder, *names):
    for seed, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture((60, 90, 120), seed))


def told(dataset):
    """{item: [(sort, right picture, right text, wrong picture, wrong text, kind)]}"""
    s = dataset.selection
    found = {name: [] for name in s.names}
    for c, item in enumerate(s.item):
        (p, t), (q, u) = s.right[c], s.wrong[c]
        cells = (dataset.keys[p], s.texts[t], dataset.keys[q], s.texts[u])
        found[s.names[item]].append((s.chosen[c], *cells, s.kinds[c]))
    return found


def evaluated(path, **options):
    """A constant model solves nothing of any set."""
    spec = EvalSpec(task=TASK, data=str(path), **options)
    check(spec)
    record = record_of(ConstantEncoder(), spec)
    assert set(record["metrics"].values()) == {0.0}
    assert record["n"]["ties"] == record["n"]["comparisons"]
    return record
