"""Copies: which pictures have the same bytes."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vlp.retrieval.embedding.pictures_made import embedded_table, picture, quiet, shard_of
from vlp.retrieval.embedding import copies as module
from vlp.retrieval.embedding.copies import find_copies, without_copies
from vlp.retrieval.embedding.items import Item
from vlp.retrieval.embedding.sources import DataOptions, open_data

END = b"e" * 5000  # longer than what is compared first


def items_of(folder, contents):
    items = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.jpg"
        if content is not None:
            path.write_bytes(content)
        size = -1 if content is None else len(content)
        items.append(Item(str(path), (f"caption {number}",), {}, "m", size))
    return items


@given(st.lists(st.sampled_from([None, b"", b"a", b"b", b"xx" + END, b"yy" + END]), max_size=12))
@settings(max_examples=40, deadline=None)
def test_each_content_is_once_and_the_first_stays(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("copies")
    items = items_of(folder, contents)
    copies = find_copies(items, 2)
    expected = [
        (place, contents.index(content))
        for place, content in enumerate(contents)
        if content and contents.index(content) < place
    ]
    place = {item.image_path: number for number, item in enumerate(items)}
    assert [(place[c.item.image_path], place[c.of]) for c in copies] == expected
    assert all(
        c.sha256 == hashlib.sha256(contents[place[c.item.image_path]]).hexdigest() for c in copies
    )
    left = without_copies(items, copies).items
    assert len(left) + len(copies) == len(items)


def test_captions_of_copies_are_kept(tmp_path):
    items = items_of(tmp_path, [b"a", b"b", b"a"])
    distinct = without_copies(items, find_copies(items, 1))
    assert [item.captions for item in distinct.items] == [
        ("caption 0", "caption 2"),
        ("caption 1",),
    ]


def test_copies_across_shards_and_tables(tmp_path):
    shard_of(tmp_path / "s/0.tar", [("a", {"png": picture(0)}), ("b", {"png": picture(1)})])
    shard_of(tmp_path / "s/1.tar", [("c", {"png": picture(0)})])
    items = open_data(str(tmp_path / "s"), DataOptions(), quiet)
    assert [c.item.image_path for c in find_copies(items, 2)] == [f"{tmp_path}/s/1.tar/c.png"]
    table = embedded_table(tmp_path / "t.parquet", [("x", picture(n % 2)) for n in range(4)])
    items = open_data(str(table), DataOptions(), quiet)
    assert [c.of for c in find_copies(items, 2)] == [f"{table}/image/{n}" for n in (0, 1)]


def test_only_what_may_be_a_copy_is_read(tmp_path, monkeypatch):
    read = Counter()

    def counted(path, last=None):
        read[path[len(str(tmp_path)) + 1 :], last is None] += 1
        return original(path, last)

    original = module.read_picture
    monkeypatch.setattr(module, "read_picture", counted)
    contents = [b"1", b"22", END + b"x", END + b"y", b"p" + END, b"q" + END, b"q" + END]
    assert len(find_copies(items_of(tmp_path, contents), 1)) == 1
    assert all(count == 1 for count in read.values())
    wholly = {name for name, whole in read if whole}
    assert wholly == {"4.jpg", "5.jpg", "6.jpg"}  # same size and same end
    assert {"0.jpg", "1.jpg"}.isdisjoint(name for name, _ in read)


def test_what_has_no_name_is_not_the_first(tmp_path):
    bad = str(tmp_path).encode() + b"/\xff.jpg"
    with open(bad, "wb") as file:
        file.write(b"a")
    items = items_of(tmp_path, [b"a", b"a"])
    items.insert(0, Item(bad.decode("utf-8", "surrogateescape"), (), {}, "m", 1))
    assert [c.of for c in find_copies(items, 1)] == [items[1].image_path]


@pytest.mark.parametrize("workers", [1, 5])
def test_number_of_workers_changes_nothing(tmp_path, workers):
    items = items_of(tmp_path, [bytes([n % 7]) + END for n in range(40)])
    assert find_copies(items, workers) == find_copies(items, 2)
