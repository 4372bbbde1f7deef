"""MMVP-VLM (Tong et al. 2024): for each of two statements its picture is chosen.

Questions.csv (number, pattern, statement; rows 2k - 1 and 2k are a pair) and the pictures
PATTERN/NUMBER.jpg in "MLLM_VLM Images"/ or images/. A text is "a photo of " and the statement. The
published score is the mean over the patterns of the share of pairs with both right: `macro_acc`.
"""

from pathlib import Path

from eval.datasets.cola import choices
from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Items
from eval.datasets.pictures import Pictures
from eval.datasets.published import as_dataset
from vlp.data.tables import Row, read_rows

_FILE = "Questions.csv"
_TEMPLATE = "a photo of {}"


def recognise(folder: Path) -> bool:
    return (folder / _FILE).is_file()


def read(path: Path, split: str | None) -> EvalDataset:
    """Read the pairs.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: a split, which the set has not, or rows that are no pairs.
    """
    if split is not None:
        raise ValueError(f"data {path} has no splits, but --split asks for {split!r}")
    file = path / _FILE
    rows = list(read_rows(file))
    if len(rows) % 2:
        raise ValueError(f"{file}: {len(rows)} rows are no pairs")
    pictures, items = Pictures(path, ("MLLM_VLM Images", "images")), Items()
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        (one, pattern, of_one), (other, same, of_other) = _values(first), _values(second)
        if pattern != same:
            raise ValueError(f"{second.place}: pattern {same!r} in a pair of pattern {pattern!r}")
        places = [pictures.add(f"{pattern}/{number}.jpg") for number in (one, other)]
        texts = [_TEMPLATE.format(statement) for statement in (of_one, of_other)]
        kind = pattern.replace(" ", "_")
        items.add(f"{one}-{other}", choices(places[0], texts[0], places[1], texts[1], kind))
    return as_dataset("mmvp_vlm", path, split, pictures, items)


def _values(row: Row) -> list[str]:
    """Number, pattern, statement: the columns by their order, whatever they are called."""
    values = [value.strip() for value in row.values.values()]
    if len(values) != 3 or not all(values):
        raise ValueError(f"{row.place}: expected number, pattern and statement, got {values!r:.80}")
    return values
