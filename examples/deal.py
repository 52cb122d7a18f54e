"""Deal the training data of a federation out, a file for each client: `python examples/deal.py FEDERATION.TOML --out DIR`.

The shares are those of `fedkseed simulate`: the same settings give the same files. A file that is there is replaced whole.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from fedkseed import data, federation


def main() -> int:
    """Write DIR/CLIENT.jsonl for each client and say how much each holds."""
    parser = argparse.ArgumentParser(description="Deal the training data of a federation out to files, one for each client.")
    parser.add_argument("federation", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    described = federation.load(arguments.federation).data
    shares = data.partition(data.read(Path(described.train)), described.partition, described.train)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for client, examples in shares.items():
        _write(arguments.out / f"{client}.jsonl", examples)
        print(f"{client}: {len(examples):,} examples")
    return 0


def _write(path: Path, examples: Iterable[data.Example]) -> None:
    """Write JSON Lines; nobody ever sees half of them."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples), encoding="utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(main())
