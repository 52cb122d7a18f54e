"""A real Prometheus watches a real federation: every query of every panel and rule has an answer; an alert fires and ends.

The rules are those of deploy/, except that the alert that is to fire need not hold for two minutes before it does.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from deploy.grafana.answers import fill_in
from deploy.grafana.dashboard import Query
from deploy.grafana.files import DASHBOARDS
from deploy.grafana.pictures import Run, draw
from fedkseed_local.program import find
from fedkseed_local.servers import LOOPBACK, RabbitServer, RedisServer, free_port
from tests.embedded import TOY
from tests.pages import ROOT
from tests.processes import until
from tests.servers import running
from tests.toys import Party
from tests.watching import PrometheusServer, RedisExporter, fetch

RULES = ROOT / "deploy/prometheus/rules/fedkseed.yml"
SERVICES = {
    "fedkseed-aggregator": ("first", "second"),
    "fedkseed-client": ("ann", "bob", "cyd"),
    "fedkseed-evaluator": ("evaluator",),
}
VERSIONS = 6
WINDOW, BRIEF = "2m", "10s"

# Queries that may have no answer in this run, by dashboard, panel and legend, and why that is right.
EMPTY = {
    ("ledger", "Dead letters and deliveries that came again", "dead: {{reason}}"): "everything is readable",
    ("ledger", "Dead letters and deliveries that came again", "again: {{message}}"): "no connection is lost",
    ("ledger", "Dead letters and deliveries that came again", "over quota: {{queue}}"): "nobody sends too much",
    ("servers", "Memory and file", "limit of memory"): "the private Redis has none",
}

# What promtool says of metrics that are not ours to name.
NOT_OURS = r"python_info|python_gc|process_"


class Watched:
    """A federation, and the Prometheus that watches it."""

    def __init__(self, party: Party, prometheus: PrometheusServer, addresses: dict[str, str], began: float) -> None:
        self.party, self.prometheus, self.addresses, self.began = party, prometheus, addresses, began

    def answered(self, expr: str) -> bool:
        """Whether there is a number at any time since the federation began."""
        series = self.prometheus.answers.range(expr, start=self.began, end=time.time(), step=1.0)
        return any(each.numbers for each in series)


@pytest.fixture(scope="module")
def watched(tmp_path_factory, tiny_base) -> Iterator[Watched]:
    """Two aggregators, three clients, an evaluator, RabbitMQ, Redis and its exporter; some rounds are over."""
    folder = tmp_path_factory.mktemp("watched")
    places = {name: folder / name for name in ("rabbit", "redis", "exporter", "prometheus")}
    for place in places.values():
        place.mkdir()
    shown = f"{LOOPBACK}:{(port := free_port())}"
    addresses = {name: f"{LOOPBACK}:{free_port()}" for names in SERVICES.values() for name in names}
    plain = {"prometheus.tcp.ip": LOOPBACK, "prometheus.tcp.port": str(port)}
    rules = folder / "rules.yml"
    rules.write_text(re.sub(r"(FedkseedNoAggregator\n.*?for:) 2m", r"\1 2s", RULES.read_text(), flags=re.DOTALL))
    began = time.time()
    with ExitStack() as stack:
        rabbit = stack.enter_context(running(RabbitServer(places["rabbit"], ("rabbitmq_prometheus",), plain)))
        redis = stack.enter_context(running(RedisServer(places["redis"])))
        exporter = stack.enter_context(running(RedisExporter(places["exporter"], redis.url)))
        targets = {job: {name: addresses[name] for name in names} for job, names in SERVICES.items()}
        targets |= {"rabbitmq": {"rabbit": shown}, "redis": {"redis": exporter.address}}
        prometheus = stack.enter_context(running(PrometheusServer(places["prometheus"], targets, rules)))
        party = Party(
            folder,
            tiny_base,
            rabbit.url(),
            redis.url,
            training={"steps": 32, "batch": 4, "lr": 3e-4, "importance": True},
            rounds={"cohort": 3, "max_staleness": 2, "total": 100_000, "minimum": 2, "deadline_seconds": 60},
        )
        stack.callback(lambda: [program.kill() for program in party.services.values()])
        for job, names in SERVICES.items():
            for i, name in enumerate(names):
                rows = TOY[i::3] if job == "fedkseed-client" else TOY[:20]
                party.start(job.removeprefix("fedkseed-"), name, rows, FEDKSEED_METRICS_LISTEN=addresses[name])
        until(lambda: prometheus.answers.now(f"max(fedkseed_evaluated_version) >= {VERSIONS}"))
        until(lambda: prometheus.reached() == {job: where.keys() for job, where in targets.items()})
        yield Watched(party, prometheus, addresses, began)


def queries() -> Iterator[tuple[str, str, Query]]:
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield dashboard.name, panel.title, query


def test_every_panel_shows_something(watched):
    """At some moment of the run, which goes on meanwhile, except for what is listed above."""
    asked = {(name, title, query.legend): query.expr for name, title, query in queries()}
    silent = set(asked)

    def seen() -> bool:
        shown = {key for key in silent if watched.answered(fill_in(asked[key], window=WINDOW, brief=BRIEF))}
        silent.difference_update(shown)
        return silent <= EMPTY.keys()

    until(seen)
    assert EMPTY.keys() <= {(name, title, query.legend) for name, title, query in queries()}


def test_dashboards_can_be_drawn(watched, tmp_path):
    """Small enough for a page of the documentation."""
    run = Run(prometheus=watched.prometheus.answers, start=watched.began, end=time.time())
    for dashboard in DASHBOARDS:
        picture = tmp_path / f"{dashboard.name}.png"
        draw(dashboard, run).savefig(picture)
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 300_000


def test_every_rule_is_evaluated_and_everything_it_asks_for_is_there(watched):
    """An alert is quiet because all is well, not because it asks for a series that nobody has."""
    rules = watched.prometheus.rules()
    assert {rule["health"] for rule in rules} == {"ok"}
    for rule in rules:
        if rule["type"] == "recording":
            assert watched.answered(rule["query"]), rule["name"]
        for selector in re.findall(r"(?:federation:\w+:\w+|\b(?:fedkseed_\w+|up)(?:{[^}]*})?)", rule["query"]):
            assert watched.answered(selector), (rule["name"], selector)
    assert watched.prometheus.firing() == set()


@pytest.mark.parametrize("name", [name for names in SERVICES.values() for name in names])
def test_metrics_are_as_they_should_be(watched, name):
    """promtool has nothing to say of names, units and help of our metrics."""
    page = fetch(watched.addresses[name], "metrics")
    said = subprocess.run([find("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert [line for line in (said.stdout + said.stderr).splitlines() if not re.match(NOT_OURS, line)] == []


def test_the_configuration_is_valid(watched):
    said = subprocess.run(
        [find("promtool"), "check", "config", watched.prometheus.config], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_an_alert_fires_when_the_aggregators_die_and_ends_when_they_are_back(watched):
    aggregators = [watched.party.services[name] for name in SERVICES["fedkseed-aggregator"]]
    for aggregator in aggregators:
        aggregator.kill()
    until(lambda: watched.prometheus.firing() == {"FedkseedNoAggregator"})
    for aggregator in aggregators:
        aggregator.start()
    until(lambda: watched.prometheus.firing() == set())
    before = watched.party.ledger.head().version
    watched.party.reach(before + 1)
