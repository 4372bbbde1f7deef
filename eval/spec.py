"""What to evaluate, as a user writes it."""

import re
from dataclasses import dataclass

CAPTION_METHODS = ("greedy", "beam", "top_p")
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
    caption_method: str = "greedy"  # how captions are written: greedy, beam or top_p
    limit: int | None = None  # evenly spaced samples, for a quick look
    seed: int = 0  # of the bootstrap

    def __post_init__(self) -> None:
        for name, lowest in (("batch", 1), ("workers", 0), ("limit", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        if self.captions is not None and not _NAME.fullmatch(self.captions):
            raise ValueError(
                f"captions {self.captions!r}: expected the name of a folder in annotations/"
            )
        if self.caption_method not in CAPTION_METHODS:
            choices = ", ".join(CAPTION_METHODS)
            raise ValueError(f"caption_method {self.caption_method!r}: choices are {choices}")
