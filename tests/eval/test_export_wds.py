import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

from eval import export_wds as module
from eval.datasets import open_dataset
from eval.datasets.samples import parse_captions
from eval.export_wds import export_wds
from tests.eval.conftest import add_to_tar, picture

DATA = Path(__file__).parents[3] / "shared" / "data"


def read_by_webdataset(folder):
    shards = int((folder / "nshards.txt").read_text())
    return [sample for number in range(shards) for sample in of_shard(folder / f"{number}.tar")]


def of_shard(path):
    with open(path, "rb") as file:  # which the package itself leaves open
        return list(group_by_keys(tar_file_expander([{"url": str(path), "stream": file}])))


def same(one, other):
    assert len(one) == len(other)
    for name in ("labels", "label_sets"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.captions == other.captions
    assert one.classnames == other.classnames
    assert one.templates == other.templates
    for mine, yours in zip(one.places, other.places, strict=True):
        assert mine.read() == yours.read()


@pytest.mark.parametrize(
    "layout", ["class_folders", "own_shards", "benchmark_classes", "benchmark_captions"]
)
def test_round_trip(layout, request, tmp_path, capsys):
    data = request.getfixturevalue(layout)
    assert export_wds(str(data), str(tmp_path / "out")) == 0
    found = open_dataset(tmp_path / "out")
    same(open_dataset(data), found)
    assert found.layout == "clip_benchmark"
    assert found.keys == [f"s{n:07d}" for n in range(len(found))]
    n = len(found)
    assert f"samples: {n} = {n} written + 0 unreadable" in capsys.readouterr().out


def test_webdataset_reads_it(class_folders, benchmark_captions, tmp_path):
    export_wds(str(class_folders), str(tmp_path / "a"), max_count=10)
    samples = read_by_webdataset(tmp_path / "a" / "test")
    source = open_dataset(class_folders)
    assert [int(sample["cls"]) for sample in samples] == source.labels.tolist()
    assert [sample["png"] for sample in samples] == [place.read() for place in source.places]
    assert [sample["__key__"] for sample in samples] == [f"s{n:07d}" for n in range(21)]
    export_wds(str(benchmark_captions), str(tmp_path / "b"))
    assert (tmp_path / "b" / "dataset_type.txt").read_text() == "retrieval\n"
    samples = read_by_webdataset(tmp_path / "b" / "test")
    assert samples[0]["txt"] == b"something red\nthis\\nis red"


@pytest.mark.parametrize(("options", "sizes"), [({"max_count": 8}, [8, 8, 5]), ({}, [21])])
def test_shards_end_at_a_number_of_samples(class_folders, tmp_path, options, sizes):
    export_wds(str(class_folders), str(tmp_path / "out"), **options)
    folder = tmp_path / "out" / "test"
    assert (folder / "nshards.txt").read_text() == f"{len(sizes)}\n"
    found = [len(of_shard(folder / f"{k}.tar")) for k in range(len(sizes))]
    assert found == sizes


def test_shards_end_as_webdataset_ends_them(class_folders, tmp_path):
    size = 1200.0
    export_wds(str(class_folders), str(tmp_path / "out"), max_size=size)
    (tmp_path / "peer").mkdir()
    pattern = str(tmp_path / "peer" / "%d.tar")
    with webdataset.ShardWriter(pattern, maxcount=100, maxsize=size, verbose=0) as peer:
        for sample in read_by_webdataset(tmp_path / "out" / "test"):
            peer.write({k: v for k, v in sample.items() if k in ("__key__", "png", "cls")})
    shards = sorted((tmp_path / "peer").glob("*.tar"))
    assert int((tmp_path / "out" / "test" / "nshards.txt").read_text()) == len(shards) > 3
    for shard in shards:
        own = tmp_path / "out" / "test" / shard.name
        keys = [[s["__key__"] for s in of_shard(path)] for path in (shard, own)]
        assert keys[0] == keys[1]


@pytest.mark.parametrize(("form", "exact"), [("webp", True), ("png", True), ("jpg", False)])
def test_another_format(class_folders, tmp_path, form, exact, capsys):
    (class_folders / "test" / "red" / "3.jpg").write_bytes(picture((200, 0, 0), 9, "JPEG"))
    export_wds(str(class_folders), str(tmp_path / "out"), image_format=form)
    before, after = open_dataset(class_folders), open_dataset(tmp_path / "out")
    for i in range(len(before)):
        one, other = (np.array(each.item(i)[1], dtype=int) for each in (before, after))
        assert np.abs(one - other).max() <= (0 if exact else 40)
    verbatim = {"webp": 0, "png": 21, "jpg": 1}[form]
    out = capsys.readouterr().out
    assert f"{22 - verbatim} encoded anew as {form}" in out
    assert (f"{verbatim} as they were" in out) == (verbatim > 0)


def test_what_the_layout_does_not_take_becomes_lossless_webp(class_folders, tmp_path, capsys):
    Image.open(class_folders / "test" / "red" / "0.png").save(
        class_folders / "test" / "red" / "0.bmp"
    )
    (class_folders / "test" / "red" / "0.png").unlink()
    export_wds(str(class_folders), str(tmp_path / "out"))
    assert "20 as they were, 1 encoded anew as webp" in capsys.readouterr().out.replace("\n", " ")
    before, after = open_dataset(class_folders), open_dataset(tmp_path / "out")
    for i in range(21):
        assert (np.array(before.item(i)[1]) == np.array(after.item(i)[1])).all()


def test_a_part_of_a_picture_is_cut_out(class_folders, tmp_path, monkeypatch):
    whole = open_dataset(class_folders)
    cut = replace(whole, places=[replace(place, box=(2, 3, 5, 4)) for place in whole.places])
    monkeypatch.setattr(module, "open_dataset", lambda *_: cut)
    export_wds(str(class_folders), str(tmp_path / "out"))
    found = open_dataset(tmp_path / "out")
    pixels = np.array(whole.item(0)[1])[3:7, 2:7]
    assert (np.array(found.item(0)[1]) == pixels).all()


def test_unreadable_pictures_are_counted(class_folders, tmp_path, capsys):
    (class_folders / "test" / "red" / "1.png").write_bytes(b"no picture")
    assert export_wds(str(class_folders), str(tmp_path / "out")) == 1
    out = capsys.readouterr().out
    assert "samples: 21 = 20 written + 1 unreadable" in out
    assert "unreadable: red/1.png: " in out
    found = open_dataset(tmp_path / "out")
    assert found.keys[-1] == "s0000019"
    for file in (class_folders / "test").rglob("*.png"):
        file.write_bytes(b"none")
    with pytest.raises(ValueError, match="no picture of the data can be read; nothing was written"):
        export_wds(str(class_folders), str(tmp_path / "none"))
    assert not list((tmp_path / "none").iterdir())


def test_several_labels_and_groups(benchmark_classes, tmp_path):
    source = replace(
        open_dataset(benchmark_classes),
        groups={"metadata_0": np.array([4, 4, 0, 0, 1, -1]), "metadata_1": np.arange(6)},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open_dataset", lambda *_: source)
        export_wds("x", str(tmp_path / "groups"))
        sets = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]] * 2, dtype=bool)
        patch.setattr(
            module, "open_dataset", lambda *_: replace(source, labels=None, label_sets=sets)
        )
        export_wds("x", str(tmp_path / "sets"))
    found = open_dataset(tmp_path / "groups")
    assert {name: own.tolist() for name, own in found.groups.items()} == {
        "metadata_0": [4, 4, 0, 0, 1, -1],
        "metadata_1": list(range(6)),
    }
    assert (tmp_path / "sets" / "dataset_type.txt").read_text() == "multilabel\n"
    assert (open_dataset(tmp_path / "sets").label_sets == sets).all()
    assert open_dataset(tmp_path / "sets").labels is None
    (sample, *_) = map(webdataset.Decoder([]), of_shard(tmp_path / "sets" / "test" / "0.tar"))
    assert sample["npy"].tolist() == [1, 0, 1]


def test_further_splits_of_the_same_data_set(class_folders, benchmark_captions, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(class_folders / "test", class_folders / "train")
    export_wds(str(class_folders), str(out))
    export_wds(str(class_folders), str(out), split="train")
    same(open_dataset(out), open_dataset(out, "train"))
    with pytest.raises(FileExistsError, match="test exists already; nothing was written"):
        export_wds(str(class_folders), str(out))
    (benchmark_captions / "test").rename(benchmark_captions / "val")
    with pytest.raises(FileExistsError, match=r"classnames\.txt is another one"):
        export_wds(str(benchmark_captions), str(out), split="val")
    (out / "classnames.txt").unlink()
    with pytest.raises(FileExistsError, match=r"dataset_type\.txt is not there"):
        export_wds(str(benchmark_captions), str(out), split="val")


def test_a_stopped_export_leaves_nothing(class_folders, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_tar", stop)
        with pytest.raises(KeyboardInterrupt):
            export_wds(str(class_folders), str(tmp_path / "out"))
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "out" / ".test.partial").mkdir()
    with pytest.raises(FileExistsError, match=r"\.test\.partial is left of an export"):
        export_wds(str(class_folders), str(tmp_path / "out"))


@given(st.lists(st.text(), min_size=1).filter(lambda own: any(text.strip() for text in own)))
def test_captions_are_read_back(captions):
    """Exactly, but for what ends a line elsewhere or looks like a written line break."""
    found = parse_captions(module._text(captions), "x")
    plain = all(len(text.split("\n")) == len(f"{text}.".splitlines()) for text in captions)
    if plain and not any("\\n" in text for text in captions):
        assert found == captions


def test_captions_that_change_are_counted(own_shards, tmp_path, monkeypatch, capsys):
    source = open_dataset(own_shards)
    texts = [[f"caption {i}"] for i in range(7)]
    texts[2], texts[5] = ["a\\nb"], ["one\r\ntwo", "three"]
    monkeypatch.setattr(module, "open_dataset", lambda *_: replace(source, captions=texts))
    export_wds("x", str(tmp_path / "out"))
    assert "captions of 2 samples are read back otherwise" in capsys.readouterr().out


def test_data_that_have_no_place(class_folders, own_shards, benchmark_classes, tmp_path):
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match="image_format 'gif': choices are keep, webp, png, jpg"):
        export_wds(str(class_folders), out, image_format="gif")
    with pytest.raises(ValueError, match="max_count 0"):
        export_wds(str(class_folders), out, max_count=0)
    (class_folders / "classnames.txt").write_text("a\nb\n\nd\ne\nf\ng\n")
    assert export_wds(str(class_folders), out) == 0
    assert open_dataset(out).classnames[2] == ""
    (benchmark_classes / "classnames.txt").unlink()
    with pytest.raises(ValueError, match=r"labels but no classnames\.txt"):
        export_wds(str(benchmark_classes), str(tmp_path / "b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "open_dataset", lambda *_: replace(open_dataset(own_shards), captions=None)
        )
        with pytest.raises(ValueError, match="pictures only; CLIP_benchmark's layout is for lab"):
            export_wds("x", str(tmp_path / "c"))


def test_labels_beside_captions(benchmark_classes, tmp_path, capsys):
    source = open_dataset(benchmark_classes)
    both = replace(source, captions=[["one", "two"]] * 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open_dataset", lambda *_: both)
        export_wds("x", str(tmp_path / "out"))
    assert "read as classification, or as retrieval" in capsys.readouterr().out
    assert open_dataset(tmp_path / "out").labels.tolist() == source.labels.tolist()
    (tmp_path / "out" / "dataset_type.txt").write_text("retrieval")
    assert open_dataset(tmp_path / "out").captions == both.captions


def test_a_sample_without_picture(benchmark_classes, tmp_path, capsys):
    add_to_tar(benchmark_classes / "test" / "1.tar", {"s0000009.cls": b"1"})
    assert export_wds(str(benchmark_classes), str(tmp_path / "out")) == 1
    assert "s0000009: the sample has no picture" in capsys.readouterr().out


@pytest.mark.skipif(not (DATA / "emoji").is_dir(), reason="the emoji data is not here")
def test_real_pictures_with_palettes_and_transparency_stay_as_they_are(tmp_path):
    source = open_dataset(DATA / "emoji", "heldout_vendor").limited(60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open_dataset", lambda *_: source)
        export_wds("x", str(tmp_path / "out"))
    same(source, open_dataset(tmp_path / "out", "heldout_vendor"))
