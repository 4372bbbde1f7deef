"""CountBench (Paiss et al. 2023): 540 captions that tell how many there are, 60 each of 2 to 10.

CountBench.json, a list of image_url, text and number. The pictures are fetched by the user and are
called by the place of their entry in the list, counted from 0: 000.jpg to 539.jpg (.jpeg, .png,
.webp) in images/ or beside the file, or 00000/000000000.jpg as img2dataset writes them.

Or Parquet files with image (bytes inside), text and number, in the folder or in data/, such as
nielsr/countbench on the Hugging Face Hub. Either way a picture that could not be fetched is skipped
and counted when the set is encoded.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eval.datasets.dataset import EvalDataset, Place
from eval.datasets.pictures import Pictures
from eval.datasets.published import entries, number, text
from vlp.data.tables import Row

_FILE = "CountBench.json"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_COLUMNS = ["image", "text", "number"]


@dataclass(frozen=True)
class Held(Place):
    """A picture whose bytes are in memory: `file` holds it in a form of its own."""

    data: bytes = field(default=b"", repr=False)

    def read(self) -> bytes:
        return self.data[self.offset : None if self.size < 0 else self.offset + self.size]


def recognise(folder: Path) -> bool:
    return (folder / _FILE).is_file() or bool(_tables(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read the captions and find their pictures.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: a split, which the set has not, or an entry without a text or a whole number.
    """
    if split is not None:
        raise ValueError(f"data {path} has no splits, but --split asks for {split!r}")
    tables = _tables(path)
    rows, pictures = _held(tables) if tables else _listed(path)
    return EvalDataset(
        name="countbench",
        path=path,
        split=None,
        layout="countbench",
        keys=[f"{n:03d}" for n in range(len(rows))],
        places=pictures,
        captions=[[text(row, "text")] for row in rows],
        numbers=[_whole(row) for row in rows],
    )


def _listed(path: Path) -> tuple[list[Row], list[Place | None]]:
    rows = [row for _, row in entries(path / _FILE)]
    pictures = Pictures(path, ("images",))
    for n in range(len(rows)):
        stems = (f"{n:03d}", f"00000/{n:09d}")
        pictures.add(*(stem + suffix for stem in stems for suffix in _SUFFIXES))
    pictures.check()
    return rows, pictures.places


def _held(tables: list[Path]) -> tuple[list[Row], list[Place | None]]:
    rows: list[Row] = []
    places: list[Place | None] = []
    for file in tables:
        for n, values in enumerate(pq.read_table(file, columns=_COLUMNS).to_pylist()):
            data = (values["image"] or {}).get("bytes")
            rows.append(Row(f"{file}, row {n}", values))
            places.append(Held(str(file), 0, len(data), None, data) if data else None)
    return rows, places


def _tables(folder: Path) -> list[Path]:
    """The Parquet files of the first folder that has any with such columns."""
    for inner in (folder, folder / "data"):
        found = [file for file in sorted(inner.glob("*.parquet")) if _has_columns(file)]
        if found:
            return found
    return []


def _has_columns(file: Path) -> bool:
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError):
        return False
    return set(_COLUMNS) <= set(schema.names) and pa.types.is_struct(schema.field("image").type)


def _whole(row: Row) -> int:
    found = number(row, "number")
    if found % 1:
        raise ValueError(f"{row.place}: expected a whole number in 'number', got {found:g}")
    return int(found)
