import json
import math
import os
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES

from eval import results
from eval.datasets import open_dataset
from eval.encode import encode_images, encode_texts
from eval.metric_names import summary
from eval.prompts import find_prompts
from eval.run import check, evaluate, evaluate_tasks
from eval.spec import EvalSpec
from eval.zero_shot import class_weights
from tests.eval.conftest import PALETTE, ColourEncoder, Ranks, picture
from vlp.data.index import write_index
from vlp.data.tar import write_tar

QUIET = {"description": {}, "output": None, "show_progress": False}
SCHEMA = {
    "schema",
    "dataset",
    "task",
    "split",
    "model",
    "pretrained",
    "language",
    "main",
    "key",
    "predictions",
    "metrics",
    "ci95",
    "chance",
    "n",
    "protocol",
    "checkpoint",
    "env",
    "seconds",
}


def spec(task, data, **options):
    return EvalSpec(task=task, data=str(data), **options)


@pytest.mark.parametrize("layout", ["class_folders", "benchmark_classes"])
def test_model_that_knows_is_right(layout, encoder, request):
    data = request.getfixturevalue(layout)
    found = evaluate(encoder, spec("zeroshot_classification", data, batch=4), **QUIET)
    assert found["acc1"] == found["mean_per_class_recall"] == 1.0


@pytest.mark.parametrize("layout", ["own_shards", "benchmark_captions"])
def test_model_that_knows_finds(layout, encoder, request):
    data = request.getfixturevalue(layout)
    found = evaluate(encoder, spec("retrieval", data, batch=4), **QUIET)
    assert found["image_retrieval_recall@1"] == found["text_retrieval_recall@1"] == 1.0


def test_constant_model_scores_nothing(constant, class_folders, own_shards):
    found = evaluate(constant, spec("zeroshot_classification", class_folders), **QUIET)
    assert set(found.values()) == {0.0}
    found = evaluate(constant, spec("retrieval", own_shards), **QUIET)
    assert found["image_retrieval_recall@1"] == found["text_retrieval_recall@1"] == 0.0
    assert found["text_retrieval_recall@10"] == 0.0  # 12 of 14 captions are those of others


def test_results_follow_the_schema(encoder, class_folders, tmp_path):
    output = tmp_path / "out"
    about = {"step": 7, "samples_seen": 700, "path": "runs/x"}
    for _ in range(2):
        task = spec("zeroshot_classification", class_folders)
        evaluate(encoder, task, description=about, output=output, show_progress=False)
    records, unreadable = results.read(output)
    assert (len(records), unreadable) == (2, 0)
    record = records[0]
    assert set(record) == SCHEMA
    assert all(isinstance(record[name], str) for name in ("dataset", "model", "pretrained"))
    expected = {"images": 21, "texts": 7, "classes": 7, "ties": 0, "skipped": 0}
    assert record["n"] == {**expected, "truncated_texts": 0}
    assert record["checkpoint"]["step"] == 7
    assert record["checkpoint"]["samples_seen"] == 700
    assert record["protocol"]["templates_from"] == "default"
    assert len(record["protocol"]["templates_sha"]) == 64
    assert record["ci95"]["acc1"] == [pytest.approx(21 / (21 + 1.96**2), abs=1e-4), 1.0]  # Wilson
    (single,) = output.glob("colours_test_zeroshot_classification_step-000000007_*.json")
    assert json.loads(single.read_text()) == records[1]
    saved = np.load(output / "predictions-zeroshot_classification.npz", allow_pickle=False)
    assert saved["top"].shape == (21, 5)
    assert (saved["top"][:, 0] == saved["label"]).all()
    assert (saved["confusion"] == 3 * np.eye(7)).all()


def test_no_result_overwrites_another(encoder, class_folders, own_shards, tmp_path):
    options = {"description": {}, "output": tmp_path, "show_progress": False}
    other = ColourEncoder()
    other.fingerprint = "f" * 64
    task = spec("zeroshot_classification", class_folders)
    evaluate(encoder, task, **options)
    evaluate(other, task, **options)
    evaluate(encoder, replace(task, templates="openai"), **options)
    evaluate(encoder, spec("retrieval", own_shards), **options)
    assert len(list(tmp_path.glob("*.json"))) == len(results.read(tmp_path)[0]) == 4


def test_no_nan_reaches_the_file(encoder, own_shards, tmp_path):
    one = spec("retrieval", own_shards, limit=1)
    evaluate(encoder, one, description={}, output=tmp_path, show_progress=False)
    text = (tmp_path / "results.jsonl").read_text()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert record["ci95"]["image_retrieval_recall@1"] is None
    assert record["n"]["classes"] is None


def test_torn_line_swallows_nothing(encoder, own_shards, tmp_path):
    task = spec("retrieval", own_shards)
    for _ in range(2):
        evaluate(encoder, task, description={}, output=tmp_path, show_progress=False)
        path = tmp_path / "results.jsonl"
        path.write_bytes(path.read_bytes()[:-200])
    evaluate(encoder, task, description={}, output=tmp_path, show_progress=False)
    records, unreadable = results.read(tmp_path)
    assert (len(records), unreadable) == (1, 2)


def test_two_tasks_share_one_pass_over_the_pictures(own_shards, tmp_path):
    labelled = tmp_path / "both"
    (labelled / "annotations" / "index").mkdir(parents=True)
    _write_labelled(labelled)

    class Counting(ColourEncoder):
        calls = 0

        def encode_image(self, images):
            Counting.calls += len(images)
            return super().encode_image(images)

        def encode_text(self, texts):
            found = super().encode_text(texts)
            Counting.calls -= len(texts)  # the stand-in encodes texts as pictures
            return found

    names = ("zeroshot_classification", "retrieval")
    found = evaluate_tasks(Counting(), spec(names[0], labelled), names, **QUIET)
    assert Counting.calls == 7
    assert found["zeroshot_classification"]["metrics"]["acc1"] == 1.0
    assert found["retrieval"]["metrics"]["rsum"] == 6.0


def _write_labelled(root):
    (root / "classnames.txt").write_text("\n".join(PALETTE).replace("_", " "))
    rows = []
    for n, (name, colour) in enumerate(PALETTE.items()):
        caption = f"it is {name}".replace("_", " ").encode()
        rows.append((f"{n}", {"png": picture(colour), "txt": caption, "cls": str(n).encode()}))
    write_tar(root / "00000.tar", rows)
    write_index(root / "00000.tar")


def test_unreadable_pictures_are_skipped_counted_and_named(
    encoder, class_folders, caplog, tmp_path
):
    (class_folders / "test" / "red" / "1.png").write_bytes(b"no picture")
    (class_folders / "test" / "blue" / "0.png").write_bytes(b"")
    task = spec("zeroshot_classification", class_folders, batch=4)
    found = evaluate_tasks(encoder, task, (task.task,), **QUIET)[task.task]
    assert found["n"]["skipped"] == 2
    assert found["n"]["images"] == 19
    assert found["metrics"]["acc1"] == 1.0
    assert "red/1.png is skipped" in caplog.text
    assert "2 of 21 pictures skipped" in caplog.text
    for file in class_folders.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 21 pictures can be read"):
        evaluate(encoder, task, **QUIET)


def test_skipped_picture_takes_its_captions_along(encoder, benchmark_captions):
    dataset = open_dataset(benchmark_captions)
    damaged = replace(dataset, places=[None, *dataset.places[1:]])
    found = encode_images(damaged, encoder, batch=2, workers=0, show_progress=False)
    assert found.positions == [1, 2, 3, 4, 5, 6]
    assert len(damaged.subset(found.positions).captions) == 6
    assert found.skipped == [("s0000000", "the sample has no picture")]


def test_workers_change_nothing(encoder, class_folders):
    dataset = open_dataset(class_folders)
    options = {"batch": 4, "show_progress": False}
    alone = encode_images(dataset, encoder, workers=0, **options)
    helped = encode_images(dataset, encoder, workers=3, **options)
    assert torch.equal(alone.features, helped.features)
    assert alone.positions == helped.positions


def test_random_state_is_left_alone(encoder, class_folders):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    evaluate(encoder, spec("zeroshot_classification", class_folders), **QUIET)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_broken_model_is_refused_by_name(class_folders):
    class Broken(ColourEncoder):
        def encode_image(self, images):
            return super().encode_image(images) * math.nan

    with pytest.raises(ValueError, match=r"NaN or infinity for 21 of 21 pictures.*'black/0\.png'"):
        evaluate(Broken(), spec("zeroshot_classification", class_folders), **QUIET)


def test_classifier_is_the_normed_mean_of_unit_prompts(encoder, benchmark_classes):
    prompts = find_prompts(open_dataset(benchmark_classes), spec("x", benchmark_classes))
    texts = [text for label in range(3) for text in prompts.texts(label)]
    assert texts[:3] == ["a red", "all red", "a green"]
    found = class_weights(encode_texts(texts, encoder, batch=2), [2, 2, 2])
    for label in range(3):
        rows = encoder.encode_text(prompts.texts(label))
        mean = sum(row / row.norm() for row in rows) / len(rows)
        assert torch.allclose(found[label], mean / mean.norm(), atol=1e-6)


def test_where_prompts_come_from(class_folders, tmp_path):
    dataset = open_dataset(class_folders)
    plain = find_prompts(dataset, spec("x", class_folders))
    assert plain.templates == ["a photo of a {c}."]
    assert plain.texts(1) == ["a photo of a blue."]
    packaged = find_prompts(dataset, spec("x", class_folders, templates="openai"))
    assert packaged.texts(0) == [template("black") for template in OPENAI_IMAGENET_TEMPLATES]
    (tmp_path / "t.txt").write_text("one {}\ntwo {c} {x}\n")
    (tmp_path / "names.txt").write_text("\n".join("abcdefg"))
    named = spec(
        "x",
        class_folders,
        templates=str(tmp_path / "t.txt"),
        classnames=str(tmp_path / "names.txt"),
    )
    assert find_prompts(dataset, named).texts(6) == ["one g", "two g {x}"]
    assert find_prompts(dataset, named).protocol["templates_from"] == "file"


def test_check_finds_mistakes_without_a_model(class_folders, own_shards, tmp_path):
    check(spec("zeroshot_classification", class_folders))
    bad = tmp_path / "bad.txt"
    bad.write_text("no place\n")
    few = tmp_path / "few.txt"
    few.write_text("a\nb\n")
    task = "zeroshot_classification"
    for wrong, error, message in (
        (spec("zeroshot", class_folders), ValueError, "choices are zeroshot_class.*, retrieval"),
        (spec("retrieval", class_folders), ValueError, "needs captions.*holds labels"),
        (spec(task, own_shards), ValueError, "needs labels.*holds captions"),
        (spec(task, tmp_path / "none"), FileNotFoundError, "does not exist"),
        (
            spec(task, class_folders, templates=str(bad)),
            ValueError,
            "'no place' has no placeholder",
        ),
        (spec(task, class_folders, templates="x.txt"), FileNotFoundError, "x.txt.*`openai`"),
        (spec(task, class_folders, classnames=str(few)), ValueError, "label 2.*2 class names"),
    ):
        with pytest.raises(error, match=message):
            check(wrong)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        spec("x", "y", batch=0)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_change_nothing(world, encoder, class_folders, monkeypatch):
    """5 batches of pictures and 1 of texts: some ranks have nothing at all to encode."""
    dataset = open_dataset(class_folders)
    dataset = replace(dataset, places=[*dataset.places[:9], None, *dataset.places[10:]])

    def encode():
        images = encode_images(dataset, encoder, batch=5, workers=0, show_progress=False)
        texts = encode_texts(["red", "blue", "red"], encoder, batch=8, show_progress=False)
        return images, texts

    alone, alone_texts = encode()
    ranks = Ranks(world)
    ranks.patch(monkeypatch)
    for images, texts in ranks.run(encode):
        assert torch.equal(images.features, alone.features)
        assert (images.positions, images.skipped) == (alone.positions, alone.skipped)
        assert torch.equal(texts, alone_texts)


def test_what_is_saved_as_best_follows_the_tie_rule(constant, class_folders, tmp_path):
    task = spec("zeroshot_classification", class_folders)
    evaluate(constant, task, description={}, output=tmp_path, show_progress=False)
    saved = np.load(tmp_path / f"predictions-{task.task}.npz", allow_pickle=False)
    assert (saved["top"] != saved["label"][:, None]).all()  # all classes tie: wrong ones are first


def test_a_name_that_is_no_text_reaches_the_results(encoder, class_folders, own_shards, tmp_path):
    odd = class_folders.rename(class_folders.with_name(os.fsdecode(b"caf\xe9")))
    task = spec("zeroshot_classification", odd)
    evaluate(encoder, task, description={}, output=tmp_path / "out", show_progress=False)
    (record,), unreadable = results.read(tmp_path / "out")
    assert record["protocol"]["data"] == str(odd)
    assert unreadable == 0
    (own_shards / "test").rename(odd / "train")
    with pytest.raises(ValueError, match=r"caf\\udce9/train': the path is not UTF-8"):
        open_dataset(odd, "train")


def test_a_folder_without_splits_has_none_in_its_results(encoder, own_shards, tmp_path):
    (own_shards / "test").rename(own_shards / "all")
    task = spec("retrieval", own_shards / "all")
    evaluate(encoder, task, description={}, output=tmp_path / "out", show_progress=False)
    (record,), _ = results.read(tmp_path / "out")
    assert record["split"] is None
    assert summary(record).startswith("all / retrieval ")
    assert list((tmp_path / "out").glob("all_retrieval_*.json"))
