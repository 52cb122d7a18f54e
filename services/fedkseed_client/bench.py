"""Where a client trains: its base, opened and checked against the genesis when the first assignment comes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fedkseed import data, logs, model, objectives
from fedkseed.data import Example
from fedkseed.genesis import Genesis
from fedkseed.objectives import Encoded
from fedkseed.ram import Memory
from fedkseed.reading import Prepared, Reader
from fedkseed.zo.materialise import Working
from fedkseed_client import training
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment
from fedkseed_client.steps import Stepped, timed


class Bench:
    """A working model and the client's examples.

    Args:
        base: a Hugging Face model id or a directory.
        support: of a federation that has one.
        examples: the client's data.
        source: where they come from, for what is wrong with them.
        client: whose they are.
        seed: root of the client's random choices.
        device: to compute on.
        threads: to compute with.
        memory: how weights are kept, see `model.workbench`.
        stepped: told of the time of every local step; called from the thread that trains.
    """

    def __init__(
        self,
        *,
        base: str,
        support: Path | None,
        examples: Sequence[Example],
        source: Path,
        client: str,
        seed: int,
        device: str | None,
        threads: int | None,
        memory: Memory,
        stepped: Stepped,
    ) -> None:
        self._where, self._support, self._device, self._threads = base, support, device, threads
        self._examples, self._source, self._client, self._seed = examples, source, client, seed
        self._memory, self._stepped = memory, stepped
        self._ready: tuple[Reader, Working, list[Encoded]] | None = None

    def measure(self, genesis_bytes: bytes, assignment: Assignment, check: Callable[[], None]) -> Trained:
        """Train an assignment.

        Args:
            genesis_bytes: of the federation.
            assignment: what to train.
            check: called before every loss.

        Raises:
            BaseError: the base or support is missing or not the one of the genesis.
            DataError: an example is not what the objective reads.
        """
        started = time.monotonic()
        reader, weights, encoded = self._ready or self._open(Genesis.decode(genesis_bytes))

        def loss(batch: Prepared) -> torch.Tensor:
            check()
            return reader.mean_loss(batch)

        measured = training.measure(
            assignment,
            weights=weights,
            prepare=reader.prepare,
            loss=timed(loss, self._stepped),
            examples=encoded,
            generator=training.generator(self._seed, self._client, assignment.base),
        )
        return training.told(assignment, measured, time.monotonic() - started)

    def _open(self, genesis: Genesis) -> tuple[Reader, Working, list[Encoded]]:
        if self._threads:
            torch.set_num_threads(self._threads)
        data.check(self._examples, genesis.objective, self._source)
        base = model.open_base(self._where, self._support)
        model.check(genesis, base)
        task = objectives.bind(genesis.objective, base.tokenizer)
        weights = model.workbench(genesis, base, device=self._device, threads=self._threads, memory=self._memory)
        logs.info("base opened", memory=weights.memory)
        self._ready = (Reader(base.model, task), weights, [task.encode(example) for example in self._examples])
        return self._ready
