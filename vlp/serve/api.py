"""The endpoints: what each request gets."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from vlp.retrieval.query import Query
from vlp.serve import clip_retrieval
from vlp.serve.bodies import json_response, pictures_from, read_body, read_parameters
from vlp.serve.bounds import MOST_HITS, PIXELS, Bounds
from vlp.serve.catalogue import Catalogue, Served
from vlp.serve.metrics import Metrics
from vlp.serve.rates import Rate
from vlp.serve.schemas import (
    AboutResponse,
    HitResponse,
    KnnHitResponse,
    KnnRequest,
    LimitsResponse,
    MetadataRequest,
    MetadataResponse,
    PictureRequest,
    Request,
    SearchRequest,
    SearchResponse,
)
from vlp.serve.thumbnails import Thumbnails
from vlp.serve.workers import Workers

Handler = Callable[[HttpRequest], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address and what it does.

    Args:
        path: with parameters in braces.
        handler: answers; its docstring tells people what it does.
        returns: what the answer is, a type as pydantic takes it, or a media type.
        takes: fields of the body, or of the parameters of a GET.
        rate: how often a client may ask.
    """

    path: str
    handler: Handler
    returns: Any
    takes: type[Request] | None = None
    rate: Rate | None = None

    @property
    def method(self) -> str:
        """POST where there is a body."""
        return "POST" if self.takes and "{" not in self.path else "GET"


class Api:
    """All endpoints.

    Args:
        catalogue: the indices.
        bounds: what clients may ask.
        metrics: what is counted.
    """

    def __init__(self, catalogue: Catalogue, bounds: Bounds, metrics: Metrics) -> None:
        self._catalogue = catalogue
        self._bounds = bounds
        self._metrics = metrics
        self._thumbnails = Thumbnails()
        self._searches = Workers("search", bounds.threads, bounds.waiting)
        self._pictures = Workers("picture", bounds.threads, bounds.waiting)

    def endpoints(self) -> list[Endpoint]:
        """Each with its address, and a budget of its own for clients."""
        bounds = self._bounds
        searches = Rate("searches", bounds.per_minute)
        pictures = Rate("pictures", bounds.per_minute * bounds.pictures_per_search)
        return [
            Endpoint(path="/api/about", handler=self.about, returns=AboutResponse),
            Endpoint(
                path="/api/search",
                handler=self.search,
                takes=SearchRequest,
                returns=SearchResponse,
                rate=searches,
            ),
            Endpoint(
                path="/api/picture/{index}/{id}",
                handler=self.picture,
                takes=PictureRequest,
                returns="image/jpeg",
                rate=pictures,
            ),
            Endpoint(path="/indices-list", handler=self.indices, returns=list[str]),
            Endpoint(
                path="/knn-service",
                handler=self.knn,
                takes=KnnRequest,
                returns=list[KnnHitResponse],
                rate=searches,
            ),
            Endpoint(
                path="/metadata",
                handler=self.metadata,
                takes=MetadataRequest,
                returns=list[MetadataResponse],
                rate=searches,
            ),
            Endpoint(path="/metrics", handler=self.metrics, returns="text/plain"),
        ]

    async def about(self, request: HttpRequest) -> Response:
        """What may be searched, and within which limits."""
        indices = await self._searches.run(self._catalogue.about)
        limits = LimitsResponse(
            upload_bytes=self._bounds.upload_bytes,
            pixels=PIXELS,
            k=MOST_HITS,
            per_minute=self._bounds.per_minute,
        )
        return json_response(AboutResponse(indices=indices, limits=limits))

    async def search(self, request: HttpRequest) -> Response:
        """Find pictures."""
        asked = await read_body(request, SearchRequest, self._bounds.upload_bytes)
        served = self._catalogue.get(asked.index)
        return await self._searches.run(lambda: _search(served, asked))

    async def picture(self, request: HttpRequest) -> Response:
        """A picture of an index as a JPEG."""
        asked = read_parameters(PictureRequest, {**request.query_params, **request.path_params})
        served = self._catalogue.get(asked.index)
        jpeg = await self._pictures.run(lambda: self._thumbnails.get(served, asked.id, asked.side))
        tag = f'"{hashlib.sha256(jpeg).hexdigest()[:32]}"'
        # ids begin anew where an index is made anew, so browsers ask whether it is still the same
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    async def indices(self, request: HttpRequest) -> Response:
        """Names of the indices, as clip-retrieval tells them."""
        return json_response(self._catalogue.names)

    async def knn(self, request: HttpRequest) -> Response:
        """Find pictures, as clip-retrieval does."""
        asked = await read_body(request, KnnRequest, self._bounds.upload_bytes)
        served = self._catalogue.get(asked.indice_name)
        return await self._searches.run(lambda: clip_retrieval.knn(served, asked, self._thumbnails))

    async def metadata(self, request: HttpRequest) -> Response:
        """Metadata of ids, as clip-retrieval tells them."""
        asked = await read_body(request, MetadataRequest, self._bounds.upload_bytes)
        served = self._catalogue.get(asked.indice_name)
        return await self._searches.run(
            lambda: clip_retrieval.metadata(served, asked, self._thumbnails)
        )

    async def metrics(self, request: HttpRequest) -> Response:
        """What the server counted, for Prometheus."""
        return self._metrics.response()


def _search(served: Served, asked: SearchRequest) -> Response:
    started = time.perf_counter()
    fields = asked.model_dump(exclude={"index", "images"})
    query = Query(images=pictures_from(asked.images, "images"), **fields)
    found = served.search(query)
    hits = [{**vars(hit), "duplicates": list(hit.duplicates)} for hit in found.hits]
    answer = SearchResponse(
        hits=[HitResponse(**hit) for hit in hits],
        searched=found.searched,
        more=found.more,
        notes=found.notes,
        seconds=time.perf_counter() - started,
    )
    return json_response(answer)
