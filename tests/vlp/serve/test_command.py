"""`vlp serve` as a process."""

import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.vlp.huggingface_folders import build_folder
from vlp.commands.serve import Serve, serve
from vlp.errors import InputError, RunError
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Store
from vlp.serve.catalogue import open_catalogue
from vlp.serve.running import address_of, bind


def test_it_tells_where_it_is_and_stops(colours):
    command = [sys.executable, "-m", "vlp", "serve", colours.store.folder, "--port", "0"]
    with subprocess.Popen(
        [*command, "--host", "0.0.0.0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = []
        while not (lines and "serving" in lines[-1]):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        told = "".join(lines)
        assert "colours: 6 rows, exact search" in told
        assert "warning: there is no authentication" in told
        port = re.search(r"serving http://.*:(\d+)/ \(Ctrl-C stops\)", told)[1]
        answer = httpx.post(f"http://127.0.0.1:{port}/api/search", json={"texts": ["dogs"]})
        assert len(answer.json()["hits"]) == 6
        slow = socket.create_connection(("127.0.0.1", int(port)))  # it is not waited for
        slow.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "stopped\n"
        assert "Traceback" not in process.stderr.read()
        slow.close()
    assert process.returncode == 0


def options(*indices, **others):
    return Serve(indices=[str(index) for index in indices], port=0, **others)


def test_a_port_in_use_is_named(colours):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RunError, match=rf"port {port}: address already in use; try --port 0"):
            serve(Serve(indices=[str(colours.store.folder)], port=port))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"host": "no.such.host.invalid"}, "--host 'no.such.host.invalid': no such host"),
        ({"device": "cuda:77"}, "device 'cuda:77': choices are"),
        ({"model": "/no/such/model"}, "/no/such/model"),
    ],
)
def test_bad_options_are_named(colours, given, reason):
    with pytest.raises(InputError, match=re.escape(reason)):
        serve(options(colours.store.folder, **given))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"max_upload": 0.0}, "--max-upload 0.0: expected above 0"),
        ({"max_upload": float("nan")}, "--max-upload nan"),
        ({"per_minute": -1}, "--per-minute -1: expected 0"),
        ({"cors": ("*",)}, "--cors *: expected the address of a site"),
        ({"cors": ("https://example.com/path",)}, "--cors https://example.com/path"),
    ],
)
def test_options_are_checked_at_once(given, reason):
    with pytest.raises(InputError, match=re.escape(reason)):
        options("index", **given)


def test_only_indices_are_served(tmp_path):
    with pytest.raises(InputError, match="is no index"):
        serve(options(tmp_path))


def test_another_model_is_refused(colours, tmp_path):
    other = build_folder(tmp_path / "other", "siglip")
    with pytest.raises(InputError, match="was made with"):
        serve(options(colours.store.folder, model=str(other)))


def test_a_model_of_another_width_is_refused(checkpoint, tmp_path):
    Store.create(tmp_path / "foreign", dim=9, modality="image", model=None, background=None)
    with pytest.raises(InputError, match=r"holds vectors of 9 numbers; .* makes 8"):
        serve(options(tmp_path / "foreign", model=str(checkpoint)))


def test_each_model_is_loaded_once(colours, checkpoint, tmp_path):
    Retriever.from_checkpoint(checkpoint, tmp_path / "a" / "colours")
    Store.create(tmp_path / "unknown", dim=8, modality="image", model=None, background=None)
    folders = [
        str(colours.store.folder),
        str(tmp_path / "a" / "colours"),
        str(tmp_path / "unknown"),
    ]
    said = []
    catalogue = open_catalogue(list(map(str, folders)), None, None, said.append)
    parent = colours.store.folder.parent.name
    last = f"{tmp_path.name}-unknown"
    assert catalogue.names == [f"{parent}-colours", "a-colours", last]
    assert sum(line.startswith("loading") for line in said) == 1
    assert said[-1].startswith(f"{last}: 0 rows, exact search; its model is unknown")


def test_all_indices_are_looked_at_before_a_model_is_loaded(colours, tmp_path):
    said = []
    with pytest.raises(InputError, match="is no index"):
        open_catalogue([str(colours.store.folder), str(tmp_path)], None, None, said.append)
    assert said == []


def test_an_index_is_called_as_its_folder_whatever_leads_there(tmp_path, monkeypatch):
    Store.create(tmp_path / "photos", dim=8, modality="image", model=None, background=None)
    (tmp_path / "today").symlink_to("photos")
    (tmp_path / "photos" / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "photos" / "inside")
    for way, name in (
        ("..", "photos"),
        ("../../today", "photos"),
        (str(tmp_path / "today"), "today"),
    ):
        assert open_catalogue([way], None, None, str).names == [name]


def test_names_must_differ(colours):
    folder = str(colours.store.folder)
    with pytest.raises(InputError, match="two indices would be called"):
        open_catalogue([folder, folder], None, None, print)


def test_addresses_are_as_browsers_take_them():
    with bind("127.0.0.1", 0) as listener:
        assert address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
        # asyncio turns Nagle's algorithm off only where the protocol is told
        assert listener.proto == socket.IPPROTO_TCP
    if socket.has_ipv6:
        with bind("::1", 0) as listener:
            assert address_of(listener) == f"http://[::1]:{listener.getsockname()[1]}/"
