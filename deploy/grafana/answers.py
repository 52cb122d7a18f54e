"""What Prometheus answers: values of series, now or over a time. Nothing but its HTTP interface is known here."""

import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIABLES: Mapping[str, str] = {"$federation": ".*", "$instance": ".*"}  # nothing is chosen at the top of the dashboard


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: unix seconds and values, and the labels it has."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    def name(self, legend: str) -> str:
        """A legend, with its labels put in."""
        return re.sub(r"{{(\w+)}}", lambda found: self.labels.get(found[1], ""), legend)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values that are numbers."""
        return tuple(value for _, value in self.points if not math.isnan(value))


class Prometheus:
    """A running one.

    Args:
        url: where it is.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def now(self, expr: str) -> tuple[Series, ...]:
        """The newest values."""
        found = self.ask("query", query=expr)["result"]
        return tuple(_series(each["metric"], [each["value"]]) for each in found)

    def range(self, expr: str, *, start: float, end: float, step: float) -> tuple[Series, ...]:
        """Values from a time to another, every so many seconds."""
        found = self.ask("query_range", query=expr, start=str(start), end=str(end), step=str(step))["result"]
        return tuple(_series(each["metric"], each["values"]) for each in found)

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        """The data of an answer; one that is an error is raised as urllib.error.HTTPError."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}") as answer:  # noqa: S310 - the address is the caller's
            data: dict[str, Any] = json.load(answer)["data"]
            return data


def fill_in(expr: str, *, window: str, brief: str) -> str:
    """A query as Grafana sends it, with the windows that it counts over."""
    for name, value in {**VARIABLES, "$window": window, "$__rate_interval": brief}.items():
        expr = expr.replace(name, value)
    return expr


def _series(labels: Mapping[str, str], points: list[list[float | str]]) -> Series:
    return Series(labels=labels, points=tuple((float(at), float(value)) for at, value in points))
