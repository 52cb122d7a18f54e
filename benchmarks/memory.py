"""How much memory does training take, over plain inference?

Baseline: a process that imports torch and transformers, loads the base, and computes Hugging Face forward passes of a batch,
with the logits of the last token alone. Beside it the same batch trained by back-propagation with AdamW, all parameters. Ours
is what a client does: the base opened and checked, its working model made, some steps taken. The batch is one of
`examples/sentiment-full.toml`. All compute in the dtype that the base is stored in; in another one, plain inference holds both
copies while it loads, which would hide what training adds.

Each has a process of its own, in turns; figures are medians of the largest resident size (VmHWM). That counts pages of mapped
files, the base's above all, for as long as they are in memory. Beside it stand both parts of the size at the end, while the
model is still there, and the size with nothing but imported code.

    python -m benchmarks.memory [--json] [--runs N]
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

from benchmarks.alone import alone, size
from benchmarks.interleaved import report

BASE, SUPPORT = Path(".cache/smollm2-135m"), Path(".cache/support.safetensors")
EXAMPLE, EXAMPLES = Path("examples/sentiment-full.toml"), Path(".cache/sentiment/train.jsonl")
BATCH, STEPS = 8, 3
Work = tuple[float, object]  # MiB with nothing but code, and what is to stay in memory


def texts() -> list[dict[str, object]]:
    """A batch."""
    with EXAMPLES.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, BATCH)]


def plain() -> Work:
    """Inference, as anybody writes it."""
    from benchmarks.plain import infer

    return size("VmRSS"), infer(str(BASE), EXAMPLES, BATCH, passes=STEPS, logits_to_keep=1)


def zeroth_order(support: Path | None = None, memory: Literal["resident", "streaming"] = "resident") -> Work:
    """Training, as a client does it."""
    import numpy as np

    from fedkseed import federation as settings
    from fedkseed import model, workbench
    from fedkseed.zo.trainer import train

    code, federation = size("VmRSS"), settings.load(EXAMPLE)
    base = model.open_base(BASE, support)
    genesis = model.found(federation, base)
    bench = workbench.set_up(genesis, base, dtype=base.model.dtype, memory=memory)
    batch, reader = [bench.task.encode(text) for text in texts()], bench.reader
    train(
        bench.weights,
        reader.mean_loss,
        map(reader.prepare, [batch] * STEPS),
        coefficients=np.zeros(genesis.pool.size, np.int64),
        directions=np.arange(STEPS),
        eps=1e-3,
        lr=genesis.lr,
    )
    return code, bench


def back_propagation() -> Work:
    """Training of all parameters with AdamW."""
    import torch

    from fedkseed import federation as settings
    from fedkseed import llm, objectives
    from fedkseed.reading import Reader

    code = size("VmRSS")
    model, tokenizer = llm.load_base(BASE)
    task = objectives.bind(settings.load(EXAMPLE).objective, tokenizer)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    batch, reader = [task.encode(text) for text in texts()], Reader(model, task)
    for _ in range(STEPS):
        optimiser.zero_grad()
        reader.losses(reader.prepare(batch))[0].mean().backward()
        optimiser.step()
    return code, (model, optimiser)


KINDS: Mapping[str, Callable[[], Work]] = {
    "plain inference": plain,
    "sparse support": lambda: zeroth_order(SUPPORT),
    "full support": zeroth_order,
    "streaming": lambda: zeroth_order(memory="streaming"),
    "AdamW": back_propagation,
}


def measured(kind: str) -> dict[str, float]:
    """The sizes of this process after one kind of work."""
    code, kept = KINDS[kind]()
    assert kept
    return {"largest MiB": size("VmHWM"), "own MiB": size("RssAnon"), "files MiB": size("RssFile"), "code MiB": code}


def rows(runs: int) -> list[dict[str, object]]:
    """One row for each kind."""
    turns = [{kind: alone("benchmarks.memory", kind) for kind in KINDS} for _ in range(runs)]
    medians = {kind: {name: statistics.median(turn[kind][name] for turn in turns) for name in turns[0][kind]} for kind in KINDS}
    plainly = medians["plain inference"]["largest MiB"]
    return [{"process": kind, **sizes, "ratio": sizes["largest MiB"] / plainly} for kind, sizes in medians.items()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="turns of which the median counts")
    parser.add_argument("--alone", choices=KINDS, help="measure this in this process")
    parser.add_argument("--json", action="store_true", help="print a record instead of a table")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measured(arguments.alone)))
        return
    report(f"the largest size of a process, batches of {BATCH}", rows(arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
