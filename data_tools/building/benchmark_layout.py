"""Classification sets in CLIP_benchmark's WebDataset layout.

ROOT/classnames.txt                          line i names label i
ROOT/zeroshot_classification_templates.txt   {c} stands for the class name
ROOT/test/nshards.txt, ROOT/test/0.tar       s0000000.png, s0000000.cls, ...
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vlp.data.files import replace_atomically, write_text
from vlp.data.leftovers import remove_leftovers_in
from vlp.data.tar import write_tar

_NAMES = "classnames.txt"
_TEMPLATES = "zeroshot_classification_templates.txt"


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
    for folder in (root, root / "test"):
        remove_leftovers_in(folder)
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
    """What a zero-shot benchmark reads beside the shards."""
    for name, text in class_files(classnames, templates).items():
        write_text(root / name, text)


def read_class_files(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and prompts beside shards, or above their folder; empty where there are none."""
    for place in (folder, folder.parent):
        if (place / _NAMES).is_file():
            files = (place / _NAMES, place / _TEMPLATES)
            texts = [file.read_text("utf-8") if file.is_file() else "" for file in files]
            names, templates = (tuple(text.splitlines()) for text in texts)
            return names, templates
    return (), ()


def class_files(classnames: Sequence[str], templates: Sequence[str]) -> dict[str, str]:
    """The files that name the classes and their prompts, one a line; none without classes."""
    lines = {_NAMES: classnames, _TEMPLATES: templates}
    if not classnames:
        return {}
    return {name: "".join(f"{line}\n" for line in of) for name, of in lines.items()}
