"""Errors as responses: a status and one sentence for people."""

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, Response

from vlp.errors import InputError, RunError
from vlp.retrieval.pictures import MissingPictureError
from vlp.retrieval.snapshot import UnknownIdError


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        reason: for people.
        headers: of the response.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = dict(headers or {})


def refusal(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response that tells of an error."""
    return JSONResponse({"error": " ".join(reason.split())}, status, headers)


def response_to(error: Exception) -> Response:
    """The response to an error that is the client's, or that passes by itself.

    Raises:
        Exception: the error, where it is a fault of the program.
    """
    match error:
        case Refused():
            return refusal(error.status, str(error), error.headers)
        case UnknownIdError() | MissingPictureError():
            return refusal(404, str(error))
        case InputError():
            return refusal(422, str(error))
        case RunError() | OSError():
            return refusal(503, str(error), {"Retry-After": "5"})
    raise error


def what_is_wrong(error: ValidationError, kind: type[BaseModel]) -> Refused:
    """A body or a parameter that does not fit its description, in words."""
    found = error.errors(include_url=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return Refused(400, f"the body is no JSON: {first['ctx']['error']}")
    where = ".".join(map(str, first["loc"]))
    told = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "extra_forbidden":
        told = f"there is no such field; choices are {', '.join(kind.model_fields)}"
    more = f" (and {len(found) - 1} more such errors)" if len(found) > 1 else ""
    return Refused(422, f"{where or 'the body'}: {told}{more}")
