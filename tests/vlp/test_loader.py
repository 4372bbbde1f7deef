"""Batches: the same on every layout, and unusable samples replaced and named."""

import io
import json
import shutil

import pytest
import torch

from tests.conftest import make_shards
from vlp.data.index import write_index
from vlp.data.loader import PairDataset, Pipeline, batches
from vlp.data.order import BatchOrder
from vlp.data.source import Source, SourceConfig, UnusableSampleError, expand_shards
from vlp.data.tar import DamagedShardError, write_tar
from vlp.data.transforms import Augment, TrainTransform


def tokenize(texts):
    return torch.tensor([[len(t), sum(map(ord, t))] for t in texts])


def no_cut(texts, tokens):
    return 0


def dataset(pattern, batch=12, ranks=1, rank=0, **source):
    sources = {"s": Source("s", SourceConfig(shards=str(pattern), **source))}
    order = BatchOrder({"s": sources["s"].lengths}, {"s": 1.0}, batch, 5, 16)
    pipeline = Pipeline(
        transform=TrainTransform((16, 16), Augment(scale=(0.5, 1.0), flip=0.5, color_jitter=0.2)),
        tokenize=tokenize,
        truncated=no_cut,
        trim=None,
    )
    rows = batch // ranks
    return PairDataset(sources, order, pipeline, (rank * rows, (rank + 1) * rows))


def collect(pattern, ranks, workers, first=3, steps=4):
    """Global batches put together from all ranks."""
    parts = [
        list(
            batches(
                dataset(pattern, ranks=ranks, rank=r),
                first,
                first + steps,
                workers=workers,
                pin_memory=False,
            )
        )
        for r in range(ranks)
    ]
    names = ("sample_id", "pixels", "tokens")
    return [
        {name: torch.cat([part[k]["rows"][name] for part in parts]) for name in names}
        for k in range(steps)
    ]


@pytest.fixture(scope="module")
def reference(shards):
    return collect(shards, 1, 0)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_layout_sees_the_same_global_batches(shards, reference, ranks, workers):
    found = collect(shards, ranks, workers)
    for ours, theirs in zip(found, reference, strict=True):
        for name in theirs:
            assert torch.equal(ours[name], theirs[name]), name


def test_one_small_shard_feeds_three_ranks_with_three_workers(tmp_path):
    make_shards(tmp_path, [5])
    found = collect(tmp_path, 3, 3, first=0, steps=5)
    counts = torch.cat([b["sample_id"] for b in found]).bincount(minlength=5)
    assert counts.tolist() == [12] * 5  # 60 samples: 12 whole epochs


def test_the_caption_is_drawn_anew_in_every_epoch(shards):
    data = dataset(shards, batch=64)
    drawn = [data[k]["rows"] for k in range(8)]
    tokens = [dict(zip(b["sample_id"].tolist(), b["tokens"].tolist(), strict=True)) for b in drawn]
    different = sum(len({tuple(t[i]) for t in tokens}) == 2 for i in range(64))
    assert different > 50  # two captions each, eight epochs: 2 * 0.5 ** 8 draw only one


def broken(tmp_path, members):
    make_shards(tmp_path, [6])
    good = dataset(tmp_path).sources[0]
    samples = [(f"k{i}", dict(good.read(0, i).members)) for i in range(6)]
    samples[2] = ("bad", members)
    write_tar(tmp_path / "00000.tar", samples)
    write_index(tmp_path / "00000.tar")
    return tmp_path


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"jpg": b"no picture", "txt": b"a caption"}, "UnidentifiedImage"),
        ({"jpg": b"", "txt": b"a caption"}, "empty"),
        ({"txt": b"a caption"}, "no picture"),
        ({"jpg": b"", "txt": b"  "}, "empty caption"),
        ({"jpg": b"", "txt": b"\xff\xfe"}, "decode"),
        ({"jpg": b"", "json": b"{"}, "caption"),
    ],
)
def test_an_unusable_sample_is_replaced_and_named(tmp_path, members, reason):
    data = dataset(broken(tmp_path, members), batch=6)
    batch = data[0]
    assert len(batch["rows"]["pixels"]) == 6
    assert batch["rows"]["sample_id"].tolist().count(2) == 0
    assert {p.key for p in batch["problems"]} == {"bad"}
    assert reason in batch["problems"][0].reason
    assert batch["problems"][0].shard.endswith("00000.tar")
    again = data[0]
    assert torch.equal(batch["rows"]["pixels"], again["rows"]["pixels"])


def test_nothing_usable_is_an_error_not_a_hang(tmp_path):
    write_tar(tmp_path / "0.tar", [("a", {"jpg": b"x", "txt": b"c"})])
    write_index(tmp_path / "0.tar")
    with pytest.raises(UnusableSampleError, match=r"in a row are unusable.*a of .*0.tar"):
        dataset(tmp_path)[0]


def test_a_cut_shard_is_named(tmp_path):
    make_shards(tmp_path, [6])
    path = tmp_path / "00000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DamagedShardError, match=r"00000.tar has 3000 bytes but was indexed with"):
        dataset(tmp_path)[0]


def test_what_no_shard_matches_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"data.sources.x.shards: no shards matched '.*none-"):
        expand_shards("x", str(tmp_path / "none-*.tar"))
    with pytest.raises(FileNotFoundError, match=r"2 of 2 shards are missing.*none-0.tar"):
        expand_shards("x", str(tmp_path / "none-{0..1}.tar"))
    with pytest.raises(ValueError, match="only local shards"):
        expand_shards("x", "pipe:cat x.tar")


def test_a_missing_index_says_how_to_make_it(tmp_path, shards):
    shutil.copy(shards / "00002.tar", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data_tools index .*00002.tar"):
        dataset(tmp_path)


def test_foreign_json_without_captions_falls_back_to_txt(tmp_path):
    picture = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (20, 20)).save(picture, "PNG")
    record = json.dumps({"caption": "x", "key": "a"}).encode()
    write_tar(
        tmp_path / "0.tar", [("a", {"png": picture.getvalue(), "json": record, "txt": b"the text"})]
    )
    write_index(tmp_path / "0.tar")
    assert dataset(tmp_path).sources[0].read(0, 0).captions() == ["the text"]
