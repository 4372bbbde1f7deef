"""`reshard`: subsets by lists and keep sidecars, and runs that are cut or repeated."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data_tools.reshard_shards import (
    HEAD,
    dropped,
    heads,
    keys,
    members,
    run,
    write_rows,
    write_shards,
)
from tests.data_tools.trees import files, leave_half_written
from vlp.errors import InputError, RunError

KEEP = pa.schema([*HEAD, ("keep", pa.bool_())])


@pytest.fixture
def letters(tmp_path):
    """Samples a to j in shards of three, each with a uid that ends like its place."""
    pool = {key: members(key, f"letter {key}") for key in "abcdefghij"}
    for place, sample in enumerate(pool.values()):
        sample["json"] = json.dumps({"uid": f"{place + 2**127:032x}"}).encode()
    pairs = list(pool.items())
    return write_shards(tmp_path / "in", [dict(pairs[i : i + 3]) for i in range(0, 10, 3)])


def write_list(path, names):
    """A list in the form that its suffix tells."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"shard": ["x"] * len(names), "key": names}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"key": name}) + "\n" for name in names))
    elif path.suffix == ".csv":
        path.write_text("key,score\n" + "".join(f"{name},1\n" for name in names))
    else:
        path.write_text("\ufeff" + "\r\n".join(names) + "\n\n")
    return path


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".parquet"])
def test_lists_of_keys_take_and_drop(letters, tmp_path, suffix, capsys):
    listed = write_list(tmp_path / f"ids{suffix}", ["e", "b", "nobody", "b", "j", "b"])
    out = run(letters, output=tmp_path / "out", ids=listed)
    assert keys(out) == ["b", "e", "j"]
    printed = capsys.readouterr().out
    assert "4 keys = 3 found + 1 not found (nobody)" in printed
    assert "1 named more than once, and counted once: b\n" in printed
    assert "10 samples = 3 written + 7 dropped (not in --ids)" in printed
    assert (out / "ids_not_found.txt").read_text() == "nobody\n"
    rest = run(letters, output=tmp_path / "rest", drop_ids=listed)
    assert keys(rest) == list("acdfghi")
    assert {row["key"]: row["reason"] for row in dropped(rest)} == dict.fromkeys(
        "bej", "in --drop-ids"
    )


def test_datacomps_uids_take(letters, tmp_path):
    uids = [(2**63, place) for place in (7, 0, 99)]
    np.save(tmp_path / "ids.npy", np.array(uids, "u8,u8"))
    out = run(letters, output=tmp_path / "out", ids=tmp_path / "ids.npy")
    assert keys(out) == ["a", "h"]
    assert (out / "ids_not_found.txt").read_text() == f"{2**127 + 99:032x}\n"


def test_keep_sidecars_take_what_all_keep(letters, tmp_path, capsys):
    for shard in letters.glob("*.tar"):
        for name, kept in (("keep", "abcdef"), ("keep-two", "bdfhj")):
            rows = [head | {"keep": head["key"] in kept} for head in heads(shard)]
            write_rows(shard, name, rows, KEEP)
    out = run(letters, output=tmp_path / "out", keep="keep,keep-two", limit=2)
    assert keys(out) == ["b", "d"]
    balance = "2 written + 4 dropped (keep) + 3 dropped (keep-two) + 1 dropped (over --limit)"
    assert f"10 samples = {balance}" in capsys.readouterr().out
    reasons = {row["key"]: row["reason"] for row in dropped(out)}
    assert reasons["g"] == "keep"
    assert reasons["a"] == "keep-two"
    assert reasons["f"] == "over --limit"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ids.txt", "", "the list is empty"),
        ("ids.txt", "nobody\n", "none of its 1 keys is one of the 10 samples"),
        ("ids.md", "a\n", r"expected a name that ends in .txt"),
        ("ids.csv", "name\na\n", "expected a text in the column 'key'"),
        ("ids.jsonl", '{"key": 3}\n', "expected a text in the column 'key', got 3"),
        ("ids.npy", "nothing", "--ids .*ids.npy: "),
    ],
)
def test_lists_that_are_none_are_refused(letters, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        run(letters, output=tmp_path / "out", ids=tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "keep-x"}, "--keep keep-x: .* is missing"),
        ({"keep": " , "}, "--keep .* names no sidecar"),
        ({"samples_per_shard": 0}, "--samples-per-shard 0: expected at least 1"),
        ({"samples_per_shard": 10_001, "rekey": True}, "10,000 at most"),
        ({"limit": 0}, "--limit 0"),
        ({"restart": True, "part": "1/2"}, "without --part"),
    ],
)
def test_options_that_cannot_be_used_are_refused(letters, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(letters, output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_inputs_are_never_written_over(letters):
    with pytest.raises(InputError, match="the inputs lie there"):
        run(letters, output=letters)


def test_everything_dropped_is_an_error_that_says_why(letters, tmp_path):
    drop = write_list(tmp_path / "drop.txt", list("abcdefghij"))
    with pytest.raises(InputError, match=r"10 samples is left: dropped 10 by in --drop-ids"):
        run(letters, output=tmp_path / "out", drop_ids=drop)
    with pytest.raises(InputError, match="the 1 input shards hold no sample"):
        run(write_shards(tmp_path / "none", [{}]), output=tmp_path / "out")


def test_a_repeated_run_writes_what_is_missing_alone(letters, tmp_path, capsys):
    options = {"output": tmp_path / "out", "samples_per_shard": 2, "shuffle": True}
    whole = files(run(letters, **options))
    (tmp_path / "out" / "00001_stats.json").unlink()
    (tmp_path / "out" / "00002.tar").write_bytes(b"cut")
    leave_half_written(tmp_path / "out" / "00002.tar")
    capsys.readouterr()
    assert files(run(letters, **options)) == whole
    assert "3 of 5 shards are finished already" in capsys.readouterr().out


def test_other_settings_need_a_restart_that_leaves_nothing_behind(letters, tmp_path):
    for shard in letters.glob("*.tar"):
        write_rows(shard, "rewrites", [head | {"texts": ["x"]} for head in heads(shard)])
    out = run(letters, output=tmp_path / "out", samples_per_shard=2, limit=9)
    with pytest.raises(InputError, match="samples_per_shard was 2, is 5"):
        run(letters, output=out, samples_per_shard=5)
    run(letters, output=out, samples_per_shard=5, restart=True)
    fresh = run(letters, output=tmp_path / "fresh", samples_per_shard=5)
    assert files(out) == files(fresh)


def test_a_changed_input_is_not_mixed_with_the_old_one(letters, tmp_path):
    out = run(letters, output=tmp_path / "out")
    shard = letters / "00000.tar"
    write_rows(shard, "rewrites", [heads(shard)[0] | {"texts": ["new"]}])
    with pytest.raises(InputError, match="sidecars was"):
        run(letters, output=out)


def test_parts_and_workers_give_the_same_bytes(letters, tmp_path, capsys):
    options = {"samples_per_shard": 2, "shuffle": True, "seed": 5}
    whole = files(run(letters, output=tmp_path / "whole", **options))
    for part in ("2/3", "3/3"):
        run(letters, output=tmp_path / "parts", part=part, **options)
    printed = capsys.readouterr().out
    assert "10 samples = 6 written + 4 in shards still to come" in printed
    assert not (tmp_path / "parts" / "sizes.json").exists()
    run(letters, output=tmp_path / "parts", part="1/3", **options)
    assert files(tmp_path / "parts") == whole
    two = run(letters, output=tmp_path / "two", executor="process", workers=2, **options)
    assert files(two) == whole


def test_a_tar_that_was_cut_after_it_was_indexed_stops_the_run(letters, tmp_path):
    (letters / "00001.tar").write_bytes((letters / "00001.tar").read_bytes()[:2000])
    with pytest.raises(RunError, match="1 of 4 failed"):
        run(letters, output=tmp_path / "out")
