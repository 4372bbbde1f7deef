"""clip-retrieval's API, for its clients: `/knn-service` and `/metadata`.

As theirs (clip_back.py, version 2) but for this: a query has exactly one part, addresses of
pictures are not fetched, the first 500 results alone carry pictures, which are at most 512 pixels
large, and duplicates are found by this index's rule.
"""

import base64
from typing import Any

from starlette.responses import Response

from vlp.retrieval.pictures import MissingPictureError
from vlp.retrieval.query import Query
from vlp.retrieval.snapshot import ID
from vlp.serve.bodies import json_response, pictures_from
from vlp.serve.bounds import INLINE_SIDE, MOST_INLINE
from vlp.serve.catalogue import Served
from vlp.serve.refusals import Refused
from vlp.serve.schemas import KnnRequest, MetadataRequest
from vlp.serve.thumbnails import MARK, PATH, Thumbnails

IGNORED = "X-Vlp-Ignored"


def knn(served: Served, asked: KnnRequest, thumbnails: Thumbnails) -> Response:
    """Results, best first; the first `num_images` of them with metadata.

    Raises:
        Refused: the query has no part or several, or asks for what this server does not do.
        InputError: it does not fit the index.
    """
    hits = served.search(_query(served, asked)).hits
    rows = [hit.metadata for hit in hits[: asked.num_images]]
    rows[:MOST_INLINE] = [_with_picture(row, thumbnails) for row in rows[:MOST_INLINE]]
    rows += [{}] * (len(hits) - len(rows))
    results = [
        {**row, "id": hit.id, "similarity": hit.cosine} for row, hit in zip(rows, hits, strict=True)
    ]
    ignored = _ignored(asked)
    return json_response(results, {IGNORED: ", ".join(ignored)} if ignored else None)


def metadata(served: Served, asked: MetadataRequest, thumbnails: Thumbnails) -> Response:
    """Metadata of ids, in their order.

    Raises:
        UnknownIdError: the index does not hold one.
    """
    snapshot = served.view.snapshot
    rows = snapshot.table(snapshot.rows_of(asked.ids)).to_pylist()
    return json_response(
        [{"id": row.pop(ID), "metadata": _with_picture(row, thumbnails)} for row in rows]
    )


def _query(served: Served, asked: KnnRequest) -> Query:
    if asked.image_url:
        raise Refused(422, "image_url: this server fetches no addresses; send the file as image")
    if asked.use_mclip:
        raise Refused(422, "use_mclip: this server has the index's own model alone")
    holds = served.view.snapshot.manifest.modality
    if asked.modality not in (None, holds):
        raise Refused(422, f"modality: the index {served.name!r} holds {holds}s")
    parts = [asked.text or None, asked.image or None, asked.embedding_input or None]
    if sum(part is not None for part in parts) != 1:
        raise Refused(422, "a query needs exactly one of text, image and embedding_input")
    return Query(
        texts=[asked.text] if asked.text else [],
        images=pictures_from([asked.image], "image") if asked.image else [],
        vectors=[asked.embedding_input] if asked.embedding_input else [],
        k=asked.num_result_ids or max(1, asked.num_images),
        group=asked.deduplicate,
    )


def _ignored(asked: KnnRequest) -> list[str]:
    """What was asked for and is not done: their client asks for it unless told otherwise."""
    names = [n for n in ("use_safety_model", "use_violence_detector") if getattr(asked, n)]
    nothing = (None, "", 0)
    if asked.aesthetic_score not in nothing and asked.aesthetic_weight not in nothing:
        names += ["aesthetic_score", "aesthetic_weight"]
    return names


def _with_picture(row: dict[str, Any], thumbnails: Thumbnails) -> dict[str, Any]:
    """A row and its picture, if that is still there."""
    if row.get(PATH) is None:
        return row
    try:
        jpeg = thumbnails.of_file(row[PATH], row.get(MARK), INLINE_SIDE)
    except (MissingPictureError, Refused):
        return row
    return {**row, "image": base64.b64encode(jpeg).decode()}
