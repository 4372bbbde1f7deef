"""Sidecars made shard by shard: resumed by their marks, made anew when stale, never mixed."""

import os
import platform
import subprocess
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.annotate import (
    HEAD,
    Made,
    Recipe,
    SidecarOptions,
    annotate,
    conserved,
    read_sidecar,
    unfinished,
)
from data_tools.build import Build, build
from data_tools.lots import lot, rng
from data_tools.samples import find_shards, read_samples, source_sha256
from vlp.data.index import caption_sha256, sidecar_path
from vlp.errors import InputError, RunError

SCHEMA = pa.schema([*HEAD, ("length", pa.int64())])


def lengths(shard, factor):
    rows = [
        {"key": s.key, "src_sha256": s.src_sha256, "length": factor * len(s.caption)}
        for s in read_samples(shard, ("txt",))
    ]
    return Made(rows, Counter(samples=len(rows)))


def recipe(factor=1, **changes):
    return Recipe(**{"name": "lengths", "schema": SCHEMA, "settings": {"factor": factor}} | changes)


@pytest.fixture
def shards(photos, tmp_path):
    build(Build(input=photos, output=tmp_path / "data", workers=1, samples_per_shard=2))
    return find_shards([str(tmp_path / "data")])


def options(**changes):
    return SidecarOptions(**{"shards": [], "workers": 1} | changes)


def test_samples_are_read_in_the_order_of_the_tar_with_what_is_asked_for(shards):
    found = [sample for shard in shards for sample in read_samples(shard, ("txt",))]
    assert [sample.caption for sample in found] == [f"caption {i}a" for i in range(7)]
    assert all(set(sample.members) == {"txt"} for sample in found)
    assert found[0].src_sha256 == caption_sha256(b"caption 0a")
    whole = next(read_samples(shards[0]))
    assert whole.captions() == ["caption 0a", "caption 0b"]
    assert whole.image[:2] == b"\xff\xd8"


def test_a_second_run_finds_everything_finished(shards, capsys):
    first = annotate(lengths, shards, recipe(), 1, options())
    times = [sidecar_path(shard, "lengths").stat().st_mtime_ns for shard in shards]
    second = annotate(lengths, shards, recipe(), 1, options())
    assert (first.fresh, second.fresh) == (4, 0)
    assert first.counts == second.counts == Counter(samples=7)
    assert times == [sidecar_path(shard, "lengths").stat().st_mtime_ns for shard in shards]


def test_other_settings_are_refused_with_the_difference(shards):
    annotate(lengths, shards, recipe(), 1, options())
    with pytest.raises(InputError, match=r"factor was 1, is 2; .* --restart"):
        annotate(lengths, shards, recipe(2), 2, options())
    annotate(lengths, shards, recipe(2), 2, options(restart=True))
    assert read_sidecar(shards[0], "lengths")["length"].to_pylist() == [20, 20]


def test_a_changed_input_makes_the_sidecar_stale(shards):
    annotate(lengths, shards, recipe(), 1, options())
    further = recipe(name="more", inputs=("lengths",))
    annotate(lengths, shards, further, 1, options())
    assert not unfinished(shards, further)
    path = sidecar_path(shards[1], "lengths")
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    assert unfinished(shards, further) == [shards[1]]


def test_a_sidecar_of_another_tool_is_not_replaced_unasked(shards):
    path = sidecar_path(shards[0], "lengths")
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(InputError, match="no mark of this tool"):
        annotate(lengths, shards, recipe(), 1, options())


def test_parts_together_are_the_whole(shards):
    for part in ("2/2", "1/2"):
        annotate(lengths, shards, recipe(), 1, options(part=part))
    assert not unfinished(shards, recipe())


def test_what_a_killed_run_left_is_removed_and_what_a_live_one_writes_is_not(shards):
    process = subprocess.Popen(["true"])
    process.wait()
    dead, live, far, old, other = (
        sidecar_path(shards[0], "lengths").with_name(f".{name}.tmp")
        for name in (
            f"00000.parquet.{platform.node()}.{process.pid}",
            f"00000.parquet.{platform.node()}.{os.getppid()}",
            "00000.parquet.elsewhere.1",
            "00000.parquet.elsewhere.2",
            f"00001.parquet.{platform.node()}.{process.pid}",
        )
    )
    dead.parent.mkdir(parents=True)
    for left in (dead, live, far, old, other):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    annotate(lengths, shards[:1], recipe(), 1, options())
    assert [left.exists() for left in (dead, live, far, old, other)] == [0, 1, 1, 0, 1]


def test_a_damaged_sidecar_is_named_and_replaced_on_request(shards):
    annotate(lengths, shards, recipe(), 1, options())
    sidecar_path(shards[1], "lengths").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"00001\.parquet cannot be read .* --restart replaces it"):
        annotate(lengths, shards, recipe(), 1, options())
    with pytest.raises(InputError, match="is unreadable"):
        read_sidecar(shards[1], "lengths")
    assert annotate(lengths, shards, recipe(), 1, options(restart=True)).fresh == 1


def test_a_shard_that_was_replaced_or_whose_index_is_damaged_fails_alone(shards):
    annotate(lengths, shards, recipe(), 1, options())
    shards[0].write_bytes(bytes(20480))
    sidecar_path(shards[1], "index").write_bytes(b"damaged")
    found = annotate(lengths, shards, recipe(), 1, options())
    assert list(found.run.failures) == [str(shard) for shard in shards[:2]]
    replaced, damaged = found.run.failures.values()
    assert "was replaced or cut" in replaced
    assert f"write it again with: python -m data_tools index {shards[1]}" in damaged
    assert found.counts == Counter(samples=3)


def test_without_an_index_the_command_that_writes_it_is_named(shards):
    sidecar_path(shards[0], "index").unlink()
    with pytest.raises(InputError, match=r"python -m data_tools index .*00000\.tar"):
        source_sha256(shards[0])


def test_a_balance_that_does_not_add_up_is_an_error():
    assert conserved(1000, {"kept": 950, "dropped": 50}) == "1,000 samples = 950 kept + 50 dropped"
    assert conserved(2, {"kept": 0, "bad": 2, "worse": 0}) == "2 samples = 0 kept + 2 bad"
    with pytest.raises(RunError, match="does not add up"):
        conserved(3, {"kept": 2})


def test_lots_depend_on_seed_and_names_alone():
    assert lot(1, "a", "bc") == lot(1, "a", "bc")
    assert len({lot(0, "a", "bc"), lot(0, "ab", "c"), lot(1, "a", "bc"), lot(0, "abc")}) == 4
    draws = [lot(0, str(i)) for i in range(20_000)]
    assert abs(sum(draws) / len(draws) - 0.5) < 4 * (1 / 12 / 20_000) ** 0.5
    assert rng(3, "x").random() == rng(3, "x").random()


def test_a_shard_by_two_names_is_one(tmp_path: Path, monkeypatch):
    """Otherwise its sidecar would be written twice, for instance as the copy of itself."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.tar").write_bytes(b"")
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    assert find_shards(["a", str(tmp_path / "a"), "a/../a/0.tar", "link"]) == [Path("a/0.tar")]


def test_only_local_shards_are_opened(tmp_path: Path):
    for name in ("pipe:cat x.tar", "s3://bucket/x.tar"):
        with pytest.raises(InputError, match="only local shards"):
            find_shards([name])
