"""Hubness by its formula, and a file of generic texts that is checked when it is read."""

import numpy as np
import pytest
import torch

from tests.vlp.retrieval.index_states import unit_vectors
from vlp.errors import InputError
from vlp.retrieval.background import Background, generic_texts, make_background, read_background


def test_generic_texts_are_a_thousand_different_ones():
    assert len(set(generic_texts())) == len(generic_texts()) == 1000


def test_they_are_encoded_in_their_order():
    made = make_background(lambda texts: torch.tensor([[float(len(text)), 1.0] for text in texts]))
    assert made.texts[:, 0].tolist() == [len(text) for text in generic_texts()]


@pytest.mark.parametrize("texts", [3, 10, 50])
def test_hubness_is_the_mean_of_the_ten_largest_cosines(texts):
    background = Background(unit_vectors(texts, 1).astype(np.float32))
    vectors = unit_vectors(20, 2)
    found = background.hubness(vectors)
    for vector, own in zip(vectors.astype(np.float64), found, strict=True):
        largest = sorted((float(vector @ text) for text in background.texts), reverse=True)[:10]
        assert own == pytest.approx(sum(largest) / len(largest), abs=1e-6)
    assert background.hubness(vectors[:0]).shape == (0,)


def test_many_rows_are_as_few(monkeypatch):
    background, vectors = Background(unit_vectors(30, 1).astype(np.float32)), unit_vectors(20, 2)
    whole = background.hubness(vectors)
    monkeypatch.setattr("vlp.retrieval.background._BLOCK", 7)
    np.testing.assert_allclose(background.hubness(vectors), whole, atol=1e-6)


def test_what_was_written_is_read(tmp_path):
    background = Background(unit_vectors(30, 1).astype(np.float32))
    background.write(tmp_path / "background.npz")
    assert np.array_equal(read_background(tmp_path / "background.npz").texts, background.texts)


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "empty", "nan", "pickle"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "background.npz"
    Background(unit_vectors(30, 1).astype(np.float32)).write(path)
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "other":
        np.savez(path, pictures=np.ones(3))
    elif damage == "empty":
        np.savez(path, texts=np.ones((0, 8), np.float16))
    elif damage == "nan":
        np.savez(path, texts=np.full((3, 8), np.nan))
    else:
        np.savez(path, texts=np.array([{}], object))
    with pytest.raises(InputError, match=r"background\.npz"):
        read_background(path)
