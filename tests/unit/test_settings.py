"""Settings from the environment: typed, complete, and named when they are wrong."""

import pytest

from fedkseed.errors import SettingError
from fedkseed.settings import AggregatorSettings, ClientSettings, EvaluatorSettings, HealthSettings, read

CLIENT = {"FEDKSEED_FEDERATION": "toy", "FEDKSEED_CLIENT_ID": "ann", "FEDKSEED_BASE": "base"}


def test_a_client_reads_what_it_may_spend():
    chosen = read(ClientSettings, CLIENT | {"FEDKSEED_THREADS": "2", "FEDKSEED_HOURS": "20-6", "HOME": "/"})
    assert (chosen.client_id, chosen.threads, chosen.window, chosen.support) == ("ann", 2, (20, 6), None)


def test_an_evaluator_reads_its_plan():
    chosen = read(EvaluatorSettings, CLIENT | {"FEDKSEED_EVERY": "5", "FEDKSEED_EXAMPLES": "10"})
    assert (chosen.plan.every, chosen.plan.examples, chosen.plan.rouge_examples) == (5, 10, 0)


def test_nobody_listens_unless_somebody_says_so():
    assert read(ClientSettings, CLIENT).metrics_listen is None
    assert read(ClientSettings, CLIENT | {"FEDKSEED_METRICS_LISTEN": "[::1]:9000"}).metrics_listen == "[::1]:9000"


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (AggregatorSettings, {"FEDKSEED_FEDERATION": None}, "FEDKSEED_FEDERATION: field required"),
        (AggregatorSettings, {"FEDKSEED_FEDERATION": "a b"}, "FEDKSEED_FEDERATION: string should match"),
        (AggregatorSettings, {"FEDKSEED_REDIS_URL": "http://x"}, "FEDKSEED_REDIS_URL"),
        (ClientSettings, {"FEDKSEED_AMQP_URL": "redis://x"}, "FEDKSEED_AMQP_URL"),
        (ClientSettings, {"FEDKSEED_THREADS": "0"}, "FEDKSEED_THREADS"),
        (ClientSettings, {"FEDKSEED_HOURS": "20"}, "FEDKSEED_HOURS"),
        (ClientSettings, {"FEDKSEED_HOURS": "25-3"}, "FEDKSEED_HOURS"),
        (ClientSettings, {"FEDKSEED_METRICS_LISTEN": "9000"}, "FEDKSEED_METRICS_LISTEN: string should match"),
        (ClientSettings, {"FEDKSEED_LOG": "xml"}, "FEDKSEED_LOG: input should be 'text' or 'json'"),
        (HealthSettings, {}, "FEDKSEED_METRICS_LISTEN: field required"),
        (ClientSettings, {"FEDKSEED_BASE": None}, "FEDKSEED_BASE"),
    ],
)
def test_a_wrong_variable_is_named(kind, change, said):
    environment = {name: value for name, value in (CLIENT | change).items() if value is not None}
    with pytest.raises(SettingError, match=said):
        read(kind, environment)
