"""The page of results, docs/results.md, from the committed records alone: `make results`.

The same records give the same page and pictures. What was not run is said to be so, and what was missed comes first.
"""

import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality import experiments, pictures, records, runner
from benchmarks.quality.claims import FEDAVG, LONGER, TARGETS, Results, Target, best, share_of_gain
from benchmarks.quality.experiments import Experiment, Row
from benchmarks.quality.records import Record
from benchmarks.quality.runner import Schedule
from benchmarks.quality.statistics import Spread, scores, spent
from benchmarks.tables import cell, table
from fedkseed_simulator.plots import amount

DOCS = Path(__file__).parents[2] / "docs"
EXPLANATIONS = Path(__file__).parent / "explanations.toml"
HOW = """SmolLM2-135M; all methods share model, data, prompts, splits and scores. Every experiment is a file in
[benchmarks/quality/experiments](../benchmarks/quality/experiments), every run a record in
[benchmarks/quality/records](../benchmarks/quality/records); `python -m benchmarks.quality` runs what has no record,
`make results` writes this page from the records. Figures are those of the last version on held-out examples, mean and standard
deviation over seeds. Learning rates are chosen by runs with another seed, half as long where nothing else is said, on examples
that are neither trained on nor held out."""


def page(schedule: Schedule, described: Sequence[Experiment], found: Mapping[str, Record]) -> str:
    """The page, as Markdown."""
    results = runner.results(schedule, found)
    said = [missed(results, _explanations()), *best_of_ours(results)]
    parts = ["# Results", " ".join(said), "\n".join(_targets(results)), HOW, *_machines(found)]
    for experiment in described:
        parts += _experiment(experiment, results)
    parts += ["## Learning rates that were tried", *_trials(schedule, found)]
    return "\n\n".join(parts) + "\n"


def drawn(described: Sequence[Experiment], results: Results) -> dict[str, str]:
    """The pictures of the page, by name."""
    rows = {experiment.name: _rows(experiment, results) for experiment in described}
    return {f"quality-{name}": draw(rows[name]) for name, draw in pictures.DRAWN.items() if rows.get(name)}


def missed(results: Results, explanations: Mapping[str, str]) -> str:
    """The first paragraph: every target that was missed, and why."""
    figures = [(target, target.measured(results)) for target in TARGETS]
    said = [_missed(target, value, explanations) for target, value in figures if value is None or not target.met(value)]
    return " ".join(said) if said else "Every target was met."


def _missed(target: Target, value: float | None, explanations: Mapping[str, str]) -> str:
    why = " ".join(explanations.get(target.name, "").split())
    if value is None:
        return f"**Not shown: {target.what}.** {why or 'It was not run, or never reached.'}"
    return f"**Missed: {target.what}, is {cell(value)}, should be {target.aim}.** {why or 'Why is not known.'}"


def best_of_ours(results: Results) -> Iterator[str]:
    """Which row the targets of accuracy and bytes are about, how many seeds it has, and what more of FedAvg comes to."""
    name = best(results)
    if name is not None:
        ours, theirs = (_seeds(len(results.get(row, ()))) for row in (name, FEDAVG))
        row = name.partition("/")[2]
        yield f"FedAvg is of {theirs}; the best of ours is the row of as many with the highest accuracy, “{row}”, of {ours}."
        share = share_of_gain(results, LONGER)
        if share is not None:
            longer = results[LONGER]
            ending = f"{_percent(scores(longer, 'accuracy'))} for {amount(spent(longer, 'bytes'))}"
            yield f"Four times as long, FedAvg, of {_seeds(len(longer))}, ends at {ending}: ours gains {cell(share)} of that."


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _targets(results: Results) -> Iterator[str]:
    lines = []
    for target in TARGETS:
        value = target.measured(results)
        verdict = "not shown" if value is None else "met" if target.met(value) else "**missed**"
        lines.append((target.what, target.aim, "" if value is None else cell(value), verdict))
    yield from table(("", "aim", "measured", ""), lines)


def _machines(found: Mapping[str, Record]) -> Iterator[str]:
    """Where records were made: real times are those of these machines, which may have had other work."""
    counts = Counter((_machine(told["machine"]), told["dtype"]) for told in found.values())
    if counts:
        yield (
            "Runs: " + "; ".join(f"{count} on {machine} in {dtype}" for (machine, dtype), count in sorted(counts.items())) + "."
        )


def _machine(machine: Mapping[str, Any]) -> str:
    processor = f"{machine['cores']} cores of {machine['processor']}"
    return f"{machine['gpu']} with {processor}" if machine["gpu"] else processor


def _experiment(experiment: Experiment, results: Results) -> Iterator[str]:
    yield f"## {experiment.question}"
    if experiment.answer:
        yield f"**{' '.join(experiment.answer.split())}**"
    yield " ".join(experiment.text.split())
    rows = _rows(experiment, results)
    absent = [row.name for row in experiment.rows if row.name not in rows]
    if absent:
        yield f"Not run: {'; '.join(absent)}."
    if not rows:
        return
    if experiment.name == "numerics":
        yield "\n".join(_numerics(rows))
        return
    yield "\n".join(_table(rows, timed=experiment.timed))
    if experiment.name in pictures.DRAWN:
        yield f"![{experiment.question}](pictures/quality-{experiment.name}.svg)"


def _table(rows: Mapping[str, Sequence[Record]], *, timed: bool) -> Iterator[str]:
    spoken = any("rouge_l" in told["curve"][-1]["metrics"] for runs in rows.values() for told in runs)
    lines = [_line(name, runs, spoken=spoken, timed=timed) for name, runs in rows.items()]
    if len({told["settings"]["federation"]["model"]["support"] for runs in rows.values() for told in runs}) > 2:
        for line, runs in zip(lines, rows.values(), strict=True):
            seconds = runs[0].get("choosing_seconds")
            line["s to choose"] = f"{seconds:.0f}" if seconds is not None and line["rate"] else ""
    yield from table(list(lines[0]), (line.values() for line in lines))


def _line(name: str, runs: Sequence[Record], *, spoken: bool, timed: bool) -> dict[str, str]:
    trained = runs[0]["curve"][-1]["version"] > 0
    return {
        "": name,
        "seeds": str(len(runs)),
        "rate": f"{runs[0]['settings']['federation']['training']['lr']:g}" if trained else "",
        "loss": scores(runs, "loss").written(),
        "ROUGE-L" if spoken else "accuracy": _percent(scores(runs, "rouge_l" if spoken else "accuracy")),
        "forwards": f"{spent(runs, 'forwards'):,.0f}",
        "bytes": amount(spent(runs, "bytes")) if trained else "0",
        **({"virtual s": f"{spent(runs, 'seconds'):,.0f}"} if timed else {}),
        "versions": f"{spent(runs, 'version'):.0f}",
        "real min": f"{statistics.fmean(told['wall_seconds'] for told in runs) / 60:.1f}",
    }


def _percent(value: Spread) -> str:
    scaled = Spread(mean=100 * value.mean, deviation=None if value.deviation is None else 100 * value.deviation)
    return f"{scaled.written(1)} %" if scaled.written() else ""


def _numerics(rows: Mapping[str, Sequence[Record]]) -> Iterator[str]:
    for runs in rows.values():
        base, exact = (point["metrics"] for point in runs[0]["curve"])
        lines = [("the base", "", "", f"{base['loss']:.4f}", f"{100 * base['accuracy']:.1f} %")]
        lines.append(("exact, float32", "1", "1", f"{exact['loss']:.4f}", f"{100 * exact['accuracy']:.1f} %"))
        for way in runs[0]["notes"]["rows"]:
            scored = (f"{way['loss']:.4f}", f"{100 * way['accuracy']:.1f} %")
            lines.append((way["way"], f"{way['cosine']:.3f}", f"{way['length']:.3f}", *scored))
        yield from table(("", "cosine", "length", "loss", "accuracy"), lines)


def _trials(schedule: Schedule, found: Mapping[str, Record]) -> Iterator[str]:
    """All searches that have been run: the loss on validation examples at each rate."""
    lines = {}
    for entry in schedule.entries(found):
        told = {rate: found[run.digest] for rate, run in entry.trials.items() if run.digest in found}
        if told and not entry.row.rate_of:
            tried = (f"{rate:g}: {records.final(trial, 'loss'):.3f}" for rate, trial in told.items())
            rate = runner.chosen(entry.trials, found)
            lines[f"{entry.experiment.name}: {entry.row.name}"] = ("; ".join(tried), "" if rate is None else f"{rate:g}")
    if not lines:
        yield "None were run."
        return
    yield "\n".join(
        table(("", "rate: loss on validation examples", "chosen"), ((name, *cells) for name, cells in lines.items()))
    )


def _rows(experiment: Experiment, results: Results) -> dict[str, Sequence[Record]]:
    return {row.name: results[_key(experiment, row)] for row in experiment.rows if _key(experiment, row) in results}


def _key(experiment: Experiment, row: Row) -> str:
    return f"{experiment.name}/{row.name}"


def _explanations() -> Mapping[str, str]:
    told: dict[str, str] = tomllib.loads(EXPLANATIONS.read_text(encoding="utf-8"))
    return told


def main() -> None:
    """Write the page and its pictures."""
    described, found = experiments.read(), records.read()
    schedule = Schedule(described)
    (DOCS / "results.md").write_text(page(schedule, described, found), encoding="utf-8")
    for name, picture in drawn(described, runner.results(schedule, found)).items():
        (DOCS / "pictures" / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
