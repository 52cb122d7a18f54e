"""The page of all figures is what the records give."""

from dataclasses import replace

import pytest

from benchmarks import page, pictures
from benchmarks.targets import TARGETS, Target
from tests.pages import ROOT

MACHINE = {"processor": "a processor", "cores": 2, "python": "3.11", "torch": "2.6"}
RECORD = {"benchmark": "a title", "date": "2026-11-28", "load": [0.25, 1.0, 2.0], "machine": MACHINE}
TARGET = Target(what="a wait", benchmark="latency", column="p50 ms", row={"program": "ours"}, most=30, unit="ms")


def record(*rows):
    return {**RECORD, "rows": list(rows)}


def test_the_page_and_its_pictures_are_what_the_records_give():
    found = page.records()
    assert (page.DOCS / "performance.md").read_text(encoding="utf-8") == page.page(found)
    for name, picture in page.drawn(found).items():
        assert (page.DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8") == picture, name


def test_every_benchmark_is_on_the_page():
    asking = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "\n    report(" in path.read_text(encoding="utf-8")}
    assert asking == set(page.BENCHMARKS)


def test_what_nobody_measured_is_said_to_be_so():
    text = page.page({})
    assert text.count("not measured") == len(page.BENCHMARKS) + len(TARGETS)
    assert "met" not in text.replace("measured", "").replace("method", "").split()


def test_rows_become_a_table_with_the_machine_and_its_load():
    text = page.page({"step": record({"tokens": "8 x 32", "step s": 0.123456, "updates": 1_000_000})})
    assert "| tokens | step s | updates |\n|---|---:|---:|\n| 8 x 32 | 0.123 | 1,000,000 |" in text
    assert "a title. Measured on 2026-11-28 with 2 cores of a processor, Python 3.11, torch 2.6; load 0.2, 1.0, 2.0." in text


@pytest.mark.parametrize(("value", "verdict"), [(30.0, "met"), (30.1, "**missed**")])
def test_a_target_is_met_or_missed(monkeypatch, value, verdict):
    monkeypatch.setattr(page, "TARGETS", (TARGET,))
    text = page.page({"latency": record({"program": "bare", "p50 ms": 1.0}, {"program": "ours", "p50 ms": value})})
    assert f"| a wait | at most 30 ms | {value:.3g} ms | {verdict} |" in text


@pytest.mark.parametrize(("value", "verdict"), [(0.65, "met"), (0.649, "**missed**")])
def test_a_target_may_be_one_to_reach(monkeypatch, value, verdict):
    monkeypatch.setattr(page, "TARGETS", (Target(what="a rate", benchmark="aggregator", column="ratio", least=0.65),))
    text = page.page({"aggregator": record({"ratio": value})})
    assert f"| a rate | at least 0.65 | {value:.3g} | {verdict} |" in text


def test_a_target_whose_row_is_not_there_is_not_measured():
    found = {"latency": record({"program": "ours", "p50 ms": 1.0})}
    assert TARGET.measured(found) == 1.0
    assert replace(TARGET, row={"program": "theirs"}).measured(found) is None
    assert replace(TARGET, column="p51 ms").measured(found) is None


def test_of_several_rows_the_worst_counts():
    found = {"latency": record(*({"program": "ours", "p50 ms": value} for value in (1.0, 3.0, 2.0)))}
    assert TARGET.measured(found) == 3.0
    assert Target(what="a rate", benchmark="latency", column="p50 ms", least=0.5).measured(found) == 1.0


def test_every_target_looks_at_a_benchmark():
    assert {target.benchmark for target in TARGETS} <= set(page.BENCHMARKS)


def test_pictures_are_the_same_again_and_hold_no_colour_that_stands_in_for_another():
    rows = [{"process": name, "ratio": ratio} for name, ratio in (("plain inference", 1.0), ("sparse support", 1.02))]
    first, again = (pictures.memory(record(*rows)) for _ in range(2))
    assert first == again
    assert "1.02" in first
    assert "#0" not in first.replace(pictures.LIGHT["ink"], "")
    assert "var(--accent)" in first
