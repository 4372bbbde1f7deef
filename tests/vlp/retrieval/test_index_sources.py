"""What `vlp index` follows: tables, shards, data that overlap, embeddings, and what comes back."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.vlp.retrieval.embedding.pictures_made import picture, shard_of
from tests.vlp.retrieval.indexed_folders import contents, draw, on_disk, rows
from vlp.retrieval import indexing, pictures
from vlp.retrieval.embedding import decoding
from vlp.retrieval.store import Store


def table_of(path, captions, **columns):
    """A CSV of {picture: caption}."""
    lines = [",".join(["image", "caption", *columns])]
    for place, (name, caption) in enumerate(captions.items()):
        lines.append(",".join([name, caption, *(values[place] for values in columns.values())]))
    path.write_text("\n".join(lines) + "\n")
    return path


def captions(index):
    return {os.path.basename(row["image_path"]): row["caption"] for row in rows(index)}


def test_a_table_and_its_pictures_from_another_folder(
    vlp, photos, model_folder, tmp_path, monkeypatch
):
    """Where relative paths start, and the table, are the same from everywhere."""
    monkeypatch.chdir(tmp_path)
    table = table_of(tmp_path / "t.csv", {"0.png": "a dog", "1.png": "a cat", "2.png": "a tree"})
    given = ("t.csv", "--images", "photos", "--model", model_folder, "--output", "i")
    assert vlp("index", *given)[0] == 0
    index = tmp_path / "i"
    before = {row["image_path"]: row["id"] for row in rows(index)}
    table_of(table, {"0.png": "a dog", "1.png": "a cat that sleeps", "3.png": "a house"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, out, err = vlp("index", "refresh", index)
    assert status == 0, err
    assert "2 added (1 had changed), 1 removed, 1 as before" in out
    assert captions(index) == {"0.png": "a dog", "1.png": "a cat that sleeps", "3.png": "a house"}
    after = {row["image_path"]: row["id"] for row in rows(index)}
    assert before.items() & after.items() == {(f"{photos}/0.png", before[f"{photos}/0.png"])}


def test_a_column_of_a_table_gets_other_values(vlp, photos, model_folder, tmp_path):
    """Numbers and texts fit a column of texts, texts none of numbers."""
    place = dict.fromkeys(("0.png", "1.png"), "x")
    table = table_of(photos / "t.csv", place, name=["old", "new"], year=["1999", "2000"])
    assert vlp("index", table, "--model", model_folder, "--output", tmp_path / "i")[0] == 0
    table_of(table, place, name=["7", "8"], year=["1999", "2001"])
    assert vlp("index", "refresh", tmp_path / "i")[0] == 0
    found = {(row["name"], row["year"]) for row in rows(tmp_path / "i")}
    assert found == {("7", 1999), ("8", 2001)}
    table_of(table, place, name=["7", "8"], year=["1999", "today"])
    status, _, err = vlp("index", "refresh", tmp_path / "i")
    assert (status, "the column 'year' holds string now, but int64 in" in err) == (2, True)
    assert {row["year"] for row in rows(tmp_path / "i")} == {1999, 2001}


def test_shards_that_are_written_anew(vlp, model_folder, encoder, tmp_path):
    samples = {f"{n}": {"png": picture(n), "txt": f"number {n}"} for n in range(4)}
    shard = shard_of(tmp_path / "s/0.tar", samples.items())
    assert vlp("index", tmp_path / "s", "--model", model_folder, "--output", tmp_path / "i")[0] == 0
    assert captions(tmp_path / "i") == {f"{n}.png": f"number {n}" for n in range(4)}
    del samples["1"]
    samples["2"] = {"png": picture(20), "txt": "another"}
    shard_of(shard, samples.items())
    status, _, err = vlp("index", "refresh", tmp_path / "i")
    assert status == 0, err
    expected = {"0.png": "number 0", "2.png": "another", "3.png": "number 3"}
    assert captions(tmp_path / "i") == expected
    ids = {row["image_path"]: row["id"] for row in rows(tmp_path / "i")}
    snapshot = Store(tmp_path / "i").snapshot()
    vectors = snapshot.vectors(snapshot.rows_of(list(ids.values())))
    own = encoder.encode_image([pictures.read_picture(path) for path in ids]).numpy()
    np.testing.assert_allclose(vectors, own, atol=2e-3)


def test_data_that_overlap_do_not_take_rows_from_one_another(index, photos, vlp, encoder):
    """What was added last, which knows captions, keeps what both have; what it loses goes back."""
    told = {f"{n}.png": f"number {n}" for n in range(3)}
    table = table_of(photos / "t.csv", told)
    status, out, _ = vlp("index", "add", index, table)
    assert (status, "3 added (3 had changed)" in out) == (0, True)
    for _ in range(2):
        assert "0 added," in vlp("index", "refresh", index)[1]
        assert contents(index, encoder) == on_disk(photos)
        assert captions(index) == {f"{n}.png": told.get(f"{n}.png") for n in range(8)}
    del told["1.png"]
    table_of(table, told)
    assert "1 added, 1 removed" in vlp("index", "refresh", index)[1]
    assert contents(index, encoder) == on_disk(photos)
    assert captions(index) == {f"{n}.png": told.get(f"{n}.png") for n in range(8)}


def test_what_was_removed_stays_away_in_every_form(index, photos, vlp, encoder):
    """Touched, copied, or in further data that say more of it."""
    vlp("index", "remove", index, "--ids", "4")
    left = {f"{n}.png" for n in range(8)} - {"4.png"}
    os.utime(photos / "4.png", (1, 1))
    shutil.copy(photos / "4.png", photos / "copy.png")
    table = table_of(photos / "t.csv", {"4.png": "again"})
    assert vlp("index", "add", index, table)[0] == 0
    for _ in range(3):
        status, out, _ = vlp("index", "refresh", index)
        assert (status, "0 added, 7 as before, 3 left out" in out) == (0, True), out
        assert set(contents(index, encoder)) == left
    draw(photos / "4.png", seed=40)
    vlp("index", "refresh", index)
    assert set(contents(index, encoder)) == {*left, "4.png"}


def test_a_file_that_could_not_be_read_is_tried_again(index, photos, vlp, encoder, monkeypatch):
    """Its time of change is the same when the disk is well again."""
    whole = pictures.read_picture

    def failing(path, last=None):
        if path.endswith("new.png"):
            raise pictures.MissingPictureError(f"{path}: input/output error")
        return whole(path, last)

    draw(photos / "new.png", seed=30)
    shutil.copy(photos / "new.png", photos / "newer copy.png")
    monkeypatch.setattr(decoding, "read_picture", failing)
    status, out, _ = vlp("index", "refresh", index)
    assert (status, "2 could not be read" in out) == (0, True)
    monkeypatch.undo()
    assert "1 added" in vlp("index", "refresh", index)[1]
    assert contents(index, encoder) == on_disk(photos)


def test_copies_share_their_captions_however_far_apart(
    vlp, photos, model_folder, tmp_path, monkeypatch
):
    """Two pictures a commit."""
    monkeypatch.setattr(indexing, "_AT_ONCE", 2)
    shutil.copy(photos / "0.png", photos / "z.png")
    for name, text in (("0", "a dog"), ("z", "a cat"), ("5", "a tree")):
        (photos / f"{name}.txt").write_text(text)
    given = (photos, "--model", model_folder, "--output", tmp_path / "i")
    assert "8 added, 1 copy" in vlp("index", *given)[1]
    told = {os.path.basename(row["image_path"]): row["captions"] for row in rows(tmp_path / "i")}
    assert told.pop("0.png") == ["a dog", "a cat"]
    assert told.pop("5.png") == ["a tree"]
    assert not any(told.values())


def test_names_that_are_no_text_are_reported(index, photos, vlp, encoder):
    expected = on_disk(photos)
    with open(os.fsencode(photos) + b"/\xff.png", "wb") as file:
        file.write(picture(90))
    for _ in range(2):
        status, out, _ = vlp("index", "refresh", index)
        assert (status, "its name is not UTF-8" in out) == (0, True)
    assert contents(index, encoder) == expected


def test_embeddings_are_added_once(index, photos, vlp, model_folder, encoder, tmp_path):
    draw(photos / "3.png", seed=300)
    draw(photos / "new.png", seed=90)
    shutil.copy(photos / "0.png", photos / "z.png")
    assert vlp("embed", model_folder, photos, "--output", tmp_path / "e")[0] == 0
    status, out, err = vlp("index", "add", index, tmp_path / "e")
    assert status == 0, err
    assert "2 added (1 had changed), 7 as before" in out
    assert contents(index, encoder) == on_disk(photos)
    status, out, _ = vlp("index", "add", index, tmp_path / "e")
    assert "0 added, 9 as before" in out
    assert "0 added, 9 as before, 1 left out" in vlp("index", "refresh", index)[1]
    assert contents(index, encoder) == on_disk(photos)
    status, _, err = vlp("index", "add", index, tmp_path / "e", "--images", "x")
    assert (status, "--images does nothing here" in err) == (2, True)


def test_captions_are_no_pictures(vlp, photos, model_folder, tmp_path):
    """An index of texts is not refreshed with pictures."""
    table = table_of(photos / "t.csv", {"0.png": "a dog", "1.png": "a cat"})
    assert vlp("embed", model_folder, table, "--output", tmp_path / "e")[0] == 0
    assert vlp("index", tmp_path / "e", "--of", "text")[0] == 0
    place = tmp_path / "e/index"
    assert sorted(row["caption"] for row in rows(place)) == ["a cat", "a dog"]
    assert "0 added, 2 as before" in vlp("index", "add", place, tmp_path / "e")[1]
    for arguments, told in (
        (("refresh", place), "knows no data"),
        (("add", place, photos), "an index of texts"),
    ):
        status, _, err = vlp("index", *arguments)
        assert (status, told in err) == (2, True), err
    assert "removed 1 text" in vlp("index", "remove", place, "--where", "caption = 'a cat'")[1]


@pytest.fixture
def foreign(tmp_path):
    """As clip-retrieval writes it."""
    vectors = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder = tmp_path / "foreign"
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "img_emb/img_emb_0.npy", vectors.astype(np.float16))
    table = pa.table({"image_path": [f"{n}.jpg" for n in range(5)], "caption": ["x"] * 5})
    pq.write_table(table, folder / "metadata/metadata_0.parquet")
    return folder


def test_embeddings_without_a_model_are_searched_by_id(vlp, foreign):
    status, out, _ = vlp("index", foreign)
    assert (status, "does not say which model made it" in out) == (0, True)
    status, out, err = vlp("search", foreign / "index", "--like", "2")
    assert status == 0, err
    assert "4.jpg" in out
    status, _, err = vlp("search", foreign / "index", "a dog")
    assert (status, "does not know which model" in err) == (2, True)
    status, _, err = vlp("index", "add", foreign / "index", foreign)
    assert (status, "each of its 5 rows is in" in err) == (2, True)
    assert len(rows(foreign / "index")) == 5
