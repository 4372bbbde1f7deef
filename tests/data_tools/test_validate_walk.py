"""The walk over damaged tars: headers as the standard library reads them, every byte once."""

import os
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.defects.grouping import group
from data_tools.defects.names import read_name, safe_key
from data_tools.defects.walk import Entry, Walk
from tests.data_tools.test_validate_cases import WHOLE, sample, tar
from vlp.data.tar import split_name
from vlp.data.tar_header import read_header

LAYOUTS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def items(data: bytes, folder: Path, thorough: bool = False) -> list:
    path = folder / "walked.tar"
    path.write_bytes(data)
    file = os.open(path, os.O_RDONLY)
    try:
        return list(Walk(file, thorough))
    finally:
        os.close(file)


@given(
    st.text("abcé/_.", min_size=1, max_size=60).filter(lambda name: name.strip("/")),
    st.integers(0, 1 << 40),
    st.sampled_from(tarfile.REGTYPE + tarfile.AREGTYPE + tarfile.SYMTYPE + tarfile.DIRTYPE),
)
def test_a_header_is_read_as_the_standard_library_reads_it(name, size, kind) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, bytes([kind])
    block = info.tobuf(tarfile.GNU_FORMAT)[-512:]
    wanted = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    found = read_header(block)
    assert found is not None
    assert found.size == wanted.size
    assert found.kind == bytes([kind])
    assert found.name.decode().rstrip("/") == wanted.name.rstrip("/")


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_header_with_any_other_byte_is_none(place, change) -> None:
    """Unless the byte has no part in the sum: within the checksum field, behind its digits."""
    block = bytearray(WHOLE[:512])
    block[place] ^= change
    try:
        tarfile.TarInfo.frombuf(bytes(block), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        assert read_header(bytes(block)) is None
    else:
        assert 148 <= place < 156


def test_headers_whose_bytes_add_up_to_much_are_read() -> None:
    name = "ÿ" * 127  # more than half of a header above zero, each byte about 190
    info = tarfile.TarInfo(f"{'ÿ' * 77}/{name[:49]}")
    block = info.tobuf(tarfile.USTAR_FORMAT)
    found = read_header(block)
    assert found is not None
    assert found.name.decode() == info.name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("thorough", [False, True])
def test_long_names_of_every_layout_are_read(tmp_path, layout, thorough) -> None:
    names = [f"{'long' * 20}/{'name' * 15}.jpg", "né.txt", "plain.jpg"]
    if layout != tarfile.USTAR_FORMAT:
        names.append("x" * 300 + ".jpg")
    data = tar([(name, b"x" * 700) for name in names], layout=layout)
    found = [item for item in items(data, tmp_path, thorough) if isinstance(item, Entry)]
    assert [entry.name.decode() for entry in found] == names
    assert all(data[entry.data : entry.data + entry.size] == b"x" * 700 for entry in found)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_every_byte_belongs_to_one_item(tmp_path_factory, draw, thorough) -> None:
    data = bytearray(tar(*map(sample, range(3))))
    for _ in range(draw.draw(st.integers(0, 3))):
        start = draw.draw(st.integers(0, len(data)))
        length = draw.draw(st.integers(0, 1500))
        how = draw.draw(st.sampled_from(["cut", "zero", "delete", "insert"]))
        if how == "cut":
            del data[start:]
        elif how == "zero":
            data[start : start + length] = bytes(len(data[start : start + length]))
        elif how == "delete":
            del data[start : start + length]
        else:
            data[start:start] = draw.draw(st.binary(max_size=600))
    at = 0
    for item in items(bytes(data), tmp_path_factory.getbasetemp(), thorough):
        assert item.start == at
        assert item.end >= at
        at = item.end
    assert at == len(data)


def test_members_that_lost_bytes_do_not_hide_the_next(tmp_path) -> None:
    """Exactly as many bytes as the next member has, so that the walk lands on a header."""
    data = tar([("a.jpg", bytes([7]) * 5000), ("a.txt", b"x"), ("b.jpg", b"y")])
    lost = data[:1024] + data[2048:]
    names = [i.name for i in items(lost, tmp_path) if isinstance(i, Entry)]
    assert names == [b"a.jpg", b"b.jpg"]  # what a walk over headers alone cannot see
    found = items(lost, tmp_path, thorough=True)
    assert [i.name for i in found if isinstance(i, Entry)] == [b"a.txt", b"b.jpg"]
    assert found[0].code == "TAR_BYTES_MISSING"


def test_a_tar_inside_a_tar_is_one_member(tmp_path) -> None:
    data = tar([("inner.tar", tar(sample(1))), ("b.jpg", b"y")])
    names = [i.name for i in items(data, tmp_path, True) if isinstance(i, Entry)]
    assert names == [b"inner.tar", b"b.jpg"]


@given(st.text(max_size=30))
def test_a_safe_key_is_relative_and_has_no_dots(key) -> None:
    safe = safe_key(key)
    assert not safe.startswith("/")
    assert "." not in safe
    assert safe.isprintable() or not key.isprintable()
    assert safe_key(safe) == safe


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40))
def test_names_are_split_as_the_readers_split_them(name) -> None:
    found = read_name(name.encode())
    if found.extension:
        assert (found.key, found.extension) == split_name(name)


def test_many_members_of_one_key_take_no_square_time() -> None:
    def entries():
        for number in range(20_000):
            yield Entry(number, number, 1, number + 1, b"0", b"frame.%06d.jpg" % number)

    started = time.process_time()
    assert len(list(group(entries()))) == 20_000
    assert time.process_time() - started < 5  # half a minute by comparing each with each
