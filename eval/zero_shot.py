"""The zero-shot classifier: a unit vector for each class from its prompts.

w_c = norm(mean over the prompts of the class of their unit features), score = x . w_c.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.interface import TaskInput
from eval.prompts import find_prompts

TIE_RULE = "the true class must score strictly higher than every other one"


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """C classes, and what a result says of where they come from."""

    weights: Tensor  # [C, D], unit norm
    classnames: list[str]
    protocol: dict[str, Any]
    texts: list[str]  # the prompts, class by class
    prompts: list[int]  # [C], how many each class has
    truncated: int
    seconds: float  # encoding

    @property
    def counts(self) -> dict[str, int | None]:
        counts: dict[str, int | None] = {
            "texts": len(set(self.texts)),
            "classes": len(self.classnames),
            "truncated_texts": self.truncated,
        }
        # of classes with one name all pictures tie, and a tie is an error
        twice = len(self.classnames) - len(set(self.classnames))
        return counts | ({"duplicate_classnames": twice} if twice else {})


def build_zero_shot(given: TaskInput) -> ZeroShot:
    """The classifier of a data set's classes; all ranks call it."""
    prompts = find_prompts(given.dataset, given.spec)
    started = time.perf_counter()
    own = [prompts.texts(label) for label in range(len(prompts.classnames))]
    texts, counts = list(chain.from_iterable(own)), [len(each) for each in own]
    weights = class_weights(given.encode_text(texts), counts)
    return ZeroShot(
        weights=weights,
        classnames=prompts.classnames,
        protocol={**prompts.protocol, "tie_rule": TIE_RULE},
        texts=texts,
        prompts=counts,
        truncated=given.truncated(sorted(set(texts))),
        seconds=time.perf_counter() - started,
    )


def class_weights(text: Tensor, prompts: Sequence[int]) -> Tensor:
    """The mean of the prompts of each class, normalised: [C, D].

    Args:
        text: [sum of `prompts`, D] unit features, those of a class together.
        prompts: [C], how many each class has.
    """
    # in float64, so that equal means are equal whatever the number of prompts behind them; class by
    # class, as adding by index sums in another order on each run of a GPU
    means = [own.double().mean(0) for own in torch.split(text, list(prompts))]
    return F.normalize(torch.stack(means), dim=-1).float()
