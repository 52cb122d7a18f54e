"""Numbers on pictures read as people write them, and queries are filled in as Grafana does it."""

import pytest

from deploy.grafana.answers import Series, fill_in
from deploy.grafana.pictures import written


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0"),
        (0.0004, "s", "0.4 ms"),
        (0.25, "s", "250 ms"),
        (90, "s", "1.5 min"),
        (-7200, "s", "-2 h"),
        (512, "bytes", "512 B"),
        (1536, "Bps", "1.5 KiB/s"),
        (0.25, "percentunit", "25 %"),
        (3.1415, "ops", "3.14/s"),
        (12345, "none", "1.234e+04"),
    ],
)
def test_a_value_is_written_in_its_unit(value, unit, text):
    assert written(value, unit) == text


def test_a_query_is_filled_in_with_everything_chosen():
    asked = 'rate(x{federation=~"$federation", instance=~"$instance"}[$window]) / rate(y[$__rate_interval])'
    assert fill_in(asked, window="5m", brief="1m") == 'rate(x{federation=~".*", instance=~".*"}[5m]) / rate(y[1m])'


def test_a_legend_has_the_labels_of_its_series():
    series = Series(labels={"outcome": "stale"}, points=((1.0, float("nan")), (2.0, 3.0)))
    assert series.name("{{outcome}} of {{nobody}}") == "stale of "
    assert series.numbers == (3.0,)
