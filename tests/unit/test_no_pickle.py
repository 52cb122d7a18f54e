"""Nothing that is read can run: no pickle, no eval, no code that comes with a model."""

import ast
from pathlib import Path

import pytest

from fedkseed import llm

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("libs", "services", "deploy", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {"torch.load", "torch.save", "pd.read_pickle"}
KEYWORDS = {"allow_pickle", "weights_only"}  # what is asked for by name


def names(tree: ast.AST) -> set[str]:
    """Top modules that are imported, functions that are called by name, and dotted calls."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                found |= {alias.name.split(".")[0] for alias in aliases}
            case ast.ImportFrom(module=str() as module):
                found.add(module.split(".")[0])
            case ast.keyword(arg=str() as name):
                found.add(name)
            case ast.Call(func=ast.Name(id=name)):
                found.add(name)
            case ast.Call(func=ast.Attribute()):
                found.add(ast.unparse(node.func))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_no_source_reads_what_could_run(path):
    found = names(ast.parse(path.read_text(encoding="utf-8")))
    assert not found & (MODULES | CALLS | METHODS | KEYWORDS)


def test_the_look_at_the_sources_finds_what_it_looks_for():
    code = "import pickle\nfrom dill import loads\ntorch.load(path)\neval('1')"
    assert {"pickle", "dill", "torch.load", "eval"} <= names(ast.parse(code))


def test_whatever_is_loaded_by_transformers_runs_no_code():
    loads = [
        call
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained"
    ]
    assert loads
    for call in loads:
        assert "**_DATA_ONLY" in ast.unparse(call)
    assert llm._DATA_ONLY == {"trust_remote_code": False}  # noqa: SLF001 - what all of them are told
