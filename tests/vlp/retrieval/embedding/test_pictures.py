"""The bytes of a picture by its path: files, members of shards, rows of tables."""

import os

import pytest

from tests.vlp.retrieval.embedding.pictures_made import embedded_table, picture, shard_of
from vlp.retrieval.pictures import MOST_BYTES, MissingPictureError, read_picture


def test_file(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    assert read_picture(f"{tmp_path}/a.png") == picture(1)
    assert read_picture(f"{tmp_path}/a.png", 10) == picture(1)[-10:]


def test_member_of_a_shard(tmp_path):
    shard = shard_of(
        tmp_path / "a.tar", [("in/x", {"png": picture(1), "txt": "a"}), ("y", {"png": picture(2)})]
    )
    assert read_picture(f"{shard}/in/x.png") == picture(1)
    assert read_picture(f"{shard}/y.png", 7) == picture(2)[-7:]


def test_member_of_a_shard_that_was_written_anew(tmp_path):
    """The index that a process has read is not used for another tar."""
    shard = shard_of(tmp_path / "a.tar", [("x", {"png": picture(1)})])
    assert read_picture(f"{shard}/x.png") == picture(1)
    shard_of(shard, [("w", {"png": picture(3, (90, 90))}), ("x", {"png": picture(2)})])
    assert read_picture(f"{shard}/x.png") == picture(2)


def test_row_of_a_table(tmp_path):
    table = embedded_table(tmp_path / "a.parquet", [(f"{n}.png", picture(n)) for n in range(5)])
    for n in (4, 0, 3):
        assert read_picture(f"{table}/image/{n}") == picture(n)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("none.png", "no such file"),
        ("folder", "is a folder"),
        ("pipe.png", "is no regular file"),
        ("zero.png", "is no regular file"),
        ("huge.png", "more than a picture has"),
        ("a.tar/none.png", "no such member"),
        ("a.tar/x.txt/y", "no such member"),
        ("bare.tar/x.png", "has no index"),
        ("t.parquet/image/5", "no such row"),
        ("t.parquet/image/-1", "no such row"),
        ("t.parquet/none/0", "no column 'none'"),
        ("t.parquet/2", "no such row"),
        ("t.parquet/number/0", "the row has no picture"),
        ("broken.parquet/image/0", "parquet"),
        ("a.png/b.png", "no such file"),
        ("nul\0.png", "null"),
        ("https://example.org/a.png", "addresses are not fetched"),
        ("n" * 5000, "too long"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, path, told):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    (tmp_path / "a.png").write_bytes(picture(0))
    shard_of(tmp_path / "a.tar", [("x", {"png": picture(1)})])
    shard_of(tmp_path / "bare.tar", [("x", {"png": picture(1)})], index=False)
    rows = [("x", picture(n)) for n in range(3)]
    embedded_table(tmp_path / "t.parquet", rows, number=[1, 2, 3])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    path = path if "://" in path else f"{tmp_path}/{path}"
    with pytest.raises(MissingPictureError) as raised:
        read_picture(path)
    assert told in str(raised.value)
    assert path[:60] in str(raised.value)


def test_locked_file_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(MissingPictureError, match="permission denied"):
        read_picture(f"{tmp_path}/a.png")


def test_shard_that_was_cut_is_named(tmp_path):
    shard = shard_of(tmp_path / "a.tar", [("x", {"png": picture(1)})])
    os.truncate(shard, shard.stat().st_size - 512)
    with pytest.raises(MissingPictureError, match="it was replaced or"):
        read_picture(f"{shard}/x.png")
