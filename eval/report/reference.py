"""Published numbers of known checkpoints, from `reference.csv` beside this file.

Models and weights are named as in open_clip, data sets as in DataComp. A number that is more than
half a point off its published one says that the protocol differs: prompts, preprocessing,
activation, or which pictures are in the set.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from eval.benchmarks import of_folder
from eval.records import Record, pretrained_tag

FILE = Path(__file__).with_suffix(".csv")
TOLERANCE = 0.005  # half a point
_QUICKGELU = "-quickgelu"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number that somebody published, and how far a result is from it."""

    value: float
    source: str
    deviation: float  # result - published

    @property
    def agrees(self) -> bool:
        """Within half a point, as far as the published digits say."""
        return abs(self.deviation) <= TOLERANCE + 1e-9


def published(record: Record) -> dict[str, Published]:
    """{metric: what is published of it} for the checkpoint, data set and metrics of a record."""
    if record.get("protocol", {}).get("limit"):
        return {}  # of some of the samples alone
    benchmark = of_folder(record["dataset"])
    dataset = benchmark.name if benchmark else record["dataset"]
    tag = pretrained_tag(record)
    model = str(record.get("model"))
    if tag == "openai":  # which open_clip builds with QuickGELU under either name
        model = model.removesuffix(_QUICKGELU)
    known = _TABLE.get((model, tag, dataset), {})
    return {
        name: Published(
            value=known[name][0], source=known[name][1], deviation=value - known[name][0]
        )
        for name, value in record["metrics"].items()
        if name in known and value is not None
    }


def _read(file: Path) -> Mapping[tuple[str, str, str], Mapping[str, tuple[float, str]]]:
    found: dict[tuple[str, str, str], dict[str, tuple[float, str]]] = {}
    with open(file, encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            key = (row["model"], row["pretrained"], row["dataset"])
            found.setdefault(key, {})[row["metric"]] = (float(row["value"]), row["source"])
    return MappingProxyType(found)


_TABLE = _read(FILE)
