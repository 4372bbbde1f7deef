"""Folders of pictures and of classes as inputs."""

import json
import os
from pathlib import Path

import pytest

from data_tools.build import Build, build
from data_tools.building.collection import Collection, Columns
from data_tools.building.inputs import read_input
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import rows, samples
from vlp.errors import InputError

TEMPLATES = ("a photo of a {c}.",)


def read(path: Path, **columns: str) -> Collection:
    return read_input(path, Columns(**columns), TEMPLATES)


def captions(path: Path, **columns: str) -> dict[str, tuple[str, ...]]:
    """{source: captions} of an input without splits."""
    return {picture.source: picture.captions for picture in read(path, **columns).splits[""]}


def test_a_folder_with_captions_beside_the_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.JPG", "c.png"):
        (folder / name).write_bytes(jpeg(0))
    (folder / "a.txt").write_text("\ufeffone\n\ntwo\n", encoding="utf-8")
    (folder / "b.txt").write_bytes(b"caf\xe9")
    (folder / "alone.txt").write_text("no picture")
    (folder / "._a.jpg").write_bytes(b"an archiver's")
    collection = read(tmp_path / "in")
    found = {picture.source: picture for picture in collection.splits[""]}
    assert found["deep/a.jpg"].captions == ("one", "two")
    assert found["deep/b.JPG"].status == "bad_caption"
    assert found["deep/c.png"].status == "empty_caption"
    assert len(found) == 3
    assert "2 of 3 pictures have a .txt caption" in collection.kind
    assert "ignored: 1 .txt without a picture, 0 other files" in collection.kind


def test_class_folders(tmp_path: Path) -> None:
    for name in ("polar_bear", "ant"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "0.jpg").write_bytes(jpeg(0))
    templates = tmp_path / "templates.txt"
    templates.write_text("a {c}.\nthe {c}!\n")
    build(Build(input=tmp_path / "in", output=tmp_path / "out", templates=templates, workers=1))
    found = samples(tmp_path / "out" / "00000.tar").values()
    told = {members["cls"]: members for members in found}
    assert told[b"1"]["txt"] == b"a polar bear."
    assert json.loads(told[b"1"]["json"])["captions"] == ["a polar bear.", "the polar bear!"]
    assert list(told[b"0"]) == ["jpg", "json", "txt", "cls"]
    assert (tmp_path / "out" / "classnames.txt").read_text() == "ant\npolar bear\n"
    written = tmp_path / "out" / "zeroshot_classification_templates.txt"
    assert written.read_text() == templates.read_text()


def test_class_folders_below_splits(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "test/dog"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0.jpg").write_bytes(jpeg(0))
    collection = read(tmp_path)
    assert collection.classnames == ("cat", "dog")
    assert {name: len(found) for name, found in collection.splits.items()} == {
        "test": 1,
        "train": 2,
    }
    assert collection.splits["test"][0].label == 1


def test_classes_are_mixed_in_the_order_of_shards(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            (tmp_path / name / f"{number}.jpg").write_bytes(b"")
    first = [picture.label for picture in read(tmp_path).splits[""]][:20]
    assert 4 < sum(label == 0 for label in first) < 16


def test_a_folder_that_is_no_input_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "0.tar").write_bytes(b"")
    with pytest.raises(
        InputError,
        match=r"1 pictures, 0 of them with a .txt, 1 tars.*for tars, a folder of them alone",
    ):
        read(tmp_path)


def test_options_that_a_folder_would_ignore_are_refused(tmp_path, command) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "in" / "a.txt").write_text("one")
    start = ("build", "--input", tmp_path / "in", "--output", tmp_path / "out", "--workers", "1")
    code, _, err = command(*start, "--split-column", "split")
    assert code == 2
    assert "--split-column split: only for tables" in err


def class_tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(0))
    return root


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("cover.jpg", r"cover\.jpg lies beside the class folders"),
        ("cat/0.txt", r"1 of 4 pictures have a \.txt, cat/0\.jpg for one"),
    ],
)
def test_a_stray_file_does_not_change_what_a_folder_is(tmp_path, odd, message) -> None:
    tree = class_tree(tmp_path / "in", "cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg")
    assert "2 classes, 4 pictures (ignored: 0 other files)" in read(tree).kind
    class_tree(tree, odd)
    with pytest.raises(InputError, match=message):
        read(tree)


@pytest.mark.parametrize(
    ("files", "odd"),
    [
        (["train/cat/0.jpg", "train/dog/0.jpg", "test/cat/0.jpg", "train/0.jpg"], "train/0.jpg"),
        (["train/cat/0.jpg", "train/dog/0.jpg", "other/0.jpg"], "other/0.jpg"),
        (["cat/0.jpg", "dog/0.jpg", "train/old/0.jpg"], "train/old/0.jpg"),
    ],
)
def test_a_picture_at_another_depth_is_named(tmp_path, files, odd) -> None:
    with pytest.raises(InputError, match=f"{odd} (does not|for one); move it"):
        read(class_tree(tmp_path / "in", *files))


def test_a_class_may_have_folders_and_the_name_of_a_split(tmp_path: Path) -> None:
    found = read(class_tree(tmp_path / "in", "car/red/0.jpg", "car/1.jpg", "train/0.jpg"))
    assert found.classnames == ("car", "train")


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    class_tree(tmp_path / "elsewhere", "0.jpg")
    tree = class_tree(tmp_path / "in", "cat/0.jpg")
    (tree / "dog").symlink_to(tmp_path / "elsewhere")
    assert read(tree).classnames == ("cat", "dog")
    (tmp_path / "elsewhere" / "back").symlink_to(tree)
    with pytest.raises(InputError, match=r"in/dog/back: a link back to .*in, which holds it"):
        read(tree)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch) -> None:
    tree = class_tree(tmp_path / "in", "cat/0.jpg", "dog/0.jpg")
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="in/dog: Permission denied"):
        read(tree)


def test_names_that_are_no_text(tmp_path: Path, command) -> None:
    start = ("build", "--output", tmp_path / "out", "--workers", "1", "--input")
    odd = os.fsdecode(b"caf\xe9")
    classes = class_tree(tmp_path / "classes", f"{odd}/0.jpg", "tea/0.jpg")
    code, _, err = command(*start, classes)
    assert code == 2
    assert r"the class folder 'caf\udce9' is not UTF-8" in err
    folder = class_tree(tmp_path / "in", f"{odd}.jpg", f"{odd}{odd}.jpg")
    (folder / f"{odd}.txt").write_text("a cup")
    (folder / f"{odd}{odd}.txt").write_bytes(b"\xe9")
    code, out, err = command(*start, folder)
    assert code == 0, err
    assert "2 inputs = 1 written + 1 bad_caption" in out
    good, bad = rows(tmp_path / "out" / "00000.tar")
    assert good["url"] == r"caf\udce9.jpg"
    assert r"caf\udce9caf\udce9.txt is not UTF-8" in bad["error_message"]
