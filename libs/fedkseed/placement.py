"""Where a model is: on one device, or its layers on several GPUs by accelerate's device map.

No layer is split. Of the free memory of a GPU `ram.SHARE` is for weights, the rest for activations and whatever else is going
on there.
"""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import dispatch_model, infer_auto_device_map  # type: ignore[import-untyped]

from fedkseed.errors import SettingError
from fedkseed.ram import SHARE


def gpus() -> dict[int, int]:
    """The free memory of each GPU that torch finds, in bytes."""
    return {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())}


def place_(model: Any, device: torch.device, *, needed_bytes: int, others: Mapping[int, int]) -> None:
    """Move a model to a device; where it has no room there, spread it over GPUs.

    Args:
        model: a causal language model.
        device: where it should be.
        needed_bytes: what its weights will take, however they are kept.
        others: free bytes of GPUs that may be used together; none: the device is the only choice.

    Raises:
        SettingError: it has no room on all of them.
    """
    if others and needed_bytes > SHARE * others[device.index]:
        dispatch_model(model, device_map(model, needed_bytes, others))
    else:
        model.to(device)


def device_map(model: Any, needed_bytes: int, free_bytes: Mapping[int, int]) -> dict[str, int]:
    """Which GPU has which part of a model, in the order in which they are computed; see `place_`."""
    growth = needed_bytes / sum(parameter.nbytes for parameter in model.parameters())
    room: dict[int | str, int | str] = {gpu: int(SHARE * free / growth) for gpu, free in free_bytes.items()}
    kinds = sorted(model._no_split_modules or ())  # noqa: SLF001 - it has no public name
    parts: dict[str, Any] = infer_auto_device_map(model, max_memory=room, no_split_module_classes=kinds)
    if outside := [part for part, place in parts.items() if not isinstance(place, int)]:
        raise SettingError(f"device: {outside[0] or 'the model'} has no room on {len(free_bytes)} GPUs")
    return parts
