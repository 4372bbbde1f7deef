"""What data are, as people have them: folders and shards."""

import os

import pytest

from tests.vlp.retrieval.embedding.pictures_made import folder_of, json_lines, picture, shard_of
from vlp.data.tar import DamagedShardError
from vlp.errors import InputError
from vlp.retrieval.embedding.columns import schema_of
from vlp.retrieval.embedding.sources import DataOptions, open_data


def opened(data, **options):
    """(items, what was told)"""
    told = []
    return open_data(str(data), DataOptions(**options), told.append), "\n".join(told)


def names(items, folder):
    return [os.path.relpath(item.image_path, folder) for item in items]


def refusal(data, **options):
    with pytest.raises(InputError) as raised:
        opened(data, **options)
    return str(raised.value)


def test_folder_is_read_with_all_below_it_in_order(tmp_path):
    folder_of(tmp_path, ["b.JPG", "a/z.png", "a/y.webp", "a.gif", ".hidden.png", ".git/x.png"])
    (tmp_path / "notes.doc").touch()
    items, told = opened(tmp_path)
    assert names(items, tmp_path) == ["a.gif", "a/y.webp", "a/z.png", "b.JPG"]
    assert "4 pictures, 0 with a caption (left alone: 1 .doc)" in told


def test_captions_and_metadata_lie_beside_pictures(tmp_path):
    folder_of(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "a.txt").write_text(" a dog\n")
    (tmp_path / "b.json").write_text('{"caption": "a cat", "n": 2, "tags": ["x"], "id": 9}')
    items, told = opened(tmp_path)
    assert [item.caption for item in items] == ["a dog", "a cat", None]
    assert [dict(item.metadata) for item in items] == [{}, {"n": 2, "data_id": 9}, {}]
    assert "'id' becomes 'data_id'" in told
    assert "lists or records: tags" in told


def test_mark_changes_with_the_picture_and_with_what_lies_beside_it(tmp_path):
    folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_text("a dog")
    first, _ = opened(tmp_path)
    assert [i.mark for i in first] == [i.mark for i in opened(tmp_path)[0]]
    (tmp_path / "a.txt").write_text("a cat")
    (tmp_path / "b.png").write_bytes(picture(7))
    second, _ = opened(tmp_path)
    assert all(a.mark != b.mark for a, b in zip(first, second, strict=True))


def test_links_are_followed_and_loops_end(tmp_path):
    folder_of(tmp_path / "there", ["x.png"])
    folder_of(tmp_path / "here", ["a.png"])
    (tmp_path / "here/loop").symlink_to("..")
    (tmp_path / "here/gone.png").symlink_to("nowhere.png")
    items, _ = opened(tmp_path / "here")
    found = names(items, tmp_path / "here")
    assert found == ["a.png", "gone.png", "loop/there/x.png"]
    assert [item.size > 0 for item in items] == [True, False, True]


def test_what_cannot_be_read_beside_a_picture_is_told(tmp_path):
    folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "b.json").write_text("{")
    items, told = opened(tmp_path)
    assert [item.caption for item in items] == [None, None]
    assert "a.txt" in told
    assert "b.json" in told


def test_folder_without_pictures_says_what_it_holds(tmp_path):
    assert "it holds no file" in refusal(tmp_path)
    (tmp_path / "a.heic").touch()
    (tmp_path / "a.csv").touch()
    told = refusal(tmp_path)
    assert "1 .csv, 1 .heic" in told
    assert f"{tmp_path}/a.csv is a table" in told


def test_table_beside_pictures_is_pointed_at(tmp_path):
    folder_of(tmp_path, ["a.png"])
    json_lines(tmp_path / "captions.jsonl", [{"image": "a.png", "caption": "a dog"}])
    _, told = opened(tmp_path)
    assert "captions.jsonl is a table" in told


def test_one_picture(tmp_path):
    folder_of(tmp_path, ["a.png"])
    (tmp_path / "a.txt").write_text("a dog")
    items, told = opened(tmp_path / "a.png")
    assert [(i.image_path, i.caption) for i in items] == [(f"{tmp_path}/a.png", "a dog")]
    assert "one picture with a caption" in told


def sample(seed, **more):
    record = {"captions": [f"first {seed}", f"second {seed}"], "n": seed, "boxes": [1], "width": 5}
    return {"png": picture(seed), "txt": f"first {seed}", "json": {**record, **more}}


def test_shards_give_samples_in_order_with_captions_and_scalars(tmp_path):
    shard_of(tmp_path / "00001.tar", [("k2", sample(2))])
    shard_of(tmp_path / "00000.tar", [("k0", sample(0)), ("no", {"txt": "x"}), ("k1", sample(1))])
    items, told = opened(tmp_path)
    assert names(items, tmp_path) == ["00000.tar/k0.png", "00000.tar/k1.png", "00001.tar/k2.png"]
    assert items[1].captions == ("first 1", "second 1")
    assert dict(items[1].metadata) == {"key": "k1", "n": 1}
    assert "3 pictures in 2 shards, 3 with a caption" in told
    assert "1 samples have no picture" in told
    assert "not read: width" in told
    assert schema_of(items).field("n").type == "int64"


def test_folders_of_shards_are_splits(tmp_path):
    shard_of(tmp_path / "train/0.tar", [("a", sample(0))])
    shard_of(tmp_path / "dev/0.tar", [("a", sample(1))])
    items, told = opened(tmp_path)
    assert [item.metadata["split"] for item in items] == ["dev", "train"]
    assert "of the splits dev, train" in told
    same, _ = opened(f"{tmp_path}/{{train,dev}}/*.tar")
    assert [item.metadata["split"] for item in same] == ["train", "dev"]


def test_shards_further_below_are_pointed_at(tmp_path):
    shard_of(tmp_path / "one/train/0.tar", [("a", sample(0))])
    assert f"{tmp_path}/one/train" in refusal(tmp_path)


def test_sample_with_a_caption_that_cannot_be_read_stays(tmp_path):
    shard_of(tmp_path / "0.tar", [("a", {"png": picture(0), "json": b"{"}), ("b", sample(1))])
    items, told = opened(tmp_path)
    assert [item.caption for item in items] == [None, "first 1"]
    assert "1 samples whose caption cannot be read" in told


def test_shard_without_an_index_says_how_to_write_it(tmp_path):
    shard = shard_of(tmp_path / "0.tar", [("a", sample(0))], index=False)
    assert f"python -m data_tools index {shard}" in refusal(tmp_path)


def test_shard_that_was_replaced_is_damage(tmp_path):
    shard = shard_of(tmp_path / "0.tar", [("a", sample(0))])
    with open(shard, "ab") as file:
        file.write(bytes(512))
    with pytest.raises(DamagedShardError, match="was indexed with"):
        opened(tmp_path)


def test_missing_part_of_a_pattern_is_named(tmp_path):
    shard_of(tmp_path / "0.tar", [("a", sample(0))])
    assert f"{tmp_path}/1.tar: no such file or folder (1 of 2 files)" in refusal(
        f"{tmp_path}/{{0,1}}.tar"
    )


@pytest.mark.parametrize("data", ["https://x/y.tar", "pipe:cat x.tar", "s3://b/{0..9}.tar"])
def test_addresses_are_no_data(data):
    assert "only local data" in refusal(data)


def test_other_files_are_no_data(tmp_path):
    (tmp_path / "a.zip").touch()
    assert ".zip cannot be read as data" in refusal(tmp_path / "a.zip")
    assert "no such file" in refusal(tmp_path / "none")


@pytest.mark.parametrize("option", ["image_column", "caption_column", "images"])
def test_options_of_tables_are_refused_elsewhere(tmp_path, option):
    folder_of(tmp_path, ["a.png"])
    assert f"--{option.replace('_', '-')}" in refusal(tmp_path, **{option: "x"})
