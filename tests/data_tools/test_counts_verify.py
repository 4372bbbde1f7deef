"""Boxes: overlap, suppression, what verifies a claim, and the files they are read from."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou, nms

from data_tools.counting.boxes import Box, Picture, read_boxes
from data_tools.counting.claims import parse
from data_tools.counting.verify import IOU, Verdict, Verifier, distinct, iou
from vlp.data.source import RawSample
from vlp.errors import InputError

COCO_LIKE = ("dog", "cat", "person", "hot dog")
corner = st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 9)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def claim(caption):
    return parse(caption).claim


def apart(label, count, score=None, start=0, **others):
    """Boxes that do not touch."""
    return [
        Box(label, (20.0 * i, 0.0, 20.0 * i + 10, 10.0), score, **others)
        for i in range(start, start + count)
    ]


@given(corner, corner)
def test_iou_is_that_of_pixels(one, other):
    cells = [{(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])} for b in (one, other)]
    assert iou(one, other) == pytest.approx(len(cells[0] & cells[1]) / len(cells[0] | cells[1]))
    peer = box_iou(torch.tensor([one]).float(), torch.tensor([other]).float())
    assert iou(one, other) == pytest.approx(peer.item(), abs=1e-6)


@given(st.lists(corner, max_size=8), st.randoms(use_true_random=False))
def test_suppression_is_torchvisions(corners, random):
    scores = random.sample([i / 16 for i in range(1, 16)], len(corners))
    kept = distinct(Box("dog", c, s) for c, s in zip(corners, scores, strict=True))
    peer = nms(torch.tensor(corners).float().view(-1, 4), torch.tensor(scores).float(), IOU)
    assert [box.score for box in kept] == [scores[i] for i in peer.tolist()]


def test_a_box_without_area_overlaps_nothing():
    assert iou((1, 1, 1, 5), (1, 1, 1, 5)) == 0.0


@pytest.mark.parametrize(
    ("caption", "boxes", "verdict"),
    [
        ("two dogs", apart("dog", 2, 0.9), Verdict("", 2, 2, ("dog",), "class")),
        ("two puppies", apart("dog", 2, 0.9), Verdict("", 2, 2, ("dog",), "class")),
        (
            "two hot dogs",
            apart("dog", 2, 0.9),
            Verdict("another count", 0, 0, ("hot dog",), "class"),
        ),
        ("two dogs", apart("dog", 3, 0.9), Verdict("another count", 3, 3, ("dog",), "class")),
        ("two dogs", apart("cat", 2, 0.9), Verdict("another count", 0, 0, ("dog",), "class")),
        (
            "two dogs",
            [*apart("dog", 2, 0.9), *apart("dog", 1, 0.4, start=2)],
            Verdict("thresholds differ", 3, 2, ("dog",), "class"),
        ),
        (
            "two dogs",
            [*apart("dog", 2, 0.9), *apart("dog", 1, 0.2, start=2)],
            Verdict("", 2, 2, ("dog",), "class"),
        ),
        # the same place twice is one dog, except where people drew both
        ("two dogs", apart("dog", 1, 0.9) * 2, Verdict("another count", 1, 1, ("dog",), "class")),
        ("two dogs", apart("dog", 1) * 2, Verdict("", 2, 2, ("dog",), "class")),
        (
            "two dogs",
            [*apart("dog", 2), *apart("dog", 1, crowd=True)],
            Verdict("crowd", 3, 3, ("dog",), "class"),
        ),
        (
            "two animals",
            [*apart("dog", 1), *apart("cat", 1, start=1)],
            Verdict("", 2, 2, ("cat", "dog"), "class"),
        ),
        # no class: the largest count of one class, whatever it is
        ("two towers", apart("cat", 2), Verdict("", 2, 2, ("cat",), "any-class")),
        (
            "two towers",
            [*apart("cat", 2), *apart("dog", 3)],
            Verdict("another count", 3, 3, ("cat",), "any-class"),
        ),
        ("a set of two", apart("cat", 2), Verdict("", 2, 2, ("cat",), "any-class")),
        ("two dogs", [], Verdict("no boxes")),
        ("two dogs", None, Verdict("unreadable picture")),
    ],
)
def test_what_verifies_a_claim(caption, boxes, verdict):
    assert Verifier((0.3, 0.5), COCO_LIKE).verify(claim(caption), boxes) == verdict


def test_nouns_without_class_may_be_rejected():
    verifier = Verifier((0.3, 0.5), COCO_LIKE, "reject")
    assert verifier.verify(claim("two towers"), apart("cat", 2)) == Verdict("no class")
    assert verifier.verify(claim("two cats"), apart("cat", 2)).reason == ""


def test_a_detector_that_was_asked_for_the_noun():
    verifier = Verifier((0.3, 0.5), None)
    boxes = [*apart("black cat", 2, 0.8), *apart("dog", 3, 0.8)]
    prompted = Verdict("", 2, 2, ("black cat",), "prompted")
    assert verifier.verify(claim("two Black Cats"), boxes) == prompted
    assert verifier.verify(claim("two towers"), boxes).reason == "another count"
    assert verifier.verify(claim("a set of two"), boxes) == Verdict("no class")


def sample(key="0", **record):
    return RawSample("s.tar", key, {"json": json.dumps(record).encode()})


ROWS = [
    {
        "image": "a/1.jpg",
        "width": 100,
        "height": 50,
        "objects": [{"category": "Hot_Dog", "bbox": [10, 20, 30, 10], "score": 0.5}],
    },
    {"image": "a/2.jpg", "objects": [{"label": "tvmonitor", "bbox": [0, 0, 1, 1], "iscrowd": 1}]},
    {"image": "b/2.jpg", "objects": []},
]


def test_a_table_is_joined_by_key_or_name(tmp_path):
    path = tmp_path / "boxes.jsonl"
    path.write_text("\n".join(map(json.dumps, [*ROWS, {"key": "k7", "objects": []}])))
    file = read_boxes(path)
    assert file.classes == ("hot dog", "tv")
    # in the pixels of the stored picture, which is half as large
    halved = Picture((Box("hot dog", (5, 10, 20, 15), 0.5),), (50, 25))
    assert file.find(sample(url="http://x/1.jpg", width=50, height=25)) == halved
    assert file.find(sample(url="a/1.jpg")).boxes[0].corners == (10, 20, 40, 30)
    assert file.find(sample(key="1")).boxes[0].label == "hot dog"
    assert file.find(sample(url="a/2.jpg")).boxes == (Box("tv", (0, 0, 1, 1), None, True),)
    assert file.find(sample(key="k7")).boxes == ()
    assert file.find(sample(key="9", url="c/3.jpg")) is None
    with pytest.raises(InputError, match=r"several rows are named '2'"):
        file.find(sample(key="2"))


def test_parquet_is_read_as_the_same_rows(tmp_path):
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "b.parquet")
    lines, table = read_boxes(tmp_path / "b.jsonl"), read_boxes(tmp_path / "b.parquet")
    assert dict(lines.pictures) == dict(table.pictures)
    assert set(lines.pictures) == {"a/1.jpg", "1.jpg", "1", "a/2.jpg", "b/2.jpg"}


def test_cocos_instances(tmp_path):
    whole = {
        "images": [{"id": 5, "file_name": "5.jpg", "width": 8, "height": 8}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0},
            {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(whole))
    file = read_boxes(path)
    assert file.classes == ("cat", "dog")  # also those of which there is none
    boxes = file.find(sample(url="5.jpg")).boxes
    assert boxes == (Box("dog", (1, 2, 4, 6)), Box("dog", (1, 2, 4, 6), None, True))


OBJECT = '{"image": "1", "objects": [{"label": "dog", "bbox": %s}]}'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.jsonl", '{"image": "1.jpg", "boxes": []}', "line 1: expected a list `objects`"),
        ("b.jsonl", '{"objects": []}', "a name in key, image, file_name, url"),
        ("b.jsonl", '{"image": "1", "objects": [{"bbox": [1, 2, 3]}]}', "expected an object with"),
        ("b.jsonl", '{"image": "1", "objects": [7]}', "expected an object with"),
        ("b.jsonl", '{"image": "1", "objects": [{"bbox": [1, 2, 3, 4]}]}', "`category` or"),
        ("b.jsonl", OBJECT % "[NaN, 2, 3, 4]", "expected an object with"),
        ("b.jsonl", OBJECT % "[1, 2, -3, 4]", "expected an object with"),
        ("b.jsonl", OBJECT % '"1234"', "expected an object with"),
        ("b.jsonl", OBJECT % '[1, 2, 3, 4], "score": 1.5', "score. or one from 0 to 1"),
        ("b.jsonl", OBJECT % '[1, 2, 3, 4], "score": NaN', "score. or one from 0 to 1"),
        ("b.jsonl", '{"image": "1", "width": "wide", "objects": []}', "line 1: expected `width`"),
        ("b.jsonl", "", "no picture"),
        ("b.json", "[]", "expected COCO's instances"),
        ("b.json", '{"images": []}', "expected COCO's instances"),
        ("b.json", "{", "expected COCO's instances"),
        ("b.txt", "", "expected .jsonl, .parquet, COCO's .json"),
    ],
)
def test_files_that_hold_no_boxes(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_boxes(tmp_path / name)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "b.json").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match="expected COCO's instances"):
        read_boxes(tmp_path / "b.json")
