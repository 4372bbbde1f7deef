"""Evaluate an encoder: a checkpoint from the command line, or live weights during training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor

from eval import results
from eval.captions import generation
from eval.datasets import EvalDataset, open_dataset
from eval.encode import EncodedImages, write_captions
from eval.features import Features
from eval.interface import EncodedSet, Encodes, SaysNo, Task, TaskInput, TaskResult, WritesCaptions
from eval.result_key import key_of
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
    check_all(spec, (spec.task,))


def check_all(spec: EvalSpec, tasks: Sequence[str]) -> "list[Prepared]":
    """`check` for several tasks on the same data; each option must be read by one of them."""
    check_tasks(spec, tasks)
    dataset = open_dataset(spec.data, spec.split).limited(spec.limit)
    return [prepare(dataset, spec, task) for task in tasks]


def check_tasks(spec: EvalSpec, tasks: Sequence[str]) -> None:
    """Find unknown tasks, and options that none of them would read.

    Raises:
        ValueError: naming them and the choices.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        name = repr(unknown[0]) if unknown else "is missing"
        raise ValueError(f"task {name}: choices are {', '.join(TASKS)}")
    for name in spec.given:
        readers = [task for task in TASKS if name in TASKS[task].options]
        if not set(readers) & set(tasks):
            raise ValueError(
                f"{name} {getattr(spec, name)!r}: not read by task {', '.join(tasks)}, but by "
                f"{', '.join(readers)}"
            )


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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task on a data set, checked, with the further sets that it needs."""

    task: Task
    spec: EvalSpec  # with the options that the task reads
    dataset: EvalDataset
    more: dict[str, EvalDataset]
    main: str  # metric of the summary
    unread: list[str]  # options that are given, and not read by this task

    def key(self, encoder: Encodes) -> str:
        """sha256 of all that the result of a model depends on."""
        return key_of(encoder, self.spec, self.dataset, self.more, self.main)


def prepare(
    dataset: EvalDataset, spec: EvalSpec, name: str, *, main: str | None = None
) -> Prepared:
    """Check a task on a data set.

    Raises:
        FileNotFoundError, ValueError: the data cannot be used, or a further set is missing.
    """
    task = TASKS[name]
    own = spec.of_task(name, task.options)
    task.check(dataset, own)
    return Prepared(
        task=task,
        spec=own,
        dataset=dataset,
        more=task.more(dataset, own),
        main=main or task.main,
        unread=[option for option in spec.given if option not in task.options],
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
    everything = check_all(spec, tasks)
    check_model(encoder, tasks)
    features = Features(
        encoder, batch=spec.batch, workers=spec.workers, show_progress=show_progress
    )
    records = {}
    for task, prepared in zip(tasks, everything, strict=True):
        record, result = evaluate_task(features, prepared, description)
        if output is not None and dist.rank() == 0:
            results.write(output, record, result, keep=False)
        records[task] = record
    return records


def evaluate_task(
    features: Features,
    prepared: Prepared,
    description: Mapping[str, Any],
    key: str | None = None,
) -> tuple[dict[str, Any], TaskResult]:
    """Run a task on features of one model: its record, and what it found. All ranks call it.

    Args:
        features: of the model.
        prepared: the task and its data.
        description: what the results say of the checkpoint: `step`, `samples_seen`, `path`.
        key: of the result, where it is known.
    """
    task, spec, encoder = prepared.task, prepared.spec, features.encoder
    started = perf_counter()
    encoded = features.images(prepared.dataset)
    more, skipped = {}, len(encoded.skipped)
    for name, other in prepared.more.items():
        images = features.images(other)
        more[name] = EncodedSet(dataset=other.subset(images.positions), image=images.features)
        skipped += len(images.skipped)
    seconds = perf_counter() - started
    result = task.run(_input(features, prepared, encoded, more))
    result = replace(
        result,
        counts={**result.counts, "skipped": skipped},
        seconds={**result.seconds, "image": seconds},
    )
    main = prepared.main if prepared.main in result.metrics else task.main
    about = {**description, "main": main, "language": spec.language, "seed": spec.seed}
    record = results.build_record(task.name, result, prepared.dataset, encoder, about)
    record["key"] = key or prepared.key(encoder)
    record["protocol"] |= {"seed": spec.seed, "limit": spec.limit, "batch": features.batch}
    record["protocol"] |= {f"{n}_data_sha": d.fingerprint for n, d in prepared.more.items()}
    if prepared.unread:
        record["protocol"]["unread_options"] = prepared.unread
    return record, result


def _input(
    features: Features,
    prepared: Prepared,
    encoded: EncodedImages,
    more: dict[str, EncodedSet],
) -> TaskInput:
    encoder, spec = features.encoder, prepared.spec
    readable = prepared.dataset.subset(encoded.positions)
    captions = [text for own in prepared.dataset.captions or () for text in own]

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

    says_no = isinstance(encoder, SaysNo)
    return TaskInput(
        spec=spec,
        dataset=readable,
        image=encoded.features,
        more=more,
        scale=encoder.protocol.get("logit_scale"),
        encode_text=lambda texts: features.texts(texts, captions),
        encode_no_text=features.no_texts if says_no else None,
        truncated=encoder.truncated,
        write_captions=lambda: write_captions(
            readable, encoder, write, spec=spec, show_progress=features.show_progress
        ),
    )


def _writes(encoder: Encodes) -> bool:
    return isinstance(encoder, WritesCaptions) and encoder.captions
