"""The page of results is what the records give; targets and directions are read off them."""

import math
from dataclasses import replace
from types import MappingProxyType

import pytest

from benchmarks.quality import claims, experiments, page, pictures, records, runner
from benchmarks.quality.claims import TARGETS
from benchmarks.quality.runner import Schedule
from benchmarks.quality.statistics import reached, reached_by_all, scores, spent, spread
from tests.pages import rows

LIMITS = {target.name: target for target in TARGETS}


def run(*losses, accuracy=0.5, forwards=100, size=1000, seconds=10.0, rate=1e-4, **notes):
    """A record whose loss went so, with equal costs between its versions."""
    curve = [
        {
            "version": i,
            "seconds": i * seconds,
            "updates": i,
            "forwards": i * forwards,
            "bytes": i * size,
            "metrics": {"loss": loss, "accuracy": accuracy},
        }
        for i, loss in enumerate(losses)
    ]
    settings = {"federation": {"training": {"lr": rate}}}
    return {"curve": curve, "notes": notes, "settings": settings, "wall_seconds": 1.0}


def test_the_page_and_its_pictures_are_what_the_records_give():
    described, found = experiments.read(), records.read()
    schedule = Schedule(described)
    assert (page.DOCS / "results.md").read_text(encoding="utf-8") == page.page(schedule, described, found)
    for name, picture in page.drawn(described, runner.results(schedule, found)).items():
        assert (page.DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8") == picture, name


def test_the_readme_quotes_the_page():
    known = {tuple(row[4:7]) for row in rows((page.DOCS / "results.md").read_text(encoding="utf-8"))}
    readme = rows((page.DOCS.parent / "README.md").read_text(encoding="utf-8"))
    quoted = {(accuracy, forwards, size) for _, accuracy, size, forwards in (row for row in readme if len(row) == 4 and row[0])}
    assert quoted
    assert quoted <= known


def test_every_record_is_of_a_run_that_the_schedule_has():
    found = records.read()
    entries = list(Schedule(experiments.read()).entries(found))
    assert found.keys() <= {run.digest for entry in entries for run in (entry.run, *entry.trials.values())}


def test_what_was_not_run_is_said_in_the_first_paragraph():
    text = page.page(Schedule(experiments.read()), experiments.read(), {})
    first = text.split("\n\n")[1]
    assert first.count("Not shown") == len(TARGETS)
    assert all(experiment.question in text for experiment in experiments.read())


def test_an_answer_stands_under_its_question():
    described = replace(experiments.read()[0], answer="It\nis.")
    parts = page.page(Schedule([described]), [described], {}).split("\n\n")
    assert parts[parts.index(f"## {described.question}") + 1] == "**It is.**"


def test_a_missed_target_is_explained_and_a_met_one_is_not():
    results = {"methods/zero-shot": [run(1.0)], "methods/FedAvg": [run(1, 0.3, accuracy=0.9)]}
    results["methods/ours: sparse"] = [run(1, 0.5, accuracy=0.7, size=1)]
    text = page.missed(results, {"accuracy": "It is noise."})
    assert "gain in accuracy of the best of ours, over FedAvg's, is 0.5, should be at least 0.9.** It is noise." in text
    assert "bytes of FedAvg" in text
    results["methods/ours: sparse"] = [run(1, 0.5, accuracy=0.87, size=0.1)]
    text = page.missed(results, {})
    assert "gain in accuracy" not in text
    assert "bytes of FedAvg" not in text


def test_the_best_of_ours_has_as_many_seeds_as_what_it_is_compared_with():
    results = {"methods/FedAvg": [run(1, 0.3), run(1, 0.3)], "methods/ours: lucky": [run(1, 0.3, accuracy=0.95)]}
    assert claims.best(results) is None
    results["methods/ours: steady"] = [run(1, 0.5, accuracy=0.8), run(1, 0.5, accuracy=0.9)]
    assert claims.best(results) == "methods/ours: steady"


def test_what_more_of_fedavg_comes_to_is_said_beside_the_target():
    results = {"methods/zero-shot": [run(1.0)], "methods/FedAvg": [run(1, 0.3, accuracy=0.8)]}
    results["methods/ours: sparse"] = [run(1, 0.5, accuracy=0.8)]
    results["methods/FedAvg, four times as long"] = [run(1, 0.2, accuracy=0.9, size=2000)]
    assert claims.share_of_gain(results) == pytest.approx(1)
    assert list(page.best_of_ours(results))[1] == (
        "Four times as long, FedAvg, of one seed, ends at 90.0 % for 2 KB: ours gains 0.75 of that."
    )


def test_mean_and_deviation_are_over_seeds_and_one_seed_has_none():
    assert spread([1.0, 3.0]).mean == 2.0
    assert spread([1.0, 3.0]).deviation == pytest.approx(math.sqrt(2))
    assert spread([1.0]).written() == "1.000"
    assert spread([1.0, 3.0]).written(1) == "2.0 ± 1.4"
    assert spread([math.nan]).written() == ""
    assert scores([run(1, 0.5), run(1, 0.7)], "loss").mean == pytest.approx(0.6)
    assert spent([run(1, 0.5), run(1, 0.7, 0.6)], "forwards") == 150


def test_a_loss_is_reached_between_two_scores_or_never():
    assert reached(run(1.0, 0.5), 0.75, "forwards") == 50
    assert reached(run(1.0, 0.5, 0.9, 0.4), 0.5, "seconds") == 10.0
    assert reached(run(1.0, 0.5), 1.2, "forwards") == 0
    assert reached(run(1.0, 0.5), 0.4, "forwards") is None
    assert reached_by_all([run(1.0, 0.5), run(1.0, 0.0)], 0.5, "bytes") == 750
    assert reached_by_all([run(1.0, 0.5), run(1.0, 0.9)], 0.5, "bytes") is None


def met(name, results):
    return LIMITS[name].met(LIMITS[name].measured(results))


@pytest.mark.parametrize(("loss", "verdict"), [(0.62, True), (0.66, False)])
def test_directions_may_be_worse_by_one_deviation(loss, verdict):
    results = {
        "directions/sparse, gaussian": [run(1, 0.58), run(1, 0.62)],  # 0.60 ± 0.028
        "directions/sparse, hadamard": [run(1, loss), run(1, loss)],
    }
    assert met("sparse-directions", results) is verdict
    results["directions/sparse, hadamard"].pop()
    assert LIMITS["sparse-directions"].measured(results) is None


def test_bounded_staleness_is_timed_to_the_loss_of_synchronous_runs():
    results = {
        "stragglers/Pareto, synchronous": [run(1.0, 0.8, 0.6, seconds=60.0)],
        "stragglers/Pareto, S = 1": [run(1.0, 0.9)],
        "stragglers/Pareto, S = 4": [run(1.0, 0.8, 0.6, seconds=12.0)],
    }
    assert LIMITS["stragglers"].measured(results) == pytest.approx(0.2)
    assert met("stragglers", results)


def test_forwards_are_counted_until_ours_is_where_the_published_method_ended():
    results = {claims.PUBLISHED: [run(1.0, 0.8, forwards=1000)], claims.SPARSE: [run(1.0, 0.6, forwards=600)]}
    assert LIMITS["forwards"].measured(results) == pytest.approx(0.3)
    assert not met("forwards", results)
    results |= {f"{claims.OURS}another": [run(1.0, 0.6, forwards=400)], f"{claims.OURS}a third": [run(1.0, 0.9, forwards=1)]}
    assert LIMITS["forwards"].measured(results) == pytest.approx(0.2)
    assert met("forwards", results)
    results[f"{claims.AS_PUBLISHED}otherwise"] = [run(1.0, 0.8, forwards=500)]  # it may be less wasteful, too
    assert LIMITS["forwards"].measured(results) == pytest.approx(0.4)
    results[f"{claims.AS_PUBLISHED}worse"] = [run(1.0, 0.9, forwards=5)]
    assert LIMITS["forwards"].measured(results) == pytest.approx(0.4)


def test_a_miniature_agrees_or_not():
    results = {
        claims.BASE: [run(1.0)],
        claims.SPARSE: [run(1.0, 0.8, size=1)],
        claims.FEDAVG: [run(1.0, 1.1)],
        claims.PUBLISHED: [run(1.0, 0.5)],
        "directions/sparse, hadamard": [run(1.0, 0.8)],
        "directions/sparse, gaussian": [run(1.0, 0.7)],
    }
    said = {direction.what: direction.holds for direction in claims.directions(results)}
    assert said == {
        "ours: sparse learns: its loss, and the base's": True,
        "FedAvg learns: its loss, and the base's": False,
        "FedKSeed as published, K = 4096 learns: its loss, and the base's": True,
        "sparse: hadamard gains at least half of what gaussian does": True,
        "ours gains at least half of what FedKSeed as published does": False,
        "FedAvg has a lower loss than ours": False,
        "ours sends fewer bytes than FedAvg": True,
    }


def test_miniatures_are_asked_for_what_the_whole_runs_show():
    found = records.read()
    said = list(claims.directions(runner.results(Schedule(experiments.read()), found)))
    assert len(said) > 10
    assert [direction for direction in said if not direction.holds] == []


def test_pictures_are_the_same_again():
    rows = MappingProxyType({"zero-shot": [run(1.0)], "FedAvg": [run(1.0, 0.5)], "ours: sparse": [run(1.0, 0.6)]})
    likely = {"K = 256, importance": [run(1.0, importance=[1.5, 1.0, 0.7])], "K = 256, uniform": [run(1.0)]}
    for draw, shown in ((pictures.methods, rows), (pictures.stragglers, rows), (pictures.importance, likely)):
        assert draw(shown) == draw(shown)
    assert "ours: sparse" in pictures.methods(rows)
