"""Sidecars: joined by key and caption, drawn, packed; hard images; stored teachers."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_shards
from vlp.data.index import sidecar_path
from vlp.data.loader import PairDataset, Pipeline
from vlp.data.order import BatchOrder
from vlp.data.sidecars import Annotations, Count, stored_width
from vlp.data.source import Source, SourceConfig, UnusableSampleError
from vlp.data.texts import Drawn, TextConfig, TextDraw, dense, pack, unpack
from vlp.data.transforms import Augment, TrainTransform
from vlp.signals import COUNTER, HARD, MORE, NUMBER


def tokenize(texts):
    return torch.tensor([[len(t), sum(map(ord, t)), 1, 0] for t in texts])


@pytest.fixture
def folder(tmp_path):
    make_shards(tmp_path, [5, 3])
    return tmp_path


def source(folder, *sidecars):
    return Source("s", SourceConfig(shards=str(folder), sidecars=list(sidecars)))


def write(folder, name, make, shards=2):
    """A sidecar with the row that `make(key)` gives, or None for no row."""
    plain = source(folder)
    for shard in range(shards):
        index = plain._opened(shard).index
        rows = []
        for row in range(len(index)):
            made = make(index.key(row))
            if made is not None:
                rows.append({"key": index.key(row), "src_sha256": index.src_sha256(row), **made})
        path = sidecar_path(plain.shards[shard], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)


def dataset(folder, *sidecars, draw=None, batch=8, pairs=False, **options):
    made = source(folder, *sidecars)
    order = BatchOrder({"s": made.lengths}, {"s": 1.0}, batch, 5, 16, pairs=pairs)
    pipeline = Pipeline(
        transform=TrainTransform((16, 16), Augment()),
        tokenize=tokenize,
        truncated=lambda texts, tokens: 0,
        trim=None,
        draw=draw or TextDraw(TextConfig()),
        **options,
    )
    return PairDataset({"s": made}, order, pipeline, (0, batch))


def test_rewrites_join_by_key_and_caption_and_fall_back(folder):
    write(folder, "rewrites", lambda key: {"texts": ["a rewrite", "short"]})
    path = sidecar_path(source(folder).shards[0], "rewrites")
    table = pq.read_table(path).to_pylist()
    table[1]["src_sha256"] = "of another caption"
    pq.write_table(pa.Table.from_pylist(table[:2]), path)
    data = dataset(folder, "rewrites")
    raws = [data.sources[0].read(0, i) for i in range(5)]
    assert [text for _, text in raws[0].annotations.rewrites] == ["a rewrite", "short"]
    assert [bool(raw.annotations.missing) for raw in raws] == [False, True, True, True, True]
    assert data[0]["fallbacks"] == 4
    own = raws[0].captions()
    drawn = {
        data.pipeline.draw.caption(own, raws[0].annotations, np.random.default_rng(i)).text
        for i in range(100)
    }
    assert drawn == {*own, "a rewrite"}  # "short" is under two words: the original instead


def drawn(config, annotations, number=2000):
    draw = TextDraw(config)
    rng = np.random.default_rng(0)
    return Counter(draw.caption(["the original"], annotations, rng).text for _ in range(number))


def test_captions_are_drawn_uniformly_or_by_weight():
    annotations = Annotations(rewrites=[("rewrites", "one two"), ("rewrites-b", "three four")])
    found = drawn(TextConfig(), annotations)
    assert all(550 < found[text] < 780 for text in ("the original", "one two", "three four"))
    found = drawn(TextConfig(weights={"rewrites-b": 2.0, "original": 0.0}), annotations)
    assert set(found) == {"one two", "three four"}
    assert 1.7 < found["three four"] / found["one two"] < 2.3
    assert set(drawn(TextConfig(weights={"original": 0.0}), Annotations())) == {"the original"}


def test_several_captions_are_different_ones_while_there_are_enough():
    draw = TextDraw(TextConfig(captions=3), frozenset({MORE}))
    annotations = Annotations(rewrites=[("rewrites", "one two"), ("rewrites", "three four")])
    rng = np.random.default_rng(0)
    for _ in range(20):
        first = draw.caption(["the original"], annotations, rng)
        texts = draw.draw(first, ["the original"], annotations, rng)
        assert len(set(texts.captions)) == 3
    first = draw.caption(["the original"], Annotations(), rng)
    assert draw.draw(first, ["the original"], Annotations(), rng).captions == ["the original"] * 3


def test_wrong_numbers_are_those_of_the_drawn_caption():
    draw = TextDraw(TextConfig(), frozenset({COUNTER, NUMBER}))
    count = Count(3, "kittens", "seven kittens often sit")
    annotations = Annotations(count=count)
    rng = np.random.default_rng(0)
    texts = draw.draw(Drawn("Three kittens often sit", 0), [], annotations, rng).further
    assert len(texts[NUMBER]) == 8
    assert "Three kittens often sit" not in texts[NUMBER]
    assert all(text.endswith("kittens often sit") for text in texts[NUMBER])
    assert texts[COUNTER][0] in texts[NUMBER]
    # a rewrite that does not tell the number has no wrong one
    assert draw.draw(Drawn("some kittens", None), [], annotations, rng).further == {}


def test_word_dropout_leaves_the_same_words_of_a_counterfactual():
    draw = TextDraw(TextConfig(), frozenset({NUMBER}), word_dropout=0.5)
    annotations = Annotations(count=Count(2, "dogs", None))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first = draw.caption(["two dogs run over green grass"], annotations, rng)
        texts = draw.draw(first, ["two dogs run over green grass"], annotations, rng)
        dropped = "two" not in texts.captions[0].split()
        assert (NUMBER not in texts.further) == dropped
        for text in texts.further.get(NUMBER, ()):
            words = zip(text.split(), texts.captions[0].split(), strict=True)
            assert all(a == b or b == "two" for a, b in words)


def test_hard_captions_are_of_the_kinds_that_are_asked_for(folder):
    negatives = {"texts": ["swapped a", "recoloured", "swapped b"], "kinds": ["swap", "c", "swap"]}
    write(folder, "negatives", lambda key: negatives if key.endswith("0") else None)
    draw = TextDraw(TextConfig(hard_captions=2, hard_kinds=["swap"]), frozenset({HARD}))
    batch = dataset(folder, "negatives", draw=draw)[0]
    rows = batch["rows"]
    assert rows["hard_tokens"].shape == (8, 2, 4)
    assert int(rows["hard_mask"].sum()) == 4  # two samples, two captions each
    assert batch["fallbacks"] == 6
    packed = pack(rows)
    assert {tuple(t) for t in packed["extra_tokens"].tolist()} == {
        tuple(t) for t in tokenize(["swapped a", "swapped b"]).tolist()
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**20 - 1), st.integers(1, 3))
def test_what_is_packed_comes_out_at_its_place(rows, width, bits, more):
    slots = {HARD: width, COUNTER: 1, MORE: more}
    places = [(k, r, s) for k, n in slots.items() for r in range(rows) for s in range(n)]
    kept = [p for i, p in enumerate(places) if bits >> (i % 20) & 1]
    tokens = torch.arange(1, len(kept) + 1)[:, None].repeat(1, 3)
    made = dense(tokens, kept, rows, slots)
    packed = pack({"tokens": torch.zeros(rows, 3, dtype=torch.int64), **made})
    assert len(packed["extra_tokens"]) == len(kept)
    features = packed["extra_tokens"][:, :2].float()
    masks = {name: value for name, value in packed.items() if name.endswith("_mask")}
    found = unpack(features, packed["extra_place"], masks)
    for kind in slots:
        expected = made[f"{kind}_tokens"][..., :2].float()
        assert torch.equal(found[kind], expected)


def test_neighbours_stand_beside_their_samples(folder):
    plain = source(folder)
    keys = [[plain._opened(s).index.key(r) for r in range(n)] for s, n in enumerate(plain.lengths)]
    nearest = {
        key: {"shards": ["00001"], "keys": [keys[1][i % 3]]}
        for i, key in enumerate(keys[0] + keys[1])
    }
    write(folder, "neighbours", nearest.__getitem__)
    data = dataset(folder, "neighbours", batch=4, pairs=True)
    anchors = []
    for k in range(4):
        ids = data[k]["rows"]["sample_id"].tolist()
        anchors += ids[::2]
        assert ids[1::2] == [5 + anchor % 3 for anchor in ids[::2]]
    assert sorted(anchors) == list(range(8))  # an epoch of places has every sample once


def break_sample(folder, shard, row):
    """Make a picture unreadable, in place."""
    index = source(folder)._opened(shard).index
    member = index.members(row)["jpg"]
    with open(index.shard, "r+b") as file:
        file.seek(member.offset)
        file.write(b"\0" * member.size)


def test_pairs_hold_together_around_unreadable_pictures(folder):
    plain = source(folder)
    keys = [plain._opened(1).index.key(r) for r in range(3)]
    write(folder, "neighbours", lambda key: {"shards": ["00001"] * 3, "keys": keys})
    break_sample(folder, 0, 2)  # sample 2, an anchor
    break_sample(folder, 1, 1)  # sample 6, a neighbour of all
    found = []
    for ranks in (1, 2, 4):
        seen: list[int] = []
        for k in range(4):
            data = dataset(folder, "neighbours", batch=4, pairs=True)
            for rank in range(ranks):
                data.rows = (rank * 4 // ranks, (rank + 1) * 4 // ranks)
                seen += data[k]["rows"]["sample_id"].tolist()
        assert not {2, 6} & set(seen)
        assert set(seen[1::2]) <= {5, 7}  # each beside a sample, a neighbour of that sample
        found.append(seen)
    assert found[0] == found[1] == found[2]


def test_other_sidecars_are_other_data(folder):
    write(folder, "rewrites", lambda key: {"texts": ["a rewrite"]})
    before = dataset(folder, "rewrites").digest
    assert dataset(folder).digest != before
    write(folder, "rewrites", lambda key: {"texts": ["another rewrite of it"]})
    assert dataset(folder, "rewrites").digest != before


def test_a_wrong_text_that_is_cut_to_the_caption_is_left_out(folder):
    write(folder, "negatives", lambda key: {"texts": ["x"], "kinds": ["c"]})
    draw = TextDraw(TextConfig(), frozenset({HARD}))
    data = dataset(folder, "negatives", draw=draw)
    assert bool(data[0]["rows"]["hard_mask"].all())
    cut = replace(data.pipeline, tokenize=lambda texts: torch.ones(len(texts), 4).long())
    data.pipeline = cut
    assert not bool(data[0]["rows"]["hard_mask"].any())


def test_an_odd_batch_has_no_pairs(folder):
    with pytest.raises(ValueError, match="hard_images needs an even batch, got 3"):
        BatchOrder({"s": [5]}, {"s": 1.0}, 3, 0, 8, pairs=True)


def test_stored_teachers_are_of_the_drawn_caption(folder):
    def make(key):
        if key == "000000002":
            return None
        return {"image": [float(key) + 3, 4.0], "text": [[2.0, 0.0], [0.0, 5.0]]}

    write(folder, "teacher", make)
    data = dataset(folder, "teacher", teachers=("teacher",))
    assert stored_width("teacher", data.sources[0].shards) == 2
    batch = data[0]
    rows = batch["rows"]
    assert {p.reason for p in batch["problems"]} == {
        "the sidecar teacher has no row for this caption"
    }
    assert rows["teacher_image"].shape == (8, 2)
    made = data.sources[0]
    second = {
        tuple(tokenize([made.read(s, r).captions()[1]])[0].tolist())
        for s, n in enumerate(made.lengths)
        for r in range(n)
    }
    for tokens, text in zip(rows["tokens"], rows["teacher_text"], strict=True):
        assert (float(text[1]) == 1.0) == (tuple(tokens.tolist()) in second)


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("rewrites", {"texts": None}, "expected a list of texts in `texts`, got None"),
        ("negatives", {"texts": ["a b", "c"], "kinds": ["x"]}, "as many kinds as texts, got 1 and"),
        ("negatives", {"texts": ["a b"], "kinds": None}, "a list of texts in `kinds`, got None"),
        ("negatives", {"texts": ["a b"], "kinds": [None]}, "every place of `kinds`, got null"),
        ("counts", {"count": 2.5, "noun": "dogs"}, "a whole number in `count`, got 2.5"),
        ("neighbours", {"shards": ["0"], "keys": []}, "as many shards as keys, got 1 and 0"),
        ("teacher", {"image": [1.0], "text": [[1.0], []]}, "lists of them in `text`"),
        ("teacher", {"image": [1.0, 2.0], "text": [[1.0]]}, r"got \(2,\) and \(1, 1\)"),
    ],
)
def test_a_broken_row_makes_its_sample_unusable(folder, name, row, reason):
    good = {
        "rewrites": {"texts": ["a rewrite"]},
        "negatives": {"texts": ["a b"], "kinds": ["x"]},
        "counts": {"count": 2.0, "noun": "dogs"},
        "neighbours": {"shards": ["00000"], "keys": ["000000000"]},
        "teacher": {"image": [1.0], "text": [[1.0], [2.0]]},
    }[name]
    write(folder, name, lambda key: row if key == "000000002" else good)
    data = dataset(folder, name)
    with pytest.raises(UnusableSampleError, match=reason) as error:
        data.sources[0].read(0, 2)
    assert f"annotations/{name}/00000.parquet: sample '000000002'" in str(error.value)
    problems = data[0]["problems"]
    assert len(problems) == 1
    assert "sample '000000002'" in problems[0].reason


def test_empty_texts_are_dropped_and_a_null_count_counts_nothing(folder):
    negatives = {"texts": ["", "a b", None, " "], "kinds": ["x", "y", None, "z"]}
    write(folder, "negatives", lambda key: negatives)
    write(folder, "rewrites", lambda key: {"texts": ["", None, "a b"]})
    write(folder, "counts", lambda key: {"count": 3 if key == "000000001" else None, "noun": None})
    made = source(folder, "negatives", "rewrites", "counts")
    found = made.read(0, 0).annotations
    assert found.negatives == [("y", "a b")]
    assert found.rewrites == [("rewrites", "a b")]
    assert found.count is None
    assert made.read(0, 1).annotations.count == Count(3, "", None)


def test_bad_sidecars_are_named(folder):
    with pytest.raises(ValueError, match=r"sidecar 'rewrits': choices are rewrites, negatives"):
        SourceConfig(shards="x", sidecars=["rewrits"])
    with pytest.raises(ValueError, match="rewrites cannot be drawn beside it"):
        SourceConfig(shards="x", sidecars=["teacher", "rewrites"])
    with pytest.raises(FileNotFoundError, match=r"data.sources.s.sidecars: .*counts.*is missing"):
        source(folder, "counts")
    write(folder, "counts", lambda key: {"count": 3})
    with pytest.raises(ValueError, match=r"sidecars: .*00000.parquet lacks noun; expected"):
        source(folder, "counts")
    sidecar_path(source(folder).shards[0], "counts").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"sidecars: .*counts/00000.parquet cannot be read"):
        source(folder, "counts")
    schema = {"key": pa.string(), "src_sha256": pa.string(), "count": pa.int32()}
    empty = pa.table({k: pa.array([], t) for k, t in {**schema, "noun": pa.string()}.items()})
    for shard in source(folder).shards:
        pq.write_table(empty, sidecar_path(shard, "counts"))
    with pytest.raises(ValueError, match="counts has no row for any sample of 2 shards"):
        source(folder, "counts")


def test_a_sidecar_of_two_recipes_is_refused(folder):
    write(folder, "rewrites", lambda key: {"texts": [key]})
    for shard, recipe in enumerate(("a", "b")):
        path = sidecar_path(source(folder).shards[shard], "rewrites")
        table = pq.read_table(path).replace_schema_metadata({"vlp_recipe": recipe})
        pq.write_table(table, path)
    with pytest.raises(ValueError, match=r"00001\.parquet was made by other settings"):
        source(folder, "rewrites")


def test_several_negatives_add_up_and_a_stale_count_is_missing(folder):
    write(folder, "negatives-a", lambda key: {"texts": ["one"], "kinds": ["x"]})
    write(folder, "negatives-b", lambda key: {"texts": ["two"], "kinds": ["y"]})
    write(folder, "counts", lambda key: {"count": 2, "noun": ""} if key.endswith("1") else None)
    path = sidecar_path(source(folder).shards[0], "counts")
    stale = [{**row, "src_sha256": "of another"} for row in pq.read_table(path).to_pylist()]
    pq.write_table(pa.Table.from_pylist(stale), path)
    made = source(folder, "negatives-a", "negatives-b", "counts")
    found = [made.read(0, row).annotations for row in range(5)]
    assert all(a.negatives == [("x", "one"), ("y", "two")] for a in found)
    assert [a.missing for a in found] == [(), ("counts",), (), (), ()]
    assert made.read(1, 1).annotations.count == Count(2, "", None)
    with pytest.raises(ValueError, match="of counts there can be one"):
        SourceConfig(shards="x", sidecars=["counts", "counts-b"])
