"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Requests and how long they took, by endpoint."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "vlp_requests", "Requests", ["endpoint", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "vlp_request_seconds",
            "Seconds that a request took",
            ["endpoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def count(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def response(self) -> Response:
        """All counts, in Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
