"""What a client trains with: a workbench, opened when the first assignment comes, and its examples."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fedkseed import data, workbench
from fedkseed.data import Example
from fedkseed.genesis import Genesis
from fedkseed.objectives import Encoded
from fedkseed.reading import Prepared
from fedkseed.settings import Equipment
from fedkseed.workbench import Workbench
from fedkseed_client import training
from fedkseed_client.events import Trained
from fedkseed_client.machine import Assignment
from fedkseed_client.steps import Stepped, timed


class Bench:
    """A working model and the client's examples.

    Args:
        equipment: see Equipment.
        examples: the client's data.
        source: where they come from, for what is wrong with them.
        client: whose they are.
        seed: root of the client's random choices.
        stepped: told of the time of every batch; called from the thread that trains.
    """

    def __init__(
        self,
        *,
        equipment: Equipment,
        examples: Sequence[Example],
        source: Path,
        client: str,
        seed: int,
        stepped: Stepped,
    ) -> None:
        self._equipment, self._stepped = equipment, stepped
        self._examples, self._source, self._client, self._seed = examples, source, client, seed
        self._ready: tuple[Workbench, list[Encoded]] | None = None

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
        bench, encoded = self._ready or self._open(Genesis.decode(genesis_bytes))

        def loss(batch: Prepared) -> torch.Tensor:
            check()
            return bench.reader.mean_loss(batch)

        measured = training.measure(
            assignment,
            weights=bench.weights,
            prepare=bench.reader.prepare,
            loss=timed(loss, self._stepped, directions=assignment.round.directions_per_batch),
            examples=encoded,
            generator=training.generator(self._seed, self._client, assignment.base),
        )
        return training.told(assignment, measured, time.monotonic() - started)

    def _open(self, genesis: Genesis) -> tuple[Workbench, list[Encoded]]:
        data.check(self._examples, genesis.objective, self._source)
        bench = workbench.open_for(genesis, self._equipment)
        self._ready = (bench, [bench.task.encode(example) for example in self._examples])
        return self._ready
