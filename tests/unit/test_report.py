"""The page of a run: complete in itself, honest about its numbers, and safe whatever names it is given."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fedkseed_simulator import plots
from fedkseed_simulator.report import ClientRow, Decided, Report, Score, Traffic, duration, render

HOSTILE = "<script>alert('&')</script>"
RUN = Report(
    name="toy",
    ending="3 versions were committed",
    facts=(("Base model", "random"),),
    scores=tuple(Score(version=v, seconds=90.0 * v, metrics={"loss": 1.5 - v / 4, "accuracy": 0.5 + v / 20}) for v in range(4)),
    decided=(
        Decided(outcome="folded", staleness=0, count=1200),
        Decided(outcome="discounted", staleness=2, count=30),
        Decided(outcome="ahead", staleness=-1, count=1),
    ),
    traffic=(
        Traffic(kind="round", direction="down", messages=10, size=30_000),
        Traffic(kind="update", direction="up", messages=10, size=2_000),
        Traffic(kind="snapshot", direction="down", messages=0, size=0),
    ),
    participations=10,
    model_size=538_060_032,
    ledger_size=16_930,
    probabilities=(0.5, 0.25, 0.125, 0.125),
    clients=(
        ClientRow(name="tweets-1", examples=900, speed=1.0, accepted=9, refused=0, weight=3),
        ClientRow(name="nyt-1", examples=90, speed=4.0, accepted=2, refused=1, weight=1),
    ),
    virtual_seconds=270.0,
    wall_seconds=12.0,
)


class Page(HTMLParser):
    """The tags and the visible text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.words, self.open = [], [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data", "action")]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def html():
    return render(RUN)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_loads_nothing(html, page):
    assert not {"script", "link", "img", "iframe", "object", "embed", "image"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert "http" not in html
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_the_page_is_well_formed_and_the_same_for_the_same_run(html, page):
    assert page.open == []
    assert render(RUN) == html


def test_plots_take_every_colour_from_the_style_sheet(html):
    defined = set(re.findall(r"(--[a-z]+):", html))
    assert set(re.findall(r"var\((--[a-z]+)\)", html)) <= defined
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert not re.findall(r"(?:fill|stroke): (?!var|none)[^;\"]*", drawn)


def test_the_page_says_what_was_learnt_and_what_it_cost(page):
    assert "0.750 from 1.500: \N{MINUS SIGN}50%" in page.text
    assert "65.0% from 50.0%: +15.0 points" in page.text
    assert "3.2 KB 340,000\N{MULTIPLICATION SIGN} less than FedAvg's 1.08 GB" in page.text
    assert "16.9 KB of ledger" in page.text
    assert "4 min 30 s simulated in 12 s" in page.text


def test_the_page_counts_outcomes_messages_and_clients(page):
    assert "discounted counted, with less weight because it was stale 30 2.4%" in page.text
    assert "all 1,231" in page.text
    assert "round ↓ 10 30 KB 3 KB 3 KB" in page.text
    assert "snapshot ↓ 0 0 B \N{EN DASH} 0 B" in page.text
    assert "nyt-1 90 4.00 2 1 25.0%" in page.text


def test_names_are_escaped_wherever_they_stand():
    clients = (replace(RUN.clients[0], name=HOSTILE),)
    traffic = (replace(RUN.traffic[0], kind=HOSTILE),)
    facts = ((HOSTILE, HOSTILE),)
    scores = tuple(replace(score, metrics={HOSTILE: 1.0}) for score in RUN.scores)
    page = Page(
        render(replace(RUN, name=HOSTILE, ending=HOSTILE, clients=clients, traffic=traffic, facts=facts, scores=scores))
    )
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 8


def test_a_run_in_which_nothing_happened_has_a_page():
    idle = replace(RUN, scores=RUN.scores[:1], decided=(), traffic=(), participations=0, probabilities=(0.25,) * 4, clients=())
    page = Page(render(replace(idle, virtual_seconds=0.0)))
    assert "1.500 from 1.500: unchanged" in page.text
    assert "No update was decided." in page.text
    assert "All 4 seeds are equally likely" in page.text
    assert "FedAvg would move 1.08 GB" in page.text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_that_diverged_has_a_page(value):
    scores = (*RUN.scores, Score(version=4, seconds=400.0, metrics={"loss": value, "accuracy": 0.4}))
    page = Page(render(replace(RUN, scores=scores)))
    assert "from 1.500: not a finite number" in page.text
    assert "40.0% from 50.0%: \N{MINUS SIGN}10.0 points" in page.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (12.34, "12.3 s"), (60.0, "1 min"), (200.4, "3 min 20 s"), (7980.0, "2 h 13 min"), (270_000.0, "3 d 3 h")],
)
def test_times_are_written_in_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (0.375, "0.4 B"), (9.5, "9.5 B"), (999, "999 B"), (999.7, "1 KB"), (1280, "1.28 KB"), (2**60, "1.15e+06 TB")],
)
def test_sizes_are_written_with_three_digits(size, text):
    assert plots.amount(size) == text
