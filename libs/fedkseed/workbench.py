"""Where training and scoring work: a base opened and checked, its working model, and how it is read.

What the machine gives decides where the working weights are and how they are kept; what they are, it never does.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from fedkseed import llm, logs, model, objectives, ram
from fedkseed.errors import SettingError
from fedkseed.genesis import Genesis
from fedkseed.model import Base
from fedkseed.objectives import Task
from fedkseed.pool import sweep
from fedkseed.ram import Memory
from fedkseed.reading import Reader
from fedkseed.settings import Equipment
from fedkseed.zo import layout, pages, passes
from fedkseed.zo.materialise import Weights, Working
from fedkseed.zo.streaming import Anatomy, Streamed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workbench:
    """A working model that shows whatever its weights are asked to be."""

    base: Base
    task: Task
    reader: Reader
    weights: Working


def open_for(genesis: Genesis, equipment: Equipment) -> Workbench:
    """Open the base of a federation and make it a workbench; its digest is computed beside what else there is to do.

    Raises:
        BaseError: the base or support is missing or not the one of the genesis.
        SettingError: the task, the device or how memory is used does not fit.
    """
    if equipment.threads:
        torch.set_num_threads(equipment.threads)
    base = model.open_base(equipment.base, equipment.support)
    model.check_kind(genesis, base)
    stored = {name: p.detach() for name, p in base.parameters.items()}  # which of the model's own will be others
    with ThreadPoolExecutor(1, thread_name_prefix="digest") as beside:
        checked = beside.submit(model.check_values, genesis, base.name, stored)
        try:
            bench = set_up(
                genesis,
                base,
                dtype=llm.dtype_named(equipment.dtype),
                device=equipment.device,
                threads=equipment.threads,
                memory=equipment.memory,
            )
            sweep.load(genesis.pool)
        finally:
            checked.result()  # a wrong base explains whatever else is wrong
    logs.info("base opened", memory=bench.weights.memory)
    return bench


def set_up(
    genesis: Genesis,
    base: Base,
    *,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    threads: int | None = None,
    memory: Memory = "resident",
) -> Workbench:
    """Make a base's model the working model; its base values are kept beside it, never written.

    Args:
        genesis: what the base was checked against.
        base: taken over: its model shows whatever the weights are asked to be.
        dtype: what to compute in; what is fast on the device by default.
        device: what to compute on, as torch names it; a GPU by default, where there is one that can be used.
        threads: threads of a pass over the weights, where the processor does it.
        memory: `resident`: working weights are kept beside the base; `streaming`: each only while it is used;
            `auto`: resident where there is room, and on a GPU. A sparse support has so few that they are always resident.

    Raises:
        SettingError: there is no such device, or its kernels do not work exactly; the weights of the pool's family, or on
            that device, cannot be streamed; the objective does not fit the tokenizer.
        BaseError: see `objectives.bind`.
    """
    task = objectives.bind(genesis.objective, base.tokenizer)
    where = passes.find(device)
    dtype, memory = dtype or llm.compute_dtype(where), _kept(memory, where)
    if where.type != "cpu":
        _place_(base, where, dtype, alone=device is not None)
    return Workbench(
        base=base,
        task=task,
        reader=Reader(base.model, task, trained=None if base.support is None else set(base.trained.values())),
        weights=_weights(genesis, base, dtype, threads, memory),
    )


def _place_(base: Base, where: torch.device, dtype: torch.dtype, *, alone: bool) -> None:
    """Move a base to a GPU, or to all of them where it needs them and nobody named one."""
    from fedkseed import placement  # noqa: PLC0415 - accelerate is optional

    needed = _needed_bytes(base, dtype)
    placement.place_(base.model, where, needed_bytes=needed, others={} if alone else placement.gpus())


def _needed_bytes(base: Base, dtype: torch.dtype) -> int:
    """What resident weights take: those of the model, and the values of the base beside those that are trained."""
    working = sum(p.numel() * llm.computed_in(p, dtype).itemsize for p in base.parameters.values())
    kept = sum(p.nbytes for p in base.parameters.values()) if base.support is None else 0
    return working + kept


def _kept(memory: Memory, where: torch.device) -> Memory:
    """How weights can be kept on a device."""
    if where.type == "cpu":
        return memory
    if memory == "streaming":
        raise SettingError(f"memory: streaming needs the processor, not {where}")
    return "resident"


def _weights(genesis: Genesis, base: Base, dtype: torch.dtype, threads: int | None, memory: Memory) -> Working:
    """The weights of a model that computes in a dtype."""
    kept = {name: p.detach() for name, p in base.parameters.items()}
    slots = layout.place(genesis.pool, genesis.layout, base.support)
    common: dict[str, Any] = {"pool": genesis.pool, "slots": slots, "base": kept, "tick": genesis.tick, "threads": threads}
    if base.support is not None:
        llm.compute_in_(base.model, dtype)
        return Weights(working=base.parameters, **common)
    llm.compute_in_(base.model, dtype, elsewhere=set(base.parameters.values()))
    dtypes = {name: llm.computed_in(p, dtype) for name, p in kept.items()}
    if _streams(memory, genesis, _needed_bytes(base, dtype)):
        embedding, layers, head = llm.parts(base.model)
        anatomy = Anatomy(embedding=embedding, layers=layers, head=head)
        return Streamed(model=base.model, anatomy=anatomy, dtypes=dtypes, **common)
    for name, values in pages.copies(kept, dtypes).items():
        base.parameters[name].data = values
    return Weights(working=base.parameters, **common)


def _streams(memory: Memory, genesis: Genesis, needed_bytes: int) -> bool:
    """Whether to stream; where nobody asks for it, from what there is room for."""
    if memory == "auto" and genesis.pool.family != "hadamard":
        return False
    return ram.streams(memory, needed_bytes=needed_bytes, available_bytes=ram.available_bytes())
