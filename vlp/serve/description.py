"""The description of the API in OpenAPI, made from its endpoints."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from vlp.serve.api import Endpoint
from vlp.serve.schemas import ErrorResponse

_REFERENCE = "#/components/schemas/{model}"


def description(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    adapters = {
        endpoint.path: TypeAdapter(endpoint.returns)
        for endpoint in endpoints
        if not isinstance(endpoint.returns, str)
    }
    schemas, definitions = TypeAdapter.json_schemas(
        [
            ("error", "serialization", TypeAdapter(ErrorResponse)),
            *((path, "serialization", adapter) for path, adapter in adapters.items()),
            *(
                (endpoint.path, "validation", TypeAdapter(endpoint.takes))
                for endpoint in endpoints
                if endpoint.takes
            ),
        ],
        ref_template=_REFERENCE,
    )
    paths = {}
    for endpoint in endpoints:
        taken = schemas.get((endpoint.path, "validation"))
        given = schemas.get((endpoint.path, "serialization"))
        operation = _operation(endpoint, given, schemas["error", "serialization"])
        if endpoint.method == "POST":
            operation["requestBody"] = {"required": True, "content": _json(taken)}
        elif endpoint.takes:
            operation["parameters"] = _parameters(endpoint)
        paths[endpoint.path] = {endpoint.method.lower(): operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vlp serve", "version": "1"},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _operation(endpoint: Endpoint, given: Any, error: Any) -> dict[str, Any]:  # noqa: ANN401
    content = _json(given) if given else {endpoint.returns: {"schema": {"type": "string"}}}
    responses = {
        "200": {"description": "the answer", "content": content},
        "default": {"description": "no answer, and why", "content": _json(error)},
    }
    if not given and endpoint.takes:
        responses["304"] = {"description": "still the same"}
    return {"summary": (endpoint.handler.__doc__ or "").strip(), "responses": responses}


def _json(schema: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON schema)
    return {"application/json": {"schema": schema}}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    assert endpoint.takes is not None
    in_path = re.findall(r"{(\w+)}", endpoint.path)
    schema = endpoint.takes.model_json_schema()
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in in_path,
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]
