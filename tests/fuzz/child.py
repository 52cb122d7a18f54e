"""The process that fuzzes: libFuzzer chooses inputs by what they reach in fedkseed's code. Arguments are libFuzzer's."""

import sys

import atheris

with atheris.instrument_imports(include=["fedkseed"]):
    from tests.fuzz.targets import feed


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    atheris.Setup(sys.argv, feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
