"""A tiny model, an index of it, and a client of a server."""

import pytest

from tests.vlp.huggingface_folders import build_folder
from tests.vlp.serve.serving import client_of, make_index


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
