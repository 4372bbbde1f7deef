"""The application: endpoints, the page, and what both have in common."""

import asyncio
import hashlib
import time
from collections.abc import Iterable
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from vlp.serve.api import Api, Endpoint
from vlp.serve.bounds import Bounds
from vlp.serve.catalogue import Catalogue
from vlp.serve.clip_retrieval import IGNORED
from vlp.serve.description import description
from vlp.serve.guard import Guard
from vlp.serve.metrics import Metrics
from vlp.serve.refusals import refusal, response_to

_PAGE = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FIRST = "index.html"


def create_app(
    catalogue: Catalogue,
    bounds: Bounds | None = None,
    *,
    names: Iterable[str] = (),
    origins: Iterable[str] = (),
) -> ASGIApp:
    """An application for any ASGI server.

    Args:
        catalogue: the indices.
        bounds: what clients may ask.
        names: of this machine, by which it may be asked besides localhost and numeric addresses.
        origins: web sites whose pages may ask, e.g. https://example.com.
    """
    metrics = Metrics()
    endpoints = Api(catalogue, bounds or Bounds(), metrics).endpoints()
    described = JSONResponse(description(endpoints))

    async def openapi(request: Request) -> Response:
        return described

    origins = list(origins)
    cross_origin = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Content-Type"],
        expose_headers=[IGNORED, "Retry-After"],
    )
    app = Starlette(
        routes=[
            *(_route(endpoint, metrics) for endpoint in endpoints),
            Route("/openapi.json", openapi, methods=["GET"]),
            *_page_routes(),
        ],
        middleware=[cross_origin] if origins else [],
        exception_handlers={HTTPException: _not_there, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return Guard(app, names, origins)


def _route(endpoint: Endpoint, metrics: Metrics) -> Route:
    async def answer(request: Request) -> Response:
        started = time.perf_counter()
        status = 500
        try:
            response = await _response(endpoint, request)
            status = response.status_code
        finally:
            metrics.count(endpoint.path, status, time.perf_counter() - started)
        return response

    return Route(endpoint.path, answer, methods=[endpoint.method])


async def _response(endpoint: Endpoint, request: Request) -> Response:
    try:
        if endpoint.rate is not None:
            await endpoint.rate.check(request)
        return await endpoint.handler(request)
    except asyncio.CancelledError:  # the server stops, and does not wait for slow clients
        return refusal(503, "the server was stopped")
    except Exception as error:
        return response_to(error)


def _page_routes() -> list[Route]:
    """The files of the page, read once; no others can be asked for."""
    routes = []
    for file in resources.files("vlp.serve").joinpath("page").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in _PAGE:
            path = "/" if file.name == _FIRST else f"/{file.name}"
            routes.append(_file_route(path, file.read_bytes(), _PAGE[suffix]))
    return routes


def _file_route(path: str, content: bytes, media_type: str) -> Route:
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
    }

    async def answer(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return Route(path, answer, methods=["GET"])


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = f"{request.method} {request.url.path}: {error.detail.lower()}"
    return refusal(error.status_code, reason, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return refusal(500, "the server failed; its log says why")
