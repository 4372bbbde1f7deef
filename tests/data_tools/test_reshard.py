"""`reshard`: nothing is lost, nothing is invented, and what belongs together stays together."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.build import Build, build
from data_tools.validate import Validate, validate
from tests.data_tools.reshard_shards import (
    HEAD,
    LIST,
    contents,
    counted,
    dropped,
    heads,
    keys,
    members,
    read_rows,
    run,
    write_rows,
    write_shards,
)
from tests.data_tools.trees import samples
from vlp.data.index import caption_sha256, sidecar_path
from vlp.data.source import Source, SourceConfig
from vlp.errors import InputError

NEIGHBOURS = pa.schema([*HEAD, ("shards", LIST), ("keys", LIST)])


@pytest.fixture
def data(photos, tmp_path):
    """Six samples in four shards, with rewrites; a seventh picture cannot be read."""
    (tmp_path / "photos" / "6.jpg").write_bytes(b"no picture")
    build(Build(input=photos, output=tmp_path / "data", samples_per_shard=2, workers=1))
    for shard in sorted((tmp_path / "data").glob("*.tar")):
        rows = [head | {"texts": [f"{head['key']} again"]} for head in heads(shard)]
        write_rows(shard, "rewrites", rows)
    return tmp_path / "data"


SAMPLE = st.tuples(st.binary(max_size=700), st.integers(0, 3), st.booleans())
POOLS = st.dictionaries(st.text("abXY019_-", min_size=1, max_size=12), SAMPLE, min_size=1)


@settings(max_examples=25, deadline=None)
@given(
    pool=POOLS,
    size=st.integers(1, 6),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
    limit=st.none() | st.integers(1, 20),
)
def test_what_was_there_is_written_or_dropped(tmp_path_factory, pool, size, shuffle, seed, limit):
    folder = tmp_path_factory.mktemp("conserved")
    shards = [{}, {}, {}, {}]
    for key, (data, place, _) in pool.items():
        shards[place][key] = {"jpg": data, "txt": key.encode()}
    before = contents(write_shards(folder / "in", shards))
    wanted = [key for key, (_, _, is_wanted) in pool.items() if is_wanted]
    options = {"samples_per_shard": size, "shuffle": shuffle, "seed": seed, "limit": limit}
    if wanted:
        (folder / "ids.txt").write_text("\n".join(wanted))
        options["ids"] = folder / "ids.txt"
    out = run(folder / "in", output=folder / "out", **options)
    written = counted(contents(out))
    gone = counted(before) - written
    assert written <= counted(before)
    assert Counter(key for key, _ in gone) == Counter(row["key"] for row in dropped(out))
    left = len(wanted or pool)
    assert written.total() == min(left, limit or left)
    assert set(keys(out)) <= set(wanted or pool)
    lengths = [len(samples(path)) for path in sorted(out.glob("*.tar"))]
    assert lengths[:-1] == [size] * (len(lengths) - 1)
    if not shuffle:
        kept = [pair for pair in before if pair[0] in (wanted or pool)]
        assert contents(out) == kept[: limit or left]


def test_merged_and_split_again_every_tar_is_as_before(data, tmp_path):
    one = run(data, output=tmp_path / "one", samples_per_shard=100)
    two = run(one, output=tmp_path / "two", samples_per_shard=2)
    for path in sorted(data.glob("*.tar"))[:3]:
        assert (two / path.name).read_bytes() == path.read_bytes()
        assert read_rows(two / path.name, "rewrites") == read_rows(path, "rewrites")


def test_an_order_by_lot_does_not_depend_on_how_samples_lay(data, tmp_path):
    one = run(data, output=tmp_path / "one", samples_per_shard=100, shuffle=True, seed=1)
    other = run(data, output=tmp_path / "other", samples_per_shard=4)
    two = run(other, output=tmp_path / "two", samples_per_shard=100, shuffle=True, seed=1)
    three = run(data, output=tmp_path / "three", samples_per_shard=100, shuffle=True, seed=2)
    assert contents(one) == contents(two)
    assert contents(one) != contents(three)
    assert counted(contents(one)) == counted(contents(three))


def test_a_written_folder_is_whole(data, tmp_path, capsys):
    out = run(data, output=tmp_path / "out", samples_per_shard=4, shuffle=True)
    printed = capsys.readouterr().out
    assert "\n6 samples = 6 written\n" in printed
    assert "\n7 rows of tables = 6 written + 1 failed_to_decode\n" in printed
    assert "\nrewrites: 6 rows = 6 written\n" in printed
    assert json.loads((out / "sizes.json").read_text()) == {"00000.tar": 4, "00001.tar": 2}
    report = tmp_path / "report.jsonl"
    assert not validate(Validate(shards=[str(out)], level="members", report=report))
    assert report.read_text() == ""


def test_sidecars_and_rows_follow_their_samples(data, tmp_path):
    out = run(data, output=tmp_path / "out", samples_per_shard=4, shuffle=True, limit=5)
    for shard in out.glob("*.tar"):
        there = list(samples(shard))
        found = read_rows(shard, "rewrites")
        assert [row["key"] for row in found] == there
        assert [row["texts"] for row in found] == [[f"{key} again"] for key in there]
        assert pq.read_table(shard.with_suffix(".parquet"))["key"].to_pylist() == there


def test_failed_inputs_are_not_lost(data, tmp_path):
    (row,) = dropped(run(data, output=tmp_path / "out"))
    assert (row["shard"], row["reason"]) == ("00003.tar", "failed_to_decode")
    assert json.loads(row["row"])["url"].endswith("6.jpg")


def test_rows_of_another_caption_are_counted_and_not_carried(tmp_path, capsys):
    write_shards(tmp_path / "in", [{"a": members("a", "now"), "b": members("b", "b")}])
    own = {"key": "b", "src_sha256": caption_sha256(b"b"), "texts": ["good"]}
    stale = {"key": "a", "src_sha256": caption_sha256(b"earlier"), "texts": ["bad"]}
    write_rows(tmp_path / "in" / "00000.tar", "rewrites", [stale, own])
    out = run(tmp_path / "in", output=tmp_path / "out")
    assert "2 rows = 1 written + 1 of no such sample or caption" in capsys.readouterr().out
    assert read_rows(out / "00000.tar", "rewrites") == [own]


def test_a_sidecar_of_some_inputs_is_carried_with_its_gaps_counted(data, tmp_path, capsys):
    write_shards(tmp_path / "more", [{"x": members("x", "x"), "y": members("y", "y")}])
    out = run(data, tmp_path / "more", output=tmp_path / "out", samples_per_shard=100)
    assert "1 of 5 inputs have none: no row for 2 of 8 samples" in capsys.readouterr().out
    table = pq.read_table(out / "00000.parquet").to_pylist()
    assert [row["status"] for row in table] == ["success"] * 8
    assert (table[-1]["key"], table[-1]["url"]) == ("y", None)


def test_marks_of_one_shard_are_not_taken_for_those_of_another(data, tmp_path):
    """The recipe is true of every row; the counts and the source of a former shard are not."""
    for path in sidecar_path(data / "0.tar", "rewrites").parent.glob("*.parquet"):
        marks = {"vlp_recipe": '{"seed": 3}', "vlp_source": path.stem, "vlp_counts": "{}"}
        pq.write_table(pq.read_table(path).replace_schema_metadata(marks), path)
    out = run(data, output=tmp_path / "out")
    found = pq.read_schema(sidecar_path(out / "00000.tar", "rewrites"))
    assert found.metadata == {b"vlp_recipe": b'{"seed": 3}'}


def test_embeddings_of_another_width_are_refused(tmp_path):
    for name, width in (("one", 2), ("two", 3)):
        write_shards(tmp_path / name, [{name: members(name, name)}])
        shard = tmp_path / name / "00000.tar"
        schema = pa.schema([*HEAD, ("image", pa.list_(pa.float32(), width))])
        write_rows(shard, "embeddings", [heads(shard)[0] | {"image": [0.5] * width}], schema)
    with pytest.raises(InputError, match="the sidecar embeddings has image as"):
        run(tmp_path / "one", tmp_path / "two", output=tmp_path / "out")


@pytest.mark.parametrize("rekey", [False, True])
def test_neighbours_name_the_new_shards(tmp_path, rekey, capsys):
    shards = [{key: members(key, key) for key in names} for names in ("ab", "cd")]
    write_shards(tmp_path / "in", shards)
    named = {"shards": ["00000", "00001", "00001"], "keys": ["a", "c", "d"]}
    for shard in sorted((tmp_path / "in").glob("*.tar")):
        write_rows(shard, "neighbours", [head | named for head in heads(shard)], NEIGHBOURS)
    (tmp_path / "drop.txt").write_text("d\n")
    options = {"samples_per_shard": 1, "rekey": rekey, "drop_ids": tmp_path / "drop.txt"}
    out = run(tmp_path / "in", output=tmp_path / "out", **options)
    told = "6 references name the new shards; 3 to dropped samples removed"
    assert told in capsys.readouterr().out
    source = Source("s", SourceConfig(shards=str(out), sidecars=["neighbours"]))
    for shard in range(3):
        near = source.read(shard, 0).annotations.neighbours
        assert [source.read(*source.find(*pair)).caption for pair in near] == ["a", "c"]
    assert [path.name for path in out.iterdir() if path.name[0] == "."] == []


def test_a_key_of_two_samples_is_refused_by_name_or_made_new(data, tmp_path):
    more = write_shards(tmp_path / "more", [{"000000001": members("000000001", "another")}])
    told = r"1 keys are of more than one sample: '000000001' in .*more.* --rekey"
    with pytest.raises(InputError, match=told):
        run(data, more, output=tmp_path / "out")
    out = run(data, more, output=tmp_path / "out", samples_per_shard=4, rekey=True)
    new = [f"0000{shard}{place:04d}" for shard, place in [(0, 0), (0, 1), (0, 2), (0, 3)]]
    assert keys(out) == [*new, "000010000", "000010001", "000010002"]
    before = contents(data) + contents(more)
    assert [parts for _, parts in contents(out)] == [parts for _, parts in before]
    tables = [pq.read_table(out / f"0000{number}.parquet") for number in (0, 1)]
    former = pa.concat_tables(tables)["source_key"].to_pylist()
    assert former == [key for key, _ in before]
    assert read_rows(out / "00000.tar", "rewrites")[3]["texts"] == [f"{former[3]} again"]
    again = run(out, output=tmp_path / "again", rekey=True)
    assert pq.read_schema(again / "00000.parquet").names[-2:] == ["source_key", "source_key2"]


def test_names_that_no_plain_tar_takes_need_new_keys(tmp_path):
    shard = write_shards(tmp_path / "in", [{"k": members("k", "k")}]) / "00000.tar"
    index = pq.read_table(sidecar_path(shard, "index"))  # as of a tar with long names
    pq.write_table(index.set_column(0, "key", pa.array(["k" * 190])), sidecar_path(shard, "index"))
    with pytest.raises(InputError, match="too long for a plain tar"):
        run(tmp_path / "in", output=tmp_path / "out")
    assert keys(run(tmp_path / "in", output=tmp_path / "out", rekey=True)) == ["000000000"]


def test_class_names_go_along(data, tmp_path):
    (data / "classnames.txt").write_text("cat\n")
    assert (run(data, output=tmp_path / "out") / "classnames.txt").read_text() == "cat\n"
