"""What is installed, against what was agreed on: `python deploy/audit.py [--vulnerabilities]`.

Without a network: every distribution of this environment is pinned in constraints.txt, to the version that is installed; each
that fedkseed and the extras of its users bring along states a licence of the list below. What pip itself brings, and
fedkseed, are left out. Hashes are not compared, and nothing is known here of vulnerabilities.

With --vulnerabilities: pip-audit asks PyPI for those that are known of every pinned version. A version of which it is told
nothing is a fault, so that who cannot be asked does not look like who knows of none.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
OURS, PIPS = "fedkseed", {"pip", "setuptools", "wheel"}
EXTRAS = ("", "train", "simulate", "gpu")  # that users install
PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Zlib|HPND|CNRI|CC0|0BSD|BSL", re.IGNORECASE
)
STATED = {"rouge": "Apache-2.0"}  # whose metadata only name the file; read there


def main() -> int:
    """Say what is wrong, line by line."""
    if "--vulnerabilities" in sys.argv[1:]:
        return vulnerabilities()
    installed = {normal(found.name): found for found in distributions()}
    pins = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    brought = closure(installed)
    faults = [*unpinned(installed, pins), *unlicensed({name: installed[name] for name in brought})]
    for fault in faults:
        print(fault)
    print(f"audit: {len(installed)} distributions, {len(brought)} brought along, {len(faults)} faults")
    return 1 if faults else 0


def normal(name: str) -> str:
    """A name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, str]:
    """Versions by name, of lines `name==version`."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in text.splitlines())
    return {normal(name): version for name, sign, version in (line.partition("==") for line in lines) if sign}


def unpinned(installed: Mapping[str, Distribution], pins: Mapping[str, str]) -> Iterator[str]:
    """What is installed in a version that nobody agreed on; a local label such as +cpu is one build of a version."""
    for name, found in sorted(installed.items()):
        version = found.version.partition("+")[0]
        if name not in {OURS, *PIPS} and pins.get(name) != version:
            yield f"{name}: {found.version} is installed, constraints.txt says {pins.get(name, 'nothing')}"


def closure(installed: Mapping[str, Distribution]) -> set[str]:
    """The distributions that come with fedkseed and the extras of its users."""
    brought: set[str] = set()
    asked = [(OURS, extra) for extra in EXTRAS]
    done = set(asked)
    while asked:
        name, extra = asked.pop()
        for line in installed[name].requires or () if name in installed else ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                more = {(normal(needed.name), part) for part in ("", *needed.extras)} - done
                done |= more
                asked += more
    brought = {name for name, _ in done if name in installed}
    return brought - {OURS}


def unlicensed(brought: Mapping[str, Distribution]) -> Iterator[str]:
    """What states no licence, or one that is not on the list."""
    for name, found in sorted(brought.items()):
        if not PERMISSIVE.search(STATED.get(name) or licence(found)):
            yield f"{name}: its licence is {licence(found)!r}"


def licence(found: Distribution) -> str:
    """What a distribution says of its licence."""
    metadata = found.metadata
    classifiers = (line for line in metadata.get_all("Classifier") or () if line.startswith("License"))
    return str(metadata.get("License-Expression") or "; ".join(classifiers) or metadata.get("License") or "")


def vulnerabilities() -> int:
    """Have pip-audit ask for all pinned versions."""
    pins = ["--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
    command = [sys.executable, "-m", "pip_audit", "--strict", *pins]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - nothing of it comes from outside


if __name__ == "__main__":
    sys.exit(main())
