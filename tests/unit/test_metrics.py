"""The declarations of metrics: conventions, the page that is written from them, what is there before anything happens."""

import math
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedkseed.metrics.page import page as written
from fedkseed.metrics.registry import Registry
from fedkseed.metrics.services import AggregatorMetrics, ClientMetrics, EvaluatorMetrics
from tests.pages import page

SERVICES = (AggregatorMetrics, ClientMetrics, EvaluatorMetrics)


def test_the_page_is_the_one_that_the_program_writes():
    assert page("metrics.md") == written()


@pytest.mark.parametrize("service", SERVICES)
def test_names_and_labels_follow_the_conventions(service):
    for metric in service().registry.declared:
        assert re.fullmatch(r"fedkseed_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.meaning.endswith(".")
        assert not {"client", "round", "version", "le"} & metric.labels.keys() or metric.name == "fedkseed_build_info"
        assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize("service", SERVICES)
def test_every_declared_metric_is_there_before_anything_happens(service):
    registry = service(lambda: {("publishing", "sent"): 1.0}).registry.with_process()
    families = {family.name: family for family in text_string_to_metric_families(registry.text().decode())}
    for metric in registry.declared:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind
        assert family.samples, metric.name
    assert "process_resident_memory_bytes" in families


def test_a_counter_that_somebody_else_keeps_is_read_with_the_metrics():
    counts = {("publishing",): 1.0}
    registry = Registry()
    registry.counted_elsewhere("socket_bytes_total", "Bytes.", lambda: counts, line=("publishing",))
    counts["publishing",] = 7.0
    assert registry.value("socket_bytes_total", line="publishing") == 7


def test_what_is_not_known_yet_is_no_number():
    registry = EvaluatorMetrics().registry
    assert math.isnan(registry.value("evaluation_score", metric="rouge_l"))
    assert registry.value("held_version") == registry.value("evaluated_version") == -1


def test_a_score_of_an_unknown_name_adds_no_series():
    metrics = EvaluatorMetrics()
    before = len(metrics.registry.text().splitlines())
    metrics.scores.scored(3, {"loss": 0.5, "perplexity": 1.6})
    assert metrics.registry.value("evaluation_score", metric="loss") == 0.5
    assert len(metrics.registry.text().splitlines()) == before
