"""The page of all figures, docs/performance.md, from the records of what was measured last.

A record is what a benchmark prints with `--json`; records are kept in `benchmarks/records`, one for each benchmark. What was
never measured is said to be so. The same records give the same page and pictures.

    python -m benchmarks.page
"""

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import pictures
from benchmarks.tables import cell, table
from benchmarks.targets import TARGETS, Record, Target

HERE = Path(__file__).parent
RECORDS = HERE / "records"
DOCS = HERE.parent / "docs"
BENCHMARKS = ("step", "trunk", "memory", "startup", "rebuild", "wire", "latency", "aggregator", "several", "scale", "capacity")
INTRODUCTION = """# Performance

What to compare are ratios: a figure stands beside a baseline that was measured in the same run, on the same machine, unless it
says that there is none. This page is written by `make bench`, which measures everything anew, or by `python -m benchmarks.page`
from the records in [benchmarks/records](../benchmarks/records). How a figure comes about is said at the top of the file that
measures it. Load is how many processes wanted a processor over the last 1, 5 and 15 minutes when the run ended, the benchmark's
own included: on a busy machine times are too long, and ratios less so."""


def records(folder: Path = RECORDS) -> dict[str, Record]:
    """What was measured, by benchmark."""
    paths = ((name, folder / f"{name}.json") for name in BENCHMARKS)
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths if path.exists()}


def page(found: Mapping[str, Record]) -> str:
    """The page, as Markdown."""
    parts = [INTRODUCTION, "## Targets", "\n".join(_targets(found))]
    for name in BENCHMARKS:
        parts += _part(name, found.get(name))
    return "\n\n".join(parts) + "\n"


def drawn(found: Mapping[str, Record]) -> dict[str, str]:
    """The pictures of the page, by name."""
    return {name: draw(found[name]) for name, draw in pictures.DRAWN.items() if name in found}


def _targets(found: Mapping[str, Record]) -> Iterator[str]:
    yield from table(("", "aim", "measured", ""), (_target(target, found) for target in TARGETS))


def _target(target: Target, found: Mapping[str, Record]) -> tuple[str, ...]:
    value = target.measured(found)
    if value is None:
        return (target.what, target.aim, "not measured", "")
    return (target.what, target.aim, f"{cell(value)} {target.unit}".rstrip(), "met" if target.met(value) else "**missed**")


def _part(name: str, record: Record | None) -> Iterator[str]:
    """A benchmark: its question, how to ask it, what came of it."""
    yield f"## {_question(name)}"
    if record is None:
        yield f"`python -m benchmarks.{name}`: not measured."
        return
    machine, load = record["machine"], ", ".join(f"{load:.1f}" for load in record["load"])
    yield (
        f"`python -m benchmarks.{name}`: {record['benchmark']}. Measured on {record['date']} with {machine['cores']} cores of "
        f"{machine['processor']}, Python {machine['python']}, torch {machine['torch']}; load {load}."
    )
    rows = record["rows"]
    yield "\n".join(table(list(rows[0]), (map(cell, row.values()) for row in rows)))
    if name in pictures.DRAWN:
        yield f"![{_question(name)}](pictures/{name}.svg)"


def _question(name: str) -> str:
    """The first line of the file that asks it."""
    said = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8")))
    assert said, name
    return said.splitlines()[0]


def main() -> None:
    """Write the page and its pictures."""
    found = records()
    (DOCS / "performance.md").write_text(page(found), encoding="utf-8")
    for name, picture in drawn(found).items():
        (DOCS / "pictures" / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
