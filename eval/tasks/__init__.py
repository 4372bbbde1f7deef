"""The benchmark tasks by name."""

from collections.abc import Mapping
from types import MappingProxyType

from eval.interface import Task
from eval.tasks import (
    calibration,
    captioning,
    counting,
    few_shot,
    geometry,
    human_judgement,
    image_caption_selection,
    linear_probe,
    long_caption_retrieval,
    ood_detection,
    retrieval,
    robustness_gap,
    zeroshot_classification,
    zeroshot_multilabel,
)

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        module.TASK.name: module.TASK
        for module in (
            zeroshot_classification,
            zeroshot_multilabel,
            linear_probe,
            few_shot,
            calibration,
            ood_detection,
            robustness_gap,
            retrieval,
            long_caption_retrieval,
            counting,
            image_caption_selection,
            geometry,
            captioning,
            human_judgement,
        )
    }
)
