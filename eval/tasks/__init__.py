"""The benchmark tasks by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from eval.datasets import EvalDataset
from eval.interface import TaskInput, TaskResult
from eval.spec import EvalSpec
from eval.tasks import (
    caption_choice,
    captioning,
    counting,
    gap,
    retrieval,
    zeroshot_classification,
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A check that needs no model, and the task itself."""

    check: Callable[[EvalDataset, EvalSpec], None]
    run: Callable[[TaskInput], TaskResult]
    options: frozenset[str]  # of `TASK_OPTIONS`, those that it reads
    writes_captions: bool = False  # the model must be able to


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        module.NAME: Task(
            check=module.check,
            run=module.run,
            options=module.OPTIONS,
            writes_captions=module is captioning,
        )
        for module in (
            zeroshot_classification,
            retrieval,
            counting,
            caption_choice,
            gap,
            captioning,
        )
    }
)
