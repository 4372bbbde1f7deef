"""What to evaluate, as a user writes it."""

from dataclasses import dataclass


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
    limit: int | None = None  # evenly spaced samples, for a quick look
    seed: int = 0  # of the bootstrap

    def __post_init__(self) -> None:
        for name, lowest in (("batch", 1), ("workers", 0), ("limit", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
