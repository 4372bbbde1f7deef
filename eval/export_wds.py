r"""`python -m eval export-wds DATA OUTPUT`: any data set in CLIP_benchmark's layout.

OUTPUT/classnames.txt, zeroshot_classification_templates.txt and dataset_type.txt (absent =
classification), OUTPUT/SPLIT/nshards.txt and N.tar with keys s0000000, s0000001, ... A split is
whole or absent: it is written under another name and renamed.
"""

import io
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from eval.checks.defects import sidecars
from eval.checks.picture_checks import watched
from eval.datasets import EvalDataset, open_dataset
from eval.datasets.clip_benchmark import CLASSNAMES, TEMPLATES
from eval.datasets.samples import parse_captions
from vlp.data.files import write_text
from vlp.data.images import FORMATS, UnreadableImageError, decode
from vlp.data.tar import write_tar

ENCODERS: Mapping[str, Mapping[str, object]] = {
    "webp": {"format": "WEBP", "lossless": True},
    "png": {"format": "PNG"},
    "jpg": {"format": "JPEG", "quality": 95},
}
_LARGEST_WEBP = 16383  # pixels a side
Sample = tuple[str, dict[str, bytes]]


@dataclass(kw_only=True)
class Count:
    """What became of the samples."""

    written: int = 0
    pictures: Counter[str] = field(default_factory=Counter)  # verbatim, or the new format
    unreadable: list[str] = field(default_factory=list)  # key: reason
    changed: list[str] = field(default_factory=list)  # keys whose captions are read back otherwise


def export_wds(
    data: str,
    output: str,
    split: str | None = None,
    image_format: str = "keep",
    max_count: int = 10_000,
    max_size: float = 1e9,
) -> int:
    """Write a data set in CLIP_benchmark's layout.

    Args:
        data: folder or file of a data set.
        output: folder; other splits may be there already.
        split: as in `run`.
        image_format: keep | webp | png | jpg; webp and png are lossless. `keep` leaves the bytes
            as they are, but for what the layout does not take, which becomes webp.
        max_count: samples in a shard.
        max_size: bytes after which a shard ends.
    """
    if image_format not in ("keep", *ENCODERS):
        choices = ", ".join(("keep", *ENCODERS))
        raise ValueError(f"image_format {image_format!r}: choices are {choices}")
    if max_count < 1 or max_size < 1:
        raise ValueError(f"max_count {max_count}, max_size {max_size}: must be at least 1")
    dataset = open_dataset(data, split)
    kind = _kind(dataset)
    folder = Path(output).expanduser() / (dataset.split or "test")
    files = _root_files(dataset, kind)
    _refuse_existing(folder, files)
    count = Count()
    samples = _samples(dataset, kind, image_format, count)
    shards = _write(folder, files, _shards_of(samples, max_count, max_size))
    _report(dataset, folder, shards, count)
    return 1 if count.unreadable else 0


def _kind(dataset: EvalDataset) -> str:
    """The dataset type; with labels and captions the captions lie beside the labels."""
    if dataset.label_sets is not None:
        return "multilabel"
    if dataset.labels is not None:
        return "classification"
    if dataset.captions is not None:
        return "retrieval"
    raise ValueError(
        f"data {dataset.path} holds {dataset.holds}; CLIP_benchmark's layout is for labels and "
        "captions"
    )


def _root_files(dataset: EvalDataset, kind: str) -> dict[str, str | None]:
    """{name: content, None for a file that must not be there}"""
    files: dict[str, str | None] = dict.fromkeys((CLASSNAMES, TEMPLATES, "dataset_type.txt"))
    if kind != "classification":
        files["dataset_type.txt"] = f"{kind}\n"
    if kind == "retrieval":
        return files
    if dataset.classnames is None:
        raise ValueError(f"data {dataset.path} has labels but no {CLASSNAMES}, which is needed")
    files[CLASSNAMES] = _lines(dataset.classnames, "class name")
    if dataset.templates is not None:
        forms = [form.replace("{}", "{c}") for form in dataset.templates]
        files[TEMPLATES] = _lines(forms, "template")
    return files


def _lines(entries: list[str], what: str) -> str:
    for entry in entries:
        if entry != entry.strip() or len(entry.splitlines()) > 1:
            raise ValueError(f"{what} {entry!r}: a line of its own cannot hold it")
    if entries and not entries[-1]:
        raise ValueError(f"{what} {len(entries) - 1} is empty, and the last line cannot be")
    return "".join(f"{entry}\n" for entry in entries)


def _refuse_existing(folder: Path, files: Mapping[str, str | None]) -> None:
    partial = _partial(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; nothing was written")
    if partial.exists():
        raise FileExistsError(
            f"{partial} is left of an export that runs or was stopped; remove it to write anew"
        )
    splits = folder.parent.is_dir() and any(folder.parent.glob("*/nshards.txt"))
    for name, content in files.items():
        path = folder.parent / name
        there = path.read_text(encoding="utf-8") if path.is_file() else None
        if there != content and (splits or there is not None):
            what = "is not there" if there is None else "is another one"
            raise FileExistsError(
                f"{path} {what}: what {folder.parent} holds is no split of the same data set; "
                "nothing was written"
            )


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def _samples(dataset: EvalDataset, kind: str, image_format: str, count: Count) -> Iterator[Sample]:
    metadata = [] if kind == "multilabel" else list(dataset.groups.values())
    for i in watched(range(len(dataset)), "samples"):
        try:
            how, extension, picture = _picture(dataset, i, image_format)
        except (UnreadableImageError, OSError) as error:
            count.unreadable.append(f"{dataset.keys[i]}: {error}")
            continue
        members = {extension: picture}
        if kind == "classification" and dataset.labels is not None:
            members["cls"] = str(int(dataset.labels[i])).encode()
        if dataset.label_sets is not None:
            members["npy"] = _npy(dataset.label_sets[i].astype(np.int64))
        elif metadata:
            members["npy"] = _npy(np.array([column[i] for column in metadata], dtype=np.int64))
        if dataset.captions is not None:
            members["txt"] = _text(dataset.captions[i])
            if parse_captions(members["txt"], dataset.keys[i]) != dataset.captions[i]:
                count.changed.append(dataset.keys[i])
        count.pictures[how] += 1
        yield f"s{count.written:07d}", members
        count.written += 1


def _picture(dataset: EvalDataset, i: int, image_format: str) -> tuple[str, str, bytes]:
    """How it was written, its extension and its bytes.

    Raises:
        UnreadableImageError, OSError: it cannot be read.
    """
    place = dataset.places[i]
    if place is None:
        raise UnreadableImageError("the sample has no picture")
    data = place.read()
    own = FORMATS.get(decode(data).format)
    if place.box is None and own is not None and image_format in ("keep", own):
        return "as they were", own, data
    image = dataset.item(i)[1]
    wanted = "webp" if image_format == "keep" else image_format
    if wanted == "webp" and max(image.size) > _LARGEST_WEBP:
        wanted = "png"
    return f"encoded anew as {wanted}", wanted, _encode(image, wanted)


def _encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **ENCODERS[form])  # type: ignore[arg-type]
    return buffer.getvalue()


def _npy(vector: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, vector, allow_pickle=False)
    return buffer.getvalue()


def _text(captions: list[str]) -> bytes:
    """One caption a line; a last one that is empty needs the end of its line to be seen."""
    text = "\n".join("\\n".join(caption.split("\n")) for caption in captions)
    return (text + "\n" * (not captions[-1])).encode()


def _shards_of(
    samples: Iterator[Sample], max_count: int, max_size: float
) -> Iterator[Iterator[Sample]]:
    """The samples of one shard after another; each must be used up before the next."""

    def shard(sample: Sample) -> Iterator[Sample]:
        count = size = 0
        following: Sample | None = sample
        while following is not None:
            yield following
            count += 1
            size += sum(map(len, following[1].values()))
            full = count >= max_count or size >= max_size
            following = None if full else next(samples, None)

    while (first := next(samples, None)) is not None:
        yield shard(first)


def _write(
    folder: Path, files: Mapping[str, str | None], shards: Iterator[Iterator[Sample]]
) -> int:
    """Write a split and the files of the data set; the number of shards."""
    partial = _partial(folder)
    partial.mkdir(parents=True)
    try:
        number = 0
        for number, samples in enumerate(shards, 1):
            write_tar(partial / f"{number - 1}.tar", samples)
        if not number:
            raise ValueError("no picture of the data can be read; nothing was written")
        write_text(partial / "nshards.txt", f"{number}\n")
        for name, content in files.items():
            if content is not None:
                write_text(folder.parent / name, content)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return number


def _report(dataset: EvalDataset, folder: Path, shards: int, count: Count) -> None:
    unreadable = len(count.unreadable)
    print(f"{folder}: {shards} shard{'s' * (shards > 1)}")
    print(f"samples: {len(dataset):,} = {count.written:,} written + {unreadable:,} unreadable")
    for reason in count.unreadable[:5]:
        print(f"  unreadable: {reason}")
    print("pictures: " + ", ".join(f"{n:,} {how}" for how, n in count.pictures.items()))
    if count.changed:
        print(
            f"captions of {len(count.changed):,} samples are read back otherwise (line breaks, or "
            f"a literal \\n): {', '.join(count.changed[:5])}"
        )
    if dataset.labels is not None and dataset.captions is not None:
        print(
            "labels and captions: read as classification, or as retrieval once dataset_type.txt "
            "says so"
        )
    lost = _left_out(dataset)
    if lost:
        print(f"left out, as the layout has no place for it: {', '.join(lost)}")


def _left_out(dataset: EvalDataset) -> list[str]:
    kept = dataset.label_sets is None
    numbers = dataset.numbers is not None and any(n is not None for n in dataset.numbers)
    parts = {
        "choices": dataset.selection is not None,
        "judgements": dataset.judgements is not None,
        "names of captions": dataset.caption_ids is not None,
        "numbers": numbers,
        "groups": bool(dataset.groups) and not kept,
        "names of groups": bool(dataset.groups) and kept,
        "labels": dataset.labels is not None and not kept,
        "sidecars": bool(sidecars(dataset)),
    }
    return [name for name, there in parts.items() if there]
