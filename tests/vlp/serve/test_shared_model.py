"""Several indices of one model."""

import time
from concurrent.futures import ThreadPoolExecutor

import vlp
from tests.vlp.serve.serving import client_of
from vlp.retrieval.retriever import Retriever


def test_the_model_encodes_for_one_request_at_a_time(checkpoint, tmp_path, monkeypatch):
    for name in ("a", "b"):
        Retriever.from_checkpoint(checkpoint, tmp_path / name)
    encoder = vlp.load(checkpoint)
    original = encoder.encode_text
    inside, most = [], []

    def watched(*texts, **options):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        found = original(*texts, **options)
        inside.pop()
        return found

    monkeypatch.setattr(encoder, "encode_text", watched)
    retrievers = {name: Retriever(Retriever.load(tmp_path / name).store, encoder) for name in "ab"}
    with client_of(retrievers) as client, ThreadPoolExecutor(4) as threads:

        def ask(name):
            return client.post("/api/search", json={"texts": ["dogs"], "index": name}).status_code

        assert list(threads.map(ask, "abababab")) == [200] * 8
    assert max(most) == 1
