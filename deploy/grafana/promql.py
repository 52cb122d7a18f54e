"""Queries in Prometheus' language: where series are chosen from, and what is asked of histograms again and again.

`$federation`, `$instance` and `$window` are chosen at the top of a dashboard. Series are chosen by job, as
deploy/prometheus/prometheus.yml names them, and by federation, a label that targets have where one Prometheus watches several.
"""

from dataclasses import dataclass

FEDERATION = 'federation=~"$federation"'
WINDOW = "$window"  # for what happens once a round
BRIEF = "$__rate_interval"  # for what happens all the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The series of one job.

    Args:
        name: of the job, or a pattern.
        chosen: only of the instances that are chosen.
    """

    name: str
    chosen: bool = False

    def __call__(self, metric: str, *labels: str, over: str = "") -> str:
        """A selector: of a range of time where `over` says so."""
        where = (f'job=~"{self.name}"', FEDERATION, *(('instance=~"$instance"',) if self.chosen else ()), *labels)
        return f"{metric}{{{', '.join(where)}}}" + (f"[{over}]" if over else "")

    def rate(self, metric: str, *labels: str, by: str = "", over: str = BRIEF) -> str:
        """How much a counter grows each second."""
        return f"sum {_by(by)}(rate({self(metric, *labels, over=over)}))"

    def increase(self, metric: str, *labels: str, by: str = "", over: str = WINDOW) -> str:
        """How much a counter grew over the window."""
        return f"sum {_by(by)}(increase({self(metric, *labels, over=over)}))"

    def mean(self, histogram: str, *labels: str, by: str = "") -> str:
        """The mean of a histogram over the window."""
        total, count = (self.rate(f"{histogram}_{part}", *labels, by=by, over=WINDOW) for part in ("sum", "count"))
        return f"{total} / {count}"

    def quantile(self, q: float, histogram: str, *labels: str, by: str = "") -> str:
        """A quantile of a histogram over the window."""
        grouped = f"le, {by}" if by else "le"
        return f"histogram_quantile({q}, {self.rate(f'{histogram}_bucket', *labels, by=grouped, over=WINDOW)})"


def _by(labels: str) -> str:
    return f"by ({labels}) " if labels else ""


AGGREGATORS = Job(name="fedkseed-aggregator")
CLIENTS = Job(name="fedkseed-client")
EVALUATORS = Job(name="fedkseed-evaluator")
SERVICES = Job(name="fedkseed-.*")
RABBITMQ = Job(name="rabbitmq")
REDIS = Job(name="redis")
