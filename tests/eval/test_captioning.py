"""Captioning, and options that only some tasks read."""

from dataclasses import replace

import numpy as np
import pytest

from eval import results
from eval.datasets import open_dataset
from eval.encode import write_captions
from eval.features import Features
from eval.run import check_all, check_model, evaluate, evaluate_task, evaluate_tasks, prepare
from tests.eval.conftest import Ranks
from tests.eval.grey import (
    CAPTIONS,
    QUIET,
    CountEncoder,
    Writer,
    record_of,
    spec,
    write_sidecar,
)
from vlp import dist


def test_captioning(counted, tmp_path):
    task = spec("captioning", counted, caption_method="beam", seed=3)
    model = Writer()
    evaluate(model, task, description={}, output=tmp_path / "out", show_progress=False)
    (record,), _ = results.read(tmp_path / "out")
    assert set(record["metrics"]) == {"bleu4", "rouge_l", "cider"}
    assert set(record["ci95"]) == {"rouge_l", "cider"}
    assert record["n"]["empty_captions"] == 1
    assert {(method, *sorted(others.items())) for method, _, others in model.asked} == {
        ("beam", ("beams", 4), ("max_length", None), ("top_p", 0.9))
    }
    assert (
        record["protocol"]
        | {
            "caption_method": "beam",
            "max_length": None,
            "beams": 4,
            "length_penalty": 1.0,
            "top_p": None,
            "temperature": None,
            "caption_seed": None,
        }
        == record["protocol"]
    )
    saved = np.load(tmp_path / "out" / "predictions-captioning.npz", allow_pickle=False)
    assert saved["written"].tolist() == ["two dogs", "three dogs", "", "ten dogs", "nine dogs"]
    assert saved["caption"].tolist() == CAPTIONS
    assert record["metrics"]["cider"] == pytest.approx(saved["caption_cider"].mean())
    # two pairs of words at most, so of four orders of n-grams two count
    assert saved["caption_cider"].argmax() == 4
    assert saved["caption_cider"][4] == pytest.approx(5.0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_sampled_captions_depend_on_no_batches(world, counted, monkeypatch):
    class Sampler(Writer):
        def caption(self, images, *, method, seed, **others):
            assert method == "top_p"
            return [f"draws of {seed + row}" for row in range(len(images))]

    ranks = Ranks(world)
    ranks.patch(monkeypatch)
    written = {}
    for batch, seed in ((1, 0), (2, 0), (5, 0), (2, 1)):
        task = replace(spec("captioning", counted, caption_method="top_p"), batch=batch, seed=seed)
        prepared = prepare(open_dataset(counted), task, "captioning")
        features = [Features(Sampler(), batch=batch) for _ in range(world)]
        found = ranks.run(lambda p=prepared, own=features: evaluate_task(own[dist.rank()], p, {}))
        written[batch, seed] = [result.predictions["written"].tolist() for _, result in found]
    expected = [f"draws of {place}" for place in range(5)]
    assert written[1, 0] == written[2, 0] == written[5, 0] == [expected] * world
    assert not set(written[2, 1][0]) & set(expected)


def test_the_seed_is_of_the_protocol_where_it_decides(counted):
    def protocol(task, **options):
        return record_of(Writer(), spec(task, counted, seed=4, **options))["protocol"]

    sampled = protocol("captioning", caption_method="top_p")
    assert (sampled["top_p"], sampled["temperature"], sampled["caption_seed"]) == (0.9, 1.0, 4)
    assert sampled["beams"] is sampled["length_penalty"] is None
    assert protocol("captioning")["caption_seed"] is None
    assert protocol("geometry")["held_out_seed"] == 4


@pytest.mark.parametrize(
    ("options", "tasks", "readers"),
    [
        (
            {"captions": "more"},
            ["zeroshot_classification"],
            ["retrieval", "geometry", "captioning"],
        ),
        (
            {"captions": "more"},
            ["counting", "calibration"],
            ["retrieval", "geometry", "captioning"],
        ),
        ({"caption_method": "beam"}, ["retrieval", "geometry"], ["captioning"]),
        ({"templates": "openai"}, ["captioning"], ["zeroshot_classification"]),
        ({"classnames": "x"}, ["counting"], ["zeroshot_classification"]),
    ],
)
def test_an_option_that_no_task_reads_is_refused(counted, options, tasks, readers):
    ((name, value),) = options.items()
    message = f"^{name} '{value}': not read by task {', '.join(tasks)}, but by .*"
    for reader in readers:
        with pytest.raises(ValueError, match=rf"{message}\b{reader}\b"):
            check_all(spec(tasks[0], counted, **options), tasks)
    with pytest.raises(ValueError, match=message):
        evaluate_tasks(Writer(), spec(tasks[0], counted, **options), tasks, **QUIET)


def test_a_task_says_which_options_of_its_neighbours_it_does_not_read(counted):
    write_sidecar(counted, "more", [{"texts": ["four dogs"]} for _ in CAPTIONS])
    given = spec("counting", counted, captions="more", caption_method="beam")
    found = evaluate_tasks(Writer(), given, ("counting", "retrieval", "captioning"), **QUIET)
    protocols = [found[task]["protocol"] for task in ("counting", "retrieval", "captioning")]
    assert [protocol.get("unread_options") for protocol in protocols] == [
        ["captions", "caption_method"],
        ["caption_method"],
        None,
    ]
    assert found["counting"]["metrics"]["count_acc"] == 1.0  # of the captions of the data


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
        return write_captions(
            dataset,
            model,
            lambda pixels, first: model.caption(pixels),
            spec=task,
            show_progress=False,
        )

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
