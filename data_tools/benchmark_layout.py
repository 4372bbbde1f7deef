"""Classification sets in CLIP_benchmark's WebDataset layout.

ROOT/classnames.txt                          line i names label i
ROOT/zeroshot_classification_templates.txt   {c} stands for the class name
ROOT/test/nshards.txt, ROOT/test/0.tar       s0000000.png, s0000000.cls, ...
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vlp.data.files import replace_atomically, write_text
from vlp.data.tar import write_tar


def write_classification_set(
    root: Path,
    classnames: Sequence[str],
    templates: Sequence[str],
    samples: Iterable[tuple[bytes, int]],
) -> int:
    """Write a set as one shard of the split `test`; returns the number of samples.

    Args:
        samples: PNG bytes and zero-based label of each picture.
    """
    write_class_files(root, classnames, templates)
    write_text(root / "test" / "nshards.txt", "1\n")
    count = 0

    def members() -> Iterable[tuple[str, Mapping[str, bytes]]]:
        nonlocal count
        for data, label in samples:
            yield f"s{count:07d}", {"png": data, "cls": str(label).encode()}
            count += 1

    replace_atomically(root / "test" / "0.tar", lambda path: write_tar(path, members()))
    return count


def write_class_files(root: Path, classnames: Sequence[str], templates: Sequence[str]) -> None:
    """What a zero-shot benchmark reads beside the shards: one class, one template a line."""
    for name, lines in (
        ("classnames.txt", classnames),
        ("zeroshot_classification_templates.txt", templates),
    ):
        write_text(root / name, "".join(f"{line}\n" for line in lines))
