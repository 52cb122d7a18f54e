"""The metrics of one process: declared once, written down as Prometheus reads them.

The only module that imports `prometheus_client`. A label is declared with all its values, and each of its series begins at
zero, so that a rate is known from the first event on.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "fedkseed_"
Kind = Literal["counter", "gauge", "histogram"]
M = TypeVar("M", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is known of a metric before anything happens."""

    name: str
    kind: Kind
    meaning: str
    labels: Mapping[str, tuple[str, ...]]  # by name: all values
    buckets: tuple[float, ...] = ()  # upper bounds, of a histogram


class Registry:
    """Where metrics are declared and read."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.declared: list[Declared] = []

    def counter(self, name: str, meaning: str, **labels: tuple[str, ...]) -> Counter:
        """Declare what only grows."""
        return self._ready(
            Counter(self._note(name, "counter", meaning, labels), meaning, labels, registry=self._registry), labels
        )

    def gauge(self, name: str, meaning: str, **labels: tuple[str, ...]) -> Gauge:
        """Declare what goes up and down."""
        return self._ready(Gauge(self._note(name, "gauge", meaning, labels), meaning, labels, registry=self._registry), labels)

    def histogram(self, name: str, meaning: str, buckets: tuple[float, ...], **labels: tuple[str, ...]) -> Histogram:
        """Declare what is spread over some values."""
        named = self._note(name, "histogram", meaning, labels, buckets)
        return self._ready(Histogram(named, meaning, labels, registry=self._registry, buckets=buckets), labels)

    def constant(self, name: str, meaning: str, **labels: str) -> None:
        """Declare a gauge that is always 1: its labels are what it says."""
        named = self._note(name, "gauge", meaning, dict.fromkeys(labels, ()))
        Gauge(named, meaning, labels, registry=self._registry).labels(**labels).set(1)

    def counted_elsewhere(
        self, name: str, meaning: str, read: Callable[[], Mapping[tuple[str, ...], float]], **labels: tuple[str, ...]
    ) -> None:
        """Declare a counter that somebody else keeps: read whenever the metrics are, by the values of its labels."""
        self._registry.register(_Elsewhere(self._note(name, "counter", meaning, labels), meaning, tuple(labels), read))

    def with_process(self) -> "Registry":
        """Add what the library itself knows of a process: memory, processor, files, garbage collection."""
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        return self

    def text(self) -> bytes:
        """Everything, in the format that Prometheus scrapes."""
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample, by its full name: None where there is none."""
        return self._registry.get_sample_value(PREFIX + name, labels)

    def _note(
        self, name: str, kind: Kind, meaning: str, labels: Mapping[str, tuple[str, ...]], buckets: tuple[float, ...] = ()
    ) -> str:
        self.declared.append(Declared(name=PREFIX + name, kind=kind, meaning=meaning, labels=labels, buckets=buckets))
        return PREFIX + name

    def _ready(self, metric: M, labels: Mapping[str, tuple[str, ...]]) -> M:
        """The metric, with all its series."""
        for values in product(*labels.values()) if labels else ():
            metric.labels(*values)
        return metric


class _Elsewhere(Collector):
    """A counter that is read when the metrics are."""

    def __init__(
        self, name: str, meaning: str, labels: tuple[str, ...], read: Callable[[], Mapping[tuple[str, ...], float]]
    ) -> None:
        self._name, self._meaning, self._labels, self._read = name, meaning, labels, read

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Name it without reading it, which the library does when it is registered."""
        yield CounterMetricFamily(self._name, self._meaning, labels=self._labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read it."""
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, count in self._read().items():
            family.add_metric(values, count)
        yield family
