"""`serve`: search indices with a browser and over HTTP."""

import contextlib
import importlib.util
import re
import socket
import webbrowser
from dataclasses import dataclass
from ipaddress import ip_address

from vlp.errors import InputError
from vlp.terminal import printable

_NEEDED = ("starlette", "uvicorn", "pydantic", "limits", "prometheus_client")
_ORIGIN = re.compile(r"https?://[^/\s*]+")


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Search indices with a browser and over HTTP: a page, a JSON API, and clip-retrieval's API.

    Without --host only this machine can ask. Ctrl-C stops the server.

    Args:
        indices: folders of indices; the first is the one that is searched when none is named.
        host: name or number to listen at; 0.0.0.0 for all that this machine has.
        port: to listen at; 0 for any that is free.
        model: default the models that the indices name.
        device: for the models; default the GPU if there is one.
        per_minute: searches that one client may make in a minute; 0 for no limit. Behind a proxy
            all clients are one.
        max_upload: megabytes of one request; pictures in it are a third larger than as files.
        allow_host: further names that this machine is called by, e.g. behind a proxy.
        cors: web sites whose pages may search here, e.g. https://example.com.
        open: show the page in the browser.
    """

    indices: list[str]
    host: str = "127.0.0.1"
    port: int = 1234
    model: str | None = None
    device: str | None = None
    per_minute: int = 120
    max_upload: float = 10.0
    allow_host: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    open: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.max_upload <= 1000:
            raise InputError(f"--max-upload {self.max_upload}: expected above 0, at most 1000")
        if not 0 <= self.per_minute <= 1_000_000:
            raise InputError(f"--per-minute {self.per_minute}: expected 0 to 1000000")
        for origin in self.cors:
            if not _ORIGIN.fullmatch(origin):
                raise InputError(
                    f"--cors {origin}: expected the address of a site without a path, "
                    "e.g. https://example.com"
                )


def serve(options: Serve) -> int:
    """Run the command.

    Raises:
        InputError: an option, an index or its model cannot be used.
        RunError: the port is in use.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"`vlp serve` needs {missing[0]}: pip install 'vlp[serve]'")
    from vlp.serve.app import create_app
    from vlp.serve.bounds import Bounds
    from vlp.serve.catalogue import open_catalogue
    from vlp.serve.running import address_of, bind, configured, run

    bounds = Bounds(
        upload_bytes=round(options.max_upload * 1_000_000), per_minute=options.per_minute
    )
    with bind(options.host, options.port) as listener:
        catalogue = open_catalogue(options.indices, options.model, options.device, _say)
        app = create_app(
            catalogue, bounds, names=[*_names(options), *options.allow_host], origins=options.cors
        )
        address = address_of(listener)

        def started() -> None:
            if not _is_loopback(listener):
                _say("warning: there is no authentication: whoever reaches this address can")
                _say("  search, and see every picture of these indices")
            _say(f"serving {address} (Ctrl-C stops)")
            if options.open:
                webbrowser.open(address)

        with contextlib.suppress(KeyboardInterrupt):
            run(configured(app, bounds), listener, started)
    _say("stopped")
    return 0


def _names(options: Serve) -> list[str]:
    """What this machine is called, when others may ask."""
    return [] if options.host == Serve.host else [options.host, socket.gethostname()]


def _is_loopback(listener: socket.socket) -> bool:
    return ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _say(text: str) -> None:
    print(printable(text), flush=True)
