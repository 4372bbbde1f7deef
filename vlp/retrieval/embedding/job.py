"""The work of `vlp embed`: partitions that are each there wholly or not at all.

A partition is finished when it is noted so, after its files are written. Which pictures are in it,
and in one batch, depends on the data alone, not on how many processes there are or how often they
were killed.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vlp import dist
from vlp.data.files import replace_atomically
from vlp.encoder import BaseEncoder
from vlp.errors import RunError
from vlp.progress import bar
from vlp.retrieval.embedding.columns import schema_of
from vlp.retrieval.embedding.copies import Distinct, find_copies, without_copies
from vlp.retrieval.embedding.decoding import default_workers
from vlp.retrieval.embedding.embed import Embedded, EmbedOptions, Progress, embed_distinct
from vlp.retrieval.embedding.items import DataOptions, Item, Say
from vlp.retrieval.embedding.reader import FOLDERS, METADATA, read_pairs
from vlp.retrieval.embedding.state import OutputFolder, data_sha256
from vlp.retrieval.manifest import ModelMark

_PARTS = 64  # of large data, so that many processes have enough to do and a kill loses little
_COUNTED = ("rows", "captions", "copies", "cut")  # of a partition, and summed of all
_SMALLEST, _LARGEST = 500, 100_000  # pictures in a partition


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is embedded, by which model, to where.

    Args:
        folder: for the embeddings.
        data: where the data are, absolute.
        read: how they are read.
        items: the pictures.
        encoder: the model.
        model: how the folder calls it.
        options: how pictures are embedded.
        partition: pictures in a partition; None chooses by their number.
    """

    folder: Path
    data: str
    read: DataOptions
    items: Sequence[Item]
    encoder: BaseEncoder
    model: ModelMark
    options: EmbedOptions
    partition: int | None

    def state(self) -> dict[str, Any]:
        """By which the same job is known again."""
        return {
            "model": dict(vars(self.model)),
            "protocol": self.encoder.protocol,
            "dim": self.encoder.width,
            "data": {
                "source": self.data,
                "options": dict(vars(self.read)),
                "pictures": len(self.items),
                "sha256": data_sha256(self.items),
            },
            "options": {"partition": self.partition, "texts": self.options.texts},
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """What is in the folder.

    Args:
        partitions: pairs of files.
        rows: pictures with an embedding.
        captions: those with an embedding of their caption.
        copies: pictures that have no row, as another has the same bytes.
        problems: pictures that have no row, each with `image_path` and `problem`.
        cut: captions that were cut at the context length.
        embedded: whether anything was left to do.
    """

    partitions: int
    rows: int
    captions: int
    copies: int
    problems: list[dict[str, Any]]
    cut: int
    embedded: bool


def run(job: Job, say: Say) -> Result | None:
    """Do what is left of a job; several processes of a group share it.

    Args:
        say: tells people how it goes, in the first process.

    Returns:
        What is in the folder, in the first process.

    Raises:
        InputError: the folder holds something else.
        RunError: another command is at work in it; no picture at all could be embedded.
    """
    first = dist.rank() == 0
    output = OutputFolder(job.folder)
    with output.locked() if first else nullcontext():
        state = job.state()
        if len(set(dist.gather_objects(state["data"]["sha256"]))) > 1:
            raise RunError("the data changed while they were listed: run the command again")
        if first:
            state = output.start(state)
        if dist.gather_objects(state.get("complete", False))[0]:
            return _result(output, state, embedded=False) if first else None
        work = _Work(job, output, _distinct(job, output, say if first else None))
        work.do(say)
        return work.finish(state) if first else None


def partition_size(pictures: int) -> int:
    """How many pictures a partition has when nobody says."""
    return min(max(-(-pictures // _PARTS), _SMALLEST), _LARGEST)


def _distinct(job: Job, output: OutputFolder, say: Say | None) -> Distinct:
    """The pictures without copies, which the first process looks for; it alone may `say`."""
    copies = output.copies(job.items) if say else []
    if say and copies is None:
        copies = find_copies(job.items, job.options.workers or default_workers())
        output.write_copies(copies)
    dist.gather_objects(None)  # from here on the others can read them
    copies = (copies if say else output.copies(job.items)) or []
    if say and copies:
        one = len(copies) == 1
        say(
            f"copies: {len(copies):,} picture{'s' * (not one)} {'has' if one else 'have'} the "
            f"bytes of another and {'is' if one else 'are'} noted with it"
        )
    return without_copies(job.items, copies)


class _Work:
    """Partitions of pictures, and those of them that are left to do."""

    def __init__(self, job: Job, output: OutputFolder, distinct: Distinct) -> None:
        self.job, self.output = job, output
        self.distinct = distinct
        self.size = job.partition or partition_size(len(distinct.items))
        self.count = max(1, -(-len(distinct.items) // self.size))
        self.schema = schema_of(distinct.items)
        self.texts = job.options.texts and any(item.captions for item in distinct.items)

    def do(self, say: Say) -> None:
        """Embed what is left, this process its share."""
        left = sorted(set(range(self.count)) - self.output.finished(self.count).keys())
        left = dist.gather_objects(left)[0]  # others may have finished some by now
        if len(left) < self.count:
            say(f"continuing: {self.count - len(left)} of {self.count} partitions are finished")
        own = left[dist.rank() :: dist.world_size()]
        total = sum(len(self._part(partition).items) for partition in own)
        several = dist.world_size() > 1
        what = f"embedding, process 1 of {dist.world_size()}" if several else "embedding"
        with bar(what, "pictures", total) if dist.rank() == 0 else nullcontext() as shown:
            for partition in own:
                self._embed(partition, shown.update if shown is not None else lambda done: None)
        dist.gather_objects(None)

    def finish(self, state: dict[str, Any]) -> Result:
        """Say that all is there, if it is.

        Raises:
            RunError: there is no row at all.
        """
        facts = self.output.finished(self.count)
        if len(facts) < self.count:
            raise RunError(f"files vanished from {self.job.folder}: run the command again")
        problems = [problem for number in sorted(facts) for problem in facts[number]["problems"]]
        rows = sum(own["rows"] for own in facts.values())
        if not rows:
            self.output.write_report(problems)
            self.output.give_up()
            raise RunError(
                f"not one of {len(self.job.items):,} pictures could be embedded, the first: "
                f"{problems[0]['image_path']}: {problems[0]['problem']}"
            )
        done = {
            "partitions": sum(own["rows"] > 0 for own in facts.values()),
            **{name: sum(own[name] for own in facts.values()) for name in _COUNTED},
        }
        self.output.finish({**state, **done}, problems)
        return _result(self.output, done, embedded=True)

    def _part(self, partition: int) -> Distinct:
        return self.distinct.part(partition * self.size, (partition + 1) * self.size)

    def _embed(self, partition: int, progress: Progress) -> None:
        embedded = embed_distinct(
            self.job.encoder,
            self._part(partition),
            self.job.options,
            self.schema,
            progress,
        )
        files = self._write(partition, embedded)
        self.output.mark_finished(
            partition,
            {
                "rows": len(embedded.vectors),
                "captions": 0 if embedded.text_vectors is None else _captions(embedded.table),
                "copies": len(embedded.copies),
                "cut": embedded.cut,
                "files": {str(f.relative_to(self.job.folder)): f.stat().st_size for f in files},
                "problems": [
                    {"image_path": bad.item.image_path, "problem": bad.problem}
                    for bad in embedded.problems
                ],
            },
        )

    def _write(self, partition: int, embedded: Embedded) -> list[Path]:
        """The files of a partition; none without rows, as clip-retrieval would miscount them."""
        if not len(embedded.vectors):
            return []
        digits = str(partition).zfill(len(str(self.count)))
        arrays = {"image": embedded.vectors}
        if self.texts:
            texts = embedded.text_vectors
            arrays["text"] = np.zeros_like(embedded.vectors) if texts is None else texts
        files = []
        for modality, array in arrays.items():
            name = FOLDERS[modality]
            files.append(self.job.folder / name / f"{name}_{digits}.npy")
            replace_atomically(files[-1], partial(_save, array))
        files.append(self.job.folder / METADATA / f"{METADATA}_{digits}.parquet")
        replace_atomically(files[-1], lambda path: pq.write_table(embedded.table, path))
        return files


def _captions(table: pa.Table) -> int:
    return len(table) - int(table["caption"].null_count)


def _save(array: NDArray[np.float16], path: Path) -> None:
    with open(path, "wb") as file:  # a name would get .npy appended
        np.save(file, array, allow_pickle=False)


def _result(output: OutputFolder, state: dict[str, Any], *, embedded: bool) -> Result:
    """Of a finished folder.

    Raises:
        RunError: files are missing.
    """
    pairs, _ = read_pairs(output.folder, "image")
    if sum(pair.rows for pair in pairs) != state["rows"]:
        raise RunError(f"{output.folder} lacks some of its {state['rows']:,} rows; remove it")
    output.tidy()
    return Result(
        **{name: state[name] for name in ("partitions", *_COUNTED)},
        problems=output.report(),
        embedded=embedded,
    )
