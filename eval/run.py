"""Evaluate an encoder: a checkpoint from the command line, or live weights during training."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from eval import results
from eval.captions import generation
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
        ValueError: an unknown task, an option that it does not read, or data that it cannot use.
    """
    _open(spec, (spec.task,))


def check_all(spec: EvalSpec, tasks: Sequence[str]) -> None:
    """`check` for several tasks on the same data; each option must be read by one of them."""
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
    """Run several tasks over one encoding pass of the pictures: {task: its record}.

    An option that a task does not read is left out for it, which its protocol says.
    """
    dataset = _open(spec, tasks)
    check_model(encoder, tasks)
    started = time.perf_counter()
    encoded = encode_images(
        dataset, encoder, batch=spec.batch, workers=spec.workers, show_progress=show_progress
    )
    seconds = time.perf_counter() - started
    records = {}
    for task in tasks:
        own = spec.of_task(task, TASKS[task].options)
        given = _input(encoder, own, dataset, encoded, show_progress)
        result = _complete(TASKS[task].run(given), encoded, seconds)
        record = results.build_record(task, result, dataset, encoder, description)
        record["protocol"] |= {"seed": spec.seed, "limit": spec.limit, "batch": spec.batch}
        if unread := [name for name in spec.given if name not in TASKS[task].options]:
            record["protocol"]["unread_options"] = unread
        if output is not None and dist.rank() == 0:
            results.write(output, record, result, encoder)
        records[task] = record
    return records


def _open(spec: EvalSpec, tasks: Sequence[str]) -> EvalDataset:
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        name = repr(unknown[0]) if unknown else "is missing"
        raise ValueError(f"task {name}: choices are {', '.join(TASKS)}")
    _check_options(spec, tasks)
    dataset = open_dataset(spec.data, spec.split).limited(spec.limit)
    for task in tasks:
        TASKS[task].check(dataset, spec.of_task(task, TASKS[task].options))
    return dataset


def _check_options(spec: EvalSpec, tasks: Sequence[str]) -> None:
    """What no task would read would be ignored without a word."""
    for name in spec.given:
        readers = [task for task in TASKS if name in TASKS[task].options]
        if not set(readers) & set(tasks):
            raise ValueError(
                f"{name} {getattr(spec, name)!r}: not read by task {', '.join(tasks)}, but by "
                f"{', '.join(readers)}"
            )


def _input(
    encoder: Encodes,
    spec: EvalSpec,
    dataset: EvalDataset,
    encoded: EncodedImages,
    show_progress: bool,
) -> TaskInput:
    readable = dataset.subset(encoded.positions)

    def write(pixels: Tensor, first: int) -> list[str]:
        assert isinstance(encoder, WritesCaptions)  # by check_model
        how = generation(spec, first)
        return encoder.caption(
            pixels,
            method=how.method,
            max_length=how.max_length,
            beams=how.beams,
            top_p=how.top_p,
            seed=how.seed,
        )

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
