"""Tables that hold the pictures' own bytes."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.build import Build, build
from data_tools.building.collection import Columns
from data_tools.building.inputs import read_input
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import fields, files, rows, samples

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, images: list, kind: pa.DataType = IMAGE, **options: int) -> Path:
    content = {
        "image": pa.array(images, kind),
        "caption": [f"caption {number}" for number in range(len(images))],
        "score": pa.array(range(len(images))),
    }
    pq.write_table(pa.table(content), path, **options)
    return path


@pytest.mark.parametrize("group", [1, 7, 100])
@pytest.mark.parametrize("kind", [IMAGE, pa.binary(), pa.large_binary()])
def test_bytes_come_over_at_any_size_of_row_groups(tmp_path, kind, group) -> None:
    pictures = [jpeg(number) for number in range(40)]
    images = [{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(pictures)]
    table = write(
        tmp_path / "t.parquet", images if kind is IMAGE else pictures, kind, row_group_size=group
    )
    build(Build(input=table, output=tmp_path / "out", samples_per_shard=25, workers=1))
    found = samples(tmp_path / "out" / "00000.tar") | samples(tmp_path / "out" / "00001.tar")
    assert [members["jpg"] for members in found.values()] == pictures
    told = fields(found["000010001"])
    assert (told["url"], told["score"], told["caption"]) == ("t.parquet#26", 26, "caption 26")
    assert told.get("image_path") == ("26.jpg" if kind is IMAGE else None)


def test_rows_can_be_read_in_any_order_and_process(tmp_path: Path) -> None:
    images = [{"bytes": jpeg(number), "path": None} for number in range(50)]
    collection = read_input(write(tmp_path / "t.parquet", images, row_group_size=20), Columns(), ())
    pictures = collection.splits[""]
    for place in (49, 0, 1, 30, 5, 5, 21, 3):
        assert collection.reader.read(pictures[place]) == jpeg(place)
    assert pickle.loads(pickle.dumps(collection.reader)).read(pictures[8]) == jpeg(8)


def test_workers_do_not_change_a_byte(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", [{"bytes": jpeg(n), "path": None} for n in range(30)])
    for name, count in (("one", 1), ("two", 2)):
        build(Build(input=table, output=tmp_path / name, samples_per_shard=4, workers=count))
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_rows_without_bytes_are_files_or_failures(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    images = [{"bytes": None, "path": "a.jpg"}, None, {"bytes": b"no picture", "path": "x"}]
    build(Build(input=write(tmp_path / "t.parquet", images), output=tmp_path / "out", workers=1))
    table = rows(tmp_path / "out" / "00000.tar")
    assert [row["status"] for row in table] == ["success", "failed_to_read", "failed_to_decode"]
    assert samples(tmp_path / "out" / "00000.tar")["000000000"]["jpg"] == jpeg(1)


def test_a_changed_picture_changes_the_input(tmp_path, command) -> None:
    write(tmp_path / "t.parquet", [jpeg(0), jpeg(1)], pa.binary())
    arguments = ("build", "--input", tmp_path / "t.parquet", "--output", tmp_path / "out")
    assert command(*arguments)[0] == 0
    write(tmp_path / "t.parquet", [jpeg(0), jpeg(1) + b"x"], pa.binary())
    code, _, err = command(*arguments)
    assert code == 2
    assert "the input has changed" in err


def test_several_tables_are_one_input(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 5)):
        write(tmp_path / f"{name}.parquet", [jpeg(first + n) for n in range(2)], pa.binary())
    build(Build(input=tmp_path / "{a,b}.parquet", output=tmp_path / "out", workers=1))
    found = samples(tmp_path / "out" / "00000.tar").values()
    assert [members["jpg"] for members in found] == [jpeg(0), jpeg(1), jpeg(5), jpeg(6)]


def test_urls_in_a_table_are_failed_rows_that_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "t.csv").write_text(
        "image,caption\nhttps://example.org/a.jpg,x\na.jpg,y\npipe:cat a.jpg,z\n"
    )
    build(Build(input=tmp_path / "t.csv", output=tmp_path / "out", workers=1))
    first, second, third = rows(tmp_path / "out" / "00000.tar")
    assert second["status"] == "success"
    for row in (first, third):
        assert row["status"] == "failed_to_read"
        assert "only files are read" in row["error_message"]
