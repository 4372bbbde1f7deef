import io
import os
import shutil

import numpy as np
import pytest
import webdataset

from eval.datasets import open_dataset
from tests.eval.conftest import PALETTE, add_to_tar, picture
from vlp.data.images import UnreadableImageError
from vlp.data.index import write_index
from vlp.data.tar import DamagedShardError, write_tar


def test_benchmark_classes(benchmark_classes):
    found = open_dataset(benchmark_classes)
    assert found.layout == "clip_benchmark"
    assert found.keys == [f"s{n:07d}" for n in range(6)]
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.classnames == ["red", "green", "blue"]
    assert found.templates == ["a {c}", "all {c}"]
    assert found.captions is None
    key, image = found.item(1)
    assert (key, image.mode, image.size) == ("s0000001", "RGB", (11, 9))
    assert np.array(image)[..., 1].mean() == pytest.approx(180, abs=2)
    assert open_dataset(benchmark_classes / "test").fingerprint == found.fingerprint


def test_benchmark_captions(benchmark_captions):
    found = open_dataset(benchmark_captions)
    assert found.captions[6] == ["something dark grey", "this\nis dark grey"]
    assert found.labels is None


def test_class_folders(class_folders):
    found = open_dataset(class_folders)
    assert found.layout == "class_folders"
    assert found.name == open_dataset(class_folders / "test").name == "colours"
    assert found.classnames == sorted(name.replace("_", " ") for name in PALETTE)
    assert found.labels.tolist() == sorted(list(range(7)) * 3)
    assert found.keys[0] == "black/0.png"
    for i in (0, 20):
        assert found.keys[i].split("/")[0].replace("_", " ") == found.classnames[found.labels[i]]


def test_own_shards(own_shards):
    found = open_dataset(own_shards)
    assert found.layout == "shards"
    assert found.name == open_dataset(own_shards / "test").name == "own"
    assert found.keys == [f"{n:09d}" for n in range(7)]
    assert found.captions[0] == ["it is red", "a thing that is red"]
    assert found.labels is None
    assert found.item(5)[1].size == (11, 9)


def test_limit_is_spread_over_the_classes(class_folders):
    found = open_dataset(class_folders).limited(7)
    assert found.labels.tolist() == list(range(7))
    assert len(found.keys) == len(found.places) == 7
    assert open_dataset(class_folders).limited(1000).labels.shape == (21,)


def test_fingerprint_sees_captions_and_labels(own_shards):
    whole = open_dataset(own_shards)
    assert whole.fingerprint == open_dataset(own_shards).fingerprint
    assert whole.fingerprint != whole.subset([0, 1]).fingerprint


def test_sample_without_picture_is_unreadable(benchmark_classes):
    add_to_tar(benchmark_classes / "test" / "1.tar", {"s0000009.cls": b"1"})
    found = open_dataset(benchmark_classes)
    with pytest.raises(UnreadableImageError, match="no picture"):
        found.item(6)


def test_keys_that_are_numbered_anew(benchmark_classes):
    folder = benchmark_classes / "test"
    (folder / "1.tar").write_bytes((folder / "0.tar").read_bytes())
    keys = open_dataset(benchmark_classes).keys
    assert keys[0] == "0/s0000000"
    assert keys[3] == "1/s0000000"


def remove_count(root):
    (root / "test" / "nshards.txt").unlink()


def remove_shard(root):
    (root / "test" / "1.tar").unlink()


def bad_count(root):
    (root / "test" / "nshards.txt").write_text("two")


def bad_label(root):
    add_to_tar(root / "test" / "1.tar", {"s9.png": picture((0, 0, 0)), "s9.cls": b"cat"})


def no_label(root):
    add_to_tar(root / "test" / "1.tar", {"s9.png": picture((0, 0, 0)), "s9.txt": b"cat"})


def repeated_key(root):
    add_to_tar(root / "test" / "1.tar", {"s0000003.png": picture((0, 0, 0))})


def cut(root):
    shard = root / "test" / "1.tar"
    shard.write_bytes(shard.read_bytes()[:3000])


def other_type(root):
    (root / "dataset_type.txt").write_text("Video")


def latin1(root):
    (root / "classnames.txt").write_bytes("cafés".encode("latin-1"))


def multilabel(root):
    (root / "dataset_type.txt").write_text("multilabel")


def objectives(root):
    (root / "classnames.txt").write_text("race:black\nrace:white\nage:young\n")


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, np.array(values))
    return buffer.getvalue()


def add_with_npy(root, data):
    members = {"s9.png": picture((0, 0, 0)), "s9.cls": b"1", "s9.npy": data}
    add_to_tar(root / "test" / "1.tar", members)


def pickled(root):
    add_with_npy(root, npy([{"a": 1}]))


def matrix(root):
    add_with_npy(root, npy([[1, 2]]))


def some_metadata(root):
    add_with_npy(root, npy([1, 2]))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (remove_count, FileNotFoundError, r"nshards\.txt is missing.*number of shards"),
        (remove_shard, FileNotFoundError, r"1\.tar is missing.*announces 2 shards"),
        (bad_count, ValueError, "'two' is no number of shards"),
        (bad_label, ValueError, r"1\.tar: sample 's9'.*b'cat' is no whole number"),
        (no_label, ValueError, r"sample 's9' has no \.cls.*it has \.png, \.txt"),
        (repeated_key, DamagedShardError, "key 's0000003' comes back"),
        (cut, DamagedShardError, r"1\.tar"),
        (other_type, ValueError, "'video'.*classification, multilabel, retrieval"),
        (multilabel, ValueError, r"'s0000000' has no \.npy member.*it has \.cls"),
        (objectives, ValueError, "OBJECTIVE:CLASS for the objectives race, age, several"),
        (pickled, ValueError, r"'s9'.*\.npy member cannot be read: .*allow_pickle"),
        (matrix, ValueError, r"'s9'.*\.npy member is no vector of numbers"),
        (some_metadata, ValueError, r"'s0000000' has no \.npy vector, but other samples"),
        (latin1, ValueError, r"classnames\.txt is not UTF-8"),
    ],
)
def test_damaged_benchmark_sets(benchmark_classes, damage, error, message):
    damage(benchmark_classes)
    with pytest.raises(error, match=message):
        open_dataset(benchmark_classes)


def test_paths_that_are_no_data(tmp_path, benchmark_classes, class_folders):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected a folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is a file"):
        open_dataset(benchmark_classes / "classnames.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.md").write_text("x")
    with pytest.raises(ValueError, match=r"holds notes\.md; expected CLIP_benchmark"):
        open_dataset(tmp_path / "other")
    for root in (benchmark_classes, class_folders):
        with pytest.raises(ValueError, match="no split 'val'; choices of --split are test"):
            open_dataset(root, "val")
    (class_folders / "test" / "purple").mkdir()
    with pytest.raises(ValueError, match="purple holds no picture"):
        open_dataset(class_folders)


def test_shards_without_index_name_the_command(own_shards):
    (own_shards / "test" / "annotations" / "index" / "00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"python -m data_tools index .*00001\.tar"):
        open_dataset(own_shards)


def test_benchmark_sets_are_read_as_the_benchmark_reads_them(benchmark_captions, benchmark_classes):
    (benchmark_classes / "classnames.txt").write_text("red\n\n blue\n\n")
    assert open_dataset(benchmark_classes).classnames == ["red", "", "blue"]
    shard = benchmark_captions / "test" / "0.tar"
    members = {f"s9.{name}": picture((0, 0, 0), 0, "PNG") for name in ("jpg", "png", "webp")}
    members["s9.webp"] = picture((250, 250, 250))
    add_to_tar(shard, members | {"s9.txt": b" two  words \n\nand\\nmore"})
    found = open_dataset(benchmark_captions)
    assert found.captions[-1] == [" two  words ", "", "and\nmore"]
    assert np.array(found.item(len(found) - 1)[1]).min() > 200


def test_class_names_for_every_class_folder(class_folders):
    names = class_folders / "classnames.txt"
    names.write_text("a\nb\n\nd\ne\nf\ng\n")
    assert open_dataset(class_folders).classnames == ["a", "b", "", "d", "e", "f", "g"]
    names.write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"classnames.txt has 2 lines for 7 class folders \('bl"):
        open_dataset(class_folders)


def test_class_names_above_the_data_belong_to_something_else(class_folders, own_shards):
    for root in (class_folders, own_shards):
        (root.parent / "classnames.txt").write_text("other\n")
        for path in (root / "test", root):
            assert open_dataset(path).classnames != ["other"]
        (root / "classnames.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
        assert open_dataset(root).classnames == list("abcdefg")
        assert open_dataset(root / "test").classnames != list("abcdefg")


def test_classes_are_those_of_all_splits(class_folders):
    shutil.copytree(class_folders / "test", class_folders / "train")
    shutil.rmtree(class_folders / "test" / "blue")
    found = open_dataset(class_folders)
    assert found.classnames == open_dataset(class_folders, "train").classnames
    assert len(found.classnames) == 7
    assert found.labels.tolist() == sorted([0, 2, 3, 4, 5, 6] * 3)


def test_a_class_folder_that_is_no_text(class_folders):
    odd = os.fsdecode(b"caf\xe9")
    (class_folders / "test" / "red").rename(class_folders / "test" / odd)
    with pytest.raises(ValueError, match=r"class folder 'caf\\udce9' is not UTF-8"):
        open_dataset(class_folders)
    (class_folders / "classnames.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
    assert open_dataset(class_folders).fingerprint


LAYOUTS = ["class_folders", "own_shards", "benchmark_classes"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_rule_for_splits(layout, request, monkeypatch):
    root = request.getfixturevalue(layout)
    (root / "test").rename(root / "train")
    with pytest.raises(ValueError, match="has no split 'test'; choices of --split are train"):
        open_dataset(root)
    assert open_dataset(root, "train").split == "train"
    assert open_dataset(root / "train").split == "train"
    assert open_dataset(root / "train", "train").split == "train"
    for other in ("test", "val"):
        with pytest.raises(ValueError, match=f"train is the split 'train', but .*'{other}'"):
            open_dataset(root / "train", other)
    for name in ("../train", "..", ".", "", "/", "a/b"):
        with pytest.raises(ValueError, match="expected the name of a folder"):
            open_dataset(root, name)
    monkeypatch.chdir(root / "train")
    assert open_dataset(".").split == "train"


@pytest.mark.parametrize("layout", ["class_folders", "own_shards"])
def test_a_folder_without_splits(layout, request):
    root = request.getfixturevalue(layout)
    whole = (root / "test").rename(root / "everything")
    assert open_dataset(whole).split is None
    with pytest.raises(ValueError, match="everything has no splits, but --split asks for 'val'"):
        open_dataset(whole, "val")


def test_json_that_is_nested_too_deeply_is_named(own_shards):
    shard = own_shards / "test" / "00000.tar"
    write_tar(shard, [("a", {"png": picture((0, 0, 0)), "json": b"[" * 100_000})])
    write_index(shard)
    with pytest.raises(ValueError, match=r"00000\.tar: sample 'a': its \.json member is nested"):
        open_dataset(own_shards)


def write_benchmark(root, vectors, labels=None):
    """A set in CLIP_benchmark's layout, as its own exporter names the members."""
    (root / "test").mkdir(parents=True)
    (root / "classnames.txt").write_text("red\ngreen\nblue\n")
    (root / "test" / "nshards.txt").write_text("1\n")
    with webdataset.TarWriter(str(root / "test" / "0.tar")) as tar:
        for n, vector in enumerate(vectors):
            sample = {"__key__": f"s{n:07d}", "png": picture((n, 0, 0)), "npy": np.array(vector)}
            tar.write(sample | ({} if labels is None else {"cls": labels[n]}))
    return root


@pytest.mark.parametrize("kind", [int, bool, float])
def test_pictures_with_several_labels(tmp_path, kind):
    sets = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]]).astype(kind)
    root = write_benchmark(tmp_path / "voc", sets)
    multilabel(root)
    found = open_dataset(root)
    assert found.label_sets.dtype == bool
    assert found.label_sets.tolist() == (sets == 1).tolist()
    assert found.labels is None
    (root / "classnames.txt").write_text("red\ngreen\n")
    with pytest.raises(ValueError, match=r"classnames\.txt has 2 lines for labels of 3 classes"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1, 0, 1], [0, 2, 0]], r"'s0000001': the \.npy labels of a multilabel set are 0 and 1"),
        ([[1, 0], [0, 1, 0]], r"'s0000001': its \.npy vector has 3 numbers, .* first sample 2"),
    ],
)
def test_labels_that_are_no_sets(tmp_path, vectors, message):
    multilabel(write_benchmark(tmp_path / "voc", vectors))
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path / "voc")


def groups_of(root, vectors):
    found = open_dataset(write_benchmark(root, vectors, labels=[0] * len(vectors)))
    assert found.labels.tolist() == [0] * len(vectors)
    return {name: values.tolist() for name, values in found.groups.items()}


def test_metadata_beside_labels_are_groups(tmp_path):
    vectors = [[5, 2.5, 0], [0, 1.0, 7], [3, 1.0, 7]]
    assert groups_of(tmp_path / "own", vectors) == {
        "metadata_0": [5, 0, 3],
        "metadata_2": [0, 7, 7],
    }
    # "Other" is no region of its own
    assert groups_of(tmp_path / "wds_wilds-fmow_test", vectors) == {"region": [-1, 0, 3]}
    assert groups_of(tmp_path / "dollar_street", vectors) == {"income": [5, 0, 3]}
    assert groups_of(tmp_path / "camelyon17", vectors) == {}
    with pytest.raises(ValueError, match=r"have 0 columns, but region .*geode is column 0"):
        groups_of(tmp_path / "geode", [[], []])
    found = open_dataset(tmp_path / "own")
    assert found.subset([2, 0]).groups["metadata_0"].tolist() == [3, 5]
