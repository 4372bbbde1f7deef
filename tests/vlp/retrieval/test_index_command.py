"""`vlp index` and its sub-commands on folders that change: what has a row, by content."""

import shutil

import pytest

from tests.vlp.retrieval.embedding.killed_jobs import crash
from tests.vlp.retrieval.indexed_folders import contents, draw, on_disk, rows
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Store


def test_a_folder_becomes_an_index(index, photos, encoder):
    assert contents(index, encoder) == on_disk(photos)


def test_refresh_follows_the_folder(index, photos, vlp, encoder):
    before = {row: name for name, row in contents(index, encoder).items()}
    draw(photos / "9.png", seed=9)  # new
    draw(photos / "1.png", seed=100)  # changed
    (photos / "2.png").unlink()  # gone
    shutil.copy(photos / "0.png", photos / "copy.png")
    (photos / "bad.png").write_bytes(b"<html>not a picture</html>")
    status, out, _ = vlp("index", "refresh", index)
    assert status == 0
    expected = on_disk(photos)
    del expected["bad.png"]
    assert contents(index, encoder) == expected
    assert "2 added (1 had changed), 1 removed, 6 as before" in out
    assert "1 copy" in out
    assert "1 could not be read" in out
    assert "bad.png" in out
    assert before

    status, out, _ = vlp("index", "refresh", index)
    assert "0 added, 8 as before, 2 left out as before" in out
    assert contents(index, encoder) == expected


def test_a_copy_takes_the_place_of_what_is_gone(index, photos, vlp, encoder):
    shutil.copy(photos / "0.png", photos / "z.png")
    vlp("index", "refresh", index)
    assert "z.png" not in contents(index, encoder)
    (photos / "0.png").unlink()
    vlp("index", "refresh", index)
    assert contents(index, encoder) == on_disk(photos)
    assert "z.png" in contents(index, encoder)


def test_a_picture_that_is_mended_gets_its_row(index, photos, vlp, encoder):
    (photos / "late.png").write_bytes(b"half")
    vlp("index", "refresh", index)
    assert "late.png" not in contents(index, encoder)
    draw(photos / "late.png", seed=50)
    vlp("index", "refresh", index)
    assert contents(index, encoder) == on_disk(photos)


def test_a_picture_that_breaks_loses_its_row(index, photos, vlp, encoder):
    (photos / "3.png").write_bytes(b"broken now")
    status, out, _ = vlp("index", "refresh", index)
    assert status == 0
    assert "3.png" in out
    assert set(contents(index, encoder)) == {f"{n}.png" for n in range(8)} - {"3.png"}


def test_removed_pictures_stay_away_until_they_change(index, photos, vlp, encoder):
    shutil.copy(photos / "4.png", photos / "copy of 4.png")
    vlp("index", "refresh", index)
    status, out, _ = vlp("index", "remove", index, "--ids", "4")
    assert (status, "removed 1 picture: 7 left" in out) == (0, True)
    vlp("index", "refresh", index)
    assert set(contents(index, encoder)) == {f"{n}.png" for n in range(8)} - {"4.png"}
    draw(photos / "4.png", seed=400)
    vlp("index", "refresh", index)
    assert "4.png" in contents(index, encoder)


def test_remove_by_condition(index, vlp, encoder):
    status, out, _ = vlp("index", "remove", index, "--where", "image_path LIKE '%/5.png'")
    assert (status, "removed 1 picture" in out) == (0, True)
    assert "5.png" not in contents(index, encoder)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "either --ids or --where"),
        (("--ids", "0", "--where", "width > 1"), "either --ids or --where"),
        (("--ids", "0", "77"), "id 77 is not in the index"),
        (("--ids", "zero"), "zero"),
    ],
)
def test_remove_refuses(index, vlp, options, told, encoder):
    before = contents(index, encoder)
    status, _, err = vlp("index", "remove", index, *options)
    assert status == 2
    assert told in err
    assert contents(index, encoder) == before


def test_a_folder_that_lost_everything_removes_nothing(index, photos, vlp, encoder):
    before = contents(index, encoder)
    for path in photos.iterdir():
        path.unlink()
    draw(photos / "other.png", seed=77)
    status, _, err = vlp("index", "refresh", index)
    assert status == 2
    assert "all 8 pictures" in err
    photos.rename(photos.with_name("elsewhere"))
    status, _, err = vlp("index", "refresh", index)
    assert status == 2
    assert str(photos) in err
    assert {row[0] for row in before.items()} == set(contents(index, encoder))


def test_add_a_second_folder(index, photos, vlp, tmp_path, encoder):
    more = tmp_path / "more"
    more.mkdir()
    draw(more / "a.png", seed=60)
    shutil.copy(photos / "0.png", more / "copy.png")
    status, out, _ = vlp("index", "add", index, more)
    assert status == 0
    assert "1 added" in out
    assert contents(index, encoder) == {**on_disk(photos), "a.png": on_disk(more)["a.png"]}
    (more / "a.png").unlink()
    vlp("index", "refresh", index)  # looks through both; what is left in `more` is a copy
    assert set(contents(index, encoder)) == {*on_disk(photos), "a.png"} - {"a.png"}


def test_rows_added_in_python_are_not_refreshed_away(index, vlp, tmp_path):
    draw(tmp_path / "own.png", seed=70)
    Retriever.load(index).add([tmp_path / "own.png"])
    vlp("index", "refresh", index)
    assert str(tmp_path / "own.png") in [row["image_path"] for row in rows(index)]


def test_misuse_is_told_in_one_line(
    index, photos, model_folder, other_model_folder, vlp, tmp_path, encoder, monkeypatch
):
    other = other_model_folder
    cases = [
        (("index", photos), "--model"),
        (("index", tmp_path / "nowhere", "--model", model_folder, "--output", "x"), "nowhere"),
        (("index", index, "--model", model_folder), "is an index already"),
        (("index", index, "--factory", "Flat"), "factory"),
        (("index", index, "--backend", "annoy"), "annoy"),
        (("index", photos, "--model", other, "--output", index), "do not belong together"),
        (("index", index, "--workers", "2"), "--workers does nothing here"),
        (("index", "add", photos, photos), "is no index"),
        (("index", "add", index, tmp_path / "nowhere"), "nowhere"),
        (("index", "refresh", tmp_path), "is no index"),
    ]
    before = contents(index, encoder)
    for arguments, told in cases:
        status, _, err = vlp(*arguments)
        assert status == 2, arguments
        assert told in err, (arguments, err)
        assert len(err.strip().splitlines()) == 1, err
    monkeypatch.setenv("WORLD_SIZE", "2")
    for arguments in ((photos,), ("add", index, photos), ("refresh", index)):
        status, _, err = vlp("index", *arguments)
        assert (status, "is one process" in err) == (2, True), err
    assert contents(index, encoder) == before


def test_one_at_a_time(index, photos, vlp):
    """Else each would forget what the other has noted of the data."""
    draw(photos / "9.png", seed=9)
    before = rows(index)
    commands = (("refresh", index), ("add", index, photos), ("remove", index, "--ids", "3"))
    with Store(index).exclusive():
        for arguments in commands:
            status, out, err = vlp("index", *arguments)
            assert (status, out, "another process is changing" in err) == (1, "", True), err
    assert rows(index) == before


def test_killed_wherever_the_same_command_goes_on(photos, model_folder, encoder, tmp_path):
    """Two pictures a commit; each process gets a little further than the one before it."""
    (photos / "bad.png").write_bytes(b"no picture")
    shutil.copy(photos / "0.png", photos / "z.png")
    for name in ("4.png", "5.png", "6.png", "7.png"):
        (photos / name).unlink()
    expected = on_disk(photos)
    del expected["bad.png"]
    index, operation = tmp_path / "index", 1
    command = ("index", photos, "--model", model_folder, "--output", index)
    while crash(photos, index, operation, command):
        if (index / "index.json").exists():
            assert contents(index, encoder).items() <= expected.items()
        operation += 8
        assert operation < 100
    assert operation > 10
    assert contents(index, encoder) == expected
    assert not [path for path in index.rglob("*") if path.name.endswith(".tmp")]
