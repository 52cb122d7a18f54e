"""Parts of a model whose weights are written just before they run, into a buffer that all of them share.

A module is written as a whole, with two exceptions, because an embedding and a head are larger than any layer: of the
embedding only the rows that are looked up, and the head run by run of its rows. Rules kept here: spans begin at tiles, so
that the values are those of a pass over the whole tensor. A weight outside of its turn takes no memory and is not a
number, so that a model that reads it all the same cannot hide it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import Embedding, Linear, Module, Parameter

from fedkseed.pool.seed_pool import TILE
from fedkseed.pool.sweep import Flat, Span
from fedkseed.zo.layout import LINE, flat

Write = Callable[[Sequence[Span]], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A parameter, where its values come from and what they are computed in."""

    parameter: Parameter
    first_tile: int
    base: Flat
    dtype: torch.dtype

    @property
    def need(self) -> int:
        """Bytes of all values, up to where another tensor may begin."""
        return -(-self.base.size * self.dtype.itemsize // LINE) * LINE

    def span(self, out: torch.Tensor, tile: int = 0) -> Span:
        """As many values, from one of its tiles on, as there are and `out` holds."""
        base = self.base[tile * TILE :][: out.numel()]
        return Span(first_tile=self.first_tile + tile, base=base, out=flat(out)[: base.size])

    def hide_(self) -> None:
        """Leave the parameter its shape and dtype, and no values."""
        self.parameter.data = torch.full((), math.nan, dtype=self.dtype).expand(self.parameter.shape)


class Whole:
    """A module that is written as a whole.

    Args:
        module: what runs.
        tensors: its parameters, and those of the modules in it.
    """

    def __init__(self, module: Module, tensors: Sequence[Source]) -> None:
        self._module, self._tensors = module, tensors
        self.need = sum(tensor.need for tensor in tensors)

    def attach_(self, buffer: torch.Tensor, write: Write) -> None:
        """Have it written to a buffer of at least `need` bytes whenever it runs."""
        values = []
        for tensor in self._tensors:
            shape = tensor.parameter.shape
            values.append(buffer.view(tensor.dtype)[: shape.numel()].view(shape))
            buffer = buffer[tensor.need :]
        spans = [tensor.span(shown) for tensor, shown in zip(self._tensors, values, strict=True)]

        def show_(_module: Module, _args: Any) -> None:
            write(spans)
            for tensor, shown in zip(self._tensors, values, strict=True):
                tensor.parameter.data = shown

        self._module.register_forward_pre_hook(show_)
        _hide_after(self._module, self._tensors)


class Rows:
    """An embedding, of which the rows that are looked up are written.

    Args:
        module: its only argument are numbers of rows.
        tensor: its weight.
    """

    def __init__(self, module: Embedding, tensor: Source) -> None:
        self._module, self._tensor, self._width = module, tensor, module.embedding_dim
        self._reach = TILE + self._width  # values from the beginning of a tile, in which a row begins, to the end of the row
        self.need = -(-self._reach * tensor.dtype.itemsize // LINE) * LINE
        module.padding_idx = None  # it bears on gradients alone, and rows have other numbers here

    def attach_(self, buffer: torch.Tensor, write: Write) -> None:
        """See Whole; rows are copied out of the buffer, as many at a time as it has room for."""
        line = buffer.view(self._tensor.dtype)
        rooms = line[: line.numel() // self._reach * self._reach].view(-1, self._reach)

        def show_(_module: Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            numbers, places = np.unique(args[0].numpy(), return_inverse=True)
            rows = torch.empty((numbers.size, self._width), dtype=self._tensor.dtype)
            for i in range(0, len(rows), len(rooms)):
                self._fill_(rows[i : i + len(rooms)], numbers[i : i + len(rooms)].tolist(), rooms, write)
            self._tensor.parameter.data = rows
            return (torch.from_numpy(places).view(args[0].shape),)

        self._module.register_forward_pre_hook(show_)
        _hide_after(self._module, [self._tensor])

    def _fill_(self, rows: torch.Tensor, numbers: list[int], rooms: torch.Tensor, write: Write) -> None:
        places = [divmod(number * self._width, TILE) for number in numbers]  # a tile, and where in it the row begins
        pairs = list(zip(rooms, places, strict=False))
        write([self._tensor.span(room[: begin + self._width], tile) for room, (tile, begin) in pairs])
        for row, (room, (_, begin)) in zip(rows, pairs, strict=True):
            row.copy_(room[begin : begin + self._width])


class Runs:
    """An output projection, which is written and multiplied by runs of its rows.

    Args:
        module: what runs.
        weight: its weight.
        bias: its bias, if it has one; written as a whole, beside the buffer.
    """

    def __init__(self, module: Linear, weight: Source, bias: Source | None) -> None:
        self._module: Any = module  # whose forward is replaced
        self._weight, self._bias = weight, bias
        self._rows, self._width = weight.parameter.shape
        self._step = TILE // math.gcd(self._width, TILE)  # after so many rows, one begins at a tile
        self.need = self._step * self._width * weight.dtype.itemsize

    def attach_(self, buffer: torch.Tensor, write: Write) -> None:
        """See Whole."""
        forward, weight, bias = self._module.forward, self._weight, self._bias
        line = buffer.view(weight.dtype)
        run = line.numel() // (self._step * self._width) * self._step
        vector = None if bias is None else torch.empty(self._rows, dtype=bias.dtype)

        def by_runs(hidden: torch.Tensor) -> torch.Tensor:
            if bias is not None and vector is not None:
                write([bias.span(vector)])
            result = torch.empty((*hidden.shape[:-1], self._rows), dtype=weight.dtype)
            for begin in range(0, self._rows, run):
                end = min(begin + run, self._rows)
                shown = line[: (end - begin) * self._width].view(-1, self._width)
                write([weight.span(shown, begin * self._width // TILE)])
                weight.parameter.data = shown
                if bias is not None and vector is not None:
                    bias.parameter.data = vector[begin:end]
                result[..., begin:end] = forward(hidden)
            return result

        self._module.forward = by_runs
        _hide_after(self._module, [weight] if bias is None else [weight, bias])


def _hide_after(module: Module, tensors: Sequence[Source]) -> None:
    """Hide parameters when a module has run, however that ended."""

    def hide_(*_: Any) -> None:
        for tensor in tensors:
            tensor.hide_()

    module.register_forward_hook(hide_, always_call=True)
