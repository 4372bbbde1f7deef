"""Pictures to unit vectors: the same as by hand, and what is bad is reported."""

import hashlib
import io
import os
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from tests.vlp.retrieval.embedding.pictures_made import folder_of, picture, quiet, shard_of
from vlp.errors import InputError, RunError
from vlp.retrieval.embedding import decoding
from vlp.retrieval.embedding.embed import EmbedOptions, embed_pictures
from vlp.retrieval.embedding.sources import DataOptions, open_data


def embedded(encoder, data, **options):
    items = open_data(str(data), DataOptions(), quiet)
    return embed_pictures(encoder, items, EmbedOptions(**{"workers": 2, "batch_size": 4} | options))


def test_vectors_are_those_of_the_model(tmp_path, encoder):
    paths = sorted(folder_of(tmp_path, [f"{n}.png" for n in range(7)]).iterdir())
    (tmp_path / "3.txt").write_text("a red circle")
    found = embedded(encoder, tmp_path)
    expected = encoder.encode_image(paths).numpy()
    np.testing.assert_allclose(found.vectors, expected, atol=1e-3)
    np.testing.assert_allclose(
        np.linalg.norm(found.vectors.astype(np.float32), axis=1), 1, atol=2e-3
    )
    assert found.vectors.dtype == np.float16
    text = encoder.encode_text("a red circle").numpy()
    np.testing.assert_allclose(found.text_vectors[3], text, atol=1e-3)
    assert not np.delete(found.text_vectors, 3, axis=0).any()


def test_table_tells_what_is_known_of_each_picture(tmp_path, encoder):
    samples = [
        ("a", {"png": picture(1, (30, 17)), "txt": "one", "json": {"n": 4}}),
        ("b", {"png": picture(2), "json": {"caption": "two", "captions": ["two", "three"]}}),
        ("c", {"png": picture(1, (30, 17)), "txt": "copy"}),
    ]
    shard = shard_of(tmp_path / "0.tar", samples)
    found = embedded(encoder, shard)
    rows = found.table.to_pylist()
    assert [row["image_path"] for row in rows] == [f"{shard}/a.png", f"{shard}/b.png"]
    first = rows[0]
    assert (first["caption"], first["captions"]) == ("one", ["one", "copy"])
    assert (first["width"], first["height"], first["n"], first["key"]) == (30, 17, 4, "a")
    assert first["sha256"] == hashlib.sha256(picture(1, (30, 17))).hexdigest()
    assert first["copies"] == [f"{shard}/c.png"]
    assert first["copy_marks"] == [found.copies[0].item.mark]
    assert rows[1]["captions"] == ["two", "three"]
    assert rows[1]["copies"] == []


def test_turned_pictures_are_measured_upright(tmp_path, encoder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 17)).save(tmp_path / "a.jpg", exif=exif)
    row = embedded(encoder, tmp_path).table.to_pylist()[0]
    assert (row["width"], row["height"]) == (17, 30)


def hostile(folder):
    """Pictures of which none can be used; {name: what is said}."""
    half = picture(1)
    (folder / "html.jpg").write_text("<html>not found</html>")
    (folder / "empty.jpg").touch()
    (folder / "cut.png").write_bytes(half[: len(half) // 2])
    (folder / "eps.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.jpg").symlink_to("nowhere")
    Image.new("1", (1, 500_000)).save(folder / "narrow.png")
    bomb = io.BytesIO()
    Image.new("1", (10_001, 10_000)).save(bomb, "PNG")
    (folder / "bomb.png").write_bytes(bomb.getvalue())
    with open(os.fsencode(folder) + b"/\xff.png", "wb") as file:
        file.write(picture(2))
    return {
        "html.jpg": "cannot identify image file",
        "empty.jpg": "empty",
        "cut.png": "truncated",
        "eps.jpg": "EPS is not read",
        "pipe.jpg": "no regular file",
        "gone.jpg": "no such file",
        "narrow.png": "1 x 500000 pixels: far too narrow",
        "bomb.png": "more than the limit",
        "\udcff.png": "not UTF-8",
    }


def test_hostile_pictures_are_reported_and_the_others_embedded(tmp_path, encoder):
    folder_of(tmp_path, ["good/a.png", "good/z.png"])
    expected = hostile(tmp_path)
    found = embedded(encoder, tmp_path)
    told = {os.path.basename(bad.item.image_path): bad.problem for bad in found.problems}
    assert told.keys() == expected.keys()
    assert all(part in told[name] for name, part in expected.items())
    assert len(found.vectors) == len(found.table) == 2
    assert not any(str(tmp_path) in problem for problem in told.values())


def test_copies_of_a_bad_picture_are_reported_with_it(tmp_path, encoder):
    folder_of(tmp_path, ["z.png"])
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("<html>")
    found = embedded(encoder, tmp_path)
    assert [os.path.basename(bad.item.image_path) for bad in found.problems] == ["a.jpg", "b.jpg"]
    assert found.problems[1].problem.startswith(f"the same as {tmp_path}/a.jpg: Unidentified")
    assert found.copies == []


def test_picture_that_vanishes_is_reported(tmp_path, encoder):
    folder_of(tmp_path, ["a.png", "b.png"])
    items = open_data(str(tmp_path), DataOptions(), quiet)
    (tmp_path / "a.png").unlink()
    found = embed_pictures(encoder, items, EmbedOptions())
    assert [bad.problem for bad in found.problems] == ["no such file or directory"]
    assert found.table["image_path"].to_pylist() == [f"{tmp_path}/b.png"]


def test_features_that_are_no_numbers_are_reported(tmp_path, encoder, monkeypatch):
    folder_of(tmp_path, [f"{n}.png" for n in range(3)])
    whole = type(encoder).encode_image

    def broken(self, pixels):
        features = whole(self, pixels).clone()
        features[1, 0] = float("nan")
        return features

    monkeypatch.setattr(type(encoder), "encode_image", broken)
    found = embedded(encoder, tmp_path)
    assert [bad.problem for bad in found.problems] == ["the model gives NaN or infinity for it"]
    assert found.table["image_path"].to_pylist() == [f"{tmp_path}/{n}.png" for n in (0, 2)]
    assert np.isfinite(found.vectors).all()


def test_no_picture_at_all(encoder):
    found = embed_pictures(encoder, [], EmbedOptions())
    assert found.vectors.shape == (0, 16)
    assert len(found.table) == 0


def test_texts_are_left_out_on_demand_and_where_there_are_none(tmp_path, encoder):
    folder_of(tmp_path, ["a.png"])
    assert embedded(encoder, tmp_path).text_vectors is None
    (tmp_path / "a.txt").write_text("a dog")
    assert embedded(encoder, tmp_path, texts=False).text_vectors is None
    assert embedded(encoder, tmp_path).text_vectors.shape == (1, 16)


def test_cut_captions_are_counted(tmp_path, encoder):
    folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_text("red " * 40)
    (tmp_path / "b.txt").write_text("red")
    assert embedded(encoder, tmp_path).cut == 1


def test_result_is_the_same_for_any_number_of_workers(tmp_path, encoder):
    folder_of(tmp_path, [f"{n:02d}.png" for n in range(20)])
    one, many = (embedded(encoder, tmp_path, workers=n) for n in (1, 7))
    assert one.vectors.tobytes() == many.vectors.tobytes()
    assert one.table.equals(many.table)


def test_progress_counts_every_picture(tmp_path, encoder):
    folder_of(tmp_path, [f"{n}.png" for n in range(6)])
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "bad.png").write_text("x")
    items = open_data(str(tmp_path), DataOptions(), quiet)
    done = []
    embed_pictures(encoder, items, EmbedOptions(batch_size=3), done.append)
    assert sum(done) == len(items) == 8


def test_few_pictures_wait_for_the_model(tmp_path, encoder, monkeypatch):
    """Decoding does not run ahead of a slow model until the memory is full."""
    folder_of(tmp_path, [f"{n:02d}.png" for n in range(40)])
    items = open_data(str(tmp_path), DataOptions(), quiet)
    read = []
    original = decoding.read_picture
    monkeypatch.setattr(decoding, "read_picture", lambda path: read.append(path) or original(path))
    batches = decoding.prepared_batches(items, encoder.preprocess, encoder.image_size, 4, 2)
    assert len(next(batches)) == 4
    assert len(read) <= 12
    batches.close()


def test_stopping_leaves_no_thread(tmp_path, encoder):
    folder_of(tmp_path, [f"{n:02d}.png" for n in range(20)])
    before = threading.active_count()
    items = open_data(str(tmp_path), DataOptions(), quiet)

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_pictures(encoder, items, EmbedOptions(batch_size=4, workers=3), stop)
    assert threading.active_count() == before


def test_filters_of_warnings_are_as_they_were(tmp_path, encoder):
    folder_of(tmp_path, [f"{n:02d}.png" for n in range(20)])
    before = list(warnings.filters)
    embedded(encoder, tmp_path, workers=6)
    assert list(warnings.filters) == before


def test_too_little_memory_names_the_remedy(tmp_path, encoder, monkeypatch):
    folder_of(tmp_path, ["a.png"])

    def full(self, pixels):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(type(encoder), "encode_image", full)
    with pytest.raises(RunError, match=r"CUDA out of memory; a smaller --batch-size"):
        embedded(encoder, tmp_path)


@pytest.mark.parametrize("name", ["batch_size", "workers"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} 0"):
        EmbedOptions(**{name: 0})
