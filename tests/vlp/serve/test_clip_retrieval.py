"""clip-retrieval's API as its client (clip_client.py, 2.44) sends requests and reads responses."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.vlp.serve.serving import COLOURS, client_of, encoded, make_index
from vlp.retrieval.query import Query
from vlp.serve import clip_retrieval

# what ClipClient("http://localhost:1234/knn-service", "colours") sends, nothing being configured
DEFAULTS = {
    "text": None,
    "image": None,
    "image_url": None,
    "embedding_input": None,
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "indice_name": "colours",
    "use_mclip": False,
    "aesthetic_score": 9,
    "aesthetic_weight": 0.5,
    "modality": "image",
    "num_images": 40,
    "num_result_ids": 40,
}


def ask(client, **fields):
    """As the client does it: JSON without a content type."""
    return client.post("/knn-service", content=json.dumps({**DEFAULTS, **fields}))


def test_their_client_gets_what_it_reads(client, colours):
    answer = ask(client, text="a red circle")
    assert answer.status_code == 200
    found = colours.search(Query(texts=["a red circle"], group=True)).hits
    results = answer.json()
    assert [result["id"] for result in results] == [hit.id for hit in found]
    for result, hit in zip(results, found, strict=True):
        assert result["similarity"] == pytest.approx(hit.cosine, abs=1e-6)
        assert result["caption"] == hit.metadata["caption"]
        assert result["image_path"] == hit.metadata["image_path"]
        picture = Image.open(io.BytesIO(base64.b64decode(result["image"])))
        assert (picture.format, picture.size) == ("JPEG", (60, 40))


def test_what_this_server_does_not_do_is_named(client):
    ignored = "use_safety_model, use_violence_detector, aesthetic_score, aesthetic_weight"
    assert ask(client, text="dogs").headers["x-vlp-ignored"] == ignored
    nothing = {"use_safety_model": False, "use_violence_detector": False, "aesthetic_weight": 0}
    assert "x-vlp-ignored" not in ask(client, text="dogs", **nothing).headers
    # their page leaves the score empty
    empty = {**nothing, "aesthetic_score": "", "aesthetic_weight": "0.5"}
    assert "x-vlp-ignored" not in ask(client, text="dogs", **empty).headers


def test_results_beyond_num_images_are_ids_alone(client):
    results = ask(client, text="dogs", num_images=2, num_result_ids=5, deduplicate=False).json()
    assert len(results) == 5
    assert all("caption" in result and "image" in result for result in results[:2])
    assert all(set(result) == {"id", "similarity"} for result in results[2:])


def test_pictures_inside_responses_are_limited(client, monkeypatch):
    monkeypatch.setattr(clip_retrieval, "MOST_INLINE", 2)
    # their page asks for 10,000 results with metadata when it makes a file of them
    results = ask(client, text="dogs", num_images=4, num_result_ids=5, deduplicate=False).json()
    assert ["image" in result for result in results] == [True, True, False, False, False]
    assert ["caption" in result for result in results] == [True, True, True, True, False]
    assert ask(client, text="dogs", num_images=10_000, num_result_ids=10_000).status_code == 200


def test_only_what_is_needed_need_be_said(client):
    results = client.post("/knn-service", json={"text": "dogs", "num_images": 3}).json()
    assert len(results) == 3
    assert client.post("/knn-service", json={"text": "dogs", "num_images": 0}).status_code == 200


def test_pictures_and_vectors_are_searched(client, colours):
    for number, colour in enumerate(COLOURS):
        best = ask(client, image=encoded(Image.new("RGB", (60, 40), colour))).json()[0]
        assert (best["id"], best["caption"]) == (number, colour)
        vector = colours.view.snapshot.vectors([number])[0]
        best = ask(client, embedding_input=(3 * vector).tolist()).json()[0]
        assert best["id"] == number
        assert best["similarity"] == pytest.approx(1, abs=1e-3)


def test_near_duplicates_are_removed_when_asked(tmp_path, checkpoint):
    retriever = make_index(tmp_path, checkpoint)
    retriever.add([Image.new("RGB", (60, 40), "red")] * 3)
    with client_of({"colours": retriever}) as client:
        assert len(ask(client, text="dogs", deduplicate=False).json()) == 9
        ids = [result["id"] for result in ask(client, text="dogs").json()]
        assert len(set(ids) & {0, 6, 7, 8}) == 1


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({}, 422, "exactly one of text, image and embedding_input"),
        ({"text": "dogs", "embedding_input": [1.0] * 8}, 422, "exactly one of"),
        ({"image_url": "http://10.0.0.1/secret.jpg"}, 422, "fetches no addresses"),
        ({"image_url": "file:///etc/passwd"}, 422, "fetches no addresses"),
        ({"text": "dogs", "use_mclip": True}, 422, "use_mclip: this server has"),
        ({"text": "dogs", "modality": "text"}, 422, "the index 'colours' holds images"),
        ({"text": "dogs", "modality": "audio"}, 422, "modality: input should be 'image' or 'text'"),
        (
            {"text": "dogs", "indice_name": "laion5B"},
            404,
            "no index 'laion5B'; choices are",
        ),
        ({"text": "dogs", "num_images": 10_001}, 422, "num_images: input should be less than"),
        ({"text": "dogs", "num_result_ids": 10_001}, 422, "num_result_ids: input should be less"),
        ({"text": "dogs", "nprobe": 3}, 422, "nprobe: there is no such field"),
        ({"embedding_input": [1.0] * 7}, 422, "must be 8 finite numbers"),
        ({"embedding_input": [0.0] * 8}, 422, "must be 8 finite numbers"),
        ({"embedding_input": [1e300] * 8}, 422, "embedding_input.0: input should be less"),
        ({"embedding_input": [1.0] * 20_000}, 422, "embedding_input"),
        ({"embedding_input": ["1"] * 8}, 422, "embedding_input.0: input should be a valid number"),
        ({"image": "!"}, 422, "image is not base64"),
    ],
)
def test_bad_queries_are_refused_in_words(client, fields, status, reason):
    answer = ask(client, **fields)
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["error"]


def test_metadata_come_by_id(client, colours):
    answer = client.post("/metadata", json={"ids": [4, 0], "indice_name": "colours"})
    assert answer.status_code == 200
    rows = answer.json()
    assert [row["id"] for row in rows] == [4, 0]
    assert [row["metadata"]["caption"] for row in rows] == ["black", "red"]
    pixels = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(rows[1]["metadata"]["image"]))), np.float32
    )
    assert np.abs(pixels - [255, 0, 0]).max() < 10
    assert client.post("/metadata", json={"ids": []}).json() == []
    unknown = client.post("/metadata", json={"ids": [1, 77]})
    assert (unknown.status_code, "id 77" in unknown.json()["error"]) == (404, True)


def test_pictures_that_are_gone_are_left_out(tmp_path, checkpoint):
    retriever = make_index(tmp_path, checkpoint)
    (tmp_path / "pictures" / "0 red.png").unlink()
    (tmp_path / "pictures" / "1 lime.png").write_bytes(b"GIF89a")
    with client_of({"colours": retriever}) as client:
        rows = client.post("/metadata", json={"ids": [0, 1, 2]}).json()
        assert ["image" in row["metadata"] for row in rows] == [False, False, True]
