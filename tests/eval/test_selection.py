"""The task image_caption_selection on made score matrices, against loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval import results
from eval.datasets import EvalDataset, Place
from eval.datasets.items import Comparison, Items
from eval.datasets.selection import IMAGE, TEXT
from eval.datasets.winoground import crosswise
from eval.features import Features
from eval.interface import TaskInput
from eval.run import evaluate_task, prepare
from eval.spec import EvalSpec
from eval.tasks.image_caption_selection import run
from tests.eval.conftest import ColourEncoder, ConstantEncoder, picture

PICTURES, TEXTS = 5, 6
SPEC = EvalSpec(task="image_caption_selection", data="x", batch=3)


class TableEncoder(ColourEncoder):
    """Picture i, of grey level 20 i, and text `t j` have the score table[i, j]."""

    def __init__(self, table):
        self.table = torch.as_tensor(table, dtype=torch.float32)

    def encode_image(self, images):
        place = (images.float().mean((1, 2, 3)) / 20).round().long()
        return torch.eye(len(self.table) + 1)[place]

    def encode_text(self, texts):
        columns = self.table.T[[int(text.split()[-1]) for text in texts]]  # [m, pictures]
        rest = (1 - columns.square().sum(1, keepdim=True)).sqrt()
        return torch.cat([columns, rest], 1)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(PICTURES):
        (folder / f"{i}.png").write_bytes(picture((20 * i + 1,) * 3, i))
    return [Place(str(folder / f"{i}.png")) for i in range(PICTURES)]


def dataset_of(items, places):
    return EvalDataset(
        name="made",
        path=Path("made"),
        split=None,
        layout="made",
        keys=[f"{i}" for i in range(len(places))],
        places=list(places),
        selection=items.selection(),
    )


def record_of(encoder, dataset):
    return evaluate_task(Features(encoder, batch=3), prepare(dataset, SPEC, SPEC.task), {})


def table_of(seed=0):
    return np.random.default_rng(seed).integers(-3, 4, (PICTURES, TEXTS)) / 10


cells = st.tuples(st.integers(0, PICTURES - 1), st.integers(0, TEXTS - 1))
of_item = st.lists(st.tuples(cells, cells, st.sampled_from(["", "a", "b"])), min_size=1, max_size=4)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(of_item, min_size=1, max_size=6), st.integers(0, 99))
def test_every_metric_equals_a_loop(places, drawn, seed):
    table = table_of(seed).astype(np.float32)
    items = Items()
    asked = []  # (item, right, wrong, kind)
    for name, comparisons in enumerate(drawn):
        items.add(
            f"{name}",
            [
                Comparison(*((p, f"t {t}") for p, t in (right, wrong)), kind)
                for right, wrong, kind in comparisons
            ],
        )
        asked += [(name, r, w, kind) for r, w, kind in comparisons if r != w]
    if not asked:
        return
    record, _ = record_of(TableEncoder(table), dataset_of(items, places))

    def solved(rows):
        names = {name for name, *_ in rows}
        won = {n: all(table[r] > table[w] for m, r, w, _ in rows if m == n) for n in names}
        return np.mean(list(won.values()))

    expected = {
        "acc": solved(asked),
        "pair_acc": np.mean([table[r] > table[w] for _, r, w, _ in asked]),
    }
    sides = {
        "text_acc": [row for row in asked if row[1][0] == row[2][0]],
        "image_acc": [row for row in asked if row[1][0] != row[2][0]],
    }
    if all(sides.values()):
        expected |= {name: solved(rows) for name, rows in sides.items()}
    kinds = {k: [row for row in asked if row[3] == k] for k in ("a", "b")}
    kinds = {k: solved(rows) for k, rows in kinds.items() if rows}
    expected |= {f"acc_{k}": value for k, value in kinds.items()}
    if len(kinds) > 1:
        expected["macro_acc"] = np.mean(list(kinds.values()))
    assert record["metrics"] == {name: pytest.approx(value) for name, value in expected.items()}
    assert record["n"]["ties"] == sum(table[r] == table[w] for _, r, w, _ in asked)
    assert record["n"]["comparisons"] == len(asked)
    assert record["n"]["identical"] == sum(map(len, drawn)) - len(asked)
    assert record["chance"].keys() == record["metrics"].keys()


def test_four_cases_of_winoground():
    """All right; the choice of texts alone; the choice of pictures alone; nothing."""
    table = np.zeros((8, 8))
    for case, scores in enumerate(
        [[[6, 1], [2, 5]], [[3, 2], [5, 6]], [[3, 5], [2, 6]], [[1, 6], [5, 2]]]
    ):
        table[2 * case : 2 * case + 2, 2 * case : 2 * case + 2] = np.array(scores) / 20
    items = Items()
    for case in range(4):
        both, kind = [2 * case, 2 * case + 1], "even" if case % 2 else "odd"
        items.add(f"{case}", crosswise(both, [f"t {i}" for i in both], kind))
    dataset = dataset_of(items, [Place(f"{i}.png") for i in range(8)])
    result = run(input_of(TableEncoder(table), dataset, torch.eye(9)[:8]))
    assert result.metrics == {
        "acc": 0.25,
        "text_acc": 0.5,
        "image_acc": 0.5,
        "pair_acc": (4 + 3 + 3 + 0) / 16,
        "acc_odd": 0.5,
        "acc_even": 0.0,
        "macro_acc": 0.25,
    }
    assert result.chance == {
        "acc": pytest.approx(1 / 6),
        "text_acc": pytest.approx(1 / 4),
        "image_acc": pytest.approx(1 / 4),
        "pair_acc": 0.5,
        "acc_odd": pytest.approx(1 / 6),
        "acc_even": pytest.approx(1 / 6),
        "macro_acc": pytest.approx(1 / 6),
    }


def input_of(encoder, dataset, image):
    return TaskInput(
        spec=SPEC,
        dataset=dataset,
        image=image,
        more={},
        scale=None,
        encode_text=encoder.encode_text,
        encode_no_text=None,
        truncated=lambda texts: 0,
        write_captions=list,
    )


def test_a_constant_model_solves_nothing(places):
    items = Items()
    items.choose_text("one", 0, "a dog bites a man", [("swap", "a man bites a dog")])
    items.choose_image("two", "a dog", 1, [2, 3])
    record, _ = record_of(ConstantEncoder(), dataset_of(items, places))
    assert set(record["metrics"].values()) == {0.0}
    assert record["n"]["ties"] == record["n"]["comparisons"] == 3
    assert record["chance"]["acc"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_items_that_share_a_photo_are_one_unit(places):
    """Three items: two about parts of one photo, one about another; then one about both."""
    items = Items()
    for name, place in (("a", 0), ("b", 1), ("c", 2)):
        items.choose_text(name, place, "t 0", [("", "t 1")])
    parts = [Place(places[0].file, box=(0, 0, 5, 5)), Place(places[0].file), places[1]]
    selection = items.selection()
    assert selection.units(np.array([0, 0, 1])).tolist() == [0, 0, 1]
    _, result = record_of(TableEncoder(table_of()), dataset_of(items, parts))
    assert result.outcomes["acc"].counts.tolist() == [2, 1]
    assert result.protocol["bootstrap"] == "clustered by picture"
    items.choose_image("d", "t 2", 1, [2])
    assert items.selection().units(np.array([0, 0, 1])).tolist() == [0, 0, 0, 0]
    assert items.selection().units(np.array([0, 1, 2])).tolist() == [0, 1, 1, 1]


def test_macro_average_leaves_small_kinds_out(places):
    items = Items(macro_from=2)
    for n, kind in enumerate("aabbc"):
        items.choose_text(f"{n}", n, f"t {n}", [(kind, "t 5")])
    table = np.zeros((PICTURES, TEXTS))
    np.fill_diagonal(table, [0.5, 0.5, 0.5, -0.5, 0.5])
    record, _ = record_of(TableEncoder(table), dataset_of(items, places))
    found = record["metrics"]
    assert (found["acc_a"], found["acc_b"], found["acc_c"]) == (1.0, 0.5, 1.0)
    assert found["macro_acc"] == 0.75
    assert record["protocol"]["macro_from"] == 2


def test_of_many_kinds_only_the_average_is_shown(places):
    items = Items()
    for n in range(61):
        items.choose_text(f"{n}", n % PICTURES, "t 0", [(f"kind {n}", f"t {1 + n % 5}")])
    record, _ = record_of(TableEncoder(table_of()), dataset_of(items, places))
    assert set(record["metrics"]) == {"acc", "pair_acc", "macro_acc"}
    assert record["metrics"]["macro_acc"] == pytest.approx(record["metrics"]["acc"])
    assert record["protocol"]["kinds"] == 61


def test_the_same_words_in_another_order(places):
    items = Items()
    items.choose_text("one", 0, "A dog, a cat: t 1", [("", "a cat, a dog t 1"), ("", "no t 1")])
    items.choose_text("two", 1, "the dog t 2", [("", "the cat t 3")])
    table = np.zeros((PICTURES, TEXTS))
    table[1, 2] = 0.5
    record, _ = record_of(TableEncoder(table), dataset_of(items, places))
    assert record["metrics"] == {
        "acc": 0.5,
        "pair_acc": pytest.approx(1 / 3),
        "acc_word_permutation": 0.0,
    }


def test_pictures_that_cannot_be_read_are_counted(places, tmp_path):
    items = Items()
    items.choose_text("read", 0, "t 0", [("", "t 1")])
    items.choose_image("not read", "t 2", 1, [2])
    items.choose_image("read too", "t 3", 3, [1])
    items.left_out = 4
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    own = [places[0], places[1], Place(str(broken)), places[3]]
    record, result = record_of(TableEncoder(table_of()), dataset_of(items, own))
    assert record["n"] == {
        "images": 3,
        "texts": 3,
        "classes": None,
        "items": 2,
        "comparisons": 2,
        "ties": record["n"]["ties"],
        "truncated_texts": 0,
        "left_out": 5,
        "identical": 0,
        "stale_rows": None,
        "skipped": 1,
    }
    assert result.predictions["key"].tolist() == ["read", "read too"]
    alone = Items()
    alone.choose_image("not read", "t 2", 1, [2])
    with pytest.raises(ValueError, match="no item with pictures that can be read"):
        record_of(TableEncoder(table_of()), dataset_of(alone, own))


def test_predictions_show_every_comparison(places, tmp_path):
    items = Items()
    items.choose_text("one", 2, "t 0", [("x", "t 1"), ("y", "t 2")])
    items.choose_image("two", "t 3", 1, [4])
    table = table_of(3)
    dataset = dataset_of(items, places)
    record, result = record_of(TableEncoder(table), dataset)
    found = result.predictions
    rows = []
    for c in range(3):
        pairs = [
            (found["picture_key"][picture], found["text"][text])
            for picture, text in (
                (found[f"{side}_picture"][c], found[f"{side}_text"][c])
                for side in ("right", "wrong")
            )
        ]
        rows.append((found["key"][found["item"][c]], *pairs, found["kind"][c], found["chosen"][c]))
        for (key, text), side in zip(pairs, ("right", "wrong"), strict=True):
            assert found[f"{side}_score"][c] == pytest.approx(table[int(key), int(text[2:])])
    assert rows == [
        ("one", ("2", "t 0"), ("2", "t 1"), "x", TEXT),
        ("one", ("2", "t 0"), ("2", "t 2"), "y", TEXT),
        ("two", ("1", "t 3"), ("4", "t 3"), "", IMAGE),
    ]
    record["main"] = "acc"
    results.write(tmp_path, record, result, keep=True)
    assert results.read(tmp_path)[0][0]["metrics"] == record["metrics"]


def test_a_limit_keeps_items_whole():
    items = Items()
    for n in range(10):
        items.add(f"{n}", crosswise([2 * n, 2 * n + 1], [f"t {n}", f"u {n}"], ""))
    selection = items.selection()
    assert selection.limited(100) == list(range(20))
    assert selection.limited(7) == [0, 1, 6, 7, 12, 13]
    assert selection.limited(1) == [0, 1]
    few = selection.subset(selection.limited(7), 20)
    assert few.names == ["0", "3", "6"]
    assert few.left_out == 7
    assert few.right[:, 0].max() == 5


def test_two_items_of_one_name_are_refused():
    items = Items()
    items.choose_text("one", 0, "a", [("", "b")])
    with pytest.raises(ValueError, match="two items are called 'one'"):
        items.choose_text("one", 1, "a", [("", "b")])
