"""The index: what is a sample of a tar, and what is not."""

import io
import tarfile
from pathlib import Path

import pytest

from vlp.data.index import build_index, group_members
from vlp.data.tar import DamagedShardError


def tar_of(path: Path, names: list[bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for name in names:
            info = tarfile.TarInfo(name.decode("latin-1"))
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    return path


def test_what_archivers_leave_behind_is_no_sample(tmp_path: Path) -> None:
    hidden = [b"._a.txt", b"a/._b.txt", b"__MACOSX/._a.txt", b".DS_Store", b"a/.DS_Store"]
    names = [b"a.txt", *hidden, b"a.cls", b"._a.cls", b"b", b"b.txt"]
    found = group_members(tar_of(tmp_path / "0.tar", names))
    assert {key: list(members) for key, members in found.items()} == {
        "a": ["txt", "cls"],
        "b": ["txt"],
    }


def test_a_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    shard = tar_of(tmp_path / "0.tar", [b"a.txt", b"caf\xe9.txt"])
    with pytest.raises(DamagedShardError, match=r"0\.tar: the member name 'caf.*' is not UTF-8"):
        build_index(shard)
