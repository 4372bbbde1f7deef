"""Shards for open_clip: one text in .txt (3.3.0), or all of them as fields of .json (main)."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data_tools.building.shard_writer import Sample as Members
from data_tools.exporting.job import SIZES, Job, Tally
from data_tools.exporting.reading import Sample, drawn_text
from vlp.data.files import encode, replace_atomically, write_json
from vlp.data.sidecars import COUNTS, NEGATIVES, REWRITES
from vlp.data.tar import write_tar

ORIGINAL = "original_caption"


def write_txt(job: Job) -> Counter[str]:
    """A shard whose .txt is the text to train on; the .json keeps the original."""
    return _write(job, _with_chosen)


def write_json_fields(job: Job) -> Counter[str]:
    """A shard whose .json has every text as a field of its own."""
    return _write(job, _with_fields)


def close_shards(jobs: Sequence[Job], counts: Sequence[Counter[str]]) -> list[str]:
    """Write sizes.json, by which open_clip counts the samples. Returns what to tell the user."""
    sizes = {f"{job.stem}.tar": c["exported"] for job, c in zip(jobs, counts, strict=True)}
    write_json(jobs[0].output / SIZES, sizes)
    last = f"{{{jobs[0].stem}..{jobs[-1].stem}}}" if len(jobs) > 1 else jobs[0].stem
    return [f"open_clip: --dataset-type webdataset --train-data '{jobs[0].output}/{last}.tar'"]


def close_json(jobs: Sequence[Job], counts: Sequence[Counter[str]]) -> list[str]:
    """As `close_shards`; also tells the fields to train on."""
    fields = sum(counts, Counter[str]())
    texts = [name.removeprefix("field ") for name in fields if name.startswith("field caption")]
    return [*close_shards(jobs, counts), f"texts: --json-text-key '{';'.join(sorted(texts))}'"]


def flat_fields(sample: Sample) -> dict[str, str]:
    """Every text as a field: caption, caption1, caption_rw0, neg_caption, neg_kind, count, ...

    A sidecar with a suffix has it in its fields, too: rewrites-bard gives caption_rw_bard0.
    """
    fields = {_numbered("caption", place): text for place, text in enumerate(sample.captions)}
    for name, row in sample.rows.items():
        kind, _, suffix = name.partition("-")
        tail = f"_{suffix.replace('-', '_')}" if suffix else ""
        if kind == REWRITES:
            fields |= {f"caption_rw{tail}{i}": text for i, text in enumerate(_texts(row, "texts"))}
        elif kind == NEGATIVES:
            for column, stem in (("texts", "neg_caption"), ("kinds", "neg_kind")):
                texts = enumerate(_texts(row, column))
                fields |= {_numbered(stem + tail, place): text for place, text in texts}
        elif kind == COUNTS and row["count"] is not None:
            fields[f"count{tail}"] = str(row["count"])
            for column in ("noun", "counterfactual"):
                if row.get(column):
                    fields[f"count{tail}_{column}"] = row[column]
    return fields


def merged(record: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A record with these fields; one of the same name and another value becomes source_NAME."""
    found = dict(record)
    for name, value in fields.items():
        if name in found and found[name] != value:
            moved = f"source_{name}"
            while moved in record or moved in fields:
                moved = f"source_{moved}"
            found[moved] = found.pop(name)
        found[name] = value
    return found


def _write(job: Job, change: Any) -> Counter[str]:  # noqa: ANN401 (one of the two below)
    path = job.output / f"{job.stem}.tar"
    tally = Tally(job)

    def samples() -> Iterator[Members]:
        for _, sample in tally:
            text, record = change(sample, job, tally.counts)
            line = json.dumps(record, sort_keys=True, ensure_ascii=False)
            changed = {"json": encode(line), "txt": text}
            # members keep their order; what a sample lacks comes last
            members = {name: changed.pop(name, data) for name, data in sample.members.items()}
            yield sample.key, members | changed

    replace_atomically(path, lambda file: write_tar(file, samples()))
    return tally.close([path])


def _with_chosen(sample: Sample, job: Job, counts: Counter[str]) -> tuple[bytes, dict[str, Any]]:
    original = sample.texts()[0]
    name, text = drawn_text(sample, job.seed) if job.choose == "random" else original
    counts[f"texts from {name}"] += 1
    return text.encode(), merged(sample.record, {ORIGINAL: original[1]})


def _with_fields(sample: Sample, job: Job, counts: Counter[str]) -> tuple[bytes, dict[str, Any]]:
    del job
    fields = flat_fields(sample)
    counts.update(f"field {name}" for name in fields)
    text = sample.members.get("txt", sample.captions[0].encode())
    return text, merged(sample.record, fields)


def _texts(row: Mapping[str, Any], column: str) -> list[str]:
    return [text or "" for text in row[column] or ()]


def _numbered(stem: str, place: int) -> str:
    return f"{stem}{place}" if place else stem
