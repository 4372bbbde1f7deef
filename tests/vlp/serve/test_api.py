"""The JSON API: it finds what `Retriever.search` finds, and shows what the index holds."""

import io
from unittest.mock import Mock

import pytest
from PIL import Image

from tests.vlp.serve.serving import COLOURS, client_of, encoded, make_index
from vlp.errors import RunError
from vlp.retrieval.query import Query
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Store


def search(client, **body):
    answer = client.post("/api/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_it_says_what_is_served(client, colours):
    answer = client.get("/api/about").json()
    (index,) = answer["indices"]
    mark = colours.manifest.model
    assert index["name"] == "colours"
    assert (index["rows"], index["modality"], index["backend"]) == (6, "image", "exact")
    assert index["model"]["fingerprint"] == mark.fingerprint
    assert index["background"]
    assert answer["limits"] == {
        "upload_bytes": 10_000_000,
        "pixels": 50_000_000,
        "k": 1000,
        "per_minute": 0,
    }
    columns = {column["name"]: column for column in index["columns"]}
    assert "id" not in columns
    assert columns["caption"]["type"] == "string"
    assert columns["caption"]["values"] == sorted(COLOURS)
    assert columns["bright"] == {"name": "bright", "type": "bool", "values": [False, True]}
    assert columns["number"] == {"name": "number", "type": "int64", "values": [0, 1, 2, 3, 4, 5]}
    assert columns["weight"] == {"name": "weight", "type": "double", "values": None}


def test_columns_of_many_values_are_not_listed(tmp_path, checkpoint):
    retriever = Retriever.from_checkpoint(checkpoint, tmp_path / "index")
    picture = Image.new("RGB", (24, 24))
    retriever.add([picture] * 21, [{"few": [None, "b", "a"][i % 3], "many": i} for i in range(21)])
    with client_of({"index": retriever}) as client:
        columns = client.get("/api/about").json()["indices"][0]["columns"]
        assert {c["name"]: c["values"] for c in columns} == {"few": ["a", "b", None], "many": None}
        retriever.remove([0, 3, 6, 9, 12, 15, 18])  # all rows of None
        columns = client.get("/api/about").json()["indices"][0]["columns"]
        assert columns[0]["values"] == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [
        {"texts": ["a red circle"]},
        {"texts": ["a red circle", "dogs"], "weights": [2, 0.5], "without": ["left"], "k": 3},
        {"like": [4, 2], "texts": ["dogs"], "weights": [1, 1, 3]},
        {"texts": ["dogs"], "offset": 2, "k": 2, "hubness": True},
        {"texts": ["dogs"], "threshold": 0.0, "group": True},
    ],
)
def test_hits_are_those_of_the_retriever(client, colours, body):
    answer = search(client, **body)
    found = colours.search(Query(**body))
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in found.hits]
    for told, hit in zip(answer["hits"], found.hits, strict=True):
        assert told["cosine"] == pytest.approx(hit.cosine, abs=1e-6)
        assert told["score"] == pytest.approx(hit.score, abs=1e-6)
        assert told["percentile"] == hit.percentile
        assert told["metadata"] == hit.metadata
        assert told["duplicates"] == list(hit.duplicates)
    assert answer["searched"] == 6
    assert answer["more"] == found.more
    assert answer["seconds"] >= 0


def test_pictures_are_searched_by_their_bytes(client):
    for number, colour in enumerate(COLOURS):
        best = search(client, images=[encoded(Image.new("RGB", (60, 40), colour))])["hits"][0]
        assert best["id"] == number
        assert best["cosine"] == pytest.approx(1, abs=2e-3)


def test_what_was_cut_is_told(client):
    assert "cut at 16 tokens" in search(client, texts=["dogs " * 30])["notes"][0]


def test_numbers_that_json_lacks_become_null(tmp_path, checkpoint):
    retriever = Retriever.from_checkpoint(checkpoint, tmp_path / "index")
    retriever.add([Image.new("RGB", (24, 24))], [{"a": float("nan"), "b": b"\xff", "c": None}])
    with client_of({"index": retriever}) as client:
        (hit,) = search(client, texts=["dogs"])["hits"]
        assert hit["metadata"] == {"a": None, "b": "_w==", "c": None}


def test_several_indices_are_told_apart(colours, tmp_path, checkpoint):
    other = Retriever.from_checkpoint(checkpoint, tmp_path / "other")
    other.add([Image.new("RGB", (24, 24))], [{"only": "here"}])
    with client_of({"colours": colours, "other": other}) as client:
        assert client.get("/indices-list").json() == ["colours", "other"]
        assert len(search(client, texts=["dogs"])["hits"]) == 6
        assert len(search(client, texts=["dogs"], index="other")["hits"]) == 1
        answer = client.post("/api/search", json={"texts": ["dogs"], "index": "third"})
        assert answer.status_code == 404
        assert answer.json() == {"error": "there is no index 'third'; choices are colours, other"}


def picture_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return Image.open(io.BytesIO(answer.content))


def test_pictures_are_shown_small(client):
    picture = picture_of(client.get("/api/picture/colours/2?side=30"))
    assert (picture.format, picture.size) == ("JPEG", (30, 20))
    red, green, blue = picture.getpixel((10, 10))
    assert (red < 10, green < 10, blue > 245) == (True, True, True)
    assert picture_of(client.get("/api/picture/colours/2")).size == (60, 40)  # never enlarged


def test_pictures_carry_nothing_of_their_files(tmp_path, checkpoint):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "secret place", 6  # description; to be turned right
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (60, 40)).save(path, exif=exif, comment=b"secret place")
    retriever = Retriever.from_checkpoint(checkpoint, tmp_path / "index")
    retriever.add([path])
    with client_of({"index": retriever}) as client:
        answer = client.get("/api/picture/index/0")
        assert picture_of(answer).size == (40, 60)
        assert b"secret" not in answer.content


def test_browsers_ask_whether_a_picture_changed(client):
    first = client.get("/api/picture/colours/1")
    tag = {"If-None-Match": first.headers["etag"]}
    assert client.get("/api/picture/colours/1", headers=tag).status_code == 304
    assert client.get("/api/picture/colours/0", headers=tag).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("colours/6", 404, "id 6 is not in the index"),
        (f"colours/{2**63}", 422, "id: input should be less than or equal"),
        ("colours/-1", 422, "id: input should be greater than or equal to 0"),
        ("colours/x", 422, "id: input should be a valid integer"),
        ("other/1", 404, "there is no index 'other'; choices are colours"),
        ("colours/1?side=15", 422, "side: input should be greater than or equal to 16"),
        ("colours/1?side=2049", 422, "side: input should be less than or equal to 2048"),
        ("colours/1?width=20", 422, "width: there is no such field; choices are index, id, side"),
        ("..%2F..%2Fetc/1", 404, ""),
        ("colours/..%2F..%2Fetc%2Fpasswd", 404, ""),
        ("colours//etc/passwd", 404, ""),
    ],
)
def test_other_pictures_are_refused(client, path, status, reason):
    answer = client.get(f"/api/picture/{path}")
    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_files_that_are_gone_are_named(tmp_path, checkpoint):
    retriever = make_index(tmp_path, checkpoint)
    (tmp_path / "pictures" / "1 lime.png").unlink()
    (tmp_path / "pictures" / "2 blue.png").write_text("<html>404</html>")
    with client_of({"index": retriever}) as client:
        gone = client.get("/api/picture/index/1")
        assert gone.status_code == 404
        assert "1 lime.png: no such file" in gone.json()["error"]
        spoilt = client.get("/api/picture/index/2")
        assert spoilt.status_code == 404
        assert "2 blue.png is no readable picture any more" in spoilt.json()["error"]
        assert len(search(client, texts=["dogs"])["hits"]) == 6


def test_failures_that_pass_are_told_from_faults_of_the_query(colours, client, monkeypatch):
    for error in (RunError("Milvus at localhost:19530 does not answer"), OSError(5, "I/O error")):
        monkeypatch.setattr(type(colours), "search", Mock(side_effect=error))
        answer = client.post("/api/search", json={"texts": ["dogs"]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"error": str(error)}


def test_indices_without_pictures_have_none(tmp_path):
    store = Store.create(tmp_path / "texts", dim=4, modality="text", model=None, background=None)
    with client_of({"texts": Retriever(store)}) as client:
        answer = client.get("/api/picture/texts/0")
        assert answer.status_code == 404
        assert answer.json() == {"error": "the index 'texts' has no pictures"}
        told = client.get("/api/about").json()["indices"][0]
        assert (told["model"], told["background"], told["rows"]) == (None, False, 0)
        refused = client.post("/api/search", json={"texts": ["dogs"]})
        assert refused.status_code == 422
        assert "does not know which model made its vectors" in refused.json()["error"]


def test_requests_are_counted(colours):
    with client_of({"colours": colours}) as client:
        search(client, texts=["dogs"])
        client.post("/api/search", content=b"{")
        text = client.get("/metrics").text
    assert 'vlp_requests_total{endpoint="/api/search",status="200"} 1.0' in text
    assert 'vlp_requests_total{endpoint="/api/search",status="400"} 1.0' in text
    assert 'vlp_request_seconds_count{endpoint="/api/search"} 2.0' in text


def test_the_page_is_the_only_file(client):
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for path in ("/__init__.py", "/app.py", "/page/index.html", "/..%2fapp.py", "/index.html"):
        assert client.get(path).status_code == 404
    tag = {"If-None-Match": page.headers["etag"]}
    assert client.get("/", headers=tag).status_code == 304


def test_methods_are_checked(client):
    answer = client.request("DELETE", "/api/search")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json() == {"error": "DELETE /api/search: method not allowed"}
    assert client.request("HEAD", "/").status_code == 200
