"""What to evaluate, as a user writes it."""

import re
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from vlp.model.generate import METHODS

# what only some tasks read, each naming those that it does
TASK_OPTIONS = ("classnames", "templates", "captions", "caption_method")
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True, kw_only=True)
class EvalSpec:
    """One benchmark: a task on a split of a data set."""

    task: str
    data: str  # folder of the data set
    split: str | None = None  # folder in `data`; by default `test`, or `data` itself
    batch: int = 256  # pictures or texts at a time, one rank
    workers: int = 0  # decoding processes, one rank
    classnames: str | None = None  # file, line i is label i; instead of the data's own
    templates: str | None = None  # file, one a line with {c} or {}; `openai` for the 80 of ImageNet
    captions: str | None = None  # sidecar whose `texts` take the place of the captions
    caption_method: str = "greedy"  # how captions are written: greedy, top_p or beam
    limit: int | None = None  # evenly spaced samples, for a quick look
    seed: int = 0  # of the bootstrap, of gap's held-out split and of sampled captions

    def __post_init__(self) -> None:
        for name, lowest in (("batch", 1), ("workers", 0), ("limit", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        if self.captions is not None and not _NAME.fullmatch(self.captions):
            raise ValueError(
                f"captions {self.captions!r}: expected the name of a folder in annotations/"
            )
        if self.caption_method not in METHODS:
            choices = ", ".join(METHODS)
            raise ValueError(f"caption_method {self.caption_method!r}: choices are {choices}")

    @property
    def given(self) -> list[str]:
        """Those of `TASK_OPTIONS` that have another value than without being named."""
        return [name for name, value in _defaults().items() if getattr(self, name) != value]

    def of_task(self, task: str, options: Collection[str]) -> "EvalSpec":
        """The same for one task, without those of `TASK_OPTIONS` that are not in `options`."""
        unread = {name: value for name, value in _defaults().items() if name not in options}
        return replace(self, task=task, **unread)


def _defaults() -> dict[str, Any]:
    return {field.name: field.default for field in fields(EvalSpec) if field.name in TASK_OPTIONS}
