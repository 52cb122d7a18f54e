"""Measure everything, or some of it, keep the records, and write the page anew.

python -m benchmarks [NAME …]
"""

import argparse
import subprocess
import sys

from benchmarks import page


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(page.BENCHMARKS)}; all without one")
    names = parser.parse_args().names or page.BENCHMARKS
    if unknown := set(names) - set(page.BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    page.RECORDS.mkdir(exist_ok=True)
    for name in names:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
        record = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603 - ours
        (page.RECORDS / f"{name}.json").write_bytes(record)
    page.main()


if __name__ == "__main__":
    main()
