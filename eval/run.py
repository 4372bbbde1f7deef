"""Evaluate an encoder: a checkpoint from the command line, or live weights during training."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from eval import results
from eval.datasets import EvalDataset, open_dataset
from eval.encode import EncodedImages, encode_images, encode_texts, write_captions
from eval.interface import Encodes, TaskInput, TaskResult, WritesCaptions
from eval.spec import EvalSpec
from eval.tasks import TASKS
from vlp import dist

Metrics = dict[str, float]


def check(spec: EvalSpec) -> None:
    """Find out before any model is trained or loaded whether an evaluation can run.

    Raises:
        FileNotFoundError: the data, or a file that it needs, is missing.
        ValueError: an unknown task, or data that the task cannot use.
    """
    _open(spec, (spec.task,))


def check_all(spec: EvalSpec, tasks: Sequence[str]) -> None:
    """`check` for several tasks on the same data."""
    _open(spec, tasks)


def check_model(encoder: Encodes, tasks: Sequence[str]) -> None:
    """Find out before anything is encoded whether a model can do what the tasks ask of it.

    Raises:
        ValueError: a task needs captions written, and the model writes none.
    """
    for task in tasks:
        if TASKS[task].writes_captions and not _writes(encoder):
            model = encoder.description.get("model")
            raise ValueError(
                f"task {task} needs a model that writes captions, and {model} does not"
            )


def evaluate(
    encoder: Encodes,
    spec: EvalSpec,
    *,
    description: Mapping[str, Any],
    output: Path | None,
    show_progress: bool,
) -> Metrics:
    """Run one task; every rank calls it and gets the same numbers.

    Args:
        encoder: the model, equal on all ranks.
        spec: what to evaluate.
        description: what the results say of the checkpoint: `step`, `samples_seen`, `path`.
        output: folder that the first rank adds the results to; None writes nothing.
        show_progress: bars on standard error, on the first rank.
    """
    found = evaluate_tasks(
        encoder,
        spec,
        (spec.task,),
        description=description,
        output=output,
        show_progress=show_progress,
    )
    return found[spec.task]["metrics"]  # type: ignore[no-any-return]


def evaluate_tasks(
    encoder: Encodes,
    spec: EvalSpec,
    tasks: Sequence[str],
    *,
    description: Mapping[str, Any],
    output: Path | None,
    show_progress: bool,
) -> dict[str, dict[str, Any]]:
    """Run several tasks over one encoding pass of the pictures: {task: its record}."""
    dataset = _open(spec, tasks)
    check_model(encoder, tasks)
    started = time.perf_counter()
    encoded = encode_images(
        dataset, encoder, batch=spec.batch, workers=spec.workers, show_progress=show_progress
    )
    seconds = time.perf_counter() - started
    records = {}
    for task in tasks:
        given = _input(encoder, replace(spec, task=task), dataset, encoded, show_progress)
        result = _complete(TASKS[task].run(given), encoded, seconds)
        record = results.build_record(task, result, dataset, encoder, description)
        record["protocol"] |= {"seed": spec.seed, "limit": spec.limit, "batch": spec.batch}
        if output is not None and dist.rank() == 0:
            results.write(output, record, result, encoder)
        records[task] = record
    return records


def _open(spec: EvalSpec, tasks: Sequence[str]) -> EvalDataset:
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        name = repr(unknown[0]) if unknown else "is missing"
        raise ValueError(f"task {name}: choices are {', '.join(TASKS)}")
    dataset = open_dataset(spec.data, spec.split).limited(spec.limit)
    for task in tasks:
        TASKS[task].check(dataset, spec)
    return dataset


def _input(
    encoder: Encodes,
    spec: EvalSpec,
    dataset: EvalDataset,
    encoded: EncodedImages,
    show_progress: bool,
) -> TaskInput:
    readable = dataset.subset(encoded.positions)

    def write(pixels: Tensor) -> list[str]:
        assert isinstance(encoder, WritesCaptions)  # by check_model
        return encoder.caption(pixels, method=spec.caption_method, seed=spec.seed)

    return TaskInput(
        spec=spec,
        dataset=readable,
        image=encoded.features,
        encode_text=lambda texts: encode_texts(
            texts, encoder, batch=spec.batch, show_progress=show_progress
        ),
        truncated=encoder.truncated,
        write_captions=lambda: write_captions(
            readable, encoder, write, spec=spec, show_progress=show_progress
        ),
    )


def _writes(encoder: Encodes) -> bool:
    return isinstance(encoder, WritesCaptions) and encoder.captions


def _complete(result: TaskResult, encoded: EncodedImages, image_seconds: float) -> TaskResult:
    """With what the task does not know: skipped pictures, and the time that encoding them took."""
    return replace(
        result,
        counts={**result.counts, "skipped": len(encoded.skipped)},
        seconds={**result.seconds, "image": image_seconds},
    )
