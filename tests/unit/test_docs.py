"""The pages agree with the program: codes, settings and defaults, links, examples."""

import doctest
import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass

import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedkseed import errors, federation, settings
from fedkseed_cli.__main__ import INTERRUPTED, NOT_INSTALLED
from tests.pages import ROOT, blocks, page, prose, rows

PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
SECTIONS = {
    "federation.toml": federation.Federation,
    "[model]": federation.Model,
    'kind = "label-words"': federation.LabelWords,
    'kind = "response"': federation.Response,
    "[pool]": federation.Pool,
    "[training]": federation.Training,
    "[rounds]": federation.Rounds,
    "[rounds.target]": federation.Target,
    "[robust]": federation.Robust,
    "[data]": federation.Data,
    '[data.partition] with by = "field"': federation.ByField,
    '[data.partition] with by = "dirichlet"': federation.ByDirichlet,
    '[data.partition] with by = "iid"': federation.ByChance,
    "[evaluation]": federation.EvaluationPlan,
    "[simulation]": federation.Simulation,
    "[simulation.speeds]": federation.Speeds,
    "[simulation.network]": federation.Network,
    "[[simulation.incidents]]": federation.Incident,
    "[[simulation.hostile]]": federation.Hostile,
}
ENVIRONMENTS = {
    "fedkseed aggregator": settings.AggregatorSettings,
    "fedkseed client": settings.ClientSettings,
    "fedkseed evaluator": settings.EvaluatorSettings,
    "fedkseed up": settings.LocalSettings,
    "fedkseed health": settings.HealthSettings,
    "Operating": settings.OperatorSettings,
    "fedkseed dead": settings.DeadLetterSettings,
    "fedkseed access": settings.AccessSettings,
    "fedkseed doctor": settings.DoctorSettings,
}


def tree(root: type[errors.FedkseedError]) -> Iterator[type[errors.FedkseedError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_exit_code_is_listed():
    listed = {int(code): name for code, name, *_ in rows(page("exit-codes.md"))}
    raised = {error.exit_code: f"`{error.__name__}`" for error in tree(errors.FedkseedError)}
    others = {0: "done", click.UsageError.exit_code: "usage", NOT_INSTALLED: "not installed", INTERRUPTED: "interrupted"}
    assert listed == raised | others
    assert len(raised) == len(list(tree(errors.FedkseedError)))
    assert list(listed) == sorted(listed)


def test_the_error_tree_describes_itself():
    drawn = re.findall(r"(\w+) +(\d+) ", errors.__doc__)
    assert {name: int(code) for name, code in drawn} == {e.__name__: e.exit_code for e in tree(errors.FedkseedError)}


def tables(name: str) -> dict[str, list[list[str]]]:
    """The tables of a page by their headings."""
    parts = re.split(r"^#+ (.*)$", prose(page(name)), flags=re.MULTILINE)
    return {heading: rows(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True) if rows(text)}


def test_every_section_is_described_and_no_other():
    assert tables("federation-toml.md").keys() == SECTIONS.keys()
    described = {section for section in vars(federation).values() if is_dataclass(section)} - {federation.Policy}
    assert described == set(SECTIONS.values())


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_setting_is_described_with_its_default(heading):
    described = {key.strip("`"): default for key, default, *_ in tables("federation-toml.md")[heading]}
    stated = {setting.name: setting for setting in fields(SECTIONS[heading])}
    assert described.keys() == stated.keys()
    for name, default in described.items():
        assert _default(default) == _expected(stated[name]), name


def _default(cell: str) -> object:
    return tomllib.loads(f"value = {cell.strip('`')}")["value"] if cell.startswith("`") else cell


def _expected(setting: Field) -> object:
    if setting.default_factory is not MISSING:
        return "see below"
    match setting.default:
        case value if value is MISSING:
            return "required"
        case None:
            return "none"
        case tuple() as names:
            return list(names)
        case value:
            return value


def test_every_message_of_the_log_is_listed():
    sources = [path.read_text(encoding="utf-8") for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    said = {message for text in sources for message in re.findall(r'logs\.(?:info|warning)\(\s*"([^"]+)"', text)}
    listed = {message for _, messages in tables("operating.md")["Logs"] for message in re.findall(r"`([^`]+)`", messages)}
    assert said == listed


def test_every_environment_is_described_and_no_other():
    public = {kind for name, kind in vars(settings).items() if name.endswith("Settings") and issubclass(kind, BaseModel)}
    assert set(ENVIRONMENTS.values()) == public
    assert tables("environment.md").keys() == ENVIRONMENTS.keys()


@pytest.mark.parametrize("heading", ENVIRONMENTS)
def test_every_variable_is_described_with_its_default(heading):
    assert tables("environment.md")[heading] == [_variable(*field) for field in ENVIRONMENTS[heading].model_fields.items()]


def _variable(name: str, field: FieldInfo) -> list[str]:
    default = "required" if field.is_required() else "none" if field.default is None else f"`{field.default}`"
    return [f"`{settings.PREFIX}{name.upper()}`", default, field.description]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = prose(path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            linked = path.parent / name if name else path
            assert linked.exists(), target
            assert not anchor or anchor in _anchors(linked.read_text(encoding="utf-8")), target


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_valid(path):
    assert federation.load(path).name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_toml_on_the_pages_is_valid(path):
    for block in blocks(path.read_text(encoding="utf-8"), "toml"):
        values = tomllib.loads(block)
        if "model" in values:
            assert federation.parse(values).name


def test_the_values_on_the_page_of_the_seed_pool_are_right():
    assert doctest.testfile(str(ROOT / "docs" / "seed-pool.md"), module_relative=False).failed == 0
