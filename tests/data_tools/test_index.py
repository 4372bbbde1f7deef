"""`index`: tars of others get their sidecar, damaged ones are named, the rest goes on."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.data_tools.conftest import jpeg
from vlp.data.index import ShardIndex, sidecar_path, write_index


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A tar as img2dataset writes it: jpg, json, txt for each of five keys."""
    path = tmp_path / "shards" / "00000.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        for number in range(5):
            for extension, data in (("jpg", jpeg(number)), ("json", b"{}"), ("txt", b"text")):
                add(tar, f"00000000{number}.{extension}", data)
    return path


def test_tars_of_webdataset_and_img2dataset_are_indexed(shard, tmp_path, command) -> None:
    webdataset = pytest.importorskip("webdataset")
    other = tmp_path / "shards" / "00001.tar"
    with webdataset.TarWriter(str(other)) as writer:
        for number in range(3):
            writer.write({"__key__": f"a/b{number}", "jpg": jpeg(number), "txt": "text"})
    code, out, _ = command("index", shard.parent, "--workers", 1)
    assert code == 0
    assert "2 shards = 2 indexed + 0 failed; 8 samples" in out
    index = ShardIndex.read(str(other))
    assert index.key(2) == "a/b2"
    member = index.members(2)["jpg"]
    assert other.read_bytes()[member.offset : member.offset + member.size] == jpeg(2)


def test_patterns_files_and_folders_name_each_shard_once(shard, command) -> None:
    pattern = str(shard.parent / "{00000..00000}.tar")
    code, out, _ = command("index", pattern, shard, shard.parent, "--workers", 1)
    assert code == 0
    assert "1 shards = 1 indexed" in out


def header_of(data: bytes, name: str) -> int:
    return data.index(name.encode() + b"\0")


def damage(data: bytes, how: str) -> bytes:
    at = header_of(data, "000000003.jpg")
    if how == "cut at a member":
        return data[:at]
    if how == "cut inside data":
        return data[: at + 700]
    if how == "cut inside a header":
        return data[: at + 100]
    if how == "zeroed header":
        return data[:at] + bytes(512) + data[at + 512 :]
    if how == "bad checksum":
        return data[: at + 148] + b"0000000\0" + data[at + 156 :]
    if how == "no tar":
        return b"<html>" * 200
    assert how == "empty"
    return b""


@pytest.mark.parametrize(
    "how",
    [
        "cut at a member",
        "cut inside data",
        "cut inside a header",
        "zeroed header",
        "bad checksum",
        "no tar",
        "empty",
    ],
)
def test_a_damaged_tar_is_named_and_the_rest_goes_on(shard, command, how) -> None:
    damaged = shard.with_name("00001.tar")
    damaged.write_bytes(damage(shard.read_bytes(), how))
    code, out, err = command("index", shard.parent, "--workers", 1)
    assert code == 1
    assert "2 shards = 1 indexed + 1 failed; 5 samples" in out
    assert str(damaged) in err
    assert "Traceback" not in err
    assert sidecar_path(shard, "index").exists()
    assert not sidecar_path(damaged, "index").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg", "b.jpg", "a.txt"], "key 'a' comes back"),
        (["a.jpg", "a.jpg"], "key 'a' has two members .jpg"),
    ],
)
def test_keys_that_come_back_are_damage(tmp_path, command, names, message) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in names:
            add(tar, name, b"x")
    code, _, err = command("index", tmp_path / "0.tar", "--workers", 1)
    assert code == 1
    assert message in err


@pytest.mark.parametrize("pattern", ["nowhere/{00000..00001}.tar", "nowhere", "."])
def test_nothing_to_index_is_bad_input(tmp_path, command, pattern) -> None:
    code, _, err = command("index", tmp_path / pattern)
    assert code == 2
    assert str(tmp_path) in err


def test_a_glob_names_its_matches(shard, command) -> None:
    (shard.parent / "00001.tar").write_bytes(shard.read_bytes())
    code, out, _ = command("index", shard.parent / "*.tar", "--workers", 1)
    assert code == 0
    assert "2 shards = 2 indexed" in out
    code, _, err = command("index", shard.parent / "x*.tar", "--workers", 1)
    assert code == 2
    assert "x*.tar: no such tar or folder" in err


def test_a_tar_that_cannot_be_read_is_named_and_the_rest_goes_on(
    shard, command, monkeypatch
) -> None:
    other = shard.with_name("00001.tar")
    other.write_bytes(shard.read_bytes())

    def write(path: Path) -> int:
        if path == shard:
            raise PermissionError(13, "Permission denied", str(path))
        return write_index(path)

    monkeypatch.setattr("data_tools.index.write_index", write)
    code, out, err = command("index", shard.parent, "--workers", 1)
    assert code == 1
    assert "2 shards = 1 indexed + 1 failed" in out
    assert f"{shard}: Permission denied" in err


def test_a_path_that_is_no_text_is_named(shard, command) -> None:
    shard.rename(shard.with_name(os.fsdecode(b"caf\xe9.tar")))
    code, _, err = command("index", shard.parent, "--workers", 1)
    assert code == 1
    assert r"caf\udce9.tar': the path is not UTF-8" in err
