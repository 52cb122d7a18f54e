"""What somebody wants to be run, and several processes that carry it out."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import torch
import transformers

from benchmarks.quality import estimate, experiments, runner
from benchmarks.quality.runner import Entry, Schedule


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to be run."""

    only: tuple[str, ...]  # experiments, or experiment/row; all without any
    seed: int | None
    quick: bool

    def schedule(self) -> Schedule:
        """Of all experiments, or of their miniatures."""
        described = experiments.read()
        if not self.quick:
            return Schedule(described)
        return Schedule(experiments.first_seeds(described), change=estimate.miniature, searching=False)

    def wants(self, entry: Entry) -> bool:
        """Whether a row and seed are among it."""
        names = {entry.experiment.name, f"{entry.experiment.name}/{entry.row.name}"}
        return (not self.only or bool(names & set(self.only))) and self.seed in {None, entry.run.seed}


def together(count: int, wish: Wish, folder: Path) -> None:
    """Carry out a wish with so many processes, which share the cores and the records."""
    threads = max(1, torch.get_num_threads() // count)
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        for part in [pool.submit(_work, wish, folder, threads) for _ in range(count)]:
            part.result()


def end_with_parent() -> None:
    """Have this process end when the one that started it does, however that ends: it would go on for hours, unseen."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _work(wish: Wish, folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    transformers.logging.disable_progress_bar()
    runner.work(wish.schedule(), folder, wish.wants, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
