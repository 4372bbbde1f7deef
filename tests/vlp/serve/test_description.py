"""The API is as `/openapi.json` describes it: schemathesis makes requests from the description."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

OPERATIONS = {
    "/api/about": "GET",
    "/api/search": "POST",
    "/api/picture/{index}/{id}": "GET",
    "/indices-list": "GET",
    "/knn-service": "POST",
    "/metadata": "POST",
    "/metrics": "GET",
}


@pytest.fixture(scope="module")
def described(client):
    return schemathesis.openapi.from_dict(client.get("/openapi.json").json())


def test_all_endpoints_are_described(described):
    found = {
        operation.ok().path: operation.ok().method for operation in described.get_all_operations()
    }
    assert {path: method.upper() for path, method in found.items()} == OPERATIONS


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("path", OPERATIONS)
def test_answers_are_as_described(client, described, path, mode):
    operation = described[path][OPERATIONS[path]]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters):
        pytest.skip("takes nothing that could be wrong")

    @settings(
        max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        if mode is GenerationMode.POSITIVE and case.path_parameters:
            case.path_parameters["index"] = "colours"
            case.path_parameters["id"] %= 7  # there are 6
        answer = case.call(base_url=str(client.base_url))
        # no description can say whether a text is a condition, or base64 a picture
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    check()
