r"""CLIP_benchmark's webdataset layout.

ROOT/classnames.txt, ROOT/zeroshot_classification_templates.txt, ROOT/dataset_type.txt (absent =
classification), ROOT/SPLIT/nshards.txt, ROOT/SPLIT/0.tar ...; members KEY.webp|png|jpg|jpeg with
KEY.cls (class number) or KEY.txt (captions, one a line). Read as CLIP_benchmark does, but for a
literal \n in a caption, which stands for a line break here, and blank lines at the end of
classnames.txt, which name no class.
"""

from pathlib import Path

from eval.datasets.dataset import EvalDataset, Place, read_classnames, read_lines, unique_keys
from eval.datasets.samples import Samples, parse_captions, parse_label
from vlp.data.index import group_members

TYPES = ("classification", "retrieval")
_IMAGE_EXTENSIONS = ("webp", "png", "jpg", "jpeg")  # of several pictures the first of these is read


def recognise(root: Path, folder: Path) -> bool:
    marks = (folder / "nshards.txt", folder / "0.tar", root / "dataset_type.txt")
    return any(mark.is_file() for mark in marks)


def read(root: Path, folder: Path, split: str | None) -> EvalDataset:
    """Read keys, labels and captions of one split.

    Raises:
        FileNotFoundError: `nshards.txt` or a shard that it announces is missing.
        DamagedShardError: a shard that cannot be read to its end.
        ValueError: an unknown dataset type, or a sample without what the type promises.
    """
    kind = (read_lines(root / "dataset_type.txt") or ["classification"])[0].lower()
    if kind not in TYPES:
        raise ValueError(
            f"{root / 'dataset_type.txt'}: dataset type {kind!r} has no task here; "
            f"choices are {', '.join(TYPES)}"
        )
    samples = Samples(image_extensions=_IMAGE_EXTENSIONS)
    for shard in _shards(folder):
        _read_shard(shard, samples, kind)
    retrieval = kind == "retrieval"
    return EvalDataset(
        name=root.resolve().name,
        path=root,
        split=split,
        layout="clip_benchmark",
        keys=unique_keys(samples.keys, samples.shards),
        places=samples.places,
        labels=None if retrieval else samples.all_labels(),
        captions=samples.all_captions() if retrieval else None,
        classnames=read_classnames(root / "classnames.txt"),
        templates=read_lines(root / "zeroshot_classification_templates.txt"),
    )


def _shards(folder: Path) -> list[Path]:
    count_file = folder / "nshards.txt"
    lines = read_lines(count_file)
    if lines is None:
        raise FileNotFoundError(
            f"{count_file} is missing; CLIP_benchmark's layout needs it: one line with the number "
            f"of shards in {folder}"
        )
    if not lines[0].isascii() or not lines[0].isdigit() or int(lines[0]) == 0:
        raise ValueError(f"{count_file}: {lines[0]!r} is no number of shards")
    shards = [folder / f"{number}.tar" for number in range(int(lines[0]))]
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]} is missing; {count_file} announces {len(shards)} shards "
            f"and {len(missing)} of them are not there"
        )
    return shards


def _read_shard(shard: Path, samples: Samples, kind: str) -> None:
    extension = "txt" if kind == "retrieval" else "cls"
    for key, members in group_members(shard).items():
        where = f"{shard}: sample {key!r}"
        member = members.get(extension)
        if member is None:
            raise ValueError(
                f"{where} has no .{extension} member, which a {kind} set needs; "
                f"it has {', '.join('.' + ext for ext in members)}"
            )
        data = Place(str(shard), member.offset, member.size).read()
        samples.add(str(shard), key, members)
        if kind == "retrieval":
            samples.captions.append(parse_captions(data, where))
        else:
            samples.labels.append(parse_label(data, where))
