"""The captions of a shard that near misses are made of, and what speaks against one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.annotate import read_sidecar
from data_tools.near_misses.parsing import Parsed
from data_tools.near_misses.picture import Picture
from data_tools.samples import TEXTS, read_samples
from vlp.data.source import UnusableSampleError
from vlp.errors import InputError


@dataclass(frozen=True)
class Caption:
    """A caption that near misses are wanted of.

    Args:
        place: among the captions of its sample.
        picture: what all texts of the sample say.
    """

    key: str
    place: int
    parsed: Parsed
    picture: Picture

    @property
    def text(self) -> str:
        """The caption itself."""
        return self.parsed.words.text


@dataclass(frozen=True)
class Sample:
    """A sample of a shard; `error` where its captions cannot be read."""

    key: str
    src_sha256: str
    captions: Sequence[Caption] = ()
    error: str = ""


def read_captions(shard: Path, *, first: bool, guards: Sequence[str] = ()) -> Iterator[Sample]:
    """The samples of a shard with their captions.

    Args:
        first: the first caption of each alone.
        guards: sidecars whose texts or labels are true of the pictures too.
    """
    told = [_told_by(shard, name) for name in guards]
    for sample in read_samples(shard, TEXTS):
        try:
            own = sample.captions()
        except UnusableSampleError as error:
            yield Sample(sample.key, sample.src_sha256, error=str(error))
            continue
        joined = sample.key, sample.src_sha256
        extra = [pair for told_by in told for pair in told_by.get(joined, ())]
        parsed = [Parsed.of(text) for text in own]
        more = [Parsed.of(text) for is_text, text in extra if is_text]
        labels = [text for is_text, text in extra if not is_text]
        picture = Picture.of([*parsed, *more], labels)
        wanted = parsed[:1] if first else parsed
        captions = [Caption(sample.key, i, one, picture) for i, one in enumerate(wanted)]
        yield Sample(sample.key, sample.src_sha256, captions)


def _told_by(shard: Path, name: str) -> Mapping[tuple[str, str], list[tuple[bool, str]]]:
    """(key, sha256 of the caption) -> (is it a text and no label, what it says)."""
    table = read_sidecar(shard, name)
    columns = [column for column in ("texts", "labels") if column in table.column_names]
    if not columns:
        raise InputError(
            f"--guard-sidecars {name}: has neither `texts` nor `labels`, but "
            f"{', '.join(table.column_names)}"
        )
    return {
        (row["key"], row["src_sha256"]): [
            (column == "texts", text) for column in columns for text in row[column] or () if text
        ]
        for row in table.select(["key", "src_sha256", *columns]).to_pylist()
    }
