"""What to evaluate, as a user writes it."""

import re
from collections.abc import Collection
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from vlp.model.generate import METHODS

# what only some tasks read, each naming those that it does
TASK_OPTIONS = (
    "classnames",
    "templates",
    "prompts",
    "language",
    "captions",
    "caption_method",
    "positives",
    "train_split",
    "val_split",
    "shots",
    "ood",
    "shifted",
)
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
    prompts: str | None = None  # JSON file {class name: [its prompts]}; instead of templates
    language: str = "en"  # of class names, templates or captions beside the data
    captions: str | None = None  # sidecar whose `texts` take the place of the captions
    caption_method: str = "greedy"  # how captions are written: greedy, top_p or beam
    positives: str | None = None  # JSON file with all that is true of a query, as ECCV Caption's
    train_split: str = "train"  # folder in `data` to fit on
    val_split: str | None = None  # to choose settings on; by default a part of `train_split`
    shots: int | None = None  # training samples a class; by default all
    ood: list[str] = field(default_factory=list)  # data sets of which no picture has such a class
    shifted: list[str] = field(default_factory=list)  # data sets with the same classes
    limit: int | None = None  # evenly spaced samples, for a quick look
    seed: int = 0  # of intervals, of what is drawn or held out to fit on, of sampled captions

    def __post_init__(self) -> None:
        for name, lowest in (("batch", 1), ("workers", 0), ("limit", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        if self.captions is not None and not _NAME.fullmatch(self.captions):
            raise ValueError(
                f"captions {self.captions!r}: expected the name of a folder in annotations/"
            )
        if not _NAME.fullmatch(self.language):
            raise ValueError(f"language {self.language!r}: expected a code like en, de or zh-CN")
        if self.shots is not None and self.shots < 1:
            raise ValueError(f"shots must be at least 1, got {self.shots}")
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
    own = [entry for entry in fields(EvalSpec) if entry.name in TASK_OPTIONS]
    return {
        entry.name: entry.default if entry.default_factory is MISSING else entry.default_factory()
        for entry in own
    }
