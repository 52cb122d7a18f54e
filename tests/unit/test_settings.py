"""Settings from the environment: typed, complete, and named when they are wrong."""

import traceback

import pytest

from fedkseed import settings
from fedkseed.errors import SettingError
from fedkseed.settings import AggregatorSettings, ClientSettings, EvaluatorSettings, HealthSettings, LocalSettings, read

PASSWORD = "4f1d2e"
CLIENT = {"FEDKSEED_FEDERATION": "toy", "FEDKSEED_CLIENT_ID": "ann", "FEDKSEED_BASE": "base"}


def test_a_client_reads_what_it_may_spend():
    chosen = read(ClientSettings, CLIENT | {"FEDKSEED_THREADS": "2", "FEDKSEED_HOURS": "20-6", "HOME": "/"})
    assert (chosen.client_id, chosen.threads, chosen.window, chosen.support) == ("ann", 2, (20, 6), None)


def test_an_evaluator_reads_its_plan():
    chosen = read(EvaluatorSettings, CLIENT | {"FEDKSEED_EVERY": "5", "FEDKSEED_EXAMPLES": "10"})
    assert (chosen.plan.every, chosen.plan.examples, chosen.plan.rouge_examples) == (5, 10, 0)


def test_services_of_one_machine_compute_with_what_its_owner_says():
    chosen = read(LocalSettings, {"FEDKSEED_DTYPE": "float32"})
    assert chosen.computing == {"FEDKSEED_DTYPE": "float32", "FEDKSEED_MEMORY": "auto"}


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
        (ClientSettings, {"FEDKSEED_DEVICE": "gpu"}, "FEDKSEED_DEVICE: string should match"),
        (ClientSettings, {"FEDKSEED_DTYPE": "float16"}, "FEDKSEED_DTYPE: input should be 'float32' or 'bfloat16'"),
        (ClientSettings, {"FEDKSEED_HOURS": "20"}, "FEDKSEED_HOURS"),
        (ClientSettings, {"FEDKSEED_MEMORY": "none"}, "FEDKSEED_MEMORY: input should be 'auto', 'resident' or 'streaming'"),
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


def test_a_value_may_be_in_a_file(tmp_path):
    file = tmp_path / "amqp-url"
    file.write_text(" amqp://ann:secret@broker/%2F\n")
    chosen = read(ClientSettings, CLIENT | {"FEDKSEED_AMQP_URL_FILE": str(file)})
    assert str(chosen.amqp_url) == "amqp://ann:secret@broker/%2F"


def test_what_is_in_a_file_is_checked_like_any_value(tmp_path):
    file = tmp_path / "threads"
    file.write_text("0")
    with pytest.raises(SettingError, match="FEDKSEED_THREADS: input should be greater"):
        read(ClientSettings, CLIENT | {"FEDKSEED_THREADS_FILE": str(file)})


def test_an_option_comes_before_the_environment_in_either_form(tmp_path):
    for variable in ("FEDKSEED_BASE", "FEDKSEED_BASE_FILE"):
        assert read(ClientSettings, {**CLIENT, variable: str(tmp_path)}, base="given").base == "given"


def test_a_value_given_twice_is_refused_with_both_names(tmp_path):
    with pytest.raises(SettingError, match="FEDKSEED_BASE and FEDKSEED_BASE_FILE"):
        read(ClientSettings, CLIENT | {"FEDKSEED_BASE_FILE": str(tmp_path)})


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"\xff", "not text")], ids=["a missing file", "a file that is no text"]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, said):
    file = tmp_path / "redis-url"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingError, match=f"FEDKSEED_REDIS_URL_FILE: {file}: {said}"):
        read(AggregatorSettings, {"FEDKSEED_FEDERATION": "toy", "FEDKSEED_REDIS_URL_FILE": str(file)})


@pytest.mark.parametrize(
    "kind", [kind for name, kind in vars(settings).items() if name.endswith("Settings")], ids=lambda kind: kind.__name__
)
def test_nothing_that_shows_settings_shows_a_password(kind):
    urls = {
        "AMQP_URL": f"amqp://ann:{PASSWORD}@h/",
        "REDIS_URL": f"redis://ann:{PASSWORD}@h/0",
        "MANAGEMENT_URL": f"http://ann:{PASSWORD}@h/",
    }
    rest = {"FEDERATION": "f", "CLIENT_ID": "ann", "BASE": "b", "METRICS_LISTEN": "h:1"}
    given = {f"FEDKSEED_{name}": value for name, value in (urls | rest).items()}
    assert PASSWORD not in repr(settings.read(kind, given)) + str(settings.read(kind, given))
    for name in urls:
        if name.lower() in kind.model_fields:
            with pytest.raises(SettingError) as caught:
                settings.read(kind, given | {f"FEDKSEED_{name}": f"ftp://ann:{PASSWORD}@h/"})
            assert PASSWORD not in "".join(traceback.format_exception(caught.value))
