"""`vlp search`: pictures of an index by text, picture, or both."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from vlp.errors import InputError
from vlp.terminal import printable

if TYPE_CHECKING:
    from vlp.retrieval.query import Query
    from vlp.retrieval.results import Results
    from vlp.retrieval.retriever import Retriever

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Find pictures by text, by picture, or by both; all parts of a query add up.

    Args:
        index: folder of the index.
        texts: what is to be seen.
        image: a picture that the others are to be like; may be repeated.
        without: a text that is not to be seen; may be repeated.
        like: id of a picture of the index that the others are to be like; may be repeated.
        weights: of texts, images and ids, in this order and parted by commas, e.g. 2,1.
        where: a condition on the metadata, e.g. "split = 'val' AND width > 500".
        k: how many pictures.
        offset: leave out so many, for the next page.
        threshold: the least cosine.
        least_percentile: the least percentile, 0 to 100.
        hubness: mark down pictures that are near to every query.
        group: show near-duplicates as one.
        model: where the index's model is now, if it was moved.
        device: for the model; default the GPU if there is one.
        format: a table; json; paths, one a line; or html, a page with the pictures in it.
        output: file to write to; default the terminal.
    """

    index: Path = field(metadata={"positional": True})
    texts: list[str] = field(default_factory=list)
    image: tuple[str, ...] = field(default=(), metadata={"repeated": True})
    without: tuple[str, ...] = field(default=(), metadata={"flags": ("--not",), "repeated": True})
    like: tuple[str, ...] = field(default=(), metadata={"repeated": True})
    weights: str | None = None
    where: str | None = None
    k: int = field(default=20, metadata={"flags": ("-k",)})
    offset: int = 0
    threshold: float | None = None
    least_percentile: float | None = None
    hubness: bool = False
    group: bool = False
    model: str | None = None
    device: str | None = None
    format: Literal["table", "json", "paths", "html"] = "table"
    output: Path | None = None


def search(given: Search) -> None:
    """Run the command.

    Raises:
        InputError: the query, the index or its model cannot be used.
    """
    from vlp.data.files import write_text
    from vlp.retrieval.results import notes, results

    if given.format == "html" and given.output is None and sys.stdout.isatty():
        raise InputError("--format html is a page with pictures in it: --output says where it goes")
    query = _query(given)
    with _opened(given) as retriever:
        found = retriever.search(query)
        shown = results(given.index, query, found, len(retriever))
    text, problems = _written(given, shown)
    for note in [*notes(shown), *problems]:
        print(printable(note), file=sys.stderr)
    if given.output is None:
        _print(text)
    else:
        write_text(given.output, text)
        print(f"{len(found.hits):,} hits: {given.output}")


def _query(given: Search) -> "Query":
    from vlp.retrieval.query import Query

    return Query(
        texts=given.texts,
        images=[Path(image) for image in given.image],
        like=_numbers("--like", given.like, int),
        without=given.without,
        weights=_numbers("--weights", given.weights.split(",") if given.weights else (), float),
        where=given.where,
        k=given.k,
        offset=given.offset,
        threshold=given.threshold,
        least_percentile=given.least_percentile,
        hubness=given.hubness,
        group=given.group,
    )


def _numbers(
    option: str, texts: "Sequence[str]", kind: "Callable[[str], Number]"
) -> "list[Number]":
    try:
        return [kind(text) for text in texts]
    except ValueError:
        raise InputError(f"{option} {','.join(texts)}: expected numbers") from None


def _opened(given: Search) -> "Retriever":
    from vlp.retrieval.manifest import MANIFEST_FILE
    from vlp.retrieval.retriever import Retriever

    index = given.index.expanduser()
    if not (index / MANIFEST_FILE).is_file():
        own = index / "index"
        if (own / MANIFEST_FILE).is_file():
            raise InputError(f"{index} is no index, but {own} is one")
        if (index / "img_emb").is_dir() or (index / "text_emb").is_dir():
            raise InputError(
                f"{index} holds embeddings: `vlp index {index}` makes an index of them"
            )
    return Retriever.load(index, given.model, device=given.device)


def _written(given: Search, shown: "Results") -> tuple[str, list[str]]:
    """(what to write, problems with pictures)."""
    if given.format == "html":
        from vlp.retrieval.search_page import page

        return page(shown)
    if given.format == "table":
        from vlp.retrieval.result_table import table

        to_terminal = given.output is None and sys.stdout.isatty()
        return table(shown, shutil.get_terminal_size().columns if to_terminal else None), []
    from vlp.retrieval.results import as_json, paths

    return (as_json if given.format == "json" else paths)(shown), []


def _print(text: str) -> None:
    """Write to the standard output, whose reader may have left, as `head` does."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # else Python complains when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
