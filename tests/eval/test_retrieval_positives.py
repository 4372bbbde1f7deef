"""More positives than the own captions: the numbers against the definitions, ids, mistakes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.datasets import EvalDataset
from eval.interface import TaskInput
from eval.positives import find_positives
from eval.run import check
from eval.spec import EvalSpec
from eval.tasks.retrieval import TASK
from tests.eval.conftest import PALETTE, ColourEncoder, ConstantEncoder, picture
from tests.eval.grey import record_of
from tests.eval.written import write_csv, write_json, write_lines

KEYS = [f"val2014/COCO_val2014_{1000 + n:012d}.jpg" for n in range(8)]
IDS = [[f"{50 + 3 * n + k}" for k in range(1 + n % 3)] for n in range(8)]  # 1 to 3 captions
FLAT = [name for own in IDS for name in own]
OWNER = np.repeat(np.arange(8), [len(own) for own in IDS])
WAYS = {"i2t": "text_retrieval", "t2i": "image_retrieval"}


def dataset(keys=KEYS, ids=IDS):
    return EvalDataset(
        name="made",
        path=Path("made"),
        split=None,
        layout="made",
        keys=list(keys),
        places=[None] * len(keys),
        captions=[[f"caption {name}" for name in own] for own in IDS],
        caption_ids=ids,
    )


def found_by(features, file, data=None):
    image, text = features
    return TASK.run(
        TaskInput(
            spec=EvalSpec(task="retrieval", data="made", positives=str(file)),
            dataset=data or dataset(),
            image=image,
            more={},
            scale=None,
            encode_text=lambda texts: text,
            encode_no_text=None,
            truncated=lambda texts: 0,
            write_captions=list,
        )
    )


def integers(seed):
    """Few values, so that ties are frequent and scores are exact."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(-1, 2, (n, 3), generator=generator).float() for n in (8, len(FLAT))]


def drawn(seed):
    """Some queries, each with one to five answers; pictures by their numbers in COCO."""
    generator = np.random.default_rng(seed)
    pictures, captions = [str(1000 + n) for n in range(8)], FLAT

    def some(queries, answers):
        chosen = generator.choice(queries, 5, replace=False)
        return {
            str(query): [
                int(answer) for answer in generator.choice(answers, 1 + n % 5, replace=False)
            ]
            for n, query in enumerate(chosen)
        }

    return {"i2t": some(pictures, captions), "t2i": some(captions, pictures)}


def by_definition(row, right):
    """AP@R, R-Precision and R@K of one query; within a tie what is wrong comes first."""
    order = sorted(range(len(row)), key=lambda j: (-row[j], j in right))
    hits = [place in right for place in order]
    size = len(right)
    precision = [sum(hits[: r + 1]) / (r + 1) for r in range(size)]
    return {
        "map@r": sum(p for p, hit in zip(precision, hits, strict=False) if hit) / size,
        "r_precision": sum(hits[:size]) / size,
        **{f"positives_recall@{k}": float(any(hits[:k])) for k in (1, 5, 10)},
    }


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_definitions(tmp_path, seed):
    truth, (image, text) = drawn(seed), integers(seed)
    write_json(tmp_path / "p.json", truth)
    result = found_by((image, text), tmp_path / "p.json")
    pictures = {str(1000 + n): n for n in range(8)}
    captions = {name: n for n, name in enumerate(FLAT)}
    scores = (image @ text.T).tolist()
    rows = {
        "i2t": [
            by_definition(scores[pictures[query]], {captions[str(name)] for name in own})
            for query, own in truth["i2t"].items()
        ],
        "t2i": [
            by_definition([row[captions[query]] for row in scores], {pictures[str(n)] for n in own})
            for query, own in truth["t2i"].items()
        ],
    }
    for way, prefix in WAYS.items():
        for name in rows[way][0]:
            metric = f"{prefix}_{name}"
            assert result.metrics[metric] == pytest.approx(
                np.mean([row[name] for row in rows[way]])
            )
            assert result.outcomes[metric].value == result.metrics[metric]
            assert 0 < result.chance[metric] <= 1
    assert {result.counts[f"queries_{way}"] for way in WAYS} == {5}
    assert result.counts["positives_left_out"] == 0


def test_own_captions_as_positives_change_nothing(tmp_path):
    """An R of one makes everything R@1."""
    truth = {
        "i2t": dict(zip(KEYS, IDS, strict=True)),
        "t2i": {name: [KEYS[n]] for name, n in zip(FLAT, OWNER, strict=True)},
    }
    write_json(tmp_path / "p.json", truth)
    for seed in range(6):
        found = found_by(integers(seed), tmp_path / "p.json").metrics
        for prefix, k in itertools.product(WAYS.values(), (1, 5, 10)):
            assert found[f"{prefix}_positives_recall@{k}"] == found[f"{prefix}_recall@{k}"]
        first = found["image_retrieval_recall@1"]
        assert found["image_retrieval_map@r"] == found["image_retrieval_r_precision"] == first


def test_chance_is_the_mean_over_all_rankings(tmp_path):
    """Of a caption among eight pictures."""
    write_json(tmp_path / "p.json", {"t2i": {"50": ["1000", "1003"], "56": ["1001"]}})
    result = found_by(integers(0), tmp_path / "p.json")
    assert not any("text_retrieval_map" in name for name in result.metrics)
    row = [-float(place) for place in range(8)]  # the places of the right ones say it all
    of_sizes = [
        [by_definition(row, set(places)) for places in itertools.combinations(range(8), size)]
        for size in (2, 1)
    ]
    for name in of_sizes[0][0]:
        expected = np.mean([np.mean([one[name] for one in found]) for found in of_sizes])
        assert result.chance[f"image_retrieval_{name}"] == pytest.approx(expected)


def test_a_constant_model_finds_nothing_and_a_perfect_one_all(tmp_path):
    truth = {"i2t": {"1000": FLAT[:3], "1004": FLAT[3:5]}, "t2i": {"50": ["1000", "1004"]}}
    write_json(tmp_path / "p.json", truth)
    result = found_by((torch.ones(8, 2), torch.ones(len(FLAT), 2)), tmp_path / "p.json")
    own = [name for name in result.metrics if "positives" in name or name.endswith(("@r", "ision"))]
    assert len(own) == 10
    assert {result.metrics[name] for name in own if not name.endswith("@10")} == {0.0}
    image, text = torch.zeros(8, 2), torch.zeros(len(FLAT), 2)
    image[0, 0] = image[4, 1] = 1
    text[:3, 0] = text[3:5, 1] = 1
    text[0, 1] = 0.5
    perfect = found_by((image, text), tmp_path / "p.json").metrics
    assert {perfect[name] for name in own} == {1.0}


def table(root, unreadable=()):
    """Two captions a picture, a row each, with an id."""
    rows = []
    for n, (name, colour) in enumerate(PALETTE.items()):
        data = b"none" if n in unreadable else picture(colour, n)
        (root / f"{name}.png").write_bytes(data)
        for k in range(2):
            text = f"{('it is', 'all')[k]} {name}".replace("_", " ")
            rows.append({"image": f"{name}.png", "caption": text, "id": 10 * n + k})
    write_csv(root / "own.csv", rows)
    return root / "own.csv"


def spec(data, file, **options):
    return EvalSpec(task="retrieval", data=str(data), positives=str(file), **options)


TRUTH = {
    "i2t": {"red": [0, 1, 10], "blue.png": [21, 20]},
    "t2i": {"30": ["yellow", "red"], "0": ["red"]},
}


def test_from_a_table_of_pairs(tmp_path):
    data = table(tmp_path)
    write_json(tmp_path / "truth" / "p.json", TRUTH)
    file = tmp_path / "truth" / "p.json"
    check(spec(data, file))
    found = record_of(ColourEncoder(), spec(data, file))
    assert found["metrics"]["text_retrieval_positives_recall@1"] == 1.0
    assert found["metrics"]["text_retrieval_r_precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["metrics"]["image_retrieval_r_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert (found["n"]["queries_i2t"], found["n"]["queries_t2i"]) == (2, 2)
    assert set(found["chance"]) <= set(found["metrics"])
    assert set(found["ci95"]) == set(found["metrics"])
    constant = record_of(ConstantEncoder(), spec(data, file))
    assert constant["metrics"]["text_retrieval_map@r"] == 0.0
    digests = [found["protocol"]["positives_sha"], constant["protocol"]["positives_sha"]]
    file.write_text(json.dumps({"t2i": TRUTH["t2i"]}))
    other = record_of(ColourEncoder(), spec(data, file))["protocol"]["positives_sha"]
    plain = record_of(ColourEncoder(), EvalSpec(task="retrieval", data=str(data)))
    assert digests[0] == digests[1] != other
    assert "positives_sha" not in plain["protocol"]
    assert not any("positives" in name for name in (*plain["metrics"], *plain["n"]))


def test_what_the_data_do_not_have_is_counted(tmp_path):
    data, file = table(tmp_path, unreadable=(2,)), tmp_path / "truth" / "p.json"
    truth = {
        "i2t": {"red": [0, 20, 7777], "blue": [20, 0]},
        "t2i": {"20": ["red"], "0": ["blue", "red"]},
    }
    write_json(file, truth)
    check(spec(data, file))
    found = record_of(ColourEncoder(), spec(data, file))
    # blue cannot be read: its captions 20 and 21 are gone with it
    assert (found["n"]["queries_i2t"], found["n"]["queries_t2i"]) == (1, 1)
    assert found["n"]["positives_left_out"] == 2 + 2 + 1 + 1
    limited = record_of(ColourEncoder(), spec(data, file, limit=1))
    assert (limited["n"]["images"], limited["n"]["queries_t2i"]) == (1, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"expected i2t and t2i, got \[\]"),
        ("{", r"p\.json is no JSON"),
        ('{"t2i": {"0": ["red"]}, "x2y": {}}', "expected i2t and t2i, got"),
        ('{"t2i": {}}', "t2i: expected queries with answers, got {}"),
        ('{"t2i": {"0": []}}', r"t2i, '0': expected a list of ids, got \[\]"),
        ('{"t2i": {"0": "red"}}', "t2i, '0': expected a list of ids, got 'red'"),
        ('{"i2t": {"red": [true]}}', r"i2t, 'red': expected a list of ids, got \[True\]"),
        (
            '{"i2t": {"red": [0], "pink": [1]}}',
            r"1 of 2 queries are not there, .* the first: 'pink' with '1'; there are 'red\.png'",
        ),
        ('{"t2i": {"0": ["pink"]}}', "1 of 1 queries are not there, or nothing that is true of"),
    ],
)
def test_mistakes_are_named(tmp_path, content, message):
    data, file = table(tmp_path), tmp_path / "truth" / "p.json"
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        check(spec(data, file))


def test_ids_that_cannot_be_used(tmp_path, own_shards):
    file = tmp_path / "truth" / "p.json"
    with pytest.raises(FileNotFoundError, match=r"positives .*p\.json: no such file"):
        check(spec(own_shards, file))
    write_json(file, {"t2i": {"0": ["red"]}})
    with pytest.raises(ValueError, match="has no ids of its captions; a table of pairs has them"):
        check(spec(own_shards, file))
    with pytest.raises(ValueError, match="not read by task counting, but by retrieval"):
        check(EvalSpec(task="counting", data=str(own_shards), positives=str(file)))
    rows = [{"image": f"{k}/red.png", "caption": "red", "id": k} for k in (0, 1)]
    write_lines(tmp_path / "two" / "own.jsonl", rows)
    for k in (0, 1):
        (tmp_path / "two" / str(k)).mkdir()
        (tmp_path / "two" / str(k) / "red.png").write_bytes(picture((9, 9, 9)))
    with pytest.raises(ValueError, match=r"t2i, data .*: 'red' is the name of several"):
        check(spec(tmp_path / "two", file))


def test_the_ids_of_captions_are_not_those_of_a_sidecar(tmp_path):
    write_json(tmp_path / "p.json", {"t2i": {"50": ["1000"]}})
    both = spec("made", tmp_path / "p.json", captions="more")
    with pytest.raises(ValueError, match="the texts of the sidecar 'more' have no ids"):
        find_positives(dataset(), both, whole=True)


@pytest.mark.parametrize(
    "keys",
    [
        [f"{1000 + n}" for n in range(8)],
        [f"{1000 + n}.jpg" for n in range(8)],
        [f"val2017/{1000 + n:012d}.jpg" for n in range(8)],
        [f"COCO_train2014_{1000 + n:012d}" for n in range(8)],
    ],
)
def test_names_of_pictures(tmp_path, keys):
    write_json(tmp_path / "p.json", {"t2i": {"50": [1003]}})
    result = found_by(integers(0), tmp_path / "p.json", dataset(keys))
    assert result.counts["queries_t2i"] == 1


def test_a_number_within_another_name_names_nothing(tmp_path):
    write_json(tmp_path / "p.json", {"t2i": {"50": [1003]}})
    with pytest.raises(ValueError, match="1 of 1 queries"):
        found_by(integers(0), tmp_path / "p.json", dataset([f"s{1000 + n:07d}" for n in range(8)]))


def test_predictions_keep_the_beginning_of_a_caption(tmp_path):
    write_json(tmp_path / "p.json", {"t2i": {"50": [1003]}})
    data = dataset()
    data.captions[0][0] = "x" * 5000
    shown = found_by(integers(0), tmp_path / "p.json", data).predictions["caption"]
    assert shown.dtype == np.dtype("<U200")
    assert shown[0] == "x" * 199 + "…"
    assert shown[1] == "caption 53"
