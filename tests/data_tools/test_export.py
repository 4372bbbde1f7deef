"""`export`: what other tools read is what the shards and their sidecars hold."""

import json
from collections import Counter

import pyarrow as pa
import pytest

from data_tools.export import Export, export
from tests.data_tools.reshard_shards import (
    HEAD,
    LIST,
    contents,
    heads,
    keys,
    members,
    write_rows,
    write_shards,
)
from tests.data_tools.trees import files, leave_half_written
from vlp.data.index import caption_sha256
from vlp.errors import InputError, RunError

NEGATIVES = pa.schema([*HEAD, ("texts", LIST), ("kinds", LIST)])
COUNTS = pa.schema(
    [*HEAD, ("count", pa.int32()), ("noun", pa.string()), ("counterfactual", pa.string())]
)
KEEP = pa.schema([*HEAD, ("keep", pa.bool_())])


def run(shards, output, form, **options):
    """`export` in this process; returns the output."""
    options = {"executor": "serial", **options}
    export(Export(shards=[str(shards)], output=output, format=form, **options))
    return output


def fields(members):
    return json.loads(members["json"])


@pytest.fixture
def data(tmp_path):
    """Three samples in two shards, with two sets of rewrites, negatives and counts of some."""
    pool = {key: members(key, f"the letter {key}") for key in "abc"}
    own = {"captions": ["the letter a", "an a"], "count": 0, "url": "somewhere"}
    pool["a"]["json"] = json.dumps(own).encode()
    del pool["c"]["json"]
    pool["c"]["cls"] = b"7"
    pairs = list(pool.items())
    folder = write_shards(tmp_path / "in", [dict(pairs[:2]), dict(pairs[2:])])
    for shard in folder.glob("*.tar"):
        there = {head["key"]: head for head in heads(shard)}
        rows = [h | {"texts": [f"{k} one", "short", f"{k} two"]} for k, h in there.items()]
        write_rows(shard, "rewrites", rows)
        rows = [h | {"texts": [f"{k} by another"]} for k, h in there.items() if k != "b"]
        write_rows(shard, "rewrites-llm", rows)
        near = {"texts": ["the digit 1", "a word"], "kinds": ["noun", "swap"]}
        write_rows(shard, "negatives", [h | near for h in there.values()], NEGATIVES)
        counted = {"count": 1, "noun": "letter", "counterfactual": "two letters"}
        write_rows(shard, "counts", [h | counted for k, h in there.items() if k == "a"], COUNTS)
    return folder


def test_every_text_is_a_field_of_the_json(data, tmp_path, capsys):
    out = run(data, tmp_path / "out", "open-clip-json")
    found = dict(contents(out))
    assert fields(found["a"]) == {
        "captions": ["the letter a", "an a"],
        "url": "somewhere",
        "source_count": 0,
        "caption": "the letter a",
        "caption1": "an a",
        "caption_rw0": "a one",
        "caption_rw1": "short",
        "caption_rw2": "a two",
        "caption_rw_llm0": "a by another",
        "neg_caption": "the digit 1",
        "neg_caption1": "a word",
        "neg_kind": "noun",
        "neg_kind1": "swap",
        "count": "1",
        "count_noun": "letter",
        "count_counterfactual": "two letters",
    }
    assert "caption_rw_llm0" not in fields(found["b"])
    assert list(found["c"]) == ["jpg", "txt", "cls", "json"]
    before = dict(contents(data))
    for key, sample in found.items():
        same = {name: data for name, data in sample.items() if name != "json"}
        assert same == {name: data for name, data in before[key].items() if name != "json"}
    assert json.loads((out / "sizes.json").read_text()) == {"00000.tar": 2, "00001.tar": 1}
    told = "--json-text-key 'caption;caption1;caption_rw0;caption_rw1;caption_rw2;caption_rw_llm0'"
    assert told in capsys.readouterr().out


def test_the_chosen_text_is_the_txt_and_the_original_stays(data, tmp_path):
    pool = {"the letter a", "an a", "a one", "a two", "a by another"}
    drawn = set()
    for seed in range(40):
        out = run(data, tmp_path / f"{seed}", "open-clip-txt", choose="random", seed=seed)
        found = dict(contents(out))
        drawn.add(found["a"]["txt"].decode())
        assert fields(found["a"])["original_caption"] == "the letter a"
        assert found["a"]["jpg"] == b"picture of a"
    assert drawn == pool  # "short" is of one word: the original stands in for it
    first = dict(contents(run(data, tmp_path / "first", "open-clip-txt")))
    assert {key: sample["txt"].decode() for key, sample in first.items()} == {
        key: f"the letter {key}" for key in "abc"
    }


def test_draws_are_uniform_over_captions_and_rewrites(tmp_path):
    """Of one caption and three rewrites each comes a quarter of the time (Fan et al. 2023)."""
    pool = {f"{number:04d}": members("k", "the original") for number in range(2000)}
    shard = write_shards(tmp_path / "in", [pool]) / "00000.tar"
    texts = {"texts": ["rewrite one", "rewrite two", "rewrite three"]}
    write_rows(shard, "rewrites", [head | texts for head in heads(shard)])
    out = run(shard, tmp_path / "out", "open-clip-txt", choose="random")
    counts = Counter(sample["txt"] for _, sample in contents(out))
    assert len(counts) == 4
    # four standard deviations of a binomial draw
    assert all(abs(count - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5 for count in counts.values())


def test_rewrites_of_another_caption_are_not_used(tmp_path):
    shard = write_shards(tmp_path / "in", [{"a": members("a", "now")}]) / "00000.tar"
    stale = {"key": "a", "src_sha256": caption_sha256(b"earlier"), "texts": ["of another"]}
    write_rows(shard, "rewrites", [stale])
    found = dict(contents(run(shard, tmp_path / "out", "open-clip-json")))
    assert fields(found["a"]) == {"caption": "now"}


def test_what_cannot_be_exported_is_counted_and_named(tmp_path, capsys):
    pool = {key: members(key, f"letter {key}") for key in "abcde"}
    del pool["a"]["jpg"]
    pool["b"]["txt"] = b"  "
    pool["c"]["json"] = b"[1]"
    shard = write_shards(tmp_path / "in", [pool]) / "00000.tar"
    rows = [head | {"keep": head["key"] != "d"} for head in heads(shard)]
    write_rows(shard, "keep", rows, KEEP)
    out = run(shard, tmp_path / "out", "csv", keep="keep")
    balance = "1 exported + 1 dropped (bad_json) + 1 dropped (keep) + 1 dropped (no_caption)"
    assert f"5 samples = {balance} + 1 dropped (no_picture)" in capsys.readouterr().out
    ledger = (out / ".export" / "dropped.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in ledger]
    assert [(line["key"], line["reason"]) for line in found] == [
        ("a", "no_picture"), ("b", "no_caption"), ("c", "bad_json"), ("d", "keep"),
    ]  # fmt: skip
    assert {line["shard"] for line in found} == {"00000.tar"}


@pytest.mark.parametrize("form", ["open-clip-txt", "csv", "hf"])
def test_an_export_of_nothing_has_failed(data, tmp_path, form, capsys):
    for shard in data.glob("*.tar"):
        write_rows(shard, "keep", [head | {"keep": False} for head in heads(shard)], KEEP)
    with pytest.raises(RunError, match="not one sample is exported"):
        run(data, tmp_path / "out", form, keep="keep")
    assert "load_dataset" not in (printed := capsys.readouterr().out)
    assert "what was dropped: " in printed


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("hf", {"choose": "first"}, "--format hf holds every text"),
        ("open-clip-json", {"choose": "random"}, "holds every text"),
        ("open-clip-txt", {"texts": "rewrites"}, "only with --choose random"),
        ("csv", {"texts": "rewrites-x"}, "rewrites-x.* is missing; the shards have counts, neg"),
        ("open-clip-txt", {"texts": "counts", "choose": "random"}, "of the kinds rewrites"),
        ("csv", {"keep": "keep"}, "--keep keep: .* is missing"),
        ("hf", {"keep": ""}, "--keep '': names no sidecar"),
        ("csv", {"restart": True, "part": "1/2"}, "without --part"),
    ],
)
def test_options_that_cannot_be_used_are_refused(data, tmp_path, form, options, message):
    with pytest.raises(InputError, match=message):
        run(data, tmp_path / "out", form, **options)


def test_folders_of_others_are_left_alone(data, tmp_path):
    with pytest.raises(InputError, match="the shards lie there"):
        run(data, data, "csv")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds mine.txt, which this command did not write"):
        run(data, tmp_path / "out", "csv", restart=True)


@pytest.mark.parametrize("form", ["open-clip-txt", "open-clip-json", "csv", "hf"])
def test_runs_that_are_cut_parted_or_parallel_give_the_same_bytes(data, tmp_path, form, capsys):
    options = {"choose": "random", "seed": 3} if form in ("open-clip-txt", "csv") else {}
    whole = files(run(data, tmp_path / "out", form, **options))
    (tmp_path / "out" / ".export" / "00001.json").unlink()
    leave_half_written(tmp_path / "out" / ".export" / "00001.json")
    assert files(run(data, tmp_path / "out", form, **options)) == whole
    assert "1 of 2 shards are finished already" in capsys.readouterr().out
    for part in ("2/2", "1/2"):
        run(data, tmp_path / "parts", form, part=part, **options)
    assert files(tmp_path / "parts") == whole
    other = run(data, tmp_path / "out", "csv", texts="", choose="first", restart=True)
    assert files(other) == files(run(data, tmp_path / "new", "csv", texts="", choose="first"))


def test_other_settings_need_a_restart(data, tmp_path):
    run(data, tmp_path / "out", "csv")
    with pytest.raises(InputError, match="choose was None, is 'first'"):
        run(data, tmp_path / "out", "csv", choose="first")


def test_workers_give_the_same_bytes(data, tmp_path):
    one = files(run(data, tmp_path / "one", "csv"))
    assert files(run(data, tmp_path / "two", "csv", executor="process", workers=2)) == one


def test_texts_can_be_left_out(data, tmp_path):
    found = dict(contents(run(data, tmp_path / "out", "open-clip-json", texts="rewrites-llm")))
    assert fields(found["b"]) == {"caption": "the letter b"}
    assert fields(found["c"]) == {"caption": "the letter c", "caption_rw_llm0": "c by another"}
    assert keys(run(data, tmp_path / "none", "open-clip-json", texts="")) == ["a", "b", "c"]
