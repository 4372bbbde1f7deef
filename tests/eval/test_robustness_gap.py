"""Which classes two sets share."""

import numpy as np
import pytest

from eval.datasets.dataset import EvalDataset
from eval.spec import EvalSpec
from eval.tasks.robustness_gap import _names, _shared


def named(path, names):
    labels = np.zeros(1, np.int64)
    return EvalDataset(
        name="made",
        path=path,
        split=None,
        layout="made",
        keys=["a"],
        places=[None],
        labels=labels,
        classnames=names,
    )


def test_classes_of_equal_names_stay_apart(tmp_path):
    """As in the usual class names of ImageNet, which have two missiles."""
    names = ["missile", "cat", "Missile", "dog"]
    assert _shared(names, named(tmp_path, names)).tolist() == [0, 1, 2, 3]
    assert _shared(names, named(tmp_path, ["dog", "missile"])).tolist() == [3, 0]
    with pytest.raises(ValueError, match=r"1 of its 2 classes .* the first: 'cat'"):
        _shared(names, named(tmp_path, ["cat", "cat"]))


def test_prompts_in_another_language_change_no_class(tmp_path):
    file = tmp_path / "de.txt"
    file.write_text("Katze\nHund\n")
    data = named(tmp_path, ["cat", "dog"])
    spec = EvalSpec(task="robustness_gap", data=str(tmp_path), classnames=str(file))
    assert _names(data, spec) == ["cat", "dog"]
