"""Dashboards are what the program writes, and each panel says what it means."""

import json
import re

import pytest

from deploy.grafana.files import DASHBOARDS, FOLDER, files
from deploy.grafana.sdk import DOCS
from fedkseed.metrics.services import AggregatorMetrics, ClientMetrics, EvaluatorMetrics
from tests.pages import ROOT

FILES = sorted(FOLDER.glob("*.json"))
PANELS = [(dashboard.name, panel) for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]


def test_the_files_are_what_the_program_writes():
    """`python -m deploy.grafana` makes them so."""
    assert {path.name: path.read_text(encoding="utf-8") for path in FILES} == files()


def test_the_same_dashboards_are_the_same_bytes():
    assert files() == files()


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=lambda value: getattr(value, "title", value))
def test_a_panel_leads_to_a_heading_that_exists(name, panel):
    target, _, anchor = panel.see.partition("#")
    text = (ROOT / "docs" / target).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert not anchor or anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert panel.meaning.endswith(".")
    assert panel.queries


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_panels_lie_side_by_side(path):
    """No two of them cover the same place of the grid, which is 24 wide."""
    taken = set()
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_names_its_source_and_its_page(path):
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert panel["links"][0]["url"].startswith(f"{DOCS}/")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


def test_every_metric_of_ours_that_is_asked_for_exists_and_almost_every_one_is_asked_for():
    declared = {
        metric.name: metric
        for kind in (AggregatorMetrics, ClientMetrics, EvaluatorMetrics)
        for metric in kind().registry.declared
    }
    texts = [query.expr for _, panel in PANELS for query in panel.queries]
    texts.append((ROOT / "deploy/prometheus/rules/fedkseed.yml").read_text(encoding="utf-8"))
    asked = {name for text in texts for name in re.findall(r"(?<![:\w])fedkseed_\w+(?=\{|\[|\))", text)}
    asked = {re.sub(r"_(bucket|count|sum)$", "", name) if name not in declared else name for name in asked}
    assert asked <= declared.keys()
    assert declared.keys() - asked == {
        "fedkseed_connects_total",  # a first one is made before anybody looks; those that are up and that were lost are shown
        "fedkseed_importance_entropy_nats",  # its share of the highest is shown
        "fedkseed_last_round_members",  # the cohort and the updates of the open round are shown
        "fedkseed_message_bytes_total",  # shown with its frames
        "fedkseed_messages_total",  # shown in bytes
    }
