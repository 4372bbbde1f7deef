"""Objectives in real runs: what they need is refused by name before the first step, or trains."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from vlp.data.index import ShardIndex, sidecar_path
from vlp.published import CAPTIONER_FILE, WEIGHTS_FILE, find_published

OBJECTIVES = "vlp.objectives."


def mixture(**objectives):
    """Recipe entries of `name=("Class", {options})`."""
    return {
        name: {"class_path": OBJECTIVES + cls, "init_args": options}
        for name, (cls, options) in objectives.items()
    }


@pytest.fixture
def annotated(tmp_path, shards):
    """Shards with every sidecar; every third sample counts."""
    folder = tmp_path / "annotated"
    shutil.copytree(shards, folder)
    paths = sorted(folder.glob("*.tar"))
    for path in paths:
        index = ShardIndex.read(str(path))
        heads = [
            {"key": index.key(row), "src_sha256": index.src_sha256(row)}
            for row in range(len(index))
        ]
        near = {"shards": [paths[0].stem], "keys": [ShardIndex.read(str(paths[0])).key(0)]}
        tables = {
            "rewrites": [{**h, "texts": ["two red stars", "a red star"]} for h in heads],
            "negatives": [{**h, "texts": ["blue star"], "kinds": ["colour"]} for h in heads],
            "neighbours": [{**h, **near} for h in heads],
            "counts": [
                {**h, "count": 2, "noun": "stars", "counterfactual": "six stars"}
                for h in heads[::3]
            ],
            "teacher": [{**h, "image": [1.0, 0.0], "text": [[0.0, 1.0]] * 2} for h in heads],
        }
        for name, rows in tables.items():
            sidecar = sidecar_path(path, name)
            sidecar.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), sidecar)
    return folder


def data(folder, *sidecars, **more):
    source = {"shards": str(folder), "sidecars": list(sidecars)}
    return {"sources": {"tiny": source}, "workers": 0, **more}


QUICK = {"samples": 36, "ema": None, "eval": {"tasks": {}}}
NCE = ("InfoNCE", {})


@pytest.mark.parametrize(
    ("objectives", "changes", "expected"),
    [
        (
            mixture(x=("InfoNCE", {"hard_captions": True})),
            {},
            ["source Gather needs ['hard_mask', 'hard_text']", "sidecars: [negatives]"],
        ),
        (
            mixture(x=("Counting", {})),
            {},
            ["objective 'x' needs ['counter_mask', 'counter_text']", "sidecars: [counts]"],
        ),
        (mixture(x=("Sigmoid", {})), {}, ["objective 'x' needs ['bias']", "init_logit_bias"]),
        (
            mixture(x=("Captioning", {})),
            {},
            [
                "needs ['caption_ids', 'caption_logits']",
                "a CoCa architecture, or `model.captioner`",
            ],
        ),
        (
            mixture(x=("Distillation", {})),
            {},
            ["'teacher_image'", "an entry 'teacher' under `teachers` provides it"],
        ),
        (
            mixture(x=("InfoNCE", {"variant": {"every_caption": True}})),
            {},
            ["needs ['texts']", "`data.texts.captions` of 2 or more provides it"],
        ),
        (mixture(x=NCE), {"teachers": {"big": {}}}, ["either weights or momentum"]),
        (
            mixture(x=NCE),
            {"teachers": {"big": {"momentum": 0.9}}},
            ["teachers.big: no objective reads big_image or big_text"],
        ),
        (
            mixture(x=("Distillation", {})),
            {"teachers": {"teacher": {"weights": "runs/none"}}},
            ["teachers", "runs/none"],
        ),
        (
            mixture(x=NCE),
            {"model.lock": ["image", "text"]},
            ["with both towers locked there is nothing to train"],
        ),
        (
            mixture(x=NCE),
            {"eval": {"tasks": {"c": {"task": "captioning", "data": "@tiny"}}}},
            ["eval.tasks.c: task captioning needs a captioning decoder"],
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_missing_is_named_with_what_would_provide_it(
    trained, tiny_arch, objectives, changes, expected
):
    changes = dict(changes)
    if "model.lock" in changes:
        changes["model"] = {"arch": tiny_arch, "lock": changes.pop("model.lock")}
    status, said = trained(objectives=objectives, **{**QUICK, **changes})
    assert status == 2, said.err
    for words in expected:
        assert words in said.err, said.err


def test_data_that_no_objective_reads_are_refused_or_named(trained, annotated, caplog):
    texts = {"captions": 3}
    status, said = trained(data=data(annotated, "rewrites", texts=texts), **QUICK)
    assert status == 2
    assert "data.texts.captions is 3, but no objective takes more than one" in said.err
    weights = {"weights": {"rewrites-bard": 2}}
    status, said = trained(data=data(annotated, "rewrites", texts=weights), **QUICK)
    assert status == 2
    assert "'rewrites-bard' is no set of captions; choices: ['original', 'rewrites']" in said.err
    status, said = trained(data=data(annotated, hard_images=True), **QUICK)
    assert status == 2
    assert "data.sources.tiny.sidecars: [neighbours]" in said.err
    kinds = {"texts": {"hard_kinds": ["colour", "colur"]}}
    hard = mixture(x=("InfoNCE", {"hard_captions": True}))
    status, said = trained(data=data(annotated, "negatives", **kinds), objectives=hard, **QUICK)
    assert status == 2
    assert "hard_kinds: no negatives sidecar has a text of kind 'colur'" in said.err
    status, said = trained(data=data(annotated, "negatives"), **QUICK)
    assert status == 0
    assert "data.sources.tiny.sidecars: nothing reads negatives" in caplog.text


def test_a_teacher_of_another_width_is_refused_where_features_are_compared(trained, annotated):
    terms = {"terms": {"feature": 1.0}}
    status, said = trained(
        data=data(annotated, "teacher"),
        objectives=mixture(x=NCE, kd=("Distillation", terms)),
        **QUICK,
    )
    assert status == 2
    assert "objective 'kd': teacher 'teacher' has teacher_image of width 2" in said.err
    assert "the model image of width 16" in said.err


def losses(tmp_path):
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_everything_together_trains_and_goes_on_exactly(trained, annotated, tiny_arch, tmp_path):
    """All systems over one forward pass; killed halfway, the second half is the same."""
    sidecars = ("rewrites", "negatives", "counts", "neighbours")
    recipe = {
        "model": {
            "arch": tiny_arch,
            "init_logit_bias": -5.0,
            "captioner": {"layers": 1, "heads": 2},
        },
        "data": data(
            annotated, *sidecars, hard_images=True, texts={"captions": 2, "hard_captions": 1}
        ),
        "teachers": {"teacher": {"momentum": 0.9}},
        "objectives": mixture(
            nce=("InfoNCE", {"hard_captions": True, "variant": {"every_caption": True}}),
            sigmoid=("Sigmoid", {"ignore_duplicates": True}),
            uniform=("Uniformity", {}),
            align=("Alignment", {}),
            count=("Counting", {"variant": "all", "scale": "model"}),
            captions=("Captioning", {}),
            isogclr=("SogCLR", {"temperature": 0.1, "individual": {"rho": 3.0}}),
            kd=("Distillation", {"temperature": 0.1}),
        ),
        "checkpoint": {"every": 24},
        "micro_batch": 5,
        **QUICK,
        "samples": 48,
    }
    status, said = trained(**recipe)
    assert status == 0, said.err
    whole = losses(tmp_path)
    assert all(torch.isfinite(torch.tensor(line["loss"])) for line in whole)
    assert whole[0]["loss/count"] > 0
    run = tmp_path / "run"
    last = load_file(find_published(run) / WEIGHTS_FILE)
    head = load_file(find_published(run) / CAPTIONER_FILE)
    shutil.rmtree(run / "checkpoints" / "step-000000004")
    status, said = trained(**recipe)
    assert status == 0, said.err
    assert "24.0/48.0" in said.err  # it went on from the middle
    names = [name for name in whole[0] if name.startswith("loss")]
    assert [[x[n] for n in names] for x in losses(tmp_path)] == [
        [x[n] for n in names] for x in whole
    ]
    for name, before in ((WEIGHTS_FILE, last), (CAPTIONER_FILE, head)):
        after = load_file(find_published(run) / name)
        assert all(torch.equal(after[key], value) for key, value in before.items())


def test_a_locked_tower_stays_as_it_was_and_a_trained_model_teaches(trained, tiny_arch, tmp_path):
    status, said = trained(**QUICK)
    assert status == 0, said.err
    (tmp_path / "run").rename(tmp_path / "teacher")
    before = load_file(find_published(tmp_path / "teacher") / WEIGHTS_FILE)
    model = {"arch": tiny_arch, "lock": ["image"], "weights": str(tmp_path / "teacher")}
    status, said = trained(
        "--seed",
        "9",
        model=model,
        teachers={"teacher": {"weights": str(tmp_path / "teacher")}},
        objectives=mixture(
            cwcl=("CWCL", {}), kd=("Distillation", {"terms": {"relation": 0.0, "feature": 1.0}})
        ),
        **QUICK,
    )
    assert status == 0, said.err
    after = load_file(find_published(tmp_path / "run") / WEIGHTS_FILE)
    assert all(torch.equal(after[n], v) for n, v in before.items() if n.startswith("visual."))
    assert not torch.equal(after["text_projection"], before["text_projection"])
    # at the first step the student is the teacher: its features are the teacher's
    assert losses(tmp_path)[0]["loss/kd"] < 1e-9
    assert losses(tmp_path)[-1]["loss/kd"] > 0


def test_a_teacher_with_another_tokenizer_is_refused(trained, tmp_path, tiny_arch):
    words = json.loads(Path(tiny_arch).read_text())
    words["text_cfg"] |= {
        "vocab_size": 90,
        "hf_tokenizer_name": "training/recipes/models/shapes_words",
    }
    (tmp_path / "words.json").write_text(json.dumps(words))
    status, said = trained(model={"arch": str(tmp_path / "words.json")}, **QUICK)
    assert status == 0, said.err
    (tmp_path / "run").rename(tmp_path / "teacher")
    status, said = trained(
        teachers={"teacher": {"weights": str(tmp_path / "teacher")}},
        objectives=mixture(kd=("Distillation", {})),
        **QUICK,
    )
    assert status == 2
    assert "has another tokenizer than the model" in said.err
