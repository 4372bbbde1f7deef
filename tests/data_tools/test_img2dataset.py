"""Folders in img2dataset's layouts: failures stay rows, pictures come over byte for byte."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.build import Build, build
from data_tools.building.collection import Columns
from data_tools.building.inputs import read_input
from tests.data_tools.conftest import jpeg
from tests.data_tools.test_archives import make_tar
from tests.data_tools.trees import fields, rows, samples
from vlp.errors import InputError

STATUSES = {1: "failed_to_download", 3: "failed_to_resize"}


def record(shard: int, place: int) -> dict[str, object]:
    """A row of shard SSSSS.parquet, and the .json of its sample."""
    status = STATUSES.get(place, "success")
    good = status == "success"
    return {
        "url": f"http://example.org/{shard}/{place}.jpg",
        "caption": f"caption {place}",
        "key": f"{shard:05d}{place:04d}",
        "status": status,
        "error_message": None if good else "HTTP Error 404: Not Found",
        "width": 24 if good else None,
        "height": 16 if good else None,
        "original_width": 240 if good else None,
        "original_height": 160 if good else None,
        "exif": "{}" if good else None,
        "sha256": "0" * 64 if good else None,
        "similarity": 0.3,
    }


def folder_of(root: Path, form: str) -> Path:
    """Two shards of four rows, as `img2dataset --output_format FORM` leaves them."""
    root.mkdir()
    for shard in range(2):
        table = [record(shard, place) for place in range(4)]
        good = [row for row in table if row["status"] == "success"]
        members = [
            (f"{row['key']}.{extension}", data)
            for row in good
            for extension, data in (
                ("jpg", jpeg(int(str(row["key"])))),
                ("json", json.dumps(row, indent=4).encode()),
                ("txt", str(row["caption"]).encode()),
            )
        ]
        if form == "webdataset":
            make_tar(root / f"{shard:05d}.tar", *members)
        elif form == "files":
            (root / f"{shard:05d}").mkdir()
            for name, data in members:
                (root / f"{shard:05d}" / name).write_bytes(data)
        else:
            for row in table:
                row["jpg"] = jpeg(int(str(row["key"]))) if row in good else None
        pq.write_table(pa.Table.from_pylist(table), root / f"{shard:05d}.parquet")
        stats = {"count": 4, "successes": 2, "failed_to_download": 1, "failed_to_resize": 1}
        (root / f"{shard:05d}_stats.json").write_text(json.dumps(stats))
    return root


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_rows_and_pictures_come_over(tmp_path: Path, form: str) -> None:
    source = folder_of(tmp_path / "in", form)
    build(Build(input=source, output=tmp_path / "out", samples_per_shard=6, workers=1))
    table = rows(tmp_path / "out" / "00000.tar") + rows(tmp_path / "out" / "00001.tar")
    assert [row["status"] for row in table] == [
        *["success", "failed_to_download", "success", "failed_to_resize"] * 2
    ]
    assert table[1]["error_message"] == "HTTP Error 404: Not Found"
    assert table[1]["caption"] == "caption 1"
    assert json.loads(table[1]["extra"])["url"] == "http://example.org/0/1.jpg"
    found = samples(tmp_path / "out" / "00000.tar")
    assert list(found) == ["000000000", "000000002", "000000004"]
    assert found["000000004"]["jpg"] == jpeg(10000)
    told = fields(found["000000004"])
    assert told["source_key"] == "000010000"
    assert told["source_url"] == "http://example.org/1/0.jpg"
    assert (told["original_width"], told["source_original_width"]) == (24, 240)
    assert told["similarity"] == 0.3


def test_pictures_inside_of_the_parquets(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", "parquet")
    with pytest.raises(InputError, match=r"in/\*.parquet' and --image-column jpg"):
        read_input(source, Columns(), ())
    build(Build(input=source / "*.parquet", image_column="jpg", output=tmp_path / "out", workers=1))
    table = rows(tmp_path / "out" / "00000.tar")
    assert [row["status"] for row in table].count("failed_to_read") == 4
    assert samples(tmp_path / "out" / "00000.tar")["000000006"]["jpg"] == jpeg(10002)


def test_a_shard_that_was_not_finished_is_named(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", "webdataset")
    (source / "00001_stats.json").unlink()
    assert "ignored, as unfinished: 00001" in read_input(source, Columns(), ()).kind


def test_table_and_tar_that_differ(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", "webdataset")
    make_tar(source / "00000.tar", ("000000000.jpg", jpeg(0)), ("000000009.jpg", jpeg(9)))
    found = {p.source: (p.status, p.message) for p in read_input(source, Columns(), ()).splits[""]}
    assert found["00000.tar/000000000.jpg"] == ("success", "")
    assert found["00000/000000002"] == ("failed_to_read", "not in 00000.tar")
    status, message = found["00000.tar/000000009.jpg"]
    assert status == "failed_to_read"
    assert "00000.parquet has no row of" in message


def test_a_key_that_comes_twice_in_a_tar(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "webdataset")
    first, again = jpeg(1), jpeg(2)
    pairs = [("000000000.jpg", first), ("000000000.txt", b"caption 0")]
    make_tar(folder / "00000.tar", *pairs, ("000000000.jpg", again), ("000000000.txt", b"other"))
    build(Build(input=folder, output=tmp_path / "out", workers=1))
    found = rows(tmp_path / "out" / "00000.tar")
    assert len(found) == 9
    assert samples(tmp_path / "out" / "00000.tar")["000000000"]["jpg"] == first
    assert found[4]["status"] == "failed_to_read"
    assert "no row of" in found[4]["error_message"]
