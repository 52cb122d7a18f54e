"""The metrics of one process: declared once, written down as Prometheus reads them.

The only module that imports `prometheus_client`. A label is declared with all its values, and each of its series begins at
zero, so that a rate is known from the first event on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeVar

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "fedkseed_"
Kind = Literal["counter", "gauge", "histogram"]
M = TypeVar("M", Counter, Gauge, Histogram)
Kept = Callable[[], Mapping[tuple[str, ...], float]]  # numbers by the values of their labels


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

    def spread(self, name: str, meaning: str, buckets: tuple[float, ...]) -> "Spread":
        """Declare a histogram that takes many values at once."""
        spread = Spread(self._note(name, "histogram", meaning, {}, buckets), meaning, buckets)
        self._registry.register(spread)
        return spread

    def counted_elsewhere(self, name: str, meaning: str, read: Kept, **labels: tuple[str, ...]) -> None:
        """Declare a counter that somebody else keeps: read whenever the metrics are."""
        named = self._note(name, "counter", meaning, labels)
        self._registry.register(_Elsewhere(lambda: CounterMetricFamily(named, meaning, labels=tuple(labels)), read))

    def kept_elsewhere(self, name: str, meaning: str, read: Kept, **labels: tuple[str, ...]) -> None:
        """Declare a gauge that somebody else keeps: read whenever the metrics are."""
        named = self._note(name, "gauge", meaning, labels)
        self._registry.register(_Elsewhere(lambda: GaugeMetricFamily(named, meaning, labels=tuple(labels)), read))

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


class Spread(Collector):
    """A histogram, with upper bounds of its buckets, that takes as many values at once as there are."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...]) -> None:
        self._name, self._meaning, self._bounds = name, meaning, bounds
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0

    def observe(self, values: Sequence[float]) -> None:
        """Take values."""
        places = np.searchsorted(self._bounds, values)
        self._counts = self._counts + np.bincount(places, minlength=len(self._counts))
        self._sum += float(np.sum(values))

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Name it, for the library when it is registered."""
        yield HistogramMetricFamily(self._name, self._meaning)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Say how many values lie below each bound."""
        bounds = [*map(str, self._bounds), "+Inf"]
        below = [(bound, float(count)) for bound, count in zip(bounds, np.cumsum(self._counts), strict=True)]
        yield HistogramMetricFamily(self._name, self._meaning, buckets=below, sum_value=self._sum)


class _Elsewhere(Collector):
    """A metric that is read when the metrics are."""

    def __init__(self, family: Callable[[], CounterMetricFamily | GaugeMetricFamily], read: Kept) -> None:
        self._family, self._read = family, read

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Name it without reading it, for the library when it is registered."""
        yield self._family()

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Read it."""
        family = self._family()
        for values, number in self._read().items():
            family.add_metric(values, number)
        yield family
