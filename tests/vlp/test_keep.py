"""Training reads the kept samples alone, all of them, and never guesses."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_shards
from vlp.data.index import sidecar_path
from vlp.data.keep import Kept, keep_column
from vlp.data.loader import PairDataset, Pipeline
from vlp.data.order import BatchOrder
from vlp.data.source import Source, SourceConfig
from vlp.data.transforms import Augment, TrainTransform

LENGTHS = [9, 5, 4]


@pytest.fixture
def folder(tmp_path):
    make_shards(tmp_path, LENGTHS)
    return tmp_path


def source(folder, *sidecars):
    return Source("s", SourceConfig(shards=str(folder), sidecars=list(sidecars)))


def rows_of(folder, shard):
    index = source(folder)._opened(shard).index
    return [(index.key(row), index.src_sha256(row)) for row in range(len(index))]


def write(folder, name, is_kept, order=1):
    """A keep sidecar of every shard, by key; `order` of -1 writes the rows backwards."""
    for shard in range(len(LENGTHS)):
        rows = [
            {"key": key, "src_sha256": digest, "keep": is_kept(key), "rule": None, "value": None}
            for key, digest in rows_of(folder, shard)
        ]
        put(folder, name, shard, rows[::order])


def put(folder, name, shard, rows):
    path = sidecar_path(folder / f"{shard:05d}.tar", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def take(folder, name, shard):
    return pq.read_table(sidecar_path(folder / f"{shard:05d}.tar", name)).to_pylist()


def dataset(made, batch, pairs=False):
    order = BatchOrder({"s": made.lengths}, {"s": 1.0}, batch, 5, 4, pairs=pairs)
    pipeline = Pipeline(
        transform=TrainTransform((16, 16), Augment()),
        tokenize=lambda texts: torch.tensor([[len(t), 1, 0] for t in texts]),
        truncated=lambda texts, tokens: 0,
        trim=None,
    )
    return PairDataset({"s": made}, order, pipeline, (0, batch))


def is_even(key):
    return int(key) % 2 == 0


@pytest.mark.parametrize("order", [1, -1])
def test_an_epoch_has_the_kept_samples_alone_and_each_once(folder, order):
    write(folder, "keep", is_even, order)
    made = source(folder, "keep")
    assert made.lengths == [5, 3, 2]
    places = dataset(made, 10).order.places(0, 0, 10)
    keys = Counter(made.read(place.shard, place.row).key for place in places)
    wanted = [key for shard in range(3) for key, _ in rows_of(folder, shard) if is_even(key)]
    assert keys == Counter(wanted)
    assert made.summary == "10 samples in 3 shards, kept by keep of 18"


def test_what_is_read_is_the_sample_itself(folder):
    write(folder, "keep", is_even)
    plain, made = source(folder), source(folder, "keep")
    for row in range(5):
        kept, whole = made.read(0, row), plain.read(0, 2 * row)
        assert (kept.key, kept.members) == (whole.key, whole.members)


def test_of_several_sidecars_each_must_keep_a_sample(folder):
    write(folder, "keep-dedup", is_even)
    write(folder, "keep-balance", lambda key: int(key) % 3 == 0)
    made = source(folder, "keep-dedup", "keep-balance")
    keys = [made.read(s, r).key for s, n in enumerate(made.lengths) for r in range(n)]
    assert keys == [k for s in range(3) for k, _ in rows_of(folder, s) if int(k) % 6 == 0]


def test_a_shard_of_which_nothing_is_kept_is_passed_over(folder):
    write(folder, "keep", lambda key: key.startswith("00001"))
    made = source(folder, "keep")
    assert made.lengths == [0, 5, 0]
    order = dataset(made, 5).order
    assert {place.shard for k in range(4) for place in order.places(k, 0, 5)} == {1}
    assert {order.substitute(order.places(0, 0, 1)[0], i).shard for i in range(1, 20)} == {1}


def test_where_nothing_is_kept_there_is_no_source(folder):
    write(folder, "keep", is_even)
    write(folder, "keep-b", lambda key: not is_even(key))
    with pytest.raises(ValueError, match="keep and keep-b together drop all 18 samples"):
        source(folder, "keep", "keep-b")


def test_a_sample_that_the_sidecar_does_not_know_is_an_error(folder):
    write(folder, "keep", is_even)
    rows = take(folder, "keep", 1)
    rows[3]["src_sha256"] = "of an earlier caption"
    put(folder, "keep", 1, [*rows[:1], *rows[2:]])
    told = "1 have no row and 1 one of another caption; run the command again that wrote it"
    with pytest.raises(
        ValueError, match=rf"data\.sources\.s\.sidecars: .*00001\.parquet: .* {told}"
    ):
        source(folder, "keep")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[0] | {"keep": False}], "1 samples have more than one row"),
        (lambda rows: [*rows[1:], rows[0] | {"keep": None}], "expected true or false in `keep`"),
        (lambda rows: [row | {"keep": "yes"} for row in rows], "expected true or false in `keep`"),
        (lambda rows: [{"key": "a", "src_sha256": "b"}], "lacks keep"),
    ],
)
def test_rows_that_say_no_clear_yes_or_no_are_errors(folder, change, message):
    write(folder, "keep", is_even)
    put(folder, "keep", 0, change(take(folder, "keep", 0)))
    with pytest.raises(ValueError, match=message):
        source(folder, "keep")


def test_a_sidecar_of_another_kind_is_no_keep_sidecar(folder):
    put(folder, "keep", 0, [{"key": "x", "src_sha256": "y"}])
    with pytest.raises(ValueError, match="lacks keep: this is no keep sidecar"):
        keep_column(str(folder / "00000.tar"), "keep")


def test_a_missing_sidecar_is_named(folder):
    write(folder, "keep", is_even)
    sidecar_path(folder / "00002.tar", "keep").unlink()
    with pytest.raises(FileNotFoundError, match=r"keep/00002\.parquet is missing"):
        source(folder, "keep")


def test_equally_many_others_that_are_kept_are_other_data(folder):
    def digest(is_kept):
        write(folder, "keep", is_kept)
        return dataset(source(folder, "keep"), 4).digest

    low = digest(lambda key: int(key[-4:]) < 2)
    assert digest(lambda key: int(key[-4:]) < 2) == low
    assert digest(lambda key: 1 <= int(key[-4:]) < 3) != low
    assert dataset(source(folder), 4).digest != low


def test_the_reasons_are_no_part_of_the_data(folder):
    write(folder, "keep", is_even)
    before = dataset(source(folder, "keep"), 4).digest
    put(folder, "keep", 0, [row | {"rule": "words > 2"} for row in take(folder, "keep", 0)])
    assert dataset(source(folder, "keep"), 4).digest == before


def test_neighbours_that_are_not_kept_are_passed_over(folder):
    write(folder, "keep", lambda key: key[:5] != "00001" or key == "000010003")
    near = {"shards": ["00001"] * 3, "keys": ["000010001", "000010003", "000010002"]}
    for shard in range(3):
        pairs = rows_of(folder, shard)
        put(folder, "neighbours", shard, [{"key": k, "src_sha256": d, **near} for k, d in pairs])
    made = source(folder, "neighbours", "keep")
    assert made.find("00001", "000010001") is None
    assert made.find("00001", "000010003") == (1, 0)
    data = dataset(made, 4, pairs=True)
    for k in range(5):
        batch = data[k]
        assert batch["problems"] == []
        assert batch["rows"]["sample_id"].tolist()[1::2] == [9, 9]


def test_without_any_kept_neighbour_a_substitute_is_told(folder):
    write(folder, "keep", lambda key: key[:5] != "00001")
    near = {"shards": ["00001"], "keys": ["000010001"]}
    for shard in range(3):
        pairs = rows_of(folder, shard)
        put(folder, "neighbours", shard, [{"key": k, "src_sha256": d, **near} for k, d in pairs])
    problems = dataset(source(folder, "neighbours", "keep"), 4, pairs=True)[0]["problems"]
    assert [p.reason for p in problems] == ["its neighbours are not kept"] * 2


@given(st.lists(st.booleans(), max_size=70))
def test_bits_hold_which_rows_are_kept(keep):
    kept = Kept(np.packbits(np.array(keep, bool)), len(keep))
    assert kept.rows().tolist() == [row for row, kept in enumerate(keep) if kept]
    assert len(kept) == sum(keep)


def test_the_column_is_in_the_order_of_the_shard(folder):
    write(folder, "keep", is_even, -1)
    wanted = [is_even(key) for key, _ in rows_of(folder, 0)]
    assert keep_column(folder / "00000.tar", "keep").tolist() == wanted
