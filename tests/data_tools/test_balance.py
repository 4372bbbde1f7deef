"""`balance`: matches as MetaCLIP defines them, and draws with the probability that it gives."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.annotate import read_sidecar
from data_tools.balance import Balance, balance
from data_tools.balancing.counts import (
    keep_probabilities,
    limit_of,
    probabilities,
    tail_share,
)
from data_tools.balancing.drawing import is_drawn
from data_tools.balancing.entries import Matcher, read_entries, spacing
from data_tools.samples import find_shards
from vlp.data.index import sidecar_path, write_index
from vlp.data.tar import write_tar
from vlp.errors import InputError

PUNCTUATION = [",", ".", ";", ":", "?", "!", "`"]
LETTERS = st.text("ab ,.`\t-", max_size=12)


def spaced(text):
    """The definition: pad, wrap punctuation, make white space a space; one after the other."""
    text = f" {text} "
    for sign in PUNCTUATION:
        text = text.replace(sign, f" {sign} ")
    for sign in "\t\n\r":
        text = text.replace(sign, " ")
    return text


@given(LETTERS)
def test_spacing_is_metaclips(text):
    assert spacing(text) == spaced(text)


@given(st.lists(LETTERS.filter(str.strip), min_size=1, max_size=8, unique=True), LETTERS)
def test_matches_are_those_of_looking_for_each_entry(entries, text):
    wanted = {i for i, entry in enumerate(entries) if f" {entry} " in spaced(text)}
    assert Matcher(entries)(text) == wanted


def test_an_entry_is_found_at_ends_beside_punctuation_and_across_another_one():
    entries = ["new york", "york city", "york", "new", "yor", ","]
    assert Matcher(entries)("new york city") == {0, 1, 2, 3}
    assert Matcher(entries)("New York, new york") == {0, 2, 3, 5}
    assert Matcher(entries, ignore_case=True)("NEW YORK") == {0, 2, 3}


@given(LETTERS.filter(str.strip), LETTERS)
def test_entries_that_are_said_to_be_in_no_caption_are_in_none(tmp_path_factory, entry, around):
    path = tmp_path_factory.mktemp("never") / "m.json"
    path.write_text(json.dumps([entry]))
    read = read_entries(path, False)
    for text in (entry.strip(), f"{around} {entry.strip()} {around}", f"{around}{entry.strip()}"):
        if read.never:
            assert f" {entry.strip()} " not in spaced(text)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.fractions(0, 1))
def test_the_limit_is_the_smallest_with_that_tail_share(counts, share):
    counts = np.array(counts)
    if not counts.sum() or not share:
        return
    limit = limit_of(counts, str(share))

    def tail(t):  # exact, in whole numbers
        return sum(int(c) for c in counts if c <= t)

    assert tail(limit) >= share * int(counts.sum())
    assert all(tail(t) < share * int(counts.sum()) for t in range(1, limit))
    assert tail_share(counts, limit) == pytest.approx(tail(limit) / counts.sum())


@given(
    st.lists(st.none() | st.sets(st.integers(0, 4)).map(sorted), max_size=8),
    st.lists(st.integers(0, 99), min_size=5, max_size=5),
    st.integers(1, 60),
)
def test_the_chance_of_a_sample_is_one_minus_the_product(entries, counts, limit):
    p = probabilities(np.array(counts), limit)
    assert p.tolist() == [limit / max(count, limit) for count in counts]
    table = pa.table({"entries": pa.array(entries, pa.list_(pa.int32()))})
    wanted = [1 - np.prod([1 - p[i] for i in own]) if own else 0.0 for own in entries]
    assert keep_probabilities(table, p).tolist() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("p", [(0.05,), (0.3, 0.2), (0.01, 0.02, 0.4), (0.5, 0.5, 0.5, 0.5)])
def test_samples_are_drawn_with_their_chance(p):
    draws, names = 20_000, [f"entry {i}" for i in range(len(p))]
    kept = sum(is_drawn(str(i), names, np.array(p), 7) for i in range(draws))
    chance = 1 - np.prod(1 - np.array(p))
    assert abs(kept - draws * chance) < 4.5 * (draws * chance * (1 - chance)) ** 0.5


def test_lots_of_samples_and_entries_are_independent():
    p = np.array([0.3])
    first, second = (
        np.array([is_drawn(str(i), [name], p, 0) for i in range(20_000)]) for name in ("a", "b")
    )
    both = int((first & second).sum())
    assert abs(both - 20_000 * 0.09) < 4.5 * (20_000 * 0.09 * 0.91) ** 0.5
    assert is_drawn("x", ["rare", "a"], np.array([1.0, 0.0]), 0)


WORDS = ["dog", "cat", "tree", "old boat"]
SHARES = [0.9, 0.5, 0.1, 0.02]
SAMPLES = 900


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three shards of 300 captions, in which words are of very different frequency."""
    folder = tmp_path_factory.mktemp("balance")
    rng = np.random.default_rng(0)
    for shard in range(3):
        samples = []
        for i in range(SAMPLES // 3):
            words = [w for w, share in zip(WORDS, SHARES, strict=True) if rng.random() < share]
            caption = f"a photo: {', '.join(words)}."
            record = json.dumps({"captions": [caption, "the old boat"]}).encode()
            members = {"jpg": b"", "json": record, "txt": caption.encode()}
            samples.append((f"{shard:05d}{i:04d}", members))
        write_tar(folder / f"{shard:05d}.tar", samples)
        write_index(folder / f"{shard:05d}.tar")
    (folder / "list.txt").write_text("\n".join([*WORDS, "", "dog", "unseen", "St. Paul"]))
    return folder


@pytest.fixture
def data(made):
    yield made
    for path in sorted((made / "annotations").glob("*/**/*.parquet"), reverse=True):
        if path.parent.name != "index":
            path.unlink()


def run(data, **options):
    given = {"shards": [str(data)], "metadata": data / "list.txt", "executor": "serial"}
    balance(Balance(**given | options))


def rows(data, name="keep-balance"):
    return [row for s in find_shards([str(data)]) for row in read_sidecar(s, name).to_pylist()]


def captions(data):
    found = {}
    for shard in find_shards([str(data)]):
        index = pq.read_table(sidecar_path(shard, "index")).to_pylist()
        for row in index:
            place = row["ext"].index("txt")
            begin, size = row["offset"][place], row["size"][place]
            found[row["key"]] = shard.read_bytes()[begin : begin + size].decode()
    return found


def counted(texts):
    return {w: sum(f" {w} " in spaced(t) for t in texts) for w in [*WORDS, "unseen", "St. Paul"]}


def test_what_is_printed_before_and_after_the_draw(data, capsys, tmp_path):
    run(data, limit=60, counts=tmp_path / "c.tsv", ledger=tmp_path / "l.jsonl")
    texts = captions(data)
    counts = counted(texts.values())
    lines = (tmp_path / "c.tsv").read_text().splitlines()[1:]
    table = {entry: (int(count), float(p)) for entry, count, p in (x.split("\t") for x in lines)}
    assert {entry: count for entry, (count, _) in table.items()} == counts
    p = {word: 60 / max(count, 60) for word, count in counts.items()}
    chances = [
        1 - np.prod([1 - p[w] for w in WORDS if f" {w} " in spaced(t)]) for t in texts.values()
    ]
    out = capsys.readouterr().out
    assert "8 lines = 6 entries + 1 duplicates + 1 empty" in out
    assert "1 entries can be in no caption" in out
    size, deviation = sum(chances), sum(c * (1 - c) for c in chances) ** 0.5
    told = f"expected to be kept: {size:,.1f} samples, standard deviation {deviation:,.1f}"
    assert told in out
    kept = sum(row["keep"] for row in rows(data))
    assert abs(kept - size) < 4.5 * deviation
    assert out.index(told) < out.index(f"drawn: {kept:,} samples")
    none = sum(not any(f" {w} " in spaced(t) for w in WORDS) for t in texts.values())
    balanced = f"{kept} kept + {none} dropped by no entry + {SAMPLES - kept - none} dropped by bal"
    assert f"900 samples = {balanced}" in out
    rules = Counter(row["rule"] for row in rows(data))
    assert rules == {None: kept, "no entry": none, "balance t=60": SAMPLES - kept - none}
    assert len((tmp_path / "l.jsonl").read_text().splitlines()) == SAMPLES - kept
    values = {row["value"] for row in rows(data) if row["rule"] == "balance t=60"}
    assert values <= {f"P = {chance:.4g}" for chance in chances}


def test_every_sample_with_a_rare_entry_is_kept(data):
    run(data, limit=60)
    assert counted(captions(data).values())["old boat"] < 60
    for row, caption in zip(rows(data), captions(data).values(), strict=True):
        assert row["keep"] or "old boat" not in caption


def test_the_order_of_entries_and_of_runs_changes_nothing(data):
    run(data, limit=60)
    wanted = [row["keep"] for row in rows(data)]
    (data / "other.txt").write_text("\n".join(["unseen", *WORDS[::-1], "St. Paul"]))
    for part in ("3/3", "1/3", "2/3"):
        run(data, metadata=data / "other.txt", limit=60, part=part, name="keep-b")
        assert sidecar_path(data / "00000.tar", "keep-b").exists() == (part == "2/3")
    assert [row["keep"] for row in rows(data, "keep-b")] == wanted
    run(data, limit=60, seed=1, name="keep-c")
    assert [row["keep"] for row in rows(data, "keep-c")] != wanted


def test_a_dry_run_tells_and_draws_nothing(data, capsys):
    run(data, tail_share="0.1", dry_run=True)
    assert "expected to be kept" in (out := capsys.readouterr().out)
    assert "drawn" not in out
    assert not sidecar_path(data / "00000.tar", "keep-balance").exists()


def test_all_captions_of_a_sample_count_once_together(data, tmp_path):
    run(data, limit=60, captions="all", counts=tmp_path / "c.tsv")
    table = dict(line.split("\t")[:2] for line in (tmp_path / "c.tsv").read_text().splitlines())
    assert table["old boat"] == "900"
    assert int(table["dog"]) == counted(captions(data).values())["dog"]


def test_what_an_earlier_step_dropped_is_not_counted(data, tmp_path, capsys):
    for shard in find_shards([str(data)]):
        index = pq.read_table(sidecar_path(shard, "index"), columns=["key", "src_sha256"])
        keep = [int(key) % 2 == 0 for key in index["key"].to_pylist()]
        table = index.append_column("keep", pa.array(keep))
        sidecar_path(shard, "keep-half").parent.mkdir(exist_ok=True)
        pq.write_table(table, sidecar_path(shard, "keep-half"))
    run(data, limit=60, after="keep-half", counts=tmp_path / "c.tsv")
    half = [text for key, text in captions(data).items() if int(key) % 2 == 0]
    table = dict(line.split("\t")[:2] for line in (tmp_path / "c.tsv").read_text().splitlines())
    assert int(table["dog"]) == counted(half)["dog"]
    assert "450 dropped by keep-half" in capsys.readouterr().out


def test_another_limit_is_refused_and_taken_with_restart(data):
    run(data, limit=60)
    with pytest.raises(InputError, match=r"limit was 60, is 30; .*--restart"):
        run(data, limit=30)
    before = sum(row["keep"] for row in rows(data))
    run(data, limit=30, restart=True)
    assert sum(row["keep"] for row in rows(data)) < before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of --limit and --tail-share is needed"),
        ({"limit": 1, "tail_share": "0.1"}, "one of --limit and --tail-share is needed"),
        ({"limit": 0}, "--limit 0: expected 1 or more"),
        ({"tail_share": "20"}, "--tail-share 20: expected a number above 0, up to 1"),
        ({"limit": 1, "name": "balanced"}, "--name balanced: expected 'keep' or 'keep-SUFFIX'"),
        ({"limit": 1, "metadata": "no.txt"}, r"--metadata no\.txt: .*No such file"),
        ({"limit": 1, "metadata": "dict.json"}, "expected a list of texts"),
        ({"limit": 1, "metadata": "empty.txt"}, "no entry"),
    ],
)
def test_what_cannot_be_used_is_told(data, tmp_path, options, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dict.json").write_text('{"a": ["b"]}')
    Path("empty.txt").write_text("\n\n")
    if "metadata" in options:
        options = options | {"metadata": Path(options["metadata"])}
    with pytest.raises(InputError, match=message):
        run(data, **options)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("ab", min_size=1), min_size=1, max_size=9), st.booleans())
def test_the_list_has_each_entry_once_in_its_order(tmp_path_factory, texts, is_json):
    path = tmp_path_factory.mktemp("list") / ("m.json" if is_json else "m.txt")
    path.write_text(json.dumps(texts) if is_json else "\n".join(texts))
    read = read_entries(path, False)
    assert list(read.texts) == list(dict.fromkeys(texts))
    assert read.duplicates == len(texts) - len(set(texts))
