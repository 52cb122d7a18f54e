"""Memory for weights that are passed over again and again: in huge pages, where the system gives them to who asks.

A page of 2 MiB has one address to look up where pages of 4 KiB have five hundred. Whether there are any is the system's affair
(/sys/kernel/mm/transparent_hugepage/enabled); without them this is memory like any other.
"""

import mmap
from collections.abc import Mapping
from contextlib import suppress
from itertools import accumulate

import torch

from fedkseed.zo.layout import LINE


def copies(tensors: Mapping[str, torch.Tensor], dtypes: Mapping[str, torch.dtype]) -> dict[str, torch.Tensor]:
    """The same tensors in other dtypes: on a GPU where torch puts them, on the host in one piece, at multiples of `LINE`."""
    if any(tensor.device.type != "cpu" for tensor in tensors.values()):
        return {name: tensor.to(dtypes[name], copy=True) for name, tensor in tensors.items()}
    sizes = [-(-tensor.numel() * dtypes[name].itemsize // LINE) * LINE for name, tensor in tensors.items()]
    begins, memory = accumulate(sizes, initial=0), torch.frombuffer(_vacant(sum(sizes)), dtype=torch.uint8)
    return {
        name: memory[begin:][: tensor.numel() * dtypes[name].itemsize].view(dtypes[name]).view(tensor.shape).copy_(tensor)
        for (name, tensor), begin in zip(tensors.items(), begins, strict=False)
    }


def _vacant(size: int) -> mmap.mmap:
    """So many bytes, which are there for as long as a tensor is made of them."""
    memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # not this system, or it has none
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
