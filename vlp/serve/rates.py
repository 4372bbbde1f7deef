"""How often a client may ask."""

import time
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from vlp.serve.refusals import Refused


class Rate:
    """So many requests of one kind that one client may make in any minute.

    Args:
        what: of what kind, for people.
        per_minute: 0 for as many as it likes.
    """

    def __init__(self, what: str, per_minute: int) -> None:
        self._what = what
        self._item = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def check(self, request: Request) -> None:
        """Count a request.

        Raises:
            Refused: it is one too many.
        """
        if self._item is None:
            return
        client = _client(request)
        if await self._limiter.hit(self._item, client):
            return
        end = (await self._limiter.get_window_stats(self._item, client)).reset_time
        seconds = max(1, round(end - time.time() + 0.5))
        raise Refused(
            429,
            f"more than {self._item.amount} {self._what} in a minute; "
            f"wait {seconds} second{'s' * (seconds > 1)}",
            {"Retry-After": str(seconds)},
        )


def _client(request: Request) -> str:
    """Who asks: an address, or the network of it where everyone has billions of them."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else address.exploded[:19]
    return str(address)
