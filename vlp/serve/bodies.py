"""Bodies of requests and responses: read within limits, checked, written as JSON."""

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from PIL import Image
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from vlp.data.images import UnreadableImageError, decode
from vlp.serve.bounds import BODY_SECONDS, MOST_COMMAS, PIXELS
from vlp.serve.refusals import Refused, what_is_wrong
from vlp.serve.schemas import Request

Body = TypeVar("Body", bound=Request)

_HANG_UP = {"Connection": "close"}  # the rest of such a body is not worth reading
_DRAINED = 4  # times the limit that is read before a client hears that it sends too much


async def read_body(request: HttpRequest, kind: type[Body], most_bytes: int) -> Body:
    """A request's body.

    Raises:
        Refused: it is too long or too slow, has too many values, is no JSON, or is not as `kind`
            describes it.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _received(request, most_bytes)
    except TimeoutError:
        raise Refused(
            408, f"the request did not arrive within {BODY_SECONDS:.0f} seconds", _HANG_UP
        ) from None
    except ClientDisconnect:
        raise Refused(400, "the client hung up") from None
    if body.count(b",") > MOST_COMMAS:  # base64 has none
        raise Refused(422, f"the body has more than {MOST_COMMAS:,} values")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise what_is_wrong(error, kind) from None


async def _received(request: HttpRequest, most_bytes: int) -> bytes:
    """Whoever sends too much is read on for a while: many show no response before they are done."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length <= most_bytes:
            parts.append(part)
        elif length > _DRAINED * most_bytes:
            break
    if length > most_bytes:
        raise Refused(
            413,
            f"the request is larger than {most_bytes / 1e6:g} MB, which is this server's limit",
            _HANG_UP,
        )
    return b"".join(parts)


def read_parameters(kind: type[Body], given: Mapping[str, str]) -> Body:
    """Parameters of an address.

    Raises:
        Refused: they are not as `kind` describes them.
    """
    try:
        return kind.model_validate_strings(dict(given))
    except ValidationError as error:
        raise what_is_wrong(error, kind) from None


def pictures_from(encoded: Sequence[str], field: str) -> list[Image.Image]:
    """Pictures of a request.

    Raises:
        Refused: one is no base64 or no picture, or together they have too many pixels.
    """
    pictures: list[Image.Image] = []
    left = PIXELS
    for place, text in enumerate(encoded):
        name = field if len(encoded) == 1 else f"{field}.{place}"
        try:
            picture = decode(base64.b64decode(text, validate=True), left).image
        except (binascii.Error, ValueError) as error:
            raise Refused(422, f"{name} {_fault(text, error)}") from None
        left -= picture.width * picture.height
        pictures.append(picture)
    return pictures


def _fault(text: str, error: Exception) -> str:
    if isinstance(error, UnreadableImageError):
        return f"cannot be read as a picture: {error}"
    if text.startswith("data:"):
        return "is a data: address; send what follows the comma alone"
    return f"is not base64: {error}"


def json_response(content: Any, headers: Mapping[str, str] | None = None) -> Response:  # noqa: ANN401
    """Anything as JSON: NaN becomes null, bytes base64, and what JSON does not know its text."""
    body = to_json(content, inf_nan_mode="null", bytes_mode="base64", fallback=str)
    return Response(body, media_type="application/json", headers=headers)
