"""Indexed shards, as `data_tools build` writes them: a folder of tars with an index sidecar.

KEY.jpg|png|webp, KEY.txt (the first caption), KEY.json (`captions`: all of them; `number` or
`count`: of what it shows) and for labelled data KEY.cls with classnames.txt beside the shards or
the split folders.
"""

from pathlib import Path

from eval.datasets.dataset import (
    EvalDataset,
    Place,
    Source,
    beside,
    read_classnames,
    read_lines,
    unique_keys,
)
from eval.datasets.samples import (
    Samples,
    parse_label,
    parse_record,
    recorded_captions,
    recorded_number,
    whole_caption,
)
from vlp.data.files import is_text
from vlp.data.index import ShardIndex
from vlp.data.tar import Member


def recognise(folder: Path) -> bool:
    return any(folder.glob("*.tar"))


def read(path: Path, folder: Path, split: str | None) -> EvalDataset:
    """Read keys, labels and captions of all shards of a folder, in the order of their names.

    Raises:
        FileNotFoundError: a shard without an index; the message has the command that writes it.
        DamagedShardError: a shard that is not the one that was indexed.
        ValueError: a member that cannot be read, or that only some samples have.
    """
    if not is_text(str(folder)):  # the parquet reader takes no such path
        raise ValueError(f"data {str(folder)!r}: the path is not UTF-8; rename it")
    samples = Samples()
    for shard in sorted(folder.glob("*.tar")):
        index = ShardIndex.read(str(shard))
        for row in range(len(index)):
            _read_sample(index, row, samples)
    return EvalDataset(
        name=_name(folder, split),
        path=path,
        split=split,
        layout="shards",
        keys=unique_keys(samples.keys, samples.shards),
        places=samples.places,
        labels=samples.all_labels(),
        captions=samples.all_captions(),
        classnames=beside(path, folder, "classnames.txt", read_classnames),
        templates=beside(path, folder, "zeroshot_classification_templates.txt", read_lines),
        sources=samples.sources,
        numbers=samples.numbers,
    )


def _name(folder: Path, split: str | None) -> str:
    """data/flickr8k/test and data/flickr8k are both called flickr8k."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == split else folder.name


def _read_sample(index: ShardIndex, row: int, samples: Samples) -> None:
    key, members = index.key(row), index.members(row)
    where = f"{index.shard}: sample {key!r}"
    samples.add(index.shard, key, members)
    label = members.get("cls")
    samples.labels.append(parse_label(_bytes(index, label), where) if label else None)
    record = parse_record(_bytes(index, members["json"]), where) if "json" in members else {}
    samples.sources.append(Source(index.shard, key, index.src_sha256(row)))
    samples.numbers.append(recorded_number(record))
    captions = recorded_captions(record, where)
    if captions is None and "txt" in members:
        captions = whole_caption(_bytes(index, members["txt"]), where)
    samples.captions.append(captions)


def _bytes(index: ShardIndex, member: Member) -> bytes:
    return Place(index.shard, member.offset, member.size).read()
