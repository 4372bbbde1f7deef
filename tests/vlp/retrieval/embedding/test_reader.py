"""Reading embeddings: ours, clip-retrieval's, and files that do not fit one another."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlp.errors import InputError
from vlp.retrieval.embedding.reader import is_embeddings, read_embeddings


def unit(rows, dim=4, seed=0, dtype=np.float16):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


def clip_retrieval(folder, lengths, width=None, text=True):
    """What its writer makes: a pandas frame of paths, captions and flattened records beside npy."""
    width = width or len(str(len(lengths)))
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(lengths):
        digits = str(number).zfill(width)
        np.save(folder / f"img_emb/img_emb_{digits}.npy", unit(rows, seed=number))
        if text:
            np.save(folder / f"text_emb/text_emb_{digits}.npy", unit(rows, seed=number + 100))
        frame = pd.DataFrame(
            {
                "image_path": [f"{number}-{row}" for row in range(rows)],
                "caption": [f"caption {number}-{row}" for row in range(rows)],
                "exif.Model": ["x"] * rows,
                "original_width": [640] * rows,
            }
        )
        frame.to_parquet(folder / f"metadata/metadata_{digits}.parquet")
    return folder


def test_reads_what_clip_retrieval_writes(tmp_path):
    lengths = [3, 1, 2, 2, 1, 1, 1, 1, 1, 1, 2]  # eleven parts: two digits
    found = read_embeddings(clip_retrieval(tmp_path, lengths))
    assert (found.rows, found.dim, found.model, found.data) == (16, 4, None, None)
    assert found.modality == "image"
    for number, (vectors, table) in enumerate(found.partitions()):
        np.testing.assert_array_equal(vectors, unit(lengths[number], seed=number))
        assert table["image_path"].to_pylist()[0] == f"{number}-0"
        assert table.column_names == ["image_path", "caption", "exif.Model", "original_width"]


def test_texts(tmp_path):
    found = read_embeddings(clip_retrieval(tmp_path, [3]), "text")
    vectors, table = next(found.partitions())
    np.testing.assert_array_equal(vectors, unit(3, seed=100))
    assert found.modality == "text"
    assert table["caption"].to_pylist()[2] == "caption 0-2"


def test_numbers_of_different_width_are_in_order(tmp_path):
    clip_retrieval(tmp_path, [1] * 3, width=1)
    clip_retrieval(tmp_path, [2] * 12, width=2)
    lists = [t["image_path"].to_pylist() for _, t in read_embeddings(tmp_path).partitions()]
    assert [len(paths) for paths in lists] == [1, 2, 1, 2, 1, 2] + [2] * 9
    numbers = [int(paths[0].partition("-")[0]) for paths in lists]
    assert numbers == [0, 0, 1, 1, 2, 2, *range(3, 12)]


def test_vectors_are_not_read_at_once(tmp_path):
    vectors, _ = next(read_embeddings(clip_retrieval(tmp_path, [3])).partitions())
    assert isinstance(vectors, np.memmap)


def test_float32_and_lengths_other_than_one(tmp_path):
    clip_retrieval(tmp_path, [3], text=False)
    raw = 7 * unit(3, dtype=np.float32)
    np.save(tmp_path / "img_emb/img_emb_0.npy", raw)
    told = []
    vectors, _ = next(read_embeddings(tmp_path, say=told.append).partitions())
    np.testing.assert_allclose(vectors, raw / 7, atol=1e-3)
    assert "img_emb_0.npy: vectors of length 7 to 7 are normalised" in told[0]


def test_columns_that_pandas_adds_are_left_out(tmp_path):
    clip_retrieval(tmp_path, [2])
    frame = pd.DataFrame({"image_path": ["a", "b"]}, index=[5, 9])
    frame.to_parquet(tmp_path / "metadata/metadata_0.parquet")
    _, table = next(read_embeddings(tmp_path).partitions())
    assert table.column_names == ["image_path"]


def test_empty_parts_are_passed_over(tmp_path):
    found = read_embeddings(clip_retrieval(tmp_path, [2, 0, 1]))
    assert [len(vectors) for vectors, _ in found.partitions()] == [2, 1]
    assert found.rows == 3


def test_rows_without_a_caption_are_no_texts(tmp_path):
    clip_retrieval(tmp_path, [3])
    table = pa.table({"image_path": ["a", "b", "c"], "caption": ["x", None, "z"]})
    pq.write_table(table, tmp_path / "metadata/metadata_0.parquet")
    vectors = unit(3)
    vectors[1] = 0
    np.save(tmp_path / "text_emb/text_emb_0.npy", vectors)
    found = read_embeddings(tmp_path, "text")
    assert found.rows == 2
    own, rows = next(found.partitions())
    np.testing.assert_array_equal(own, vectors[[0, 2]])
    assert rows["image_path"].to_pylist() == ["a", "c"]
    assert read_embeddings(tmp_path).rows == 3


def save(name, array):
    return lambda folder: np.save(folder / name, array, allow_pickle=True)


def cut(folder):
    path = folder / "img_emb/img_emb_1.npy"
    path.write_bytes(path.read_bytes()[:-3])


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


FIRST, SECOND = "img_emb/img_emb_0.npy", "img_emb/img_emb_1.npy"
NAN, ZERO = unit(2), unit(2)
NAN[1, 0], ZERO[0] = np.nan, 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (remove("metadata/metadata_1.parquet"), "img_emb_1.npy has no metadata_1.parquet"),
        (remove(SECOND), "metadata_1.parquet has no img_emb_1.npy"),
        (save(SECOND, unit(3)), "img_emb_1.npy has 3 rows, but"),
        (save(SECOND, unit(2, dim=5)), "img_emb_1.npy has vectors of 5 numbers"),
        (save(SECOND, unit(2).astype(np.float64)), "float64 [2, 4]: expected float16 or float32"),
        (save(SECOND, unit(2)[:, 0]), "float16 [2]: expected"),
        (save(SECOND, np.array([[{}]])), "img_emb_1.npy holds object"),
        (save(SECOND, NAN), "img_emb_1.npy: row 1 holds NaN or infinity"),
        (save(FIRST, ZERO), "img_emb_0.npy: row 0 holds only zeros"),
        (cut, "img_emb_1.npy has"),
        (write(SECOND, b"not npy"), "img_emb_1.npy is no file of vectors"),
        (write("metadata/metadata_1.parquet", b"x"), "metadata_1.parquet is not readable"),
        (write("embed.json", b"{"), "embed.json cannot be read"),
        (write("embed.json", b'{"schema": 99}'), "embed.json: schema 99; this version reads 1"),
        (write("embed.json", b'{"schema": 1}'), "is not finished: run the same"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, told):
    clip_retrieval(tmp_path, [2, 2], width=1)
    change(tmp_path)
    with pytest.raises(InputError) as raised:
        list(read_embeddings(tmp_path).partitions())
    assert told in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_what_is_no_embeddings(tmp_path):
    assert not is_embeddings(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_embeddings(tmp_path / "none")
    with pytest.raises(InputError, match="has no img_emb/img_emb_NUMBER"):
        read_embeddings(tmp_path)
    clip_retrieval(tmp_path, [2], text=False)
    with pytest.raises(InputError, match="it has img_emb"):
        read_embeddings(tmp_path, "text")
    assert is_embeddings(tmp_path)


def test_unfinished_embeddings_are_known_as_such(tmp_path):
    (tmp_path / "embed.json").write_text(json.dumps({"schema": 1, "complete": False}))
    assert is_embeddings(tmp_path)
    with pytest.raises(InputError, match="is not finished"):
        read_embeddings(tmp_path)
