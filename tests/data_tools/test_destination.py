"""Shards written to places that fsspec opens: the same bytes, the mark last, resumed by it."""

import uuid
from pathlib import Path

import fsspec
import pytest

from data_tools.build import Build, build
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import files
from vlp.errors import InputError, RunError


@pytest.fixture
def memory():
    """A place in memory: its URL, and all its files by name."""
    url = f"memory://{uuid.uuid4().hex}/x"
    system = fsspec.filesystem("memory")

    def found() -> dict[str, bytes]:
        root = system._strip_protocol(url)
        return {path.removeprefix(f"{root}/"): system.cat_file(path) for path in system.find(root)}

    yield url, found
    system.rm(url.rpartition("/")[0], recursive=True)


def local(photos: Path, out: Path, **options: object) -> dict[str, bytes]:
    build(Build(input=photos, output=out, samples_per_shard=2, workers=1, **options))
    return files(out)


def test_the_bytes_are_those_of_a_local_build(photos, tmp_path, memory) -> None:
    url, found = memory
    expected = local(photos, tmp_path / "out", split_column="split")
    options = {"input": photos, "samples_per_shard": 2, "executor": "serial"}
    build(Build(**options, output=url, split_column="split"))
    assert found() == expected


@pytest.mark.parametrize("protocol", ["local", "file"])
def test_from_several_processes(photos, tmp_path, protocol) -> None:
    expected = local(photos, tmp_path / "out")
    url = f"{protocol}://{tmp_path}/remote/x"
    build(Build(input=photos, output=url, samples_per_shard=2, workers=2, executor="process"))
    assert files(tmp_path / "remote" / "x") == expected


def test_the_mark_comes_last_and_a_broken_upload_is_made_good(photos, memory, monkeypatch) -> None:
    url, found = memory
    system = fsspec.filesystem("memory")
    upload, names = type(system).put_file, []

    def put(self, source, target, **keywords):
        names.append(target.rpartition("/")[2])
        if len(names) == 7:
            raise OSError("the line is cut")
        return upload(self, source, target, **keywords)

    monkeypatch.setattr(type(system), "put_file", put)
    options = {"input": photos, "output": url, "samples_per_shard": 2, "executor": "serial"}
    with pytest.raises(RunError, match="1 of 4 failed"):
        build(Build(**options))
    assert names[:4] == ["00000.tar", "00000.parquet", "00000.parquet", "00000_stats.json"]
    assert "00001_stats.json" not in found()
    assert "sizes.json" not in found()
    names.clear()
    build(Build(**options))
    assert names == ["00001.tar", "00001.parquet", "00001.parquet", "00001_stats.json"]
    assert "sizes.json" in found()


def test_finished_shards_are_not_sent_again(photos, memory, capsys) -> None:
    url, found = memory
    options = {"input": photos, "output": url, "samples_per_shard": 2, "executor": "serial"}
    build(Build(**options))
    before = found()
    capsys.readouterr()
    build(Build(**options))
    assert "none was missing" in capsys.readouterr().out
    with pytest.raises(InputError, match="image_size was None, is 8"):
        build(Build(**options, image_size=8))
    assert found() == before
    build(Build(**options, image_size=8, restart=True))
    assert found().keys() == before.keys()
    assert found() != before


def test_a_retry_reads_the_old_shard_back(photos, tmp_path, memory) -> None:
    url, found = memory
    options = {"input": photos, "output": url, "samples_per_shard": 2, "executor": "serial"}
    (tmp_path / "photos" / "3.jpg").write_bytes(b"no picture")
    build(Build(**options))
    (tmp_path / "photos" / "3.jpg").write_bytes(jpeg(3))
    build(Build(**options, retry_failed=True))
    assert found() == local(photos, tmp_path / "out")


def test_a_place_that_cannot_be_opened(photos, command) -> None:
    code, _, err = command("build", "--input", photos, "--output", "nowhere://x/y")
    assert code == 2
    assert "--output nowhere://x/y: Protocol not known" in err
