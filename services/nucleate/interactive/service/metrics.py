"""Metrics of the service: clicks, their time by stage, and how long the queue is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

MILLISECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 120.0, 200.0, 400.0, 1000.0, 4000.0)
EVALUATIONS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0, 100.0, 200.0)


class ClickMetrics:
    """Clicks of one server, in its registry, and gauges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._clicks = Counter("nucleate_clicks", "Clicks answered by the network", registry=registry)
        self._disobeyed = Counter(
            "nucleate_clicks_not_honoured", "Clicks whose pixel the mask has on the other side", registry=registry
        )
        self._evaluations = Histogram(
            "nucleate_click_evaluations", "Optimizer evaluations per click", buckets=EVALUATIONS, registry=registry
        )
        self._spent = Histogram(
            "nucleate_click_milliseconds", "Milliseconds per click by work", ("work",), buckets=MILLISECONDS, registry=registry
        )

    def observe_click(self, outcome: Mapping[str, Any], storing: float) -> None:
        """Count a click that the network has answered."""
        self._clicks.inc()
        self._disobeyed.inc(not outcome["clicks_obeyed"])
        self._evaluations.observe(outcome["evaluations"])
        for work, milliseconds in {**outcome["spent"], "storing": storing}.items():
            self._spent.labels(work).observe(milliseconds)

    def add_gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge that calls `read` at every scrape."""
        Gauge(f"nucleate_interactive_{name}", help_text, registry=self._registry).set_function(read)
