"""`vlp embed`: pictures to embeddings on disk, in clip-retrieval's layout."""

import os
import re
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlp.commands.picture_options import Embedding, Reading
from vlp.errors import InputError
from vlp.terminal import printable

if TYPE_CHECKING:
    from vlp.retrieval.embedding.items import Say
    from vlp.retrieval.embedding.job import Job, Result

_PATIENCE = timedelta(days=7)  # for which a process that has finished waits for the others
_SHOWN = 5  # kinds of problems


@dataclass(frozen=True, kw_only=True)
class Embed(Reading, Embedding):
    """Embed pictures, and their captions, into files that `vlp index` and clip-retrieval read.

    Pictures with the same bytes are embedded once; those that cannot be read are reported. The same
    command goes on where one was stopped. `accelerate launch --multi_gpu -m vlp embed ...` shares
    the work among processes.

    Args:
        model: a run, a checkpoint, or whatever else `vlp.load` takes.
        data: folder of pictures (NAME.txt beside NAME.jpg is its caption); CSV, TSV, JSON Lines or
            parquet; a tar, folder or pattern of indexed tars, or a folder of such folders.
        output: folder for img_emb, text_emb, metadata, report.jsonl and embed.json.
        no_texts: leave out the embeddings of captions.
        partition: pictures in a file; default a 64th of them, at least 500, at most 100,000.
        precision: of the model.
    """

    model: str = field(metadata={"positional": True})
    data: str = field(metadata={"positional": True})
    output: Path
    no_texts: bool = False
    partition: int | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def __post_init__(self) -> None:
        if self.partition is not None and self.partition < 1:
            raise InputError(f"--partition {self.partition}: expected 1 or more")


def embed(given: Embed) -> None:
    """Run the command.

    Raises:
        InputError: the model, the data or the folder cannot be used.
        RunError: not one picture could be embedded, or another process is at work there.
    """
    from vlp.device import checked_device
    from vlp.retrieval.embedding.job import run

    first = os.environ.get("RANK", "0") == "0"

    def say(text: str) -> None:
        if first:
            print(printable(text), flush=True)

    device = str(checked_device(given.device))
    job = _job(given, device, say)
    begun = time.monotonic()
    result = run(job, say)
    if result is not None:
        _report(job.folder, result, time.monotonic() - begun, say)


def _job(given: Embed, device: str, say: "Say") -> "Job":
    """What to do; data and folder are looked at before a model is loaded, for minutes maybe."""
    from vlp.loading import load
    from vlp.retrieval.embedding.job import Job
    from vlp.retrieval.embedding.sources import open_data
    from vlp.retrieval.embedding.state import OutputFolder
    from vlp.retrieval.retriever import model_mark

    options, read = given.embed_options(texts=not given.no_texts), given.data_options()
    items = open_data(given.data, read, say)
    folder = given.output.expanduser()
    OutputFolder(folder.absolute()).check()
    encoder = load(given.model, device=_join_group(device), precision=given.precision)
    mark = model_mark(encoder, given.model)
    say(f"model: {mark}, {given.precision} on {encoder.device}")
    return Job(
        folder=folder,
        data=str(Path(given.data).expanduser().absolute()),
        read=read,
        items=items,
        encoder=encoder,
        model=mark,
        options=options,
        partition=given.partition,
    )


def _join_group(device: str) -> str:
    """Under a launcher, join its processes; the device that this one should use."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    from accelerate import PartialState

    on_cpu = device.partition(":")[0] == "cpu"
    return str(PartialState(cpu=on_cpu, timeout=_PATIENCE).device)


def _report(folder: Path, result: "Result", seconds: float, say: "Say") -> None:
    took = f"{seconds:,.0f} s" if result.embedded else "all of it done before"
    say(
        f"{folder}: {_counted(result.rows, 'picture')} and {_counted(result.captions, 'caption')} "
        f"in {_counted(result.partitions, 'partition')}, {took}"
    )
    if result.cut:
        say(f"{_counted(result.cut, 'caption')} cut at the length that the model reads")
    if not result.problems:
        return
    say(f"not embedded: {len(result.problems):,}, listed in {folder / 'report.jsonl'}")
    kinds: dict[str, list[dict[str, str]]] = {}
    for problem in result.problems:  # numbers and names differ from picture to picture
        kind = re.sub(r"\d[\d,]*|the same as .*?: ", "", problem["problem"])
        kinds.setdefault(kind, []).append(problem)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    for same in ordered[:_SHOWN]:
        say(f"  {len(same):,} x {same[0]['problem']}, e.g. {_one_line(same[0]['image_path'])}")
    if len(ordered) > _SHOWN:
        say(f"  {sum(map(len, ordered[_SHOWN:])):,} of {len(ordered) - _SHOWN} other kinds")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _one_line(path: str) -> str:
    return path.replace("\n", "\\n")
