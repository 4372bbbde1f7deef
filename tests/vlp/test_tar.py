"""Tars: what `scan` finds in whole ones and says about damaged ones; what `write_tar` writes."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.data.tar import DamagedShardError, Member, scan, split_name, write_tar
from vlp.data.tar_header import ustar_header

SAMPLES = [(f"k{number}", {"jpg": bytes([number]) * 700, "txt": b"text"}) for number in range(4)]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "0.tar"
    write_tar(path, SAMPLES)
    return path


def test_members_are_where_scan_says(shard: Path) -> None:
    data = shard.read_bytes()
    found = list(scan(shard))
    assert [member.name for member in found] == [
        f"k{n}.{e}" for n in range(4) for e in ("jpg", "txt")
    ]
    assert all(
        data[member.offset : member.offset + member.size]
        == SAMPLES[i // 2][1][("jpg", "txt")[i % 2]]
        for i, member in enumerate(found)
    )


def test_equal_samples_give_equal_bytes_that_tarfile_reads(shard: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", SAMPLES)
    assert (tmp_path / "1.tar").read_bytes() == shard.read_bytes()
    with tarfile.open(shard) as tar:
        infos = tar.getmembers()
    assert {(info.mtime, info.uid, info.gid, info.mode) for info in infos} == {(0, 0, 0, 0o644)}


@pytest.mark.parametrize(
    "file_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]
)
def test_every_tar_format_folders_and_long_names(tmp_path: Path, file_format: int) -> None:
    names = ["a/" + "b" * 60 + "/" + "c" * 80 + ".txt", "short.txt"]
    if file_format != tarfile.USTAR_FORMAT:
        names.append("ü" * 70 + ".txt")
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=file_format) as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    assert [member.name for member in scan(path)] == names


@pytest.mark.parametrize("cut", range(0, 8 * 1024, 331))
def test_a_cut_anywhere_is_an_error(shard: Path, cut: int) -> None:
    whole = shard.read_bytes()
    end = max(member.offset + member.size for member in scan(shard))
    shard.write_bytes(whole[: min(cut, end)])
    with pytest.raises(DamagedShardError, match=r"0\.tar"):
        list(scan(shard))


def test_a_cut_names_the_last_good_member(shard: Path) -> None:
    second = next(member for member in scan(shard) if member.name == "k2.jpg")
    shard.write_bytes(shard.read_bytes()[: second.offset + 5])
    with pytest.raises(DamagedShardError, match=r"cut inside 'k2.jpg'.*last good member: k1.txt"):
        list(scan(shard))


@pytest.mark.parametrize("place", [0, 148, 300])
def test_an_overwritten_header_is_an_error(shard: Path, place: int) -> None:
    data = bytearray(shard.read_bytes())
    header = next(member for member in scan(shard) if member.name == "k2.jpg").offset - 512
    data[header + place : header + place + 4] = b"\xff\xfe\xfd\xfc"
    shard.write_bytes(data)
    with pytest.raises(DamagedShardError):
        list(scan(shard))


def test_a_damaged_extended_header_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 9
        tar.addfile(info, io.BytesIO(b"no record"))
    with pytest.raises(DamagedShardError, match="extended header"):
        list(scan(path))


@pytest.mark.parametrize(
    ("name", "key", "extension"),
    [
        ("a.jpg", "a", "jpg"),
        ("./d.e/a.JPG", "d.e/a", "jpg"),
        ("photo.v2.jpg", "photo", "v2.jpg"),
        ("none", "none", ""),
    ],
)
def test_a_key_ends_at_the_first_dot_of_the_file_name(name: str, key: str, extension: str) -> None:
    assert split_name(name) == (key, extension)


def test_an_empty_tar_has_no_members(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [])
    members: list[Member] = list(scan(tmp_path / "0.tar"))
    assert members == []


@pytest.mark.parametrize("zeros", [20 * 512, 3 << 20])
def test_room_that_was_never_filled_is_no_end(shard: Path, zeros: int) -> None:
    end = next(member for member in scan(shard) if member.name == "k2.jpg").offset - 512
    shard.write_bytes(shard.read_bytes()[:end] + bytes(zeros))
    if zeros < 1 << 20:
        assert len(list(scan(shard))) == 4
        return
    with pytest.raises(DamagedShardError, match=rf"0\.tar.*byte {end} .*last good member: k1.txt"):
        list(scan(shard))


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=120),
    st.integers(0, 8**11 - 1),
)
def test_a_header_is_that_of_the_standard_library(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    try:
        expected = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    except ValueError:
        with pytest.raises(ValueError, match="name is too long"):
            ustar_header(name, size)
    else:
        assert ustar_header(name, size) == expected
