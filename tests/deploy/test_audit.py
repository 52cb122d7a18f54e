"""The audit of dependencies finds what it looks for."""

from email.message import Message
from importlib.metadata import distribution

import pytest

from deploy import audit


class Found:
    """Something that is installed."""

    def __init__(self, version="1.0", **metadata):
        self.version, self.metadata = version, Message()
        for name, value in metadata.items():
            self.metadata[name.replace("_", "-")] = value


def test_pins_are_read_by_their_names():
    assert audit.pinned("Foo_Bar==1.0\n# a==1\nbaz==2 ; python_version > '3'\n\n") == {"foo-bar": "1.0", "baz": "2"}


def test_what_is_not_pinned_to_the_version_that_is_installed_is_a_fault():
    installed = {"a": Found("1.0"), "b": Found("2.0+cpu"), "c": Found("3.0"), "pip": Found("9")}
    assert list(audit.unpinned(installed, {"a": "1.1", "b": "2.0"})) == [
        "a: 1.0 is installed, constraints.txt says 1.1",
        "c: 3.0 is installed, constraints.txt says nothing",
    ]


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({"License_Expression": "MIT"}, False),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, False),
        ({"License_Expression": "GPL-3.0-only"}, True),
        ({}, True),
    ],
)
def test_a_licence_that_is_missing_or_not_on_the_list_is_a_fault(metadata, fault):
    assert bool(list(audit.unlicensed({"a": Found(**metadata)}))) == fault


def test_what_fedkseed_brings_along_is_found_through_others():
    installed = {audit.normal(name): distribution(name) for name in ("fedkseed", "pydantic", "pydantic-core", "torch", "ruff")}
    assert audit.closure(installed) == {"pydantic", "pydantic-core", "torch"}
