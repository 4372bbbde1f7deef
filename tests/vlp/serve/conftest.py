"""A tiny model, indices of it, a client of a server, and a browser at its page."""

import pytest

from tests.vlp.huggingface_folders import build_folder
from tests.vlp.serve import page_fixtures as on
from tests.vlp.serve.serving import client_of, make_index, serving


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("model") / "tiny-clip", "clip")


@pytest.fixture(scope="session")
def colours(tmp_path_factory, checkpoint):
    """An index that no test changes."""
    return make_index(tmp_path_factory.mktemp("served"), checkpoint)


@pytest.fixture(scope="module")
def client(colours):
    with client_of({"colours": colours}) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with on.browsing() as found:
        yield found


@pytest.fixture(scope="module")
def retriever(tmp_path_factory, checkpoint):
    return on.make_pictures(tmp_path_factory.mktemp("page"), checkpoint)


@pytest.fixture(scope="module")
def address(retriever):
    with serving({"pictures": retriever}) as found:
        yield found


@pytest.fixture
def expected_errors():
    """What the browser may complain of: the picture whose file is gone."""
    return [on.GONE]


@pytest.fixture
def page(browser, address, expected_errors):
    with on.visiting(browser, address, expected_errors=expected_errors) as found:
        yield found
