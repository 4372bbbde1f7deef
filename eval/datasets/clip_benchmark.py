r"""CLIP_benchmark's webdataset layout.

ROOT/classnames.txt, ROOT/zeroshot_classification_templates.txt, ROOT/dataset_type.txt (absent =
classification), ROOT/SPLIT/nshards.txt, ROOT/SPLIT/0.tar ...; members KEY.webp|png|jpg|jpeg with
KEY.cls (class number), KEY.npy (multilabel: 1 for each class that is shown) or KEY.txt (captions,
one a line). Beside KEY.cls a KEY.npy is a vector of metadata, whose columns are groups: those that
`benchmarks.yaml` names where the folder is one of its benchmarks, else `metadata_0`, `metadata_1`
..., as far as they hold whole numbers.

Read as CLIP_benchmark does, but for a literal \n in a caption, which stands for a line break here,
and blank lines at the end of classnames.txt, which name no class.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.benchmarks import Benchmark, of_folder
from eval.datasets.dataset import EvalDataset, Place, read_classnames, read_lines, unique_keys
from eval.datasets.samples import (
    Samples,
    Vector,
    parse_captions,
    parse_label,
    parse_vector,
)
from vlp.data.index import group_members

TYPES = {"classification": "cls", "multilabel": "npy", "retrieval": "txt"}  # {type: its member}
CLASSNAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
IMAGE_EXTENSIONS = ("webp", "png", "jpg", "jpeg")  # of several pictures the first of these is read
_OBJECTIVE = re.compile(r"(\w+):.")


def recognise(root: Path, folder: Path) -> bool:
    marks = (folder / "nshards.txt", folder / "0.tar", root / "dataset_type.txt")
    return any(mark.is_file() for mark in marks)


def read(root: Path, folder: Path, split: str | None) -> EvalDataset:
    """Read keys, labels and captions of one split.

    Raises:
        FileNotFoundError: `nshards.txt` or a shard that it announces is missing.
        DamagedShardError: a shard that cannot be read to its end.
        ValueError: an unknown dataset type, several classifications in one set, or a sample
            without what the type promises.
    """
    kind = (read_lines(root / "dataset_type.txt") or ["classification"])[0].lower()
    if kind not in TYPES:
        raise ValueError(
            f"{root / 'dataset_type.txt'}: dataset type {kind!r} has no task here; "
            f"choices are {', '.join(TYPES)}"
        )
    classnames = read_classnames(root / CLASSNAMES)
    _refuse_objectives(root, classnames)
    samples = Samples(image_extensions=IMAGE_EXTENSIONS)
    for shard in _shards(folder):
        _read_shard(shard, samples, kind)
    return EvalDataset(
        name=root.resolve().name,
        path=root,
        split=split,
        layout="clip_benchmark",
        keys=unique_keys(samples.keys, samples.shards),
        places=samples.places,
        classnames=classnames,
        templates=read_lines(root / TEMPLATES),
        **_carried(root, samples, kind),
    )


def _carried(root: Path, samples: Samples, kind: str) -> dict[str, Any]:
    """What the samples carry, by the names of the data set's fields."""
    if kind == "retrieval":
        return {"captions": samples.all_captions()}
    vectors = samples.all_vectors()
    if kind == "multilabel":
        assert vectors is not None
        return {"label_sets": _label_sets(root, vectors, samples.where)}
    groups = {} if vectors is None else _groups(vectors, of_folder(root.resolve().name), root)
    return {"labels": samples.all_labels(), "groups": groups}


def _refuse_objectives(root: Path, classnames: list[str] | None) -> None:
    """FairFace and UTKFace have lines OBJECTIVE:CLASS, a classification for each objective."""
    found = [_OBJECTIVE.match(name) for name in classnames or ()]
    objectives = list(dict.fromkeys(match[1] for match in found if match))
    if len(objectives) > 1 and all(found):
        raise ValueError(
            f"{root / CLASSNAMES}: its lines are OBJECTIVE:CLASS for the objectives "
            f"{', '.join(objectives)}, several classifications of the same pictures, which no task "
            "here evaluates"
        )


def _label_sets(root: Path, vectors: Vector, where: Callable[[int], str]) -> NDArray[np.bool_]:
    wrong = ((vectors != 0) & (vectors != 1)).any(1)
    if wrong.any():
        position = int(wrong.argmax())
        raise ValueError(
            f"{where(position)}: the .npy labels of a multilabel set are 0 and 1, got "
            f"{vectors[position][:10].tolist()}"
        )
    names = read_classnames(root / CLASSNAMES)
    if names is not None and len(names) != vectors.shape[1]:
        raise ValueError(
            f"{root / CLASSNAMES} has {len(names)} lines for labels of {vectors.shape[1]} classes"
        )
    return np.equal(vectors, 1)


def _groups(
    vectors: Vector, benchmark: Benchmark | None, root: Path
) -> dict[str, NDArray[np.int64]]:
    if benchmark is None:
        whole = [bool((np.isfinite(column) & (column % 1 == 0)).all()) for column in vectors.T]
        return {f"metadata_{i}": vectors[:, i].astype(np.int64) for i, ok in enumerate(whole) if ok}
    groups = {}
    for name, how in benchmark.groups.items():
        if how.column >= vectors.shape[1]:
            raise ValueError(
                f"data {root}: its .npy metadata have {vectors.shape[1]} columns, but {name} of "
                f"{benchmark.name} is column {how.column} (from 0)"
            )
        column = vectors[:, how.column].astype(np.int64)
        groups[name] = np.where(np.isin(column, how.without), -1, column)
    return groups


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
    extension = TYPES[kind]
    wanted = (extension, "npy") if kind == "classification" else (extension,)
    for key, members in group_members(shard).items():
        where = f"{shard}: sample {key!r}"
        data = {
            ext: Place(str(shard), members[ext].offset, members[ext].size).read()
            for ext in wanted
            if ext in members
        }
        if extension not in data:
            raise ValueError(
                f"{where} has no .{extension} member, which a {kind} set needs; "
                f"it has {', '.join('.' + ext for ext in members)}"
            )
        samples.add(str(shard), key, members)
        if "txt" in data:
            samples.captions.append(parse_captions(data["txt"], where))
        if "cls" in data:
            samples.labels.append(parse_label(data["cls"], where))
        samples.vectors.append(parse_vector(data["npy"], where) if "npy" in data else None)
