"""COCO's captions and Karpathy's splits as input."""

import json
from pathlib import Path

import pytest

from data_tools.build import Build, build
from data_tools.building.collection import Collection, Columns
from data_tools.building.inputs import read_input
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import fields, samples
from vlp.errors import InputError

COCO = {
    "info": {"year": 2017},
    "images": [
        {"id": 9, "file_name": "b.jpg", "width": 640, "license": 3},
        {"id": 4, "file_name": "a.jpg", "width": 320, "license": 1},
        {"id": 5, "file_name": "c.jpg"},
    ],
    "annotations": [
        {"id": 70, "image_id": 4, "caption": "A cat. "},
        {"id": 71, "image_id": 9, "caption": "A dog."},
        {"id": 72, "image_id": 4, "caption": "A small cat."},
    ],
}


def read(path: Path, images: Path | None = None, **columns: str) -> Collection:
    return read_input(path, Columns(**columns), (), images)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_captions_are_joined_to_their_image(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, name in enumerate("abc"):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(jpeg(number))
    path = write(tmp_path / "captions.json", COCO)
    build(Build(input=path, images=tmp_path / "photos", output=tmp_path / "out", workers=1))
    found = samples(tmp_path / "out" / "00000.tar")
    assert list(found) == ["000000000", "000000001"]  # the third has no caption
    told = fields(found["000000001"])
    assert told["captions"] == ["A cat.", "A small cat."]
    assert (told["image_id"], told["annotation_ids"], told["license"]) == (4, [70, 72], 1)
    assert (told["width"], told["source_width"]) == (24, 320)
    third = read(path, tmp_path / "photos").splits[""][2]
    assert third.status == "empty_caption"


def test_karpathys_splits(tmp_path: Path) -> None:
    images = [
        {"filename": f"{n}.jpg", "filepath": "val2014", "split": s, "sentences": [{"raw": "x"}]}
        for n, s in (("1", "train"), ("2", "test"))
    ]
    path = write(tmp_path / "dataset.json", {"images": images, "dataset": "coco"})
    splits = read(path, split="split").splits
    assert {name: found[0].source for name, found in splits.items()} == {
        "train": "val2014/1.jpg",
        "test": "val2014/2.jpg",
    }
    assert read(path).splits[""][0].extra == {"split": "train"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"annotations": [{"image_id": 1, "caption": "x"}]},
            r"annotations\[0\]: image_id 1 is not",
        ),
        ({"annotations": [{"image_id": 4}]}, r"annotations\[0\]: 'caption' holds None"),
        ({"annotations": 5}, "'annotations' holds 5, not a list"),
        ({"images": COCO["images"] * 2}, r"images\[3\]: the id 9 appears twice"),
        ({"images": [{"id": 4}], "annotations": []}, r"images\[0\]: 'file_name' holds None"),
        ({"images": [3]}, r"images\[0\]: 3 is no object"),
        ({"images": []}, "no images"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict, message: str) -> None:
    path = write(tmp_path / "c.json", COCO | change)
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize(("content", "message"), [(b"{", "not JSON"), (b"[1]", "found list")])
def test_other_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "c.json")


def test_images_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--images .*nowhere: no such folder"):
        read(write(tmp_path / "c.json", COCO), tmp_path / "nowhere")


def test_images_is_where_the_paths_of_a_table_start(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,x\n")
    options = {"input": tmp_path / "t.csv", "images": tmp_path / "photos", "workers": 1}
    build(Build(**options, output=tmp_path / "out"))
    assert samples(tmp_path / "out" / "00000.tar")["000000000"]["jpg"] == jpeg(0)
