"""Counting, the choice among near misses, the gap, captioning, and captions from a sidecar."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from eval import results
from eval.datasets import open_dataset
from eval.encode import write_captions
from eval.report import write_report
from eval.run import check, check_model, evaluate, evaluate_tasks
from eval.spec import EvalSpec
from tests.eval.conftest import ColourEncoder, ConstantEncoder, picture
from tests.eval.test_report import Page
from tests.eval.test_run import Ranks
from vlp.data.index import caption_sha256, sidecar_path, write_index
from vlp.data.numbers import NUMBERS, find_numbers
from vlp.data.tar import write_tar

QUIET = {"description": {}, "output": None, "show_progress": False}
CAPTIONS = [
    "Two kittens often",
    "a scene of three red circles",
    "nothing to count",
    "TEN blue stars and nine rings",
    "nine dogs",
]
COUNTS = [2, 3, None, 10, 9]
LEVELS = [20, 30, 150, 100, 90]  # grey level of the picture: ten times what it shows


class CountEncoder(ColourEncoder):
    """Counts: a picture's feature is its grey level, a text's its first number word."""

    def encode_image(self, images):
        return self.on_circle(images.float().mean((1, 2, 3)) / 10)

    def encode_text(self, texts):
        spans = [find_numbers(text) for text in texts]
        return self.on_circle(torch.tensor([float(s[0].count) if s else 15.0 for s in spans]))

    def on_circle(self, numbers):
        angle = numbers * 0.1
        return F.normalize(torch.stack([angle.cos(), angle.sin()], 1), dim=-1)


class Writer(CountEncoder):
    """Writes a caption that says how many there are."""

    captions = True
    asked = ()

    def caption(self, images, *, method="greedy", seed=0):
        self.asked += ((method, seed),)
        levels = (images.float().mean((1, 2, 3)) / 10).round().int().tolist()
        return [f"{NUMBERS[level]} dogs" if level in NUMBERS else "" for level in levels]


@pytest.fixture
def counted(tmp_path):
    """Two shards of grey pictures; `counts` beside them is written by the test."""
    root = tmp_path / "counted" / "test"
    root.mkdir(parents=True)
    samples = [
        (f"{n:09d}", {"png": picture((level,) * 3, n), "txt": caption.encode()})
        for n, (caption, level) in enumerate(zip(CAPTIONS, LEVELS, strict=True))
    ]
    for number, part in enumerate((samples[:3], samples[3:])):
        write_tar(root / f"{number:05d}.tar", part)
        write_index(root / f"{number:05d}.tar")
    return root.parent


def write_sidecar(root, name, values, captions=CAPTIONS):
    """A row for every sample whose value is not None."""
    for shard in sorted((root / "test").glob("*.tar")):
        own = range(3) if shard.stem == "00000" else range(3, 5)
        rows = [
            {
                "key": f"{n:09d}",
                "src_sha256": caption_sha256(captions[n].encode()),
                **values[n],
            }
            for n in own
            if values[n] is not None
        ]
        empty = {"key": [], "src_sha256": [], **{k: [] for v in values if v for k in v}}
        path = sidecar_path(shard, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows) if rows else pa.table(empty), path)


def write_counts(root, captions=CAPTIONS):
    rows = [count and {"count": count, "noun": ""} for count in COUNTS]
    write_sidecar(root, "counts", rows, captions)


def write_negatives(root, kinds=("count", "other")):
    rows = [
        {"texts": [text.lower().replace("nine", "four"), "four cats"], "kinds": list(kinds)}
        for text in CAPTIONS
    ]
    rows[2] = None
    write_sidecar(root, "negatives", rows)


def spec(task, data, **options):
    return EvalSpec(task=task, data=str(data), batch=2, **options)


def record_of(encoder, task):
    return evaluate_tasks(encoder, task, (task.task,), **QUIET)[task.task]


def test_counting_by_the_sidecar(counted):
    write_counts(counted)
    found = record_of(CountEncoder(), spec("counting", counted))
    # the stand-in reads the first number word only, so every text of the fourth picture differs
    assert found["metrics"] == {"count_acc": 1.0, "count_mad": 0.0}
    assert found["ci95"] == {"count_acc": [1.0, 1.0], "count_mad": [0.0, 0.0]}
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
    ]
    samples = [
        (f"{n}", {"png": picture((70,) * 3), "txt": b"seven rings, three cups", "json": data})
        for n, data in enumerate(json.dumps(record).encode() for record in records)
    ]
    write_tar(tmp_path / "00000.tar", samples)
    write_index(tmp_path / "00000.tar")
    found = record_of(CountEncoder(), spec("counting", tmp_path))
    assert found["protocol"]["numbers_from"] == "the samples' records"
    assert (found["n"]["images"], found["n"]["left_out"]) == (2, 3)
    assert found["metrics"]["count_acc"] == 0.5  # the stand-in reads the first number word


def test_constant_model_counts_and_chooses_nothing(counted):
    write_counts(counted)
    write_negatives(counted)
    found = evaluate(ConstantEncoder(), spec("counting", counted), **QUIET)
    assert found == {"count_acc": 0.0, "count_mad": pytest.approx((8 + 7 + 8 + 7) / 4)}
    record = record_of(ConstantEncoder(), spec("caption_choice", counted))
    assert set(record["metrics"].values()) == {0.0}
    assert record["n"]["ties"] == 8
    gap = evaluate(ConstantEncoder(), spec("gap", counted), **QUIET)
    assert gap["linear_separability"] == 0.5


def test_choice_by_kind(counted):
    """Only "nine dogs" differs from its first near miss in the first number word."""
    write_negatives(counted)
    found = record_of(CountEncoder(), spec("caption_choice", counted))
    assert found["metrics"] == {
        "choice_acc": 5 / 8,
        "choice_all_acc": 1 / 4,
        "choice_acc_count": 1 / 4,
        "choice_acc_other": 1.0,
    }
    assert set(found["ci95"]) == set(found["metrics"]) == set(found["chance"])
    assert found["chance"]["choice_all_acc"] == pytest.approx(1 / 3)
    assert found["n"]["ties"] == 3
    assert (found["n"]["images"], found["n"]["texts"], found["n"]["left_out"]) == (4, 12, 1)


def test_kind_of_one_picture_has_no_interval(counted):
    rows = [{"texts": ["four"], "kinds": ["a"]}] * 4 + [{"texts": ["four"], "kinds": ["b"]}]
    write_sidecar(counted, "negatives", rows)
    found = record_of(CountEncoder(), spec("caption_choice", counted))
    assert found["ci95"]["choice_acc_b"] is None
    assert found["ci95"]["choice_acc_a"] is not None


def test_rows_of_another_caption_are_never_used(counted):
    captions = [*CAPTIONS[:4], "ten dogs"]
    write_counts(counted, captions)
    found = record_of(CountEncoder(), spec("counting", counted))
    assert (found["n"]["images"], found["n"]["stale_rows"]) == (3, 1)
    write_counts(counted, ["other"] * 5)
    with pytest.raises(ValueError, match=r"none of 5 samples .* 4 rows belong to another source"):
        check(spec("counting", counted))


def test_gap(counted):
    found = record_of(CountEncoder(), spec("gap", counted))
    assert list(found["metrics"]) == [
        "centroid_distance",
        "centroid_cosine",
        "linear_separability",
        "uniformity",
        "cross_uniformity",
        "alignment",
        "image_effective_rank",
        "text_effective_rank",
    ]
    assert found["metrics"]["alignment"] == pytest.approx(0.0, abs=1e-3)
    assert found["chance"] == {"linear_separability": 0.5}
    with pytest.raises(ValueError, match="two or more pairs"):
        check(spec("gap", counted, limit=1))


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

    wrong(r"negatives/00000\.parquet is missing.*key, src_sha256, texts, kinds", "caption_choice")
    wrong(r"more/00000\.parquet is missing.*key, src_sha256, texts", "retrieval", captions="more")
    wrong("only indexed shards have", "caption_choice", benchmark_captions)
    wrong("only indexed shards have", "retrieval", benchmark_captions, captions="rewrites")
    for task in ("gap", "counting", "caption_choice", "captioning"):
        wrong("needs captions.*holds labels", task, class_folders)
    wrong("none of 7 samples.*tells its number, two to ten", "counting", benchmark_captions)
    for task in ("counting", "caption_choice"):
        wrong("'rewrites': task c.* is about the captions of", task, captions="rewrites")
    write_negatives(counted, kinds=("one",))
    wrong("'000000000': expected one kind a text, got 2 texts", "caption_choice")
    write_sidecar(counted, "negatives", [{"texts": [], "kinds": []}] * 5)
    wrong("no near miss for any of 5 samples", "caption_choice")
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
    with pytest.raises(ValueError, match="choices are greedy, beam, top_p"):
        EvalSpec(task="captioning", data="x", caption_method="best")


def test_captioning(counted, tmp_path):
    task = spec("captioning", counted, caption_method="beam", seed=3)
    model = Writer()
    evaluate(model, task, description={}, output=tmp_path / "out", show_progress=False)
    (record,), _ = results.read(tmp_path / "out")
    assert set(record["metrics"]) == {"bleu4", "rouge_l", "cider"}
    assert set(record["ci95"]) == {"rouge_l", "cider"}
    assert record["n"]["empty_captions"] == 1
    assert set(model.asked) == {("beam", 3)}
    saved = np.load(tmp_path / "out" / "predictions-captioning.npz", allow_pickle=False)
    assert saved["written"].tolist() == ["two dogs", "three dogs", "", "ten dogs", "nine dogs"]
    assert saved["caption"].tolist() == CAPTIONS
    assert record["metrics"]["cider"] == pytest.approx(saved["caption_cider"].mean())
    # two pairs of words at most, so of four orders of n-grams two count
    assert saved["caption_cider"].argmax() == 4
    assert saved["caption_cider"][4] == pytest.approx(5.0)


def test_a_model_that_writes_no_captions_is_refused_before_it_encodes(counted):
    class Mute(Writer):
        captions = False

        def encode_image(self, images):
            pytest.fail("encoded")

    for model in (Mute(), CountEncoder()):
        with pytest.raises(ValueError, match="task captioning needs a model that writes captions"):
            check_model(model, ["retrieval", "captioning"])
    with pytest.raises(ValueError, match="and colours does not"):
        evaluate(Mute(), spec("captioning", counted), **QUIET)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_write_the_same_captions(world, counted, monkeypatch):
    dataset, model, task = open_dataset(counted), Writer(), spec("captioning", counted)

    def write():
        return write_captions(dataset, model, model.caption, spec=task, show_progress=False)

    alone = write()
    ranks = Ranks(world)
    ranks.patch(monkeypatch)
    assert ranks.run(write) == [alone] * world
    (counted / "test" / "00000.tar").unlink()
    for found in ranks.run(lambda: _error(write)):
        assert "no longer readable: 000000000: " in found


def _error(function):
    with pytest.raises(ValueError, match="readable") as error:
        function()
    return str(error.value)


TASKS = ("retrieval", "counting", "caption_choice", "gap", "captioning")


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
    shown = "\n".join(results.summary(record) for record in records.values())
    for line in (
        "count_acc                    100.00%  [100.00%, 100.00%]",
        "count_mad                       0.00  [   0.00,    0.00]",
        "choice_acc_other             100.00%",
        "linear_separability ",
        "  cider                          ",
    ):
        assert line in shown
    assert results.headline(records["counting"]["metrics"]) == "count_acc 100.00%, count_mad 0.00"
    rank = records["gap"]["metrics"]["image_effective_rank"]
    assert f"image_effective_rank         {rank:7.1f}" in shown
    assert results.headline({"cider": 1.23456, "rsum": None, "x": 1}) == "cider 1.235"
    assert results.headline({"image_retrieval_recall@1": None}) == ""
    page = Page(write_report(out).read_text())
    for words in ("near misses beaten", "Captions that the model wrote", "ten dogs", "BLEU-4"):
        assert words in page.text
    assert "four cats (other)" in page.text
    assert "(test): no p" not in page.text
    charts = sum(load.startswith("data:image/svg") for load in page.loads)
    assert charts == 5 + 1  # a curve a task, and the confusion of the counts


class ConstantWriter(ConstantEncoder):
    captions = True

    def caption(self, images, *, method="greedy", seed=0):
        return ["a picture"] * len(images)
