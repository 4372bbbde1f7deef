"""A folder for Hugging Face `datasets`: parquet with the pictures inside, read without code.

Columns: image (the bytes as they are, and a file name), caption, captions, key, record (the .json
as text), member_EXT (further members), and SIDECAR_COLUMN for each column of each sidecar.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.exporting.file_names import FileNames
from data_tools.exporting.job import CARD, DATA, Job, Tally
from data_tools.exporting.reading import Joined, Sample
from data_tools.resharding.found import JOINED_BY, conformed
from vlp.data.files import replace_atomically, write_text
from vlp.errors import InputError

_OWN = (
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("caption", pa.string()),
    ("captions", pa.list_(pa.string())),
    ("key", pa.string()),
    ("record", pa.string()),
)
_FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}  # the others tell their own type
_ROWS = 100  # of a row group: readers take one at a time into memory


def columns_of(sidecars: Mapping[str, pa.Schema], extensions: Sequence[str]) -> pa.Schema:
    """The columns of the dataset, of these sidecars and further members.

    Raises:
        InputError: two would have the same name.
    """
    fields = [pa.field(name, kind) for name, kind in _OWN]
    fields += [pa.field(f"member_{name}", pa.binary()) for name in extensions]
    for sidecar, schema in sidecars.items():
        fields += [f.with_name(f"{sidecar}_{f.name}") for f in schema if f.name not in JOINED_BY]
    counts = Counter(field.name for field in fields)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        raise InputError(
            f"--format hf: two columns would be called {repeated[0]}; rename a sidecar, or choose "
            "sidecars by --texts"
        )
    return pa.schema(fields, {"huggingface": json.dumps(_FEATURES)})


def write_rows(job: Job) -> Counter[str]:
    """The parquet file of a shard."""
    path = _path(job)
    tally = Tally(job)
    replace_atomically(path, lambda file: _write(file, job, tally))
    return tally.close([path])


def close_dataset(jobs: Sequence[Job], counts: Sequence[Counter[str]]) -> list[str]:
    """Write the dataset's card. Returns what to tell the user."""
    split, output = jobs[0].split, jobs[0].output
    head = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        f"  - split: {split}",
        f"    path: {DATA}/{split}-*.parquet",
        "---",
    ]
    samples = sum(one["exported"] for one in counts)
    text = f"{samples:,} pictures with captions in {len(jobs):,} files.\n\n" + "".join(
        f"- `{field.name}`: {field.type}\n" for field in jobs[0].columns
    )
    write_text(output / CARD, "\n".join(head) + "\n\n" + text)
    return [f"datasets: load_dataset({str(output)!r}, split={split!r})"]


def _path(job: Job) -> Path:
    return job.output / DATA / f"{job.split}-{job.stem}-of-{job.total:05d}.parquet"


def _write(path: Path, job: Job, tally: Tally) -> None:
    names = FileNames()
    sidecars = {name: Joined(job.shard, name) for name in job.sidecars}
    with pq.ParquetWriter(path, job.columns) as writer:
        waiting: list[tuple[int, Sample]] = []
        for found in tally:
            waiting.append(found)
            if len(waiting) == _ROWS:
                writer.write_table(_table(waiting, names, sidecars, job.columns))
                waiting = []
        if waiting:
            writer.write_table(_table(waiting, names, sidecars, job.columns))


def _table(
    found: Sequence[tuple[int, Sample]],
    names: FileNames,
    sidecars: Mapping[str, Joined],
    columns: pa.Schema,
) -> pa.Table:
    own = pa.Table.from_pylist(
        [_row(sample, names, columns) for _, sample in found],
        pa.schema([field for field in columns if _is_own(field.name)]),
    )
    places = [place for place, _ in found]
    for name, sidecar in sidecars.items():
        rows = sidecar.rows(places)
        if rows is None:
            continue
        for column in rows.column_names:
            own = own.append_column(f"{name}_{column}", rows[column])
    return conformed(own, columns)


def _is_own(name: str) -> bool:
    return name in dict(_OWN) or name.startswith("member_")


def _row(sample: Sample, names: FileNames, columns: pa.Schema) -> dict[str, Any]:
    record = sample.members.get("json")
    row: dict[str, Any] = {
        "image": {"bytes": sample.picture, "path": names.name(sample.key, sample.extension)},
        "caption": sample.captions[0],
        "captions": list(sample.captions),
        "key": sample.key,
        "record": None if record is None else record.decode(),
    }
    for name, data in sample.members.items():
        if name != sample.extension and f"member_{name}" in columns.names:
            row[f"member_{name}"] = data
    return row
