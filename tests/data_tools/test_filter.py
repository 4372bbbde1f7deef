"""`filter`: every sample is kept, or dropped by the rule that it fails first, and counted."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.annotate import read_sidecar
from data_tools.filter import Filter, filter_shards
from data_tools.lots import lot
from data_tools.samples import find_shards
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import files
from vlp.data.index import sidecar_path, write_index
from vlp.data.tar import write_tar
from vlp.errors import InputError, RunError

CAPTIONS = [
    "a dog runs over the green grass",
    "two words",
    "a b c",
    "un chien court dans la prairie avec ses amis les chats",
    "the old house stands near a quiet lake",
    "a man rides a horse along the beach",
]
SIZES = [(240, 210), (240, 210), (240, 210), (240, 210), (199, 300), (200, 601)]


def uid(number):
    return f"{number * 7919 % 1000:032x}" if number % 2 else f"{number + 10:x}".ljust(32, "f")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two shards, each with the six captions and sizes; nothing but the tars and their index."""
    folder = tmp_path_factory.mktemp("filter") / "data"
    folder.mkdir()
    for shard in range(2):
        samples = []
        for i, caption in enumerate(CAPTIONS):
            record = json.dumps({"uid": uid(6 * shard + i), "caption": caption}).encode()
            members = {"jpg": jpeg(i, SIZES[i]), "json": record, "txt": caption.encode()}
            samples.append((f"{shard:05d}{i:04d}", members))
        write_tar(folder / f"{shard:05d}.tar", samples)
        write_index(folder / f"{shard:05d}.tar")
    return folder


@pytest.fixture
def data(made, tmp_path):
    """A copy of them."""
    for name, content in files(made).items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


def run(data, **options):
    filter_shards(Filter(**{"shards": [str(data)], "executor": "serial"} | options))
    name = options.get("name", "keep")
    return [row for s in find_shards([str(data)]) for row in read_sidecar(s, name).to_pylist()]


def put(data, name, columns, rows=6):
    """A sidecar with these columns, for the first samples of each shard."""
    for number, shard in enumerate(find_shards([str(data)])):
        index = pq.read_table(sidecar_path(shard, "index"))
        values = {column: pa.array(given[number]) for column, given in columns.items()}
        table = pa.table({"key": index["key"], "src_sha256": index["src_sha256"], **values})
        sidecar_path(shard, name).parent.mkdir(exist_ok=True)
        pq.write_table(table.slice(0, rows), sidecar_path(shard, name))


def kept(rows):
    return [row["key"] for row in rows if row["keep"]]


def test_each_dropped_sample_names_the_part_that_it_fails_first_and_its_value(data, capsys):
    rows = run(data, where="words > 2 AND (chars > 5 AND aspect <= 3)")
    found = [(row["keep"], row["rule"], row["value"]) for row in rows]
    assert found[:6] == found[6:]
    assert found[:6] == [
        (True, None, None),
        (False, "words > 2", "2"),
        (False, "chars > 5", "5"),
        (True, None, None),
        (True, None, None),
        (False, "aspect <= 3", "3.005"),
    ]
    line = "12 samples = 6 kept + 2 dropped by words > 2 + 2 dropped by chars > 5 + 2 dropped by "
    assert line + "aspect <= 3" in capsys.readouterr().out


def test_the_basic_preset_is_datacomps(data):
    """English, more than 2 words, more than 5 characters, short side from 200, aspect up to 3."""
    rules = [row["rule"] for row in run(data, preset="datacomp-basic")[:6]]
    assert rules[0] is None
    assert {r for r in rules[1:3] if r} <= {"language = 'en' [py3langid]", "words > 2", "chars > 5"}
    assert all(rules[1:3])
    assert rules[3] == "language = 'en' [py3langid]"
    assert rules[4].endswith(">= 200")
    assert rules[5].endswith("<= 3")


def test_the_table_beside_a_shard_tells_the_original_size(data):
    for shard in find_shards([str(data)]):
        keys = pq.read_table(sidecar_path(shard, "index"))["key"].to_pylist()
        rows = {
            "key": ["of no sample", *keys[::-1]],
            "original_width": [1, *range(105, 99, -1)],
            "License": ["?"] * 4 + ["x"] * 3,
        }
        pq.write_table(pa.table(rows), shard.with_suffix(".parquet"))
    rows = run(data, where="original_width >= 102 and license = '?' and original_height > 205")
    assert [r["rule"] for r in rows[:6]] == [
        *["original_width >= 102"] * 2, "license = '?'", None, None, None,
    ]  # fmt: skip


def test_scores_that_are_missing_stale_null_or_nan_do_not_pass(data, capsys):
    put(data, "scores", {"clip_score": [[0.3, 0.2, None, float("nan"), 0.4, 0.5]] * 2}, 5)
    path = sidecar_path(find_shards([str(data)])[1], "scores")
    table = pq.read_table(path)
    changed = table.set_column(1, "src_sha256", pa.array(["another"] * 5))
    pq.write_table(changed, path)
    rows = run(data, where="scores.clip_score >= 0.28")
    assert [row["value"] for row in rows] == [None, "0.2", "null", "null", None, *["null"] * 7]
    assert {row["rule"] for row in rows} == {None, "scores.clip_score >= 0.28"}


@pytest.mark.parametrize("preset", ["laion2b", "clip-top30"])
def test_presets_take_the_scores_that_are_named(data, preset):
    scores = [[0.28, 0.9, 0.1, 0.9, 0.27, 0.3], [0.28, 0.1, 0.1, 0.1, 0.1, 0.1]]
    put(data, "scores-b32", {"clip_score": scores})
    keys = kept(run(data, preset=preset, scores="scores-b32"))
    if preset == "laion2b":  # at least 0.28, and English
        assert {"000000000", "000000005", "000010000"} <= set(keys) <= {
            "000000000", "000000001", "000000005", "000010000"}  # fmt: skip
    else:  # int(0.3 * 12) = 3
        assert keys == ["000000001", "000000003", "000000005"]


@pytest.mark.parametrize(("fraction", "size"), [("0.25", 3), ("0.29", 3), ("1/2", 6), ("1", 12)])
def test_exactly_the_largest_share_is_kept_and_ties_go_to_smaller_keys(data, fraction, size):
    values = [[1.0, 5.0, 2.0, 2.0, 0.0, 2.0], [2.0, 2.0, -1.0, 7.0, 2.0, 2.0]]
    put(data, "scores", {"value": values})
    keys = kept(run(data, top=f"scores.value:{fraction}"))
    every = [(f"{s:05d}{i:04d}", v) for s, row in enumerate(values) for i, v in enumerate(row)]
    best = sorted(every, key=lambda pair: (-pair[1], pair[0]))[:size]
    assert keys == sorted(key for key, _ in best)


def test_what_has_no_value_is_never_among_the_largest(data, capsys):
    put(data, "scores", {"value": [[None, 1.0, float("nan"), 2.0, None, None], [None] * 6]})
    rows = run(data, top="scores.value:0.5")
    assert kept(rows) == ["000000001", "000000003"]
    assert {r["value"] for r in rows if not r["keep"]} == {"null"}
    assert "2 of 12 samples" in capsys.readouterr().out


def test_a_step_after_another_keeps_its_reasons_and_counts_from_its_pool(data, capsys):
    run(data, where="words > 2", name="keep-words")
    rows = run(data, top="chars:0.2", after="keep-words")  # int(0.2 * 10) = 2
    assert kept(rows) == ["000000003", "000010003"]
    rules = Counter(row["rule"] for row in rows)
    assert rules == {None: 2, "keep-words: words > 2": 2, "top 0.2 of chars": 8}
    out = capsys.readouterr().out
    assert "12 samples = 2 kept + 2 dropped by keep-words + 8 dropped by top 0.2 of chars" in out


def test_parts_wait_for_one_another_before_the_largest_are_known(data, tmp_path, capsys):
    whole = [row["keep"] for row in run(data, top="chars:0.3", name="keep-whole")]
    options = {"shards": [str(data)], "executor": "serial", "top": "chars:0.3"}
    filter_shards(Filter(**options, part="2/2", ledger=tmp_path / "l.jsonl"))
    assert "1 of 2 shards have no values yet: run the other parts" in capsys.readouterr().out
    assert not sidecar_path(data / "00001.tar", "keep").exists()
    filter_shards(Filter(**options, part="1/2"))
    found = [row["keep"] for s in find_shards([str(data)]) for row in
             read_sidecar(s, "keep").to_pylist()]  # fmt: skip
    assert found == whole


def test_lots_are_of_seed_and_key(data):
    rows = run(data, where="lot < 0.5", seed=3)
    assert [row["keep"] for row in rows] == [lot(3, row["key"]) < 0.5 for row in rows]
    with pytest.raises(InputError, match="seed was 3, is 4"):
        run(data, where="lot < 0.5", seed=4)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_ledger_has_every_dropped_sample(data, tmp_path, suffix):
    ledger = tmp_path / f"dropped.{suffix}"
    rows = run(data, where="words > 2", ledger=ledger)
    if suffix == "jsonl":
        found = [json.loads(line) for line in ledger.read_text().splitlines()]
    else:
        found = pq.read_table(ledger).to_pylist()
    assert [row["key"] for row in found] == [row["key"] for row in rows if not row["keep"]]
    assert {(row["rule"], row["value"]) for row in found} == {("words > 2", "2")}
    assert [row["shard"] for row in found] == [str(data / f"0000{s}.tar") for s in (0, 1)]


def test_the_list_of_ids_is_datacomps(data, tmp_path):
    rows = run(data, where="words > 2", ids=tmp_path / "ids.npy")
    found = np.load(tmp_path / "ids.npy")
    assert found.dtype == np.dtype("u8,u8")
    numbers = [6 * int(key[:5]) + int(key[5:]) for key in kept(rows)]
    wanted = [(int(uid(n)[:16], 16), int(uid(n)[16:], 16)) for n in numbers]
    assert [tuple(map(int, pair)) for pair in found] == sorted(wanted)


def test_ids_without_uids_are_refused_before_anything_runs(data, tmp_path):
    shard = data / "00000.tar"
    write_tar(shard, [("000000000", {"jpg": jpeg(0), "json": b"{}", "txt": b"a b c"})])
    write_index(shard)
    with pytest.raises(InputError, match=r"no `uid` of 32 .*--ids with a name in \.txt"):
        run(data, where="words > 2", ids=tmp_path / "ids.npy")
    assert not sidecar_path(shard, "keep").exists()
    run(data, where="words > 2", ids=tmp_path / "ids.txt")
    assert (tmp_path / "ids.txt").read_text().splitlines()[0] == "000000000"


def test_changed_scores_make_the_sidecar_anew(data):
    put(data, "scores", {"value": [[1.0] * 6] * 2})
    assert len(kept(run(data, where="scores.value > 0"))) == 12
    put(data, "scores", {"value": [[-1.0] * 6] * 2})
    assert kept(run(data, where="scores.value > 0")) == []


def test_a_shard_that_cannot_be_read_is_named_and_the_others_are_done(data, capsys):
    (data / "00001.tar").write_bytes(b"cut")
    with pytest.raises(RunError, match="1 of 2 failed"):
        run(data, where="words > 2")
    assert sidecar_path(data / "00000.tar", "keep").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"where": "wrods > 2"},
            r"no column wrods; did you mean words\?; choices: key, shard, ",
        ),
        ({"where": "scores.clip_score > 2"}, r"no sidecar scores; choices: .*, lot$"),
        ({"where": "words >"}, "--where 'words >': syntax error"),
        ({"where": "  "}, "--where '  ': expected an expression"),
        ({"where": "words > 1", "name": "keep-"}, "--name keep-: expected 'keep' or"),
        ({"where": "words) , (chars"}, "expected one expression"),
        ({"where": "words) FROM x WHERE (chars > 1"}, "expected one expression"),
        ({"where": "words + 1"}, "words \\+ 1 is of type .*; expected a condition"),
        ({"where": "words > 'many'"}, "Could not convert string 'many'"),
        ({"where": "frobnicate(words)"}, "frobnicate"),
        ({"where": "random() > 0.5"}, r"random\(\), which differs from run to run"),
        ({"where": "words > avg(words)"}, r"avg\(\), which takes many rows"),
        ({"where": "row_number() over () > 1"}, "a window function"),
        ({"where": "words > (select 1)"}, "a query inside of it"),
        ({"top": "caption:0.1"}, "caption is of type VARCHAR; expected a number"),
        ({"top": "chars"}, "expected COLUMN:FRACTION"),
        ({"top": "chars:30"}, "expected COLUMN:FRACTION with a fraction above 0, up to 1"),
        ({"top": "chars:0.1", "preset": "clip-top30"}, "--preset clip-top30 has one already"),
        ({}, "one of --where, --preset and --top is needed"),
        ({"where": "words > 1", "name": "scores"}, "--name scores: expected 'keep' or"),
        ({"where": "words > 1", "after": "keep"}, "--after keep: this is the sidecar to be"),
        ({"where": "words > 1", "after": "keep-x"}, "sidecar .*keep-x.* is missing"),
        ({"where": "words > 1", "scores": "scores-x"}, "only presets with a clip_score read it"),
        ({"where": "words > 1", "ledger": "l.csv"}, r"--ledger l\.csv: expected a name that ends"),
        ({"where": "words > 1", "ids": "l.csv"}, r"expected a name that ends in \.npy, \.txt"),
    ],
)
def test_what_cannot_be_used_is_told(data, options, message):
    options = {k: Path(v) if k in ("ledger", "ids") else v for k, v in options.items()}
    with pytest.raises(InputError, match=message):
        run(data, **options)


def test_expressions_cannot_read_files(data, tmp_path):
    (tmp_path / "x.txt").write_text("secret")
    with pytest.raises(InputError):
        run(data, where=f"contains(read_text('{tmp_path}/x.txt'), 'secret')")


def test_lists_of_a_sidecar_are_columns_too(data):
    put(data, "negatives", {"kinds": [[["a"], [], ["b", "a"], None, ["c"], ["a", "a", "b"]]] * 2})
    rows = run(data, where="len(list_filter(negatives.kinds, lambda k: k = 'a')) > 0")
    assert [row["keep"] for row in rows[:6]] == [True, False, True, False, False, True]
    rows = run(data, where="negatives IS NOT NULL", name="keep-b")
    assert all(row["keep"] for row in rows)


def test_a_condition_cannot_read_the_sidecar_to_be_written(data):
    run(data, where="words > 2")
    run(data, where="keep.keep", name="keep-b")
    with pytest.raises(InputError, match="--name keep: a condition reads this sidecar"):
        run(data, where="keep.keep AND words > 3", restart=True)


def test_half_floats_are_numbers_too(data):
    values = [[v / 8 for v in range(6)]] * 2
    put(data, "scores", {"value": [pa.array(v, pa.float32()).cast(pa.float16()) for v in values]})
    assert len(kept(run(data, where="scores.value >= 0.5"))) == 2 * 2
    halves = pa.array(np.arange(12, dtype=np.float16))
    put(data, "embeddings", {"image": [pa.FixedSizeListArray.from_arrays(halves, 2)] * 2})
    assert len(kept(run(data, where="embeddings.image[2] > 4", name="keep-b"))) == 2 * 4


def test_samples_of_which_a_sidecar_has_no_row_are_counted(data, capsys):
    put(data, "scores", {"value": [[1.0] * 6] * 2}, rows=4)
    assert len(kept(run(data, where="scores.value > 0"))) == 8
    assert "4 samples without a row of their caption in scores\n" in capsys.readouterr().out
    run(data, top="scores.value:1", name="keep-b")
    assert "8 of 12 samples, all that have a value; 4 have none\n" in capsys.readouterr().out


def test_nobody_is_told_to_train_on_nothing(data, capsys):
    run(data, where="words > 100")
    assert "12 samples = 0 kept + 12 dropped by words > 100\n" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["two\nlines", " blank"])
def test_keys_that_are_no_line_are_not_listed_as_lines(tmp_path, key):
    write_tar(tmp_path / "0.tar", [("a", {"txt": b"x"}), (key, {"txt": b"x"})])
    write_index(tmp_path / "0.tar")
    with pytest.raises(InputError, match=r"cannot be a line of a \.txt"):
        run(tmp_path, where="true", ids=tmp_path / "ids.txt")
    assert not (tmp_path / "ids.txt").exists()
    run(tmp_path, where="true", ids=tmp_path / "ids.parquet")
    assert pq.read_table(tmp_path / "ids.parquet")["key"].to_pylist() == ["a", key]
