"""Counting, the choice among near misses, geometry, captions from a sidecar, and the report."""

import json

import pyarrow.parquet as pq
import pytest

from eval import results
from eval.datasets import open_dataset
from eval.metric_names import headline, summary
from eval.report.report import write_report
from eval.run import check, evaluate, evaluate_tasks
from eval.spec import EvalSpec
from eval.tasks.counting import find_counted
from tests.eval.conftest import ConstantEncoder, picture
from tests.eval.grey import (
    CAPTIONS,
    QUIET,
    CountEncoder,
    Writer,
    record_of,
    spec,
    write_counts,
    write_negatives,
    write_sidecar,
)
from tests.eval.test_report import Page
from vlp.data.index import write_index
from vlp.data.tar import write_tar

CHOICE = "image_caption_selection"


def test_counting_by_the_sidecar(counted):
    write_counts(counted)
    found = record_of(CountEncoder(), spec("counting", counted))
    # the stand-in reads the first number word only, so every text of the fourth picture differs
    metrics, bounds = found["metrics"], found["ci95"]
    assert (metrics["count_acc"], metrics["count_mad"]) == (1.0, 0.0)
    wilson = [pytest.approx(4 / (4 + 1.96**2), abs=1e-4), 1.0]  # of four that are right
    assert (bounds["count_acc"], bounds["count_mad"]) == (wilson, [0.0, 0.0])
    assert found["n"]["images"] == 4
    assert found["n"]["texts"] == 36
    assert (found["n"]["left_out"], found["n"]["stale_rows"]) == (1, 0)
    assert found["protocol"]["numbers_from"] == "the sidecar counts"
    assert found["chance"]["count_acc"] == pytest.approx(1 / 9)


def test_counting_without_a_sidecar(counted):
    """The fourth caption holds two number words: it does not tell which is meant."""
    found = record_of(CountEncoder(), spec("counting", counted))
    assert found["protocol"]["numbers_from"] == "the captions"
    assert (found["n"]["images"], found["n"]["left_out"]) == (3, 2)
    assert found["metrics"]["count_acc"] == 1.0


def test_counting_by_the_records(tmp_path):
    """`number` before `count`; what is no whole number, or not in the caption, is left out."""
    records = [
        {"number": 3, "count": 7},
        {"count": 7.0},
        {"count": 0},
        {"count": "7"},
        {"count": 5},
        {"number": None, "count": 7},
        {"number": "3", "count": 7},
    ]
    samples = [
        (f"{n}", {"png": picture((70,) * 3), "txt": b"seven rings, three cups", "json": data})
        for n, data in enumerate(json.dumps(record).encode() for record in records)
    ]
    write_tar(tmp_path / "00000.tar", samples)
    write_index(tmp_path / "00000.tar")
    found = record_of(CountEncoder(), spec("counting", tmp_path))
    assert found["protocol"]["numbers_from"] == "the samples' records"
    assert (found["n"]["images"], found["n"]["left_out"]) == (4, 3)
    assert found["metrics"]["count_acc"] == 0.75  # the stand-in reads the first number word


def test_the_caption_that_tells_the_number_is_the_one_that_is_used(tmp_path):
    """Another caption of the picture may say the same word of something else."""
    captions = ["three rings, two cups", "two cups", "two dogs"]
    record = json.dumps({"captions": captions}).encode()
    members = {"png": picture((20,) * 3), "txt": captions[0].encode(), "json": record}
    write_tar(tmp_path / "00000.tar", [("0", members)])
    write_index(tmp_path / "00000.tar")
    counted = find_counted(open_dataset(tmp_path), [captions])
    assert counted.counts == [2]
    assert counted.texts[0][:2] == ["two cups", "three cups"]


def test_constant_model_counts_and_chooses_nothing(counted):
    write_counts(counted)
    write_negatives(counted)
    found = evaluate(ConstantEncoder(), spec("counting", counted), **QUIET)
    assert found["count_acc"] == 0.0
    assert found["count_mad"] == pytest.approx((8 + 7 + 8 + 7) / 4)
    record = record_of(ConstantEncoder(), spec(CHOICE, counted))
    assert set(record["metrics"].values()) == {0.0}
    assert record["n"]["ties"] == record["n"]["comparisons"] == 7
    found = evaluate(ConstantEncoder(), spec("geometry", counted), **QUIET)
    assert found["linear_separability"] == 0.5


def test_choice_by_kind(counted):
    """Only "nine dogs" differs from its first near miss in the first number word; that of the
    second picture is its caption itself.
    """
    write_negatives(counted)
    found = record_of(CountEncoder(), spec(CHOICE, counted))
    assert found["metrics"] == {
        "acc": 2 / 4,
        "pair_acc": pytest.approx(5 / 7),
        "acc_word_permutation": 0.0,
        "acc_count": pytest.approx(1 / 3),
        "acc_other": 1.0,
        "macro_acc": pytest.approx((1 / 3 + 1) / 2),
    }
    assert set(found["ci95"]) == set(found["metrics"]) == set(found["chance"])
    assert found["chance"]["acc"] == pytest.approx((3 / 3 + 1 / 2) / 4)
    assert (found["n"]["ties"], found["n"]["identical"]) == (2, 1)
    assert (found["n"]["images"], found["n"]["texts"], found["n"]["left_out"]) == (4, 8, 1)


def test_an_empty_near_miss_is_none(counted):
    rows = [{"texts": ["", "four"], "kinds": [None, "a"]}] * 4 + [{"texts": [""], "kinds": ["b"]}]
    write_sidecar(counted, "negatives", rows)
    found = record_of(CountEncoder(), spec(CHOICE, counted))
    assert set(found["metrics"]) == {"acc", "pair_acc", "acc_a"}
    assert (found["n"]["images"], found["n"]["left_out"]) == (4, 1)


def test_a_sidecar_is_read_once(counted, monkeypatch):
    write_counts(counted)
    write_sidecar(counted, "paraphrases", [{"texts": [text]} for text in CAPTIONS])
    read, asked = pq.read_table, []
    monkeypatch.setattr(
        pq, "read_table", lambda path, **how: asked.append(path) or read(path, **how)
    )
    names = ("retrieval", "geometry", "counting")
    evaluate_tasks(
        CountEncoder(), spec("geometry", counted, captions="paraphrases"), names, **QUIET
    )
    asked = [str(path.relative_to(path.parents[1])) for path in asked if "index" not in str(path)]
    files = [f"{n}/0000{k}.parquet" for n in ("counts", "paraphrases") for k in (0, 1)]
    assert sorted(asked) == files


def test_kind_of_one_picture_has_no_interval(counted):
    rows = [{"texts": ["four"], "kinds": ["a"]}] * 4 + [{"texts": ["four"], "kinds": ["b"]}]
    write_sidecar(counted, "negatives", rows)
    found = record_of(CountEncoder(), spec(CHOICE, counted))
    assert found["ci95"]["acc_b"] is None
    assert found["ci95"]["acc_a"] is not None


def test_rows_of_another_caption_are_never_used(counted):
    captions = [*CAPTIONS[:4], "ten dogs"]
    write_counts(counted, captions)
    found = record_of(CountEncoder(), spec("counting", counted))
    assert (found["n"]["images"], found["n"]["stale_rows"]) == (3, 1)
    write_counts(counted, ["other"] * 5)
    with pytest.raises(ValueError, match=r"none of 5 samples .* 4 rows belong to another source"):
        check(spec("counting", counted))


def test_geometry(counted):
    found = record_of(CountEncoder(), spec("geometry", counted))
    assert found["metrics"].keys() >= {
        "centroid_distance",
        "centroid_cosine",
        "linear_separability",
        "uniformity",
        "cross_uniformity",
        "alignment",
        "image_effective_rank",
        "text_effective_rank",
    }
    assert found["metrics"]["alignment"] == pytest.approx(0.0, abs=1e-3)
    assert found["chance"]["linear_separability"] == 0.5
    with pytest.raises(ValueError, match="two or more pairs"):
        check(spec("geometry", counted, limit=1))


def test_retrieval_with_the_texts_of_a_sidecar(counted):
    rewrites = [{"texts": [text.replace("dogs", "cats"), "", None]} for text in CAPTIONS]
    write_sidecar(counted, "rewrites-mine", rewrites)
    plain = record_of(CountEncoder(), spec("retrieval", counted))
    found = record_of(CountEncoder(), spec("retrieval", counted, captions="rewrites-mine"))
    assert found["n"]["texts"] == 5
    assert found["metrics"]["rsum"] == plain["metrics"]["rsum"] == 6.0
    assert found["protocol"]["captions_from"] == "rewrites-mine"
    assert found["protocol"]["data_sha"] == plain["protocol"]["data_sha"]
    assert "captions_from" not in plain["protocol"]
    rewrites[3] = {"texts": []}
    rewrites[4] = None
    write_sidecar(counted, "rewrites-mine", rewrites)
    with pytest.raises(ValueError, match="no text for 2 of 5 samples, the first: '000000003'"):
        check(spec("retrieval", counted, captions="rewrites-mine"))


def test_mistakes_about_sidecars(counted, class_folders, benchmark_captions):
    def wrong(message, task, data=counted, **options):
        with pytest.raises(ValueError, match=message):
            check(spec(task, data, **options))

    wrong(
        r"negatives/00000\.parquet is missing.*key, src_sha256, texts, kinds",
        CHOICE,
    )
    wrong(r"more/00000\.parquet is missing.*key, src_sha256, texts", "retrieval", captions="more")
    wrong("only indexed shards have", CHOICE, benchmark_captions)
    wrong("only indexed shards have", "retrieval", benchmark_captions, captions="rewrites")
    for task in ("geometry", "counting", CHOICE, "captioning"):
        wrong("needs captions.*holds labels", task, class_folders)
    wrong("none of 7 samples.*tells its number, two to ten", "counting", benchmark_captions)
    write_negatives(counted, kinds=("one",))
    reason = (
        "negatives/00000.parquet: sample '000000000': expected as many kinds as texts, got 1 and"
    )
    wrong(reason, CHOICE)
    write_sidecar(counted, "negatives", [{"texts": None, "kinds": ["a"]}] * 5)
    wrong(
        "sample '000000000': expected a list of texts in `texts`, got None",
        CHOICE,
    )
    write_sidecar(counted, "more", [{"texts": None}] * 5)
    wrong("more/00000.parquet: sample '000000000': expected a list", "geometry", captions="more")
    write_sidecar(counted, "negatives", [{"texts": [], "kinds": []}] * 5)
    wrong("no near miss for any of 5 samples", CHOICE)
    write_counts(counted)
    path = counted / "test" / "annotations" / "counts" / "00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns("noun"), path)
    wrong(r"00001\.parquet lacks noun", "counting")
    path.write_bytes(b"PAR1")
    wrong(r"00001\.parquet cannot be read", "counting")
    path.unlink()
    wrong(r"counts/00001\.parquet is missing", "counting")
    for name in ("", "..", "../x", "a/b", "/x"):
        with pytest.raises(ValueError, match="name of a folder in annotations"):
            EvalSpec(task="retrieval", data="x", captions=name)
    with pytest.raises(ValueError, match="choices are greedy, top_p, beam"):
        EvalSpec(task="captioning", data="x", caption_method="best")


TASKS = ("retrieval", "counting", CHOICE, "geometry", "captioning")


def test_summary_headline_and_report(counted, tmp_path):
    write_counts(counted)
    write_negatives(counted)
    out = tmp_path / "run"
    for samples, model in ((100, ConstantWriter()), (200, Writer())):
        about = {"path": "runs/a", "samples_seen": samples}
        for name in TASKS:
            place = out / "eval" / name
            task = spec(name, counted)
            evaluate(model, task, description=about, output=place, show_progress=False)
    records = {name: results.read(out / "eval" / name)[0][-1] for name in TASKS}
    shown = "\n".join(summary(record) for record in records.values())
    for line in (
        "count_acc                    100.00%  [ 51.01%, 100.00%]",
        "count_mad                       0.00  [   0.00,    0.00]",
        "acc_other                    100.00%",
        "linear_separability ",
        "  cider                          ",
    ):
        assert line in shown
    assert headline(records["counting"]["metrics"]) == "count_acc 100.00%, count_mad 0.00"
    rank = records["geometry"]["metrics"]["image_effective_rank"]
    assert f"image_effective_rank         {rank:7.1f}" in shown
    assert headline({"cider": 1.23456, "rsum": None, "x": 1}) == "cider 1.235"
    assert headline({"image_retrieval_recall@1": None}) == ""
    page = Page(write_report(out).read_text())
    for words in ("items solved", "Captions that the model wrote", "ten dogs", "BLEU-4"):
        assert words in page.text
    assert "four cats (other)" in page.text
    assert "(test): no p" not in page.text
    charts = sum(load.startswith("data:image/svg") for load in page.loads)
    assert charts == 5 + 1  # a curve a task, and the confusion of the counts


class ConstantWriter(ConstantEncoder):
    captions = True

    def caption(self, images, **how):
        return ["a picture"] * len(images)
