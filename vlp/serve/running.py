"""Running the server: its address, its start and its end."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vlp.errors import InputError, RunError
from vlp.serve.bounds import HEADER_SECONDS, Bounds

_KEPT_ALIVE = 15  # seconds that a connection may be idle
_FINISHING = 3  # seconds that requests have to finish when the server stops
_HEADER_BYTES = 16_384  # of a request


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, before anything that takes long is loaded.

    Args:
        host: a name or a number.
        port: 0 for any that is free.

    Raises:
        InputError: this machine has no such address.
        RunError: the port is in use or not allowed.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"--port {port}: expected 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host {host!r}: no such host") from None
    # without the protocol asyncio would not set TCP_NODELAY: 40 ms more for each request
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"cannot serve at {host} port {port}: {reason}; try --port 0") from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The address that a browser on this machine takes."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def configured(app: ASGIApp, bounds: Bounds) -> uvicorn.Config:
    """The HTTP server's settings."""
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # any client could claim to be another
        limit_concurrency=bounds.connections,
        timeout_keep_alive=_KEPT_ALIVE,
        timeout_graceful_shutdown=_FINISHING,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )


def run(config: uvicorn.Config, listener: socket.socket, started: Callable[[], None]) -> None:
    """Serve until the process is interrupted; `started` is called when the server answers."""
    _Server(config, started).run(sockets=[listener])


class _Protocol(H11Protocol):
    """Hangs up on who brings no request: else a hundred such connections lock everyone out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        last = self.cycle

        def hang_up() -> None:
            if self.cycle is last and (last is None or last.response_complete):
                self.transport.close()

        self.loop.call_later(HEADER_SECONDS, hang_up)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._tell()
