"""Labels and captions from the bytes of a shard's members."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.datasets.dataset import Place, Source
from vlp.data.index import IMAGE_EXTENSIONS
from vlp.data.tar import Member

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of several shards, gathered one by one."""

    image_extensions: Sequence[str] = IMAGE_EXTENSIONS  # the first that a sample has is read
    keys: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    places: list[Place | None] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    captions: list[list[str] | None] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    vectors: list[Vector | None] = field(default_factory=list)

    def add(self, shard: str, key: str, members: Mapping[str, Member]) -> None:
        self.keys.append(key)
        self.shards.append(shard)
        found = [ext for ext in self.image_extensions if ext in members]
        member = members[found[0]] if found else None
        self.places.append(Place(shard, member.offset, member.size) if member else None)

    def where(self, position: int) -> str:
        return f"{self.shards[position]}: sample {self.keys[position]!r}"

    def all_labels(self) -> NDArray[np.int64] | None:
        """[n] when every sample has one, None when none has; some with and some without is damage.

        Raises:
            ValueError: naming the first sample without a label.
        """
        if not _every(self.labels, self.where, ".cls label"):
            return None
        return np.array(self.labels, dtype=np.int64)

    def all_captions(self) -> list[list[str]] | None:
        """[n] when every sample has captions, None when none has.

        Raises:
            ValueError: naming the first sample without a caption.
        """
        if not _every(self.captions, self.where, "caption"):
            return None
        return [captions for captions in self.captions if captions is not None]

    def all_vectors(self) -> Vector | None:
        """[n, V] when every sample has one, None when none has.

        Raises:
            ValueError: naming the first sample without one, or with one of another length.
        """
        if not _every(self.vectors, self.where, ".npy vector"):
            return None
        vectors = [vector for vector in self.vectors if vector is not None]
        for position, vector in enumerate(vectors):
            if len(vector) != len(vectors[0]):
                raise ValueError(
                    f"{self.where(position)}: its .npy vector has {len(vector)} numbers, that of "
                    f"the first sample {len(vectors[0])}"
                )
        return np.stack(vectors)


def _every(values: Sequence[object], where: Callable[[int], str], what: str) -> bool:
    missing = [position for position, value in enumerate(values) if value is None]
    if not missing or len(missing) == len(values):
        return not missing and bool(values)
    raise ValueError(f"{where(missing[0])} has no {what}, but other samples have one")


def parse_label(data: bytes, where: str) -> int:
    """A class number in ASCII digits."""
    try:
        return int(data.decode("ascii"))
    except (UnicodeDecodeError, ValueError):
        raise ValueError(f"{where}: the .cls label {data[:20]!r} is no whole number") from None


def parse_vector(data: bytes, where: str) -> Vector:
    """A vector of numbers in NumPy's format."""
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{where}: its .npy member cannot be read: {error}") from None
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind not in "biuf":
        raise ValueError(f"{where}: its .npy member is no vector of numbers")
    return found.astype(np.float64)


def parse_captions(data: bytes, where: str) -> list[str]:
    r"""One caption a line as it stands, but for a literal \n, which becomes a line break."""
    lines = _text(data, where, "txt").splitlines()
    return _some([line.replace("\\n", "\n") for line in lines], where)


def parse_record(data: bytes, where: str) -> Mapping[str, Any]:
    """A sample's JSON record; empty where it is something else than an object."""
    try:
        record = json.loads(_text(data, where, "json"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: its .json member is no JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{where}: its .json member is nested too deeply") from None
    return record if isinstance(record, dict) else {}


def recorded_captions(record: Mapping[str, Any], where: str) -> list[str] | None:
    """The list `captions` of a record, or None when it has no such list."""
    captions = record.get("captions")
    if captions is None:
        return None
    if not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
        raise ValueError(f"{where}: `captions` in its .json member must be a list of strings")
    return _some([caption for caption in captions if caption.strip()], where)


def recorded_number(record: Mapping[str, Any]) -> int | None:
    """How many things the picture shows: `number` or `count`, the first that is a whole number."""
    for name in ("number", "count"):
        found = record.get(name)
        if isinstance(found, int | float) and not isinstance(found, bool) and found % 1 == 0:
            return int(found)
    return None


def whole_caption(data: bytes, where: str) -> list[str]:
    """A text member that is one caption, line breaks and all."""
    return _some([text] if (text := _text(data, where, "txt").strip()) else [], where)


def _some(captions: list[str], where: str) -> list[str]:
    if not any(caption.strip() for caption in captions):
        raise ValueError(f"{where}: all its captions are empty")
    return captions


def _text(data: bytes, where: str, extension: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: its .{extension} member is not UTF-8: {error}") from None
