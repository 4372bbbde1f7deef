import numpy as np
import pytest

from eval.datasets import open_dataset
from tests.eval.conftest import PALETTE, add_to_tar, picture
from vlp.data.images import UnreadableImageError
from vlp.data.tar import DamagedShardError


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
    (root / "dataset_type.txt").write_text("multilabel")


def latin1(root):
    (root / "classnames.txt").write_bytes("cafés".encode("latin-1"))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (remove_count, FileNotFoundError, r"nshards\.txt is missing.*number of shards"),
        (remove_shard, FileNotFoundError, r"1\.tar is missing.*announces 2 shards"),
        (bad_count, ValueError, "'two' is no number of shards"),
        (bad_label, ValueError, r"1\.tar: sample 's9'.*b'cat' is no whole number"),
        (no_label, ValueError, r"sample 's9' has no \.cls.*it has \.png, \.txt"),
        (repeated_key, DamagedShardError, "key 's0000003' occurs twice"),
        (cut, DamagedShardError, r"1\.tar"),
        (other_type, ValueError, "'multilabel'.*classification, retrieval"),
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
