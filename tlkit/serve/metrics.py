"""Metrics: what the service counts, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one service, in a registry of their own.

    Attributes:
        responses: Requests that got a response, refusals included.
    """

    def __init__(self) -> None:
        """Set all to zero."""
        self.responses = 0
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "tlkit_requests",
            "Requests by the path that they were routed to ('other' for none) and status.",
            ("endpoint", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "tlkit_request_seconds",
            "Seconds from the headers of a request to the end of its response.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "tlkit_batch_pictures",
            "Pictures that the model saw at once.",
            buckets=_SIZES,
            registry=registry,
        )
        self._info = Info("tlkit_model", "The model that is served.", registry=registry)

    def describe(self, **labels: str) -> None:
        """Say which model it is."""
        self._info.info(labels)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read whenever the metrics are."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def answered(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count a request; its status is 0 where the client was gone before the response."""
        self.responses += status > 0
        self._requests.labels(endpoint, method, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def batched(self, size: int) -> None:
        """Count a batch."""
        self._batch.observe(size)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)
