"""Features that are kept: what is encoded anew and what is not, and that it changes no bit."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from eval import features as module
from eval.datasets import open_dataset
from eval.encode import encode_texts
from eval.features import Features
from eval.run import evaluate_tasks
from eval.spec import EvalSpec
from tests.eval.conftest import PALETTE, ColourEncoder, Ranks, picture
from vlp import dist
from vlp.data.images import UnreadableImageError

TEXTS = ["a red one", "blue", "something else", "blue"]


class Counting(ColourEncoder):
    """Notes how many pictures and texts it was asked for; a feature depends on its batch."""

    batch_matters = 0.0
    said = ("fp32", 8)

    def __init__(self):
        self.images, self.texts = 0, []

    @property
    def protocol(self):
        return {**super().protocol, "precision": self.said[0], "context_length": self.said[1]}

    def encode_image(self, images):
        self.images += len(images)
        return super().encode_image(images)

    def encode_text(self, texts):
        self.texts += texts
        rows = [torch.tensor(self.colour(text)) for text in texts]
        plain = torch.stack([row / 255 - 0.5 for row in rows])
        longest = max(map(len, texts)) * self.batch_matters  # as padding to the longest text does
        return F.normalize(torch.cat([plain, torch.full((len(texts), 1), 0.3 + longest)], 1))


def look(data, tmp_path, model=None, **options):
    """(pictures, texts) that were encoded, and the features of both."""
    model = model or Counting()
    before = model.images, len(model.texts)
    own = Features(model, tmp_path / "cache", **{"batch": 4, **options})
    images = own.images(data if not isinstance(data, Path) else open_dataset(data))
    texts = own.texts(TEXTS)
    counts = model.images - before[0], len(model.texts) - before[1]
    return counts, (images.features, images.positions, texts)


def same(one, other):
    return torch.equal(one[0], other[0]) and one[1] == other[1] and torch.equal(one[2], other[2])


def test_what_is_kept_is_not_encoded_again(class_folders, tmp_path):
    counts, first = look(class_folders, tmp_path)
    assert counts == (21, 3)
    counts, again = look(class_folders, tmp_path)
    assert counts == (0, 0)
    assert same(first, again)
    own = Features(Counting(), None, batch=4)
    alone = own.images(open_dataset(class_folders)), own.texts(TEXTS)
    assert same(first, (alone[0].features, alone[0].positions, alone[1]))
    assert torch.equal(first[2], ColourEncoder().encode_text(TEXTS))


def test_a_data_set_is_encoded_once_in_a_run(class_folders):
    model, dataset = Counting(), open_dataset(class_folders)
    own = Features(model, None, batch=4)
    assert own.images(dataset) is own.images(replace(dataset, labels=None))
    assert torch.equal(own.texts(TEXTS), own.texts(TEXTS[::-1]).flip(0))
    assert (model.images, len(model.texts)) == (21, 3)


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"batch": 5}, {}),
        ({}, {"said": ("bf16", 8)}),  # precision
        ({}, {"said": ("fp32", 9)}),  # context length
        ({}, {"fingerprint": "f" * 64}),
        ({}, {"fingerprint": "0123456789abcdef" * 3 + "f" * 16}),  # which begins as that of another
    ],
)
def test_another_way_to_encode_is_encoded_anew(options, model, class_folders, tmp_path):
    look(class_folders, tmp_path)
    other = Counting()
    for name, value in model.items():
        setattr(other, name, value)
    assert look(class_folders, tmp_path, other, **options)[0] == (21, 3)
    assert look(class_folders, tmp_path)[0] == (0, 0)  # and what was kept is still there


def test_another_device_encodes_anew():
    other = Counting()
    other.device = torch.device("meta")
    keys = {Features(model)._key("texts", TEXTS) for model in (Counting(), Counting(), other)}
    assert len(keys) == 2


def test_other_versions_encode_anew(class_folders, tmp_path, monkeypatch):
    look(class_folders, tmp_path)
    version = module.version
    monkeypatch.setattr(
        module, "version", lambda name: "9.9" if name == "pillow" else version(name)
    )
    assert look(class_folders, tmp_path)[0] == (21, 3)


def test_a_scale_is_no_matter_of_the_features(class_folders, tmp_path):
    look(class_folders, tmp_path)

    class Scaled(Counting):
        @property
        def protocol(self):
            return {**super().protocol, "logit_scale": 3.0}

    assert look(class_folders, tmp_path, Scaled())[0] == (0, 0)


def test_a_picture_that_was_replaced_is_encoded_anew(class_folders, tmp_path):
    before = look(class_folders, tmp_path)[1]
    files = [class_folders / "test" / name / "0.png" for name in ("red", "blue")]
    whole = [file.read_bytes() for file in files]
    size = max(map(len, whole))
    for file, data in zip(files, whole, strict=True):  # the same size, by what follows the picture
        file.write_bytes(data.ljust(size, b"\0"))
    look(class_folders, tmp_path)
    for file, data in zip(files, reversed(whole), strict=True):
        file.write_bytes(data.ljust(size, b"\0"))
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))
    counts, after = look(class_folders, tmp_path)
    assert counts == (21, 0)
    assert not torch.equal(before[0], after[0])
    (class_folders / "test" / "red" / "9.png").write_bytes(picture(PALETTE["red"]))
    assert look(class_folders, tmp_path)[0] == (22, 0)


def test_a_damaged_file_is_said_and_made_anew(class_folders, tmp_path, caplog):
    first = look(class_folders, tmp_path)[1]
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len(files) == 2
    assert files[0].parent.name == ColourEncoder.fingerprint[:16]
    whole = [file.read_bytes() for file in files]
    for damage in (
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"no such file" * 20,
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],  # a bit of a feature
        lambda data: data.replace(b'\\"sha256\\"', b'\\"sha257\\"'),
        lambda data: data.replace(b"__metadata__", b"__metadat4__"),
    ):
        for file, data in zip(files, whole, strict=True):
            file.write_bytes(damage(data))
        caplog.clear()
        counts, found = look(class_folders, tmp_path)
        assert counts == (21, 3)
        assert same(found, first)
        assert caplog.text.count("cannot be read and is made anew") == 2
        assert [file.read_bytes() for file in files] == whole
    assert look(class_folders, tmp_path)[0] == (0, 0)


def test_a_folder_that_cannot_be_written_fails_nothing(class_folders, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    counts, found = look(class_folders, tmp_path)
    assert counts == (21, 3)
    assert len(found[0]) == 21
    assert caplog.text.count("so it is not kept") == 2
    (tmp_path / "cache").unlink()


def test_pictures_that_were_skipped_stay_so_as_long_as_they_are_unreadable(
    class_folders, tmp_path, caplog, monkeypatch
):
    (class_folders / "test" / "red" / "1.png").write_bytes(b"no picture")
    dataset = open_dataset(class_folders)
    first = look(dataset, tmp_path)
    assert first[0] == (20, 3)
    caplog.clear()
    own = Features(Counting(), tmp_path / "cache", batch=4)
    kept = own.images(dataset)
    assert own.encoder.images == 0
    assert kept.skipped == [("red/1.png", kept.skipped[0][1])]
    assert kept.positions == first[1][1]
    assert "1 of 21 pictures skipped" in caplog.text  # also where nothing is encoded
    (tmp_path / "cache").rename(tmp_path / "old")

    def fails(self, index):  # as a disk does that comes back
        if self.keys[index].startswith("blue/"):
            raise UnreadableImageError("Input/output error")
        return item(self, index)

    item = type(dataset).item
    monkeypatch.setattr(type(dataset), "item", fails)
    assert look(dataset, tmp_path)[0] == (17, 3)
    monkeypatch.setattr(type(dataset), "item", item)
    assert look(dataset, tmp_path)[0] == (20, 0)


def test_tasks_share_the_captions_of_a_data_set(own_shards, tmp_path):
    """And a caption has the same feature, to the last bit, whoever asks for it first."""
    dataset = open_dataset(own_shards)
    captions = [text for own in dataset.captions for text in own]
    first = [own[0] for own in dataset.captions]
    found = []
    for folder, order in ((None, 0), (None, 1), (tmp_path / "a", 0), (tmp_path / "b", 1)):
        model = Counting()
        model.batch_matters = 1e-3
        own = Features(model, folder, batch=4)
        asked = [captions, first][:: 1 - 2 * order]
        found += [own.texts(texts, captions) for texts in asked][:: 1 - 2 * order]
        assert sorted(model.texts) == sorted(captions)
        assert torch.equal(own.texts(first[::-1], captions), found[-1].flip(0))
        assert len(own.texts([*first, "another"], captions)) == 8  # a set of its own
        assert len(model.texts) == 14 + 8
    for whole, part in zip(found[::2], found[1::2], strict=True):
        assert torch.equal(whole, found[0])
        assert torch.equal(part, found[1])
        assert torch.equal(part, whole[::2])


def test_results_are_the_same_with_and_without_what_is_kept(own_shards, tmp_path, monkeypatch):
    """Tasks alone and together, on a first and on a second run."""
    names = ("retrieval", "geometry")
    spec = EvalSpec(task="geometry", data=str(own_shards), batch=3)

    def metrics(tasks, folder):
        model = Counting()
        model.batch_matters = 1e-3
        monkeypatch.setattr(
            "eval.run.Features", lambda encoder, **how: Features(encoder, folder, **how)
        )
        found = evaluate_tasks(model, spec, tasks, description={}, output=None, show_progress=False)
        kept = [(record["metrics"], record["ci95"]) for record in found.values()]
        return dict(zip(tasks, kept, strict=True)), model.images

    plain, _ = metrics(names, None)
    for folder in (None, tmp_path / "a"):
        for name in names:
            assert metrics((name,), folder)[0] == {name: plain[name]}
    assert metrics(names[::-1], tmp_path / "a") == ({n: plain[n] for n in names[::-1]}, 0)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_agree(world, class_folders, tmp_path, monkeypatch):
    dataset = open_dataset(class_folders)
    alone = look(dataset, tmp_path / "alone")[1]
    ranks = Ranks(world)
    ranks.patch(monkeypatch)
    models = [Counting() for _ in range(world)]

    def on_rank(place):
        return lambda: look(dataset, place(dist.rank()), models[dist.rank()])

    first = ranks.run(on_rank(lambda rank: tmp_path))
    assert sum(counts[0] for counts, _ in first) == 21
    assert all(same(found, alone) for _, found in first)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2
    again = ranks.run(on_rank(lambda rank: tmp_path))
    assert [counts for counts, _ in again] == [(0, 0)] * world
    assert all(same(found, alone) for _, found in again)
    # a rank that sees nothing of it: all encode, as encoding needs all
    other = ranks.run(on_rank(lambda rank: tmp_path if rank == 0 else tmp_path / f"{rank}"))
    assert sum(counts[0] for counts, _ in other) == 21
    assert all(same(found, alone) for _, found in other)


def test_where_metrics_cannot_be_computed_features_are_not_put():
    """Of a device without float64 they are taken away after encoding, and so are kept ones."""
    model = Counting()
    model.device = torch.device("mps")
    rows = torch.ones(2, 3)
    assert Features(model)._placed(rows).device.type == "cpu"
    model.device = torch.device("meta")
    assert Features(model)._placed(rows).device.type == "meta"


def test_texts_of_equal_length_are_encoded_together():
    """A batch is as long as its longest text: by tokens, where the model can tell them."""

    class Measured(ColourEncoder):
        asked = ()

        def text_lengths(self, texts):
            return [len(text.split()) for text in texts]

        def encode_text(self, texts):
            self.asked += (list(texts),)
            return super().encode_text(texts)

    encoder = Measured()
    texts = ["red", "a b c red", "antidisestablishmentarianism", "a b c d", "green", "blue sky"]
    found = encode_texts(texts, encoder, batch=3)
    assert [sorted(len(text.split()) for text in batch) for batch in encoder.asked] == [
        [1, 1, 1],
        [2, 4, 4],
    ]
    assert found.equal(ColourEncoder().encode_text(texts))
