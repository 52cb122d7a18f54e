"""The trunk of a model: the leading layers that no trained parameter is in or before.

What they make of a batch is the same at every perturbation and in every version, so it is made once for a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fedkseed import llm
from fedkseed.errors import SettingError


class Trunk:
    """Leading layers, whose output can be kept and stand in for them.

    Args:
        layers: called one after the other in a forward pass; at least one.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = tuple(layers)

    @contextmanager
    def keeping(self, kept: list[Any]) -> Iterator[None]:
        """Have what the last of the layers returns kept, in the one forward pass that is done here."""
        hook = self.layers[-1].register_forward_hook(lambda _layer, _args, output: kept.append(output))
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def standing_in(self, kept: Sequence[Any]) -> Iterator[None]:
        """Have forward passes that are done here take what was kept, and compute none of the layers."""
        (output,) = kept
        before = [vars(layer).get("forward") for layer in self.layers]
        for layer in self.layers:
            layer.forward = lambda *_args, **_options: output
        try:
            yield
        finally:
            for layer, forward in zip(self.layers, before, strict=True):
                del layer.forward
                if forward is not None:
                    layer.forward = forward


def find(model: Any, trained: set[torch.nn.Parameter], run: Callable[[], torch.Tensor]) -> Trunk | None:
    """A model's trunk; none where its first layer is trained, or where it needs more of the layers than what they return.

    Args:
        model: a causal language model.
        trained: those of its parameters that change.
        run: a forward pass of it, which gives its logits.
    """
    layers = _before(model, trained, run)
    if not layers:
        return None
    trunk, kept = Trunk(layers), list[Any]()
    with trunk.keeping(kept):
        whole = run()
    try:
        with trunk.standing_in(kept):
            rest = run()
    except llm.UNFIT:
        return None
    return trunk if torch.equal(whole, rest) else None


def _before(model: Any, trained: set[torch.nn.Parameter], run: Callable[[], torch.Tensor]) -> list[torch.nn.Module]:
    """The layers that are over in a forward pass when the first module begins that has a trained parameter."""
    layers, begun = set(llm.parts(model)[1]), list[torch.nn.Module]()
    for module in _in_order(model, run):
        if not trained.isdisjoint(module.parameters(recurse=False)):
            return [layer for layer in begun if module not in layer.modules()]
        if module in layers:
            begun.append(module)
    return begun


def from_layer(model: Any, number: int, run: Callable[[], torch.Tensor]) -> set[torch.nn.Parameter]:
    """The parameters that a forward pass comes to in the layer of that number, or after it, and not before.

    Raises:
        SettingError: there is no such layer.
    """
    _, layers, _ = llm.parts(model)
    if not 0 <= number < len(layers):
        raise SettingError(f"layer {number}: the model has {len(layers)}, counted from 0")
    called = _in_order(model, run)
    begin = called.index(layers[number])
    before, after = ({p for own in some for p in own.parameters(recurse=False)} for some in (called[:begin], called[begin:]))
    return after - before


def _in_order(model: Any, run: Callable[[], torch.Tensor]) -> list[torch.nn.Module]:
    """The modules of a model as a forward pass calls them, a module before its own."""
    called: list[torch.nn.Module] = []
    hooks = [module.register_forward_pre_hook(lambda own, _args: called.append(own)) for module in model.modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return called
