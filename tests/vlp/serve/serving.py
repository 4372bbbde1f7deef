"""A server in a thread, as it runs for users, and a tiny index to serve."""

import base64
import contextlib
import io
import threading
import time

import httpx
import numpy as np
from PIL import Image
from uvicorn import Server

from vlp.retrieval.retriever import Retriever
from vlp.serve.app import create_app
from vlp.serve.bounds import Bounds
from vlp.serve.catalogue import Catalogue, Served
from vlp.serve.running import address_of, bind, configured

COLOURS = ["red", "lime", "blue", "yellow", "black", "white"]


@contextlib.contextmanager
def serving(retrievers, bounds=None, **options):
    """The address of a server of some indices, by their names."""
    bounds = bounds or Bounds(per_minute=0)
    catalogue = Catalogue([Served(name, retriever) for name, retriever in retrievers.items()])
    listener = bind("127.0.0.1", 0)
    address = address_of(listener)
    server = Server(configured(create_app(catalogue, bounds, **options), bounds))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield address
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def client_of(retrievers, bounds=None, **options):
    """A client of such a server."""
    with (
        serving(retrievers, bounds, **options) as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def make_index(folder, checkpoint):
    """An index of pictures of one colour each, that lie beside it."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    paths = [pictures / f"{number} {colour}.png" for number, colour in enumerate(COLOURS)]
    for path, colour in zip(paths, COLOURS, strict=True):
        Image.new("RGB", (60, 40), colour).save(path)
    retriever = Retriever.from_checkpoint(checkpoint, folder / "colours")
    rows = [
        {"caption": colour, "bright": colour in ("yellow", "white"), "number": number, "weight": w}
        for number, (colour, w) in enumerate(zip(COLOURS, [0.5, None, *[1.5] * 4], strict=True))
    ]
    retriever.add(paths, rows)
    return retriever


def encoded(image, kind="PNG", **options):
    """A picture as requests carry it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def noise(width, height, seed=0):
    """A picture that compresses badly."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
