"""Which coupled channels a network of anyone's can do without: those that it still runs without, tried on a copy."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compress.errors import CompressError
from compress.pruning.coupling import Coupling
from compress.pruning.tracing import trace

KNOWN = ("torchvision.models.", "compress.models.")  # where the networks are defined that need not be tried


def needs_trial(model: nn.Module) -> bool:
    """Whether nobody knows if the network keeps numbers of channels beside its layers, as attention does of its heads.

    torch-pruning changes layers only, so that a network which does fails once they are changed.
    """
    return not type(model).__module__.startswith(KNOWN)


def spared(model: nn.Module, image: Tensor, found: Sequence[Coupling]) -> list[Coupling]:
    """Those that the network can lose half of, all together, and still give an answer of its shape; in their order.

    Where it cannot lose half of all, layers that stand at the same place of other blocks are tried together, kind after
    kind: what it fails without keeps its width. A kind whose first and last one fail is not looked at more closely.

    Args:
        model: Followed as a whole; left as it is.
        image: One image (1, C, H, W).
        found: All that could be cut.
    """
    if _survives(model, image, found):
        return list(found)
    kinds: dict[str, list[Coupling]] = {}
    for layer in found:
        *path, own = layer.root.split(".")
        kinds.setdefault(".".join(["#" if part.isdigit() else part for part in path] + [own]), []).append(layer)
    good: list[Coupling] = []
    for kind in kinds.values():
        if any(_survives(model, image, [*good, layer]) for layer in (kind[0], kind[-1])):
            good = _joined(model, image, good, kind)
    roots = {layer.root for layer in good}
    return [layer for layer in found if layer.root in roots]


def _joined(model: nn.Module, image: Tensor, good: list[Coupling], more: list[Coupling]) -> list[Coupling]:
    """The good ones, with those of some more that the network can lose beside them."""
    if _survives(model, image, [*good, *more]):
        return [*good, *more]
    if len(more) == 1:
        return good
    half = len(more) // 2
    return _joined(model, image, _joined(model, image, good, more[:half]), more[half:])


@torch.no_grad()
def _survives(model: nn.Module, image: Tensor, layers: Sequence[Coupling]) -> bool:
    """Whether a copy answers in the same shape once it has lost half of each of these, and no more."""
    shape, probe = model(image).shape, copy.deepcopy(model)
    try:
        graph = trace(probe, image)
        for layer in layers:
            gone = [group * layer.places + place for group in range(layer.groups) for place in range(layer.places // 2)]
            root = probe.get_submodule(layer.root)
            if not gone:
                continue
            group = graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, gone)
            if not graph.check_pruning_group(group):
                return False
            group.prune(record_history=False)
            if graph.get_out_channels(root) != layer.width - len(gone):
                return False
        return bool(probe(image).shape == shape)
    except CompressError:
        raise
    except Exception:  # torch-pruning and the network raise whatever they met in a layer that has other channels
        return False
