"""The benchmark tasks by name."""

from collections.abc import Mapping
from types import MappingProxyType

from eval.interface import Task
from eval.tasks import (
    caption_choice,
    captioning,
    counting,
    gap,
    retrieval,
    zeroshot_classification,
)

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        module.TASK.name: module.TASK
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
