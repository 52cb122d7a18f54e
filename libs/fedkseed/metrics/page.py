"""The page of all metrics, docs/metrics.md, written from their declarations."""

from collections.abc import Iterator

from fedkseed.metrics.registry import Declared
from fedkseed.metrics.services import AggregatorMetrics, ClientMetrics, EvaluatorMetrics

UNITS = {"seconds": "seconds", "bytes": "bytes", "ratio": "ratio", "nats": "nats", "versions": "versions"}
HEAD = """\
# Metrics

What each service shows on `/metrics`, if it is told where to listen (`FEDKSEED_METRICS_LISTEN`,
[operating.md](operating.md#metrics-and-health)). This page is written from the program:

```sh
python -m fedkseed.metrics > docs/metrics.md
```

- Every series is there from the start. How many there are depends on nothing that happens: a label has a fixed set of values,
  and no label names a client, a round or a version.
- Counters begin at zero with each process. A gauge that is not known yet is `NaN`.
- With several aggregators, each counts what it did itself: add their counters up. Gauges of where the ledger stands are the
  same at all of them.
- Beside these, each service has the usual metrics of a process: `process_resident_memory_bytes`, `process_cpu_seconds_total`,
  `process_open_fds`, `process_start_time_seconds`, `python_gc_*`, `python_info`.
- `message_framed_bytes_total` is computed for each message by the rules of AMQP: frames, addresses, properties, and one
  confirmation or acknowledgement, though the broker may answer several at once. The user that signs a message is taken to be
  the participant's name. `socket_bytes_total` is what went through: heartbeats, handshakes and declarations too.

"""


def page() -> str:
    """The whole page, Markdown."""
    return HEAD + "\n".join(_sections()) + "\n"


def _sections() -> Iterator[str]:
    declared = {
        "aggregator": AggregatorMetrics().registry.declared,
        "client": ClientMetrics().registry.declared,
        "evaluator": EvaluatorMetrics().registry.declared,
    }
    services: dict[str, list[str]] = {}
    metrics: dict[str, Declared] = {}
    for service, its in declared.items():
        for metric in its:
            services.setdefault(metric.name, []).append(service)
            metrics.setdefault(metric.name, metric)
    titles = {
        "aggregator, client, evaluator": "Every service",
        "aggregator": "Aggregator",
        "client, evaluator": "Clients and evaluators",
        "client": "Clients",
        "aggregator, evaluator": "Aggregator and evaluators",
        "evaluator": "Evaluators",
    }
    for whose, title in titles.items():
        chosen = [metrics[name] for name, having in services.items() if ", ".join(having) == whose]
        yield f"## {title}\n"
        yield "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|"
        yield from map(_row, chosen)
        yield ""


def _row(metric: Declared) -> str:
    labels = "; ".join(_label(name, values) for name, values in metric.labels.items())
    return f"| `{metric.name}` | {metric.kind} | {_unit(metric.name)} | {labels} | {metric.meaning} |"


def _label(name: str, values: tuple[str, ...]) -> str:
    return f"`{name}`: " + ", ".join(f"`{value}`" for value in values) if values else f"`{name}`"


def _unit(name: str) -> str:
    """Names say it: the last part that is a unit."""
    parts = name.removesuffix("_total").split("_")
    return UNITS.get(parts[-1], "")
