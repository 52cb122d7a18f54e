"""Which metrics a service has: one object for each kind of service, made where its parts are put together."""

import platform
from collections.abc import Callable
from importlib import metadata
from typing import Literal

from fedkseed.metrics.participants import FollowingMetrics, ScoreMetrics, ScoringMetrics, TrainingMetrics
from fedkseed.metrics.registry import Registry
from fedkseed.metrics.rounds import LedgerMetrics, RoundMetrics, StandingMetrics, UpdateMetrics
from fedkseed.metrics.transport import BacklogMetrics, SocketBytes, TransportMetrics

Service = Literal["aggregator", "client", "evaluator"]


class ServiceMetrics:
    """What every service has.

    Args:
        service: which it is.
        traffic: see TransportMetrics.
    """

    def __init__(self, service: Service, traffic: Callable[[], SocketBytes]) -> None:
        self.service = service
        self.registry = Registry()
        versions = {"version": _version("fedkseed"), "python": platform.python_version(), "torch": _version("torch")}
        self.registry.constant(
            "build_info", "1, with what runs here; torch is empty where it is not installed.", service=service, **versions
        )
        self.transport = TransportMetrics(self.registry, traffic)


class AggregatorMetrics(ServiceMetrics):
    """Every metric of an aggregator."""

    def __init__(self, traffic: Callable[[], SocketBytes] = dict) -> None:
        super().__init__("aggregator", traffic)
        self.backlog = BacklogMetrics(self.registry)
        self.updates = UpdateMetrics(self.registry)
        self.rounds = RoundMetrics(self.registry)
        self.standing = StandingMetrics(self.registry)
        self.ledger = LedgerMetrics(self.registry)
        self.scores = ScoreMetrics(self.registry)


class ClientMetrics(ServiceMetrics):
    """Every metric of a client."""

    def __init__(self, traffic: Callable[[], SocketBytes] = dict) -> None:
        super().__init__("client", traffic)
        self.following = FollowingMetrics(self.registry)
        self.training = TrainingMetrics(self.registry)


class EvaluatorMetrics(ServiceMetrics):
    """Every metric of an evaluator."""

    def __init__(self, traffic: Callable[[], SocketBytes] = dict) -> None:
        super().__init__("evaluator", traffic)
        self.following = FollowingMetrics(self.registry)
        self.scores = ScoreMetrics(self.registry)
        self.scoring = ScoringMetrics(self.registry)


def _version(package: str) -> str:
    """Of an installed package, without importing it; empty where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
