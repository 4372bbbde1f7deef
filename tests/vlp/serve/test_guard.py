"""Who may ask, how much and how often; and what browsers are told."""

import contextlib
import http.client
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.vlp.serve.serving import client_of, serving
from vlp.serve import bodies, running
from vlp.serve.bounds import Bounds

QUERY = {"texts": ["dogs"], "k": 1}


@pytest.fixture(scope="module")
def named(colours):
    with client_of({"colours": colours}, names=["pictures.example"]) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/api/about", "/api/picture/colours/0", "/none", "/metrics"])
def test_every_response_is_guarded(client, path):
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"  # and so nothing from elsewhere and nothing inline
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1234", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("192.168.1.7", 200),  # a number cannot be made to mean another machine
        ("pictures.example", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:1234", 403),
        ("evil.example:localhost", 403),
        ("[evil", 403),
        ("", 403),
    ],
)
def test_foreign_names_are_refused(named, host, status):
    answer = named.get("/indices-list", headers={"Host": host})
    assert answer.status_code == status
    if status == 403 and "evil" in host:
        assert "start it with --allow-host" in answer.json()["error"]


def test_foreign_pages_are_refused(client):
    own = f"http://{urlsplit(str(client.base_url)).netloc}"
    assert client.post("/api/search", json=QUERY, headers={"Origin": own}).status_code == 200
    for origin in ("http://evil.example", "null", "http://[", "http://127.0.0.1:1"):
        answer = client.post("/knn-service", json={"text": "dogs"}, headers={"Origin": origin})
        assert answer.status_code == 403
        assert f"pages of {origin} may not ask" in answer.json()["error"]


def test_pages_that_are_named_may_ask(colours):
    origin = {"Origin": "https://front.example"}
    with client_of({"colours": colours}, origins=["https://front.example"]) as client:
        preflight = {**origin, "Access-Control-Request-Method": "POST"}
        preflight["Access-Control-Request-Headers"] = "content-type"
        answer = client.options("/knn-service", headers=preflight)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://front.example"
        answer = client.post("/knn-service", json={"text": "dogs"}, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://front.example"
        assert "cross-origin-resource-policy" not in answer.headers
        other = client.get("/api/about", headers={"Origin": "https://other.example"})
        assert other.status_code == 403


def test_clients_may_not_ask_too_often(colours):
    bounds = Bounds(per_minute=3, pictures_per_search=2)
    with client_of({"colours": colours}, bounds) as client:
        statuses = [client.post("/api/search", json=QUERY).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = client.post("/knn-service", json={"text": "dogs"})  # of the same budget
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 61
        assert answer.json()["error"].startswith("more than 3 searches in a minute; wait ")
        statuses = [client.get("/api/picture/colours/0").status_code for _ in range(7)]
        assert statuses == [200] * 6 + [429]
        assert client.get("/api/about").status_code == 200
        forged = {"X-Forwarded-For": "1.2.3.4"}
        assert client.post("/api/search", json=QUERY, headers=forged).status_code == 429


def chunks(size, count, sent=None):
    for number in range(count):
        if sent is not None:
            sent.append(number)
        yield b" " * size


def test_bodies_are_measured_as_they_come(colours):
    bounds = Bounds(per_minute=0, upload_bytes=100_000)
    with client_of({"colours": colours}, bounds) as client:
        small = {"Content-Type": "application/json"}
        body = b'{"texts": ["dogs"]}' + b" " * 90_000
        assert client.post("/api/search", content=body, headers=small).status_code == 200
        for content in (b" " * 100_001, chunks(10_000, 11), chunks(10_000, 39)):
            answer = client.post("/api/search", content=content)
            assert answer.status_code == 413
            assert "larger than 0.1 MB" in answer.json()["error"]
            assert answer.headers["connection"] == "close"
        sent = []  # it hangs up on who goes on and on, who may or may not see the response
        with contextlib.suppress(httpx.TransportError):
            assert (
                client.post("/api/search", content=chunks(100_000, 1000, sent)).status_code == 413
            )
        assert len(sent) < 500
        assert client.get("/api/about").json()["limits"]["upload_bytes"] == 100_000


def test_slow_bodies_are_given_up(colours, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    with serving({"colours": colours}) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
        connection.putrequest("POST", "/api/search")
        connection.putheader("Content-Length", "1000")
        connection.endheaders()
        connection.send(b"{")
        started = time.monotonic()
        answer = connection.getresponse()
        assert (answer.status, time.monotonic() - started < 5) == (408, True)
        assert b"did not arrive" in answer.read()
        connection.close()


@pytest.mark.parametrize("before", [b"", b"GET /api/about HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_connections_that_bring_no_request_are_given_up(colours, monkeypatch, before):
    monkeypatch.setattr(running, "HEADER_SECONDS", 0.5)
    bounds = Bounds(per_minute=0, connections=2)
    with serving({"colours": colours}, bounds) as address:
        target = urlsplit(address)
        with socket.create_connection((target.hostname, target.port), timeout=10) as connection:
            started = time.monotonic()
            connection.sendall(before)
            with contextlib.suppress(ConnectionError):
                while time.monotonic() - started < 10:  # a byte now and then does not help
                    connection.sendall(b"G" if before else b"")
                    connection.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        if not connection.recv(10_000):
                            break
            assert 0.4 < time.monotonic() - started < 8
        assert httpx.get(f"{address}api/about").status_code == 200


def test_endless_headers_are_refused(colours):
    with serving({"colours": colours}) as address:
        target = urlsplit(address)
        with socket.create_connection((target.hostname, target.port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000)
            assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_busy_server_says_so(colours, monkeypatch):
    bounds = Bounds(per_minute=0, threads=1, waiting=0)
    original = type(colours).search
    began, may_end = threading.Event(), threading.Event()

    def slow(self, query):
        began.set()
        assert may_end.wait(30)
        return original(self, query)

    monkeypatch.setattr(type(colours), "search", slow)
    with serving({"colours": colours}, bounds) as address:
        first = threading.Thread(target=lambda: httpx.post(f"{address}api/search", json=QUERY))
        first.start()
        assert began.wait(30)
        answer = httpx.post(f"{address}api/search", json=QUERY)
        may_end.set()
        first.join()
        assert answer.status_code == 503
        assert answer.json() == {"error": "the server is busy; try again in a moment"}
        assert httpx.get(f"{address}api/picture/colours/0").status_code == 200
        assert httpx.post(f"{address}api/search", json=QUERY).status_code == 200
