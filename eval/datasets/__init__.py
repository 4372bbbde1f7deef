"""Evaluation sets: what they hold, and the layouts that they are read from."""

from eval.datasets.dataset import EvalDataset, Place, Source
from eval.datasets.opening import open_dataset

__all__ = ["EvalDataset", "Place", "Source", "open_dataset"]
