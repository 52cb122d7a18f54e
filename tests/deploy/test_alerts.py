"""Alerts are valid, fire when they should and only then, and each has a page that says what to do."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fedkseed_local.program import find
from tests.deployment import jobs
from tests.pages import ROOT, page, prose

RULES = ROOT / "deploy/prometheus/rules/fedkseed.yml"
TESTS = ROOT / "deploy/prometheus/tests/fedkseed.yml"


def promtool(*words: str | Path) -> str:
    """What it says; it must agree."""
    done = subprocess.run([find("promtool"), *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(kind: str) -> list[dict]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


ALERTS = {rule["alert"]: rule for rule in rules("alert")}


def expected() -> Iterator[set[str]]:
    """The alerts that are expected to fire, and no other: at each moment that is looked at."""
    for test in yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]:
        for look in test["promql_expr_test"]:
            yield {name for sample in look["exp_samples"] for name in re.findall(r'alertname="(\w+)"', sample["labels"])}


def test_rules_are_valid():
    assert f"{len(rules('alert')) + len(rules('record'))} rules found" in promtool("check", "rules", RULES)


def test_alerts_are_evaluated_in_the_order_of_the_file():
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    assert yaml.safe_load(TESTS.read_text(encoding="utf-8"))["group_eval_order"] == [group["name"] for group in groups]


def test_alerts_fire_when_they_should_and_only_then():
    promtool("test", "rules", TESTS)


def test_every_alert_is_seen_both_firing_and_quiet():
    seen = list(expected())
    assert set().union(*seen) == ALERTS.keys()
    assert all(any(name not in look for look in seen) for name in ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/operating.md#{name.lower()}"
    assert f"\n### {name}\n" in prose(page("operating.md"))


def test_no_page_is_about_an_alert_that_is_not_there():
    assert set(re.findall(r"^### (Fedkseed\w+)$", page("operating.md"), flags=re.MULTILINE)) == ALERTS.keys()


def test_the_jobs_that_rules_and_dashboards_name_are_scraped():
    settings = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    scraped = {job["job_name"] for job in settings["scrape_configs"]}
    assert {"fedkseed-aggregator", "fedkseed-evaluator", "redis"} <= jobs() <= scraped
