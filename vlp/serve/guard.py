"""Who may ask at all, and what browsers are told about every response.

A page of any web site can make a browser send requests to this machine. By another name for the
loopback address (DNS rebinding) it could even read what comes back; so names are checked.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlp.serve.refusals import refusal

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OWN = "localhost"


class Guard:
    """Refuses requests by foreign names or from foreign pages, and adds headers to responses.

    Args:
        app: what is guarded.
        names: of this machine, besides localhost and numeric addresses.
        origins: web sites whose pages may ask, e.g. https://example.com.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._names = {_OWN, *(name.lower() for name in names)}
        self._origins = {origin.lower() for origin in origins}
        self._headers = dict(_HEADERS)
        if not self._origins:
            self._headers["Cross-Origin-Resource-Policy"] = "same-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        fault = self._fault(Headers(scope=scope))
        answer = self._app if fault is None else refusal(403, fault)
        await answer(scope, receive, send_guarded)

    def _fault(self, headers: Headers) -> str | None:
        host = headers.get("host", "").lower()
        name = _name(host)
        if not (name in self._names or _is_address(name)):
            return (
                f"this server is not known as {name!r}; start it with --allow-host {name}"
                if name
                else "the request does not name the server"
            )
        origin = headers.get("origin", "").lower()
        if origin and origin not in self._origins and _host_of(origin) != host:
            return f"pages of {origin} may not ask; start the server with --cors {origin}"
        return None


def _name(host: str) -> str:
    """A host without its port."""
    return host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]


def _is_address(name: str) -> bool:
    """Whether a name is a number, which cannot be made to mean another machine."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _host_of(origin: str) -> str:
    """The host of an origin, with its port."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
