"""Outcomes of every kind written as predictions, read back, and damaged."""

import numpy as np
import pytest

from eval import predictions
from tests.vlp.test_metrics_outcomes import PLACE, every_kind
from vlp.metrics.outcomes import compare, distribution


def test_every_kind_survives_the_disk(tmp_path):
    path = tmp_path / "made" / "p.npz"
    arrays = {**PLACE, "key": np.array(["a", "b"])}
    kinds = {f"{name}@5:x/ü": outcome for name, outcome in every_kind().items()}
    predictions.write(path, arrays, kinds)
    saved = predictions.read(path)
    assert saved["key"].tolist() == ["a", "b"]
    found = predictions.outcomes(saved)
    assert found.keys() == kinds.keys()
    for name, outcome in kinds.items():
        assert type(found[name]) is type(outcome)
        assert found[name].value == outcome.value
        assert np.array_equal(distribution(found[name]), distribution(outcome))
        assert compare(found[name], outcome).p == 1.0
    assert set(path.parent.iterdir()) == {path}


def test_mistakes_in_predictions_are_named(tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(ValueError, match="Python objects"):
        predictions.write(path, {**PLACE, "odd": np.array([None])}, {})
    assert not path.exists()
    with pytest.raises(ValueError, match=r"p\.npz cannot be read: .*No such file"):
        predictions.read(path)
    predictions.write(path, {"key": np.arange(3)}, {})
    with pytest.raises(ValueError, match="it has no data, data_sha, limit, split"):
        predictions.read(path)
    for name in ("outcome:acc1:Guess:sums", "outcome:acc1:Ratio:other", "outcome:x:Computed:00"):
        with pytest.raises(ValueError, match=r"the outcome of .* is of an unknown kind"):
            predictions.outcomes({name: np.ones(2)})
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"one\.npy cannot be read"):
        predictions.read(tmp_path / "one.npy")


def test_a_damaged_file_of_predictions_is_named_whatever_is_damaged(tmp_path):
    path = tmp_path / "p.npz"
    predictions.write(path, {**PLACE, "key": np.arange(300)}, every_kind())
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for place in [*generator.integers(0, len(whole), 300), len(whole) // 2]:
        data = bytearray(whole)
        data[place] ^= 1 << int(generator.integers(0, 8))
        path.write_bytes(data)
        try:
            predictions.read(path)
        except ValueError as error:
            refused += str(error).startswith(f"{path} cannot be read: ")
    assert refused > 200  # a date in the directory of the archive is nobody's loss
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        predictions.read(path)
