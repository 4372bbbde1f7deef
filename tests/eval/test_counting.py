"""Counting: the accuracy of each number, and CountBench in its two forms."""

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval import predictions
from eval.captions import own_captions
from eval.datasets import countbench
from eval.features import Features
from eval.run import evaluate_task, prepare
from eval.spec import EvalSpec
from eval.tasks.counting import find_counted
from tests.eval.conftest import ConstantEncoder, picture
from tests.eval.grey import CountEncoder, record_of, spec, write_counts
from tests.eval.written import write_json
from vlp.metrics.outcomes import interval

DATA = Path(__file__).parents[3] / "shared" / "data"
NUMBERS = [2, 3, 3, 9, 10]
ENTRIES = [
    {"image_url": f"https://example.org/{n}", "text": text, "number": number}
    for n, (number, text) in enumerate(
        zip(NUMBERS, ["two cats", "Three owls", "three hats", "nine", "TEN men"], strict=True)
    )
]


def grey(number):
    """What the stand-in sees as a number."""
    return picture((10 * number,) * 3, number)


def counted_by(model, dataset):
    task = EvalSpec(task="counting", data=str(dataset.path))
    return evaluate_task(Features(model), prepare(dataset, task, "counting"), {})


def test_each_number_has_its_accuracy(counted):
    write_counts(counted)
    found = record_of(CountEncoder(), spec("counting", counted))
    own = {f"count_acc_{number}" for number in (2, 3, 9, 10)}
    assert set(found["metrics"]) == {"count_acc", "count_mad", "mean_per_count_acc", *own}
    assert set(found["ci95"]) == set(found["chance"]) == set(found["metrics"])
    assert {found["metrics"][name] for name in own} == {1.0}
    assert {found["chance"][name] for name in (*own, "count_acc", "mean_per_count_acc")} == {1 / 9}
    assert found["chance"]["count_mad"] == pytest.approx((4 + 29 / 9 + 29 / 9 + 4) / 4)


def write_listed(root, names=("000.jpg", "001.jpeg", "002.png", "003.webp", "004.jpg")):
    write_json(root / "CountBench.json", ENTRIES)
    for name, number in zip(names, NUMBERS, strict=True):
        file = root / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(grey(number))


def write_held(root, missing=()):
    rows = [
        {**entry, "image": None if n in missing else {"bytes": grey(entry["number"]), "path": None}}
        for n, entry in enumerate(ENTRIES)
    ]
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "train-00000-of-00001.parquet")


def test_countbench_as_it_is_published(tmp_path):
    write_listed(tmp_path)
    assert countbench.recognise(tmp_path)
    found = countbench.read(tmp_path, None)
    assert (found.name, found.layout, found.split) == ("countbench", "countbench", None)
    assert found.keys == ["000", "001", "002", "003", "004"]
    assert found.numbers == NUMBERS
    assert found.captions[1] == ["Three owls"]
    record, result = counted_by(CountEncoder(), found)
    assert record["metrics"]["count_acc"] == record["metrics"]["mean_per_count_acc"] == 1.0
    assert record["protocol"]["numbers_from"] == "the samples' records"
    assert result.outcomes["count_acc_3"].counts.tolist() == [0, 1, 1, 0, 0]
    constant, _ = counted_by(ConstantEncoder(), found)
    shares = {v for name, v in constant["metrics"].items() if name != "count_mad"}
    assert shares == {0.0}


def test_pictures_as_img2dataset_writes_them(tmp_path):
    write_listed(tmp_path, [f"00000/{n:09d}.jpg" for n in range(5)])
    found = countbench.read(tmp_path, None)
    assert all(place.size > 0 for place in found.places)


def test_an_object_of_entries_and_pictures_beside_it(tmp_path):
    write_json(tmp_path / "CountBench.json", {str(n): entry for n, entry in enumerate(ENTRIES)})
    (tmp_path / "002.png").write_bytes(grey(3))
    found = countbench.read(tmp_path, None)
    record, _ = counted_by(CountEncoder(), found)
    assert (record["n"]["images"], record["n"]["skipped"]) == (1, 4)
    (tmp_path / "002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"none of its 5 pictures is there.*images/"):
        countbench.read(tmp_path, None)


@pytest.mark.parametrize("folder", ["", "data"])
def test_countbench_from_the_hub(tmp_path, folder):
    write_held(tmp_path / folder, missing=(1,))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert countbench.recognise(tmp_path)
    found = countbench.read(tmp_path, None)
    assert (found.keys[4], found.numbers, found.places[1]) == ("004", NUMBERS, None)
    assert pickle.loads(pickle.dumps(found)).item(4)[1].size == (11, 9)  # as workers get it
    record, _ = counted_by(CountEncoder(), found)
    assert record["metrics"]["count_acc"] == 1.0
    assert (record["n"]["images"], record["n"]["skipped"]) == (4, 1)
    write_json(tmp_path / "CountBench.json", ENTRIES)  # without pictures: these are in the table
    assert countbench.read(tmp_path, None).places[0].data == grey(2)


def test_outcomes_come_back_from_predictions(tmp_path):
    write_listed(tmp_path)
    _, result = counted_by(CountEncoder(), countbench.read(tmp_path, None))
    predictions.write(tmp_path / "p.npz", result.predictions | PLACE, result.outcomes)
    again = predictions.outcomes(predictions.read(tmp_path / "p.npz"))
    for name, outcome in result.outcomes.items():
        assert again[name].value == result.metrics[name]
        assert interval(again[name]) == interval(outcome)


PLACE = dict.fromkeys(("data", "data_sha", "limit", "split"), 0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"text": ""}, "entry 1: expected a text in 'text', got ''"),
        ({"number": "many"}, "entry 1: expected a number in 'number', got 'many'"),
        ({"number": 2.5}, "entry 1: expected a whole number in 'number', got 2.5"),
    ],
)
def test_bad_entries_are_named(tmp_path, entry, message):
    write_listed(tmp_path)
    write_json(tmp_path / "CountBench.json", [ENTRIES[0], {**ENTRIES[1], **entry}])
    with pytest.raises(ValueError, match=message):
        countbench.read(tmp_path, None)


def test_it_has_no_splits_and_is_no_other_folder(tmp_path):
    assert not countbench.recognise(tmp_path)
    pq.write_table(pa.table({"image": ["a"], "text": ["a"], "number": [2]}), tmp_path / "a.parquet")
    assert not countbench.recognise(tmp_path)
    write_listed(tmp_path)
    with pytest.raises(ValueError, match="has no splits, but --split asks for 'test'"):
        countbench.read(tmp_path, "test")


@pytest.mark.skipif(
    not (DATA / "metadata" / "CountBench.json").is_file(), reason="CountBench.json is not here"
)
def test_every_real_caption_tells_its_number(tmp_path):
    content = (DATA / "metadata" / "CountBench.json").read_text(encoding="utf-8")
    (tmp_path / "CountBench.json").write_text(content, encoding="utf-8")
    (tmp_path / "000.jpg").write_bytes(grey(2))
    found = countbench.read(tmp_path, None)
    assert (len(found), len(found.numbers)) == (540, len(json.loads(content)))
    counted = find_counted(found, own_captions("counting", found))
    assert {number: counted.counts.count(number) for number in range(2, 11)} == dict.fromkeys(
        range(2, 11), 60
    )
