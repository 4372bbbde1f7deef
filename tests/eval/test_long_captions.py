"""Sets with one long caption a picture, in their published layouts."""

import json

import pytest

from eval.datasets import open_dataset
from tests.eval.conftest import picture


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def test_urban1k(tmp_path):
    for n in (2, 10):
        write(tmp_path / f"image/{n}.jpg", picture((n, n, n), n, "JPEG"))
        write(tmp_path / f"caption/{n}.txt", f"a long caption {n}\nand what is left out\n")
    found = open_dataset(tmp_path)
    assert (found.layout, found.split, found.keys) == ("long_captions", None, ["2", "10"])
    assert found.captions == [["a long caption 2"], ["a long caption 10"]]
    assert found.item(1)[1].size == (11, 9)
    (tmp_path / "image/2.jpg").unlink()
    with pytest.raises(ValueError, match=r"2\.txt has no picture"):
        open_dataset(tmp_path)


def test_docci(tmp_path):
    rows = [
        {"example_id": f"{split}_{n}", "split": split, "image_file": f"{split}_{n}.jpg",
         "description": f"all of {split} {n}"}
        for split in ("train", "test")
        for n in range(2)
    ]  # fmt: skip
    write(tmp_path / "docci_descriptions.jsonlines", "\n".join(map(json.dumps, rows)))
    for row in rows:
        write(tmp_path / "images" / row["image_file"], picture((9, 9, 9), 0, "JPEG"))
    found = open_dataset(tmp_path)
    assert (found.split, found.keys) == ("test", ["test_0", "test_1"])
    assert found.captions == [["all of test 0"], ["all of test 1"]]
    assert open_dataset(tmp_path, "train").keys == ["train_0", "train_1"]
    with pytest.raises(ValueError, match="split 'dev': choices are test, train"):
        open_dataset(tmp_path, "dev")
    write(tmp_path / "docci_descriptions.jsonlines", '{"example_id": "x"}')
    with pytest.raises(ValueError, match="line 1: no split, image_file, description"):
        open_dataset(tmp_path)


def test_sharegpt4v_takes_the_first_thousand(tmp_path):
    entries = [
        {"image": f"coco/{n}.jpg", "conversations": [{"value": "?"}, {"value": f"{n}\nlong"}]}
        for n in range(1001)
    ]
    name = "share-captioner_coco_lcs_sam_1246k_1107.json"
    write(tmp_path / name, json.dumps(entries))
    write(tmp_path / "coco/0.jpg", picture((9, 9, 9), 0, "JPEG"))
    found = open_dataset(tmp_path)
    assert len(found) == 1000
    assert found.captions[3] == ["3 long"]
    assert found.item(0)[0] == "coco/0.jpg"
    write(tmp_path / name, json.dumps([{"image": "x"}]))
    with pytest.raises(ValueError, match="entry 0: no 'conversations'"):
        open_dataset(tmp_path)
