"""Evaluation sets: what they hold, and the layouts that they are read from."""

from eval.datasets.dataset import EvalDataset, Place
from eval.datasets.opening import open_dataset

__all__ = ["EvalDataset", "Place", "open_dataset"]
