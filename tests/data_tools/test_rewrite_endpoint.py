"""`rewrite` over HTTP: a real server on this machine that is slow, busy, broken or dead."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_tools.rewriting.backends import BackendOptions, Prompt
from data_tools.rewriting.endpoint import Endpoint
from tests.data_tools.rewrite_shards import rewrites, shard
from tests.data_tools.trees import files

KEY = "sk-very-secret-0123456789"
ROOT = Path(__file__).parents[2]


class Server(ThreadingHTTPServer):
    """Speaks OpenAI's interface; `faults` maps a caption to what goes wrong, and how often."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests, self.asked = {}, [], Counter()
        self.models, self.delay = ["llama"], 0.0
        self.keys = set()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, *_):
        """A client that was killed or has given up is no matter."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.server.models is None:
            return self.send(401, {"error": {"message": "no key"}})
        self.send(200, {"object": "list", "data": [{"id": m} for m in self.server.models]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body))
        self.server.keys.add(self.headers["Authorization"])
        asked = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        caption = str(asked if isinstance(asked, str) else asked[-1]["text"]).splitlines()[-1]
        caption = caption.removeprefix("Caption: ").removesuffix(" =>")
        self.server.asked[caption] += 1
        time.sleep(self.server.delay)
        fault, times = self.server.faults.get(caption, (None, 0))
        if fault and self.server.asked[caption] <= times:
            return fault(self, caption)
        self.answer(caption)

    def answer(self, caption, finish="stop"):
        text = f"a picture: {caption}"
        if self.path.endswith("/chat/completions"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        else:
            choice = {"index": 0, "text": f" {text}"}
        self.send(200, {"id": "1", "object": "x", "choices": [{**choice, "finish_reason": finish}]})

    def send(self, status, content, kind="application/json", **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def status(code, message="broken", **headers):
    return lambda handler, _: handler.send(code, {"error": {"message": message}}, **headers)


def nonsense(content, kind="application/json"):
    return lambda handler, _: handler.send(200, content, kind)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    there = Server()
    yield there
    there.shutdown()
    there.server_close()


def arguments(tmp_path, server, *more):
    fixed = ("--backend", "http", "--url", server.url, "--preset", "rephrase", "--workers", 1)
    return ["rewrite", tmp_path / "data", *fixed, "--attempts", 3, *more]


def test_each_prompt_is_sent_with_its_sampling_and_a_seed_of_its_own(command, tmp_path, server):
    captions = {"a": "red dog => runs\nfast", "b": "blue cat"}
    tar = shard(tmp_path / "data" / "0.tar", captions)
    more = ("--temperature", 0.5, "--top-p", 0.8, "--max-new-tokens", 33)
    code, out, _ = command(*arguments(tmp_path, server, *more))
    assert code == 0
    assert "2 answers (2 captions x 1) = 2 good" in out
    assert rewrites(tar)["b"]["texts"] == ["a picture: blue cat"]
    bodies = [body for _, body in server.requests]
    assert all(
        (body["model"], body["temperature"], body["top_p"], body["max_tokens"])
        == ("llama", 0.5, 0.8, 33)
        for body in bodies
    )
    assert len({body["seed"] for body in bodies}) == 2
    assert all(0 <= body["seed"] < 2**31 for body in bodies)
    told = next(body["messages"][0]["content"] for body in bodies if "red" in str(body))
    assert told.endswith("Caption: red dog -> runs fast")


def test_completions_end_with_the_line(command, tmp_path, server):
    tar = shard(tmp_path / "data" / "0.tar", {"a": "a red dog"})
    more = ("--form", "completion", "--preset", "examples-plain")
    assert command(*arguments(tmp_path, server, *more))[0] == 0
    ((path, body),) = server.requests
    assert path == "/v1/completions"
    assert body["prompt"].endswith("\n\na red dog =>")
    assert body["stop"] == ["\n"]
    assert rewrites(tar)["a"]["texts"] == ["a picture: a red dog"]


def test_pictures_are_sent_as_they_are(command, tmp_path, server):
    shard(tmp_path / "data" / "0.tar", {"a": None})
    code, out, _ = command(*arguments(tmp_path, server, "--preset", "caption-short"))
    assert code == 0
    assert "1 good" in out
    shown, told = server.requests[0][1]["messages"][0]["content"]
    head, _, data = shown["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(data) in (tmp_path / "data" / "0.tar").read_bytes()
    assert told["text"] == "Describe this image in one short sentence."


def test_busy_servers_are_asked_again_and_what_fails_is_named(command, tmp_path, server):
    captions = {
        "busy": status(429, Retry_After="0.01"),
        "down": status(503),
        "broken": status(500, f"no luck with {KEY} today"),
        "page": nonsense(b"<html>gateway</html>", "text/html"),
        "cut": nonsense(b'{"choices": [{"mess'),
        "none": nonsense({"choices": []}),
        "null": nonsense({"choices": [{"index": 0, "message": {"content": None}}]}),
        "number": nonsense(b"7"),
        "long": lambda handler, caption: handler.answer(caption, "length"),
        "bad": status(400, "prompt of 5000 tokens"),
        "fine": None,
    }
    names = {name: f"this is {name}" for name in captions}
    tar = shard(tmp_path / "data" / "0.tar", names)
    for name, fault in captions.items():
        server.faults[names[name]] = (fault, 2 if name in ("busy", "down") else 99)
    code, out, err = command(*arguments(tmp_path, server))
    assert code == 0
    assert "11 answers (11 captions x 1) = 3 good + 7 failed + 1 unfinished" in out
    verdicts = {key: row["verdicts"][0] for key, row in rewrites(tar).items()}
    assert [key for key, verdict in verdicts.items() if verdict == "good"] == [
        "busy",
        "down",
        "fine",
    ]
    values = {key: row["values"][0] for key, row in rewrites(tar).items()}
    assert values["broken"] == "HTTP 500: no luck with [key] today"
    assert values["bad"] == "HTTP 400: prompt of 5000 tokens"
    assert values["null"] == "the response holds no text"
    assert values["cut"] == "the response is no JSON"
    for key in ("page", "none", "number"):
        assert values[key] == "the response is not of OpenAI's form"
    assert server.asked["this is broken"] == 3  # --attempts
    assert server.asked["this is busy"] == 3

    server.faults.clear()
    before = server.asked.total()
    code, out, _ = command(*arguments(tmp_path, server, "--retry-failed"))
    assert "10 good + 1 unfinished" in out
    assert server.asked.total() == before + 7
    assert KEY not in out + err


def test_the_key_is_sent_and_stands_nowhere(command, tmp_path, server):
    shard(tmp_path / "data" / "0.tar", {"a": "a red dog", "b": "a blue cat"})
    server.faults["a red dog"] = (status(400, f"bad {KEY}"), 99)
    code, out, err = command(*arguments(tmp_path, server, "--cache", tmp_path / "cache"))
    assert code == 0
    assert server.keys == {f"Bearer {KEY}"}
    server.faults["a red dog"] = (status(401, f"Incorrect API key provided: {KEY}"), 99)
    refused = command(*arguments(tmp_path, server, "--retry-failed"))
    assert refused[0] == 2
    assert "answers 401 for model llama: it wants another key in OPENAI_API_KEY" in refused[2]
    printed = out + err + refused[1] + refused[2]
    assert KEY not in printed
    assert not any(KEY.encode() in content for content in files(tmp_path).values())


def test_a_server_that_wants_a_key_says_so_before_anything_is_asked(command, tmp_path, server):
    shard(tmp_path / "data" / "0.tar", {"a": "a red dog"})
    server.models = None
    code, _, err = command(*arguments(tmp_path, server))
    assert code == 2
    assert "answers 401: it wants another key in OPENAI_API_KEY" in err


def test_a_run_without_one_answer_fails(command, tmp_path, server):
    shard(tmp_path / "data" / "0.tar", {"a": "a red dog", "b": "a blue cat"})
    for caption in ("a red dog", "a blue cat"):
        server.faults[caption] = (status(400), 99)
    code, out, err = command(*arguments(tmp_path, server))
    assert code == 1
    assert "2 failed: HTTP 400: broken" in out
    assert "not one of 2 questions got an answer; --retry-failed asks again" in err


def test_near_misses_that_failed_are_asked_again(command, tmp_path, server):
    tar = shard(tmp_path / "data" / "0.tar", {"a": "a red dog", "b": "a blue cat"})
    asked = ["negatives", tar, "--mode", "llm", "--per-caption", 1, "--attempts", 1]
    asked += ["--backend", "http", "--url", server.url, "--workers", 1]
    server.faults["a red dog"] = (status(400), 1)
    code, out, _ = command(*asked)
    assert code == 0
    assert "1 failed: HTTP 400: broken" in out
    command(*asked)
    assert server.asked == {"a red dog": 1, "a blue cat": 1}
    code, out, _ = command(*asked, "--retry-failed")
    assert code == 0
    assert "failed" not in out
    assert server.asked == {"a red dog": 2, "a blue cat": 1}
    assert not (tmp_path / "data" / "annotations" / "negatives" / ".answers").exists()
    code, _, err = command(*asked, "--batch", 4)
    assert code == 2
    assert "--batch: --backend http does not use it" in err
    code, _, err = command(*asked, "--batch", 4, "--blind-test", tmp_path)  # whose batch it is
    assert f"--model {tmp_path}: the folder {tmp_path} holds no config.json" in err


def test_a_server_that_is_slow_is_given_up(tmp_path, server):
    server.delay = 0.5
    options = BackendOptions(backend="http", url=server.url, timeout=0.05, attempts=1, model="m")
    (answer,) = Endpoint(options).answer([Prompt((("user", "x"),), "x", key="f" * 64)])
    assert answer.error == "no answer within 0.05 s"


def test_a_dead_server_fails_the_shard_and_the_next_run_goes_on(command, tmp_path, server):
    tar = shard(tmp_path / "data" / "0.tar", {"a": "a red dog"})
    url = server.url
    server.shutdown()
    server.server_close()
    more = ("--backend", "http", "--url", url, "--preset", "rephrase", "--attempts", 1)
    code, _, err = command("rewrite", tar, *more, "--workers", 1)
    assert code == 1
    assert "cannot be reached" in err
    code, _, err = command("rewrite", tar, *more, "--workers", 1, "--model", "llama")
    assert code == 1
    assert "0.tar: http://127.0.0.1" in err
    assert not (tmp_path / "data" / "annotations" / "rewrites" / "0.parquet").exists()


def test_the_model_has_to_be_named_if_there_are_several(command, tmp_path, server):
    shard(tmp_path / "data" / "0.tar", {"a": "a red dog"})
    server.models = ["llama", "qwen"]
    code, _, err = command(*arguments(tmp_path, server))
    assert code == 2
    assert "serves 2 models: llama, qwen; name one" in err
    server.faults["a red dog"] = (status(404, "no such model"), 99)
    code, _, err = command(*arguments(tmp_path, server, "--model", "x"))
    assert code == 2
    assert "answers 404 for model x" in err
    code, _, err = command(*arguments(tmp_path, server, "--url", "localhost:8000"))
    assert code == 2
    assert "--url: expected http://HOST:PORT/v1" in err


def test_sigkill_in_the_middle_costs_about_nothing(command, tmp_path, server):
    more = ("--concurrency", 2, "--model", "llama")
    captions = {f"k{number:03}": f"thing with the mark {number + 100}" for number in range(400)}
    for folder in ("data", "whole"):
        shard(tmp_path / folder / "0.tar", captions)
    whole = arguments(tmp_path, server, *more)
    whole[1] = tmp_path / "whole"
    assert command(*whole)[0] == 0
    server.asked.clear()
    server.delay = 0.002

    def start():
        line = arguments(tmp_path, server, *more)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        program = [sys.executable, "-m", "data_tools", *map(str, line)]
        return subprocess.Popen(program, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    cut = start()
    while server.asked.total() < 200 and cut.poll() is None:
        time.sleep(0.005)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    assert 200 <= server.asked.total() < 400
    assert start().wait() == 0
    assert server.asked.total() <= 440  # 1.1 passes
    assert files(tmp_path / "data") == files(tmp_path / "whole")
