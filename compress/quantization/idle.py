"""Layers that a network has and does not need: never called, or called for nothing."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from compress.models.passed import Value, follow
from compress.quantization.grids import LAYERS
from compress.stages import Staged


def idle_layers(network: Staged, image: Tensor) -> tuple[str, ...]:
    """The convolutions and linear layers none of whose parameters go into the answer, in their order.

    A layer whose weight is used without calling it, as attention does, is not one of them.

    Args:
        network: Only read.
        image: (B, C, H, W) scaled images to follow through the network.
    """
    model, found = network.model, follow(network.model, image)
    answer = found.calls[-1].left
    values = found.values if answer is None else _behind(answer)
    named = dict(model.named_parameters())
    used = {id(named[name]) for value in values for name in value.weights if name in named}
    layers = ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LAYERS))
    return tuple(name for name, layer in layers if used.isdisjoint(id(weight) for weight in layer.parameters()))


def _behind(answer: Value) -> Iterable[Value]:
    """A value, and all that it was made of."""
    seen, waiting = {answer}, [answer]
    while waiting:
        new = {source for source in waiting.pop().sources if source not in seen}
        seen |= new
        waiting += new
    return seen
