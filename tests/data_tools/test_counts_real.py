"""Real captions with the objects that people marked, where the development data is present."""

import json
from pathlib import Path

import pytest

from data_tools.annotate import read_sidecar
from data_tools.counts import Counts, counts
from vlp.data.index import write_index
from vlp.data.numbers import find_numbers
from vlp.data.tar import write_tar

DATA = Path(__file__).parents[3] / "shared" / "data"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def mined(folder, samples, boxes, **options):
    """Every caption with a number and what became of it, of (url, captions)."""
    own = [
        (
            f"{number:09d}",
            {
                "jpg": b"-",
                "json": json.dumps({"url": url, "captions": captions}).encode(),
                "txt": captions[0].encode(),
            },
        )
        for number, (url, captions) in enumerate(samples)
    ]
    write_tar(folder / "00000.tar", own)
    write_index(folder / "00000.tar")
    counts(Counts(shards=[str(folder)], boxes=str(boxes), workers=1, **options))
    return read_sidecar(folder / "00000.tar", "counts/.mined").to_pylist()


@pytest.mark.skipif(not (DATA / "coco_mini").is_dir(), reason="the coco_mini data is not here")
def test_coco_captions_and_their_objects(tmp_path):
    path = DATA / "coco_mini" / "captions.jsonl"
    pictures = lines(path)
    rows = mined(
        tmp_path, [(one["image"], one["captions"]) for one in pictures], path, captions="all"
    )
    texts = [caption for one in pictures for caption in one["captions"]]
    assert len(rows) == sum(bool(find_numbers(text)) for text in texts)
    accepted = [row for row in rows if row["outcome"] == "accepted"]
    assert len(accepted) >= 55
    for row in accepted:
        objects = [one["category"] for one in pictures[int(row["key"])]["objects"]]
        if row["rule"] == "class":
            assert sum(name in row["classes"] for name in objects) == row["count"]
        else:
            assert max(map(objects.count, objects)) == row["count"]
        assert row["text"] in pictures[int(row["key"])]["captions"]
    assert {row["noun"] for row in accepted} >= {"zebras", "men", "toothbrushes", "vultures"}


@pytest.mark.skipif(not (DATA / "nlvr").is_dir(), reason="the nlvr data is not here")
def test_nlvr_statements_and_their_scenes(tmp_path):
    """Two black triangles are counted by colour and shape; blocks and towers are no labels."""
    names = {"#0099ff": "blue", "Yellow": "yellow", "Black": "black"}
    scenes = [one for one in lines(DATA / "nlvr" / "statements.jsonl") if one["label"]]
    told = [
        {
            "image": scene["image"],
            "objects": [
                {
                    "label": f"{names[one['color']]} {one['type']}",
                    # three boxes side by side, 100 pixels wide and 50 apart
                    "bbox": [150 * place + one["x_loc"], one["y_loc"], one["size"], one["size"]],
                }
                for place, box in enumerate(scene["objects_per_box"])
                for one in box
            ],
        }
        for scene in scenes
    ]
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text("\n".join(map(json.dumps, told)))
    samples = [(scene["image"], [scene["sentence"]]) for scene in scenes]
    rows = mined(tmp_path, samples, boxes, unmapped="reject")
    accepted = [row for row in rows if row["outcome"] == "accepted"]
    assert accepted
    for row in accepted:
        labels = [one["label"] for one in told[int(row["key"])]["objects"]]
        assert sum(label in row["classes"] for label in labels) == row["count"]
        shape = row["noun"].removesuffix("s")
        assert all(label.endswith(shape) for label in row["classes"])
    reasons = {row["reason"] for row in rows if row["outcome"] == "not verified"}
    assert reasons == {"no class", "another count"}
    assert sum(row["reason"] == "bound" for row in rows) > 20  # "at least two"
