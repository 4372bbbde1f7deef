"""A table of captions with pictures as files: open_clip's `csv` data.

`captions.tsv` has a row for each text; `annotations.jsonl` a line for each sample, with all that
the table cannot hold. Paths are relative to the folder of both.
"""

import csv
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence

from data_tools.exporting.file_names import FileNames
from data_tools.exporting.job import ANNOTATIONS, PICTURES, TABLE, Job, Tally, join_pieces
from data_tools.exporting.reading import Sample, drawn_text
from vlp.data.files import write_text

_COLUMNS = ("filepath", "title", "key", "source")
_READ_AS_MISSING = frozenset(  # by pandas, which open_clip reads with
    (
        "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    )
)  # fmt: skip


def write_pictures(job: Job) -> Counter[str]:
    """The pictures of a shard, and its part of the table."""
    folder = job.output / PICTURES / job.stem
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    folder.mkdir(parents=True)
    names, tally = FileNames(), Tally(job)
    rows: list[str] = []
    lines: list[str] = []
    for _, sample in tally:
        path = folder / names.name(sample.key, sample.extension)
        path.write_bytes(sample.picture)
        shown = path.relative_to(job.output).as_posix()
        for source, text in _chosen(sample, job):
            tally.counts[f"texts from {source}"] += 1
            tally.counts["read as missing"] += text in _READ_AS_MISSING
            rows.append(_row((shown, text, sample.key, source)))
        lines.append(_annotations(sample, shown))
    os.sync()  # one for all pictures: the mark that follows says that they are there
    pieces = {job.path(TABLE): rows, job.path(ANNOTATIONS): lines}
    for path, texts in pieces.items():
        write_text(path, "".join(texts))
    return tally.close(list(pieces))


def close_table(jobs: Sequence[Job], counts: Sequence[Counter[str]]) -> list[str]:
    """Write the table of all shards. Returns what to tell the user."""
    output = jobs[0].output
    join_pieces(output / TABLE, [job.path(TABLE) for job in jobs], _row(_COLUMNS))
    join_pieces(output / ANNOTATIONS, [job.path(ANNOTATIONS) for job in jobs])
    told = [f"open_clip, in {output}: --dataset-type csv --train-data {TABLE}"]
    missing = sum(one["read as missing"] for one in counts)
    if missing:
        told.append(f"{missing:,} texts such as 'null' are read by pandas as missing values")
    return told


def _chosen(sample: Sample, job: Job) -> list[tuple[str, str]]:
    if job.choose is None:
        return sample.texts()
    return [drawn_text(sample, job.seed)] if job.choose == "random" else sample.texts()[:1]


def _row(values: Sequence[str]) -> str:
    buffer = io.StringIO(newline="")
    # this line end makes it quote a lone carriage return, too, which readers take for a line end
    csv.writer(buffer, delimiter="\t", lineterminator="\r\n").writerow(values)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _annotations(sample: Sample, path: str) -> str:
    found = {
        "key": sample.key,
        "filepath": path,
        "captions": list(sample.captions),
        "record": sample.record,
        "sidecars": sample.rows,
    }
    return json.dumps(found, ensure_ascii=False, sort_keys=True, default=str) + "\n"
