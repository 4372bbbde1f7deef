import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.checks.check_data import check_data
from eval.checks.picture_checks import copies
from eval.datasets import open_dataset
from eval.datasets.selection import Selection
from tests.eval.conftest import PALETTE, add_to_tar, picture
from tests.eval.grey import write_counts, write_sidecar
from vlp.data.index import write_index
from vlp.data.tar import write_tar

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def said(capsys):
    """(exit status, everything that is printed) of a check."""

    def check(data, **options):
        status = check_data(str(data), **options)
        return status, " ".join(capsys.readouterr().out.split())

    return check


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (
            "class_folders",
            (
                "data colours: ",
                "layout class_folders split test samples 21",
                "pictures 11 x 9 pixels; 21 looked at: 21 PNG labels 7 classes, 3 samples each",
                "class names 7: black, blue, dark grey, green, red, white, yellow sha256",
                "tasks zeroshot_classification, calibration",
                "retrieval needs captions long",
                "linear_probe data ",
            ),
        ),
        (
            "benchmark_captions",
            ("layout clip_benchmark", "captions 14, 2 a picture", "tasks retrieval,"),
        ),
        ("own_shards", ("layout shards", "captions 14, 2 a picture sidecars none sha256")),
    ],
)
def test_what_a_clean_set_is(layout, expected, request, said):
    data = request.getfixturevalue(layout)
    status, text = said(data)
    assert status == 0
    for part in (*expected, "no problem found", open_dataset(data).fingerprint):
        assert part in text


def test_further_splits_are_named(class_folders, said):
    shutil.copytree(class_folders / "test", class_folders / "train")
    assert "split test (there are also train)" in said(class_folders)[1]
    assert "split train (there are also test)" in said(class_folders, split="train")[1]


def test_some_or_all_pictures_are_decoded(class_folders, said, monkeypatch):
    monkeypatch.setattr("eval.checks.picture_checks.LOOKED_AT", 3)
    (class_folders / "test" / "yellow" / "2.png").write_bytes(b"no picture")
    status, text = said(class_folders)
    assert status == 0
    assert "3 looked at" in text
    status, text = said(class_folders, all=True)
    assert status == 1
    assert "1 of 21 pictures looked at cannot be read, the first: yellow/2.png: Uniden" in text


def blank_name(root):
    (root / "classnames.txt").write_text("a\n\nc\nd\ne\nf\ng\n")


def repeated_name(root):
    (root / "classnames.txt").write_text("a\nb\nc\nd\nb\nf\ng\n")


def bad_template(root):
    (root / "zeroshot_classification_templates.txt").write_text("a {c}\nno place\n")


def same_bytes(root):
    shutil.copy(root / "test" / "red" / "0.png", root / "test" / "white" / "9.png")


def one_class(root):
    for name in PALETTE:
        if name != "red":
            shutil.rmtree(root / "test" / name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (blank_name, "classes without a name: label 1"),
        (repeated_name, "1 class names are there twice, so that their scores tie .*: b"),
        (bad_template, "1 templates have no place for the class name: 'no place'"),
        (same_bytes, r"1 pictures stand under different labels: red/0.png \(red\), white/9"),
        (one_class, "all samples are of one class"),
    ],
)
def test_defects_of_class_folders(class_folders, damage, message, said):
    damage(class_folders)
    status, text = said(class_folders)
    assert status == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(text.partition("problems")[2])


def test_notes_are_no_problems(class_folders, said):
    folder = class_folders / "test"
    for name in ("black", "white"):
        shutil.rmtree(folder / name)
    shutil.copy(folder / "red" / "0.png", folder / "red" / "9.png")
    shutil.copy(folder / "red" / "0.png", folder / "red" / "10.png")
    status, text = said(class_folders)
    assert status == 0
    assert "5 classes are too few for a top-5 accuracy" in text
    assert "2 pictures are copies of another one, byte for byte: red/0.png, red/10.png" in text


def test_labels_outside_the_classes(benchmark_classes, said):
    extra = {"s8.png": picture((9, 9, 9)), "s8.cls": b"3"}
    add_to_tar(benchmark_classes / "test" / "1.tar", extra | {"s9.cls": b"-1"})
    status, text = said(benchmark_classes)
    assert status == 1
    assert "2 labels are outside 0 to 2, the first: s8 has 3" in text
    assert "1 samples have no picture: s9" in text
    assert "zeroshot_classification data " in text
    (benchmark_classes / "classnames.txt").write_text("a\nb\nc\nd\ne\n")
    assert "1 of 5 classes have no sample: e" in said(benchmark_classes)[1]


def test_a_folder_that_cannot_be_read(benchmark_classes, tmp_path):
    (benchmark_classes / "test" / "nshards.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"nshards\.txt is missing"):
        check_data(str(benchmark_classes))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_data(str(tmp_path / "nowhere"))


def test_several_labels_and_groups(benchmark_classes, said):
    def npy(values):
        buffer = io.BytesIO()
        np.save(buffer, np.array(values))
        return buffer.getvalue()

    folder = benchmark_classes / "test"
    sets = {"sets": [[1, 0, 1], [0, 0, 0], [1, 1, 0]], "groups": [[4], [4], [-1]]}
    for name, vectors in sets.items():
        root = benchmark_classes.parent / name
        (root / "test").mkdir(parents=True)
        shutil.copy(folder.parent / "classnames.txt", root)
        (root / "test" / "nshards.txt").write_text("1")
        samples = [
            (f"s{n}", {"png": picture((n, 0, 0)), "npy": npy(vector), "cls": b"%d" % n})
            for n, vector in enumerate(vectors)
        ]
        write_tar(root / "test" / "0.tar", samples)
    (benchmark_classes.parent / "sets" / "dataset_type.txt").write_text("multilabel")
    status, text = said(benchmark_classes.parent / "sets")
    assert (status, "label sets 3 classes, 1 to 2 samples each" in text) == (0, True)
    assert "tasks zeroshot_multilabel cannot run" in text
    status, text = said(benchmark_classes.parent / "groups")
    assert "groups metadata_0: 1, 1 samples without one" in text


def test_captions(benchmark_captions, said):
    shard = benchmark_captions / "test" / "0.tar"
    add_to_tar(shard, {"s90.png": picture((1, 2, 3)), "s90.txt": b"something red\n \nx"})
    status, text = said(benchmark_captions)
    assert status == 1
    assert "captions 17, 2 to 3 a picture" in text
    assert "1 captions are empty: s90" in text
    assert "1 captions stand under several pictures (2 pictures)" in text
    assert "'something red'" in text


def test_sidecars(counted, said):
    write_counts(counted)
    write_sidecar(counted, "rewrites", [{"texts": ["x"]}] * 5)
    assert "sidecars counts (2 shards), rewrites (2 shards)" in said(counted)[1]
    other = [f"another {n}" for n in range(5)]
    write_counts(counted, captions=other)
    status, text = said(counted)
    assert status == 1
    assert "the sidecar counts: 4 samples have rows of another caption only" in text
    folder = counted / "test" / "annotations"
    (folder / "counts" / "00001.parquet").unlink()
    (folder / "rewrites" / "00000.parquet").write_bytes(b"no parquet")
    status, text = said(counted)
    assert "the sidecar counts is there for 1 of 2 shards only" in text
    assert "rewrites/00000.parquet cannot be read" in text


def test_items_to_choose_from(own_shards, said, monkeypatch):
    chosen = Selection(
        texts=["a", "b", "a", " "],
        right=np.array([[0, 0], [1, 0], [1, 1]]),
        wrong=np.array([[0, 1], [1, 2], [2, 1]]),
        item=np.array([0, 1, 1]),
        chosen=["text", "text", "image"],
        kinds=["att", "obj", "obj"],
        names=["first", "second"],
    )
    dataset = replace(open_dataset(own_shards), selection=chosen)
    monkeypatch.setattr("eval.checks.check_data.open_dataset", lambda *_: dataset)
    status, text = said("x")
    assert status == 1
    assert "choices 2 items, 3 comparisons; kinds: att, obj" in text
    assert "1 texts to choose from are empty" in text
    assert "1 items have a right answer twice: second" in text


@pytest.mark.parametrize("layout", ["class_folders", "benchmark_classes"])
def test_copies_are_found_as_by_comparing_all(layout, request):
    data = request.getfixturevalue(layout)
    if layout == "class_folders":
        for name in ("blue", "white", "black"):
            shutil.copy(data / "test" / "red" / "1.png", data / "test" / name / "7.png")
        # equal in size and at the end only
        twin = bytearray((data / "test" / "red" / "2.png").read_bytes())
        twin[0] ^= 1
        (data / "test" / "red" / "twin.png").write_bytes(bytes(twin))
    else:
        shard = data / "test" / "1.tar"
        first = open_dataset(data).places[4].read()
        add_to_tar(shard, {"s91.png": first, "s91.cls": b"0"})
    dataset = open_dataset(data)
    contents = {}
    for position, place in enumerate(dataset.places):
        contents.setdefault(place.read(), []).append(position)
    assert copies(dataset) == sorted(own for own in contents.values() if len(own) > 1)
    assert len(copies(dataset)) == 1


@pytest.mark.skipif(not (DATA / "nlvr").is_dir(), reason="the nlvr data is not here")
def test_real_items_have_pictures_twice(said):
    status, text = said(DATA / "nlvr")
    assert status == 0
    assert "choices 455 items, 898 comparisons" in text
    assert "2 pictures are copies of another one" in text


def test_an_index_of_another_shard_cannot_be_read(own_shards):
    shard = own_shards / "test" / "00000.tar"
    write_index(shard)
    with open(shard, "ab") as file:
        file.write(bytes(512))
    with pytest.raises(ValueError, match="it was replaced or cut"):
        check_data(str(own_shards))


def test_keys_and_files_that_a_reader_lets_pass(class_folders, said, monkeypatch):
    found = open_dataset(class_folders)
    places = [*found.places[:-1], replace(found.places[-1], file=str(class_folders / "gone.png"))]
    changed = replace(found, keys=["x", "x", *found.keys[2:]], places=places)
    monkeypatch.setattr("eval.checks.check_data.open_dataset", lambda *_: changed)
    status, text = said("x")
    assert status == 1
    assert "1 keys are there twice: x" in text
    assert "1 samples have no picture: yellow/2.png" in text
    assert "cannot be read" not in text
