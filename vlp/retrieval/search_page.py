"""Hits as one page with the pictures in it."""

from pathlib import Path
from typing import Any

from vlp.data.images import UnreadableImageError, decode
from vlp.page import picture_uri, render
from vlp.retrieval.pictures import MissingPictureError, read_picture
from vlp.retrieval.query import Hit
from vlp.retrieval.results import Results, caption_of, path_of, percentile_text

_SIDE = 320  # pixels


def page(given: Results) -> tuple[str, list[str]]:
    """(the page, a line for each picture that could not be shown)."""
    problems: list[str] = []
    query = given.query
    return render(
        Path(__file__).with_suffix(".html.j2"),
        name=_title(given),
        index=given.index,
        query=query,
        pictures=[_picture(str(image), problems) for image in query.images],
        hits=[_cell(rank, hit, problems) for rank, hit in given.ranked],
        searched=given.found.searched,
        notes=given.found.notes,
        explanation=given.explanation,
    ), problems


def _title(given: Results) -> str:
    query = given.query
    parts = [
        *query.texts,
        *(Path(str(image)).name for image in query.images),
        *(f"id {own}" for own in query.like),
        *(f"not {text}" for text in query.without),
    ]
    return " + ".join(parts)


def _cell(rank: int, hit: Hit, problems: list[str]) -> dict[str, Any]:
    path = path_of(hit)
    return {
        "rank": rank,
        "id": hit.id,
        "percentile": percentile_text(hit.percentile),
        "cosine": f"{hit.cosine:.3f}",
        "score": f"{hit.score:.3f}",
        "name": "metadata" if path is None else Path(path).name,
        "caption": caption_of(hit),
        "uri": None if path is None else _picture(path, problems),
        "duplicates": hit.duplicates,
        "metadata": hit.metadata,
    }


def _picture(path: str, problems: list[str]) -> str | None:
    try:
        return picture_uri(decode(read_picture(path)).image, _SIDE)
    except MissingPictureError as error:
        problems.append(str(error))
    except UnreadableImageError as error:
        problems.append(f"{path}: {error}")
    return None
