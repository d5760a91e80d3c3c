"""Residual blocks that can go as a whole, and which of them cost the least loss for what their removal saves."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from compress.cost import MacCounter
from compress.edits import Drop
from compress.errors import PlanError
from compress.graph import Trace, Uncuttable, trace
from compress.pruning.calibration import Calibration
from compress.pruning.choice import matching
from compress.stages import Staged, evaluating
from compress.text import counted

ADDS = (operator.add, operator.iadd, torch.add, "add", "add_")
RELUS = (functional.relu, torch.relu, "relu", "relu_")


MACS: Mapping[str, float] = {}  # no layer has a price of its own: what multiply-accumulates there are is counted


def least_blocks(
    network: Staged,
    image: Tensor,
    count: int,
    calibration: Calibration,
    *,
    leave: Sequence[str] = (),
    prices: Mapping[str, float] = MACS,
) -> tuple[Drop, ...]:
    """The blocks whose removal costs the least loss for what it saves, in that order.

    They are chosen one after the other, each with those gone that were chosen before. The loss is that on the images,
    with nothing trained; one that falls counts as one that stays.

    Args:
        network: Left as it is.
        image: One image (1, C, H, W) that the network takes.
        count: How many, at least 1.
        calibration: With a loss.
        leave: Patterns of layers that stay, and with them the blocks that they are in.
        prices: Layer to what it takes, such as milliseconds; without any, multiply-accumulates are saved.

    Raises:
        PlanError: There are not so many blocks, or no images or loss; a block has no price where others have; or the
            network cannot be looked into.
    """
    if not calibration.batches or calibration.loss is None:
        raise PlanError("blocks are chosen by what their removal costs: give images, labels and the loss of a task")
    whole = replace(network, model=copy.deepcopy(network.model))
    with evaluating(whole.model):
        free = [name for name in residual_blocks(whole, image) if not _left(whole, name, leave)]
        _check_priced(free, prices)
        gone: list[str] = []
        while len(gone) < count:
            rest = [name for name in free if name not in gone and _spares_stages(network, [*gone, name])]
            if not rest:
                there = counted(len(gone), "residual block") if gone else "no residual block"
                raise PlanError(
                    f"{type(network.model).__name__} has {there} that could go, where {count} "
                    f"{'was' if count == 1 else 'were'} to; each stage keeps something that learns"
                )
            saved = {name: saving(name, prices) for name in rest} if prices else _macs_saved(whole.model, rest, image)
            gone.append(_cheapest(whole.model, saved, calibration))
            whole.model.set_submodule(gone[-1], nn.Identity())
    return tuple(map(Drop, gone))


def saving(block: str, prices: Mapping[str, float]) -> float:
    """What the layers of a block take together.

    Args:
        block: A module.
        prices: Layer to what it takes.
    """
    return sum(price for layer, price in prices.items() if layer == block or layer.startswith(f"{block}."))


def residual_blocks(network: Staged, image: Tensor) -> list[str]:
    """The names of the smallest modules that add something to what they take, and give it on in the same shape.

    Args:
        network: In eval mode.
        image: One image (1, C, H, W).

    Raises:
        PlanError: torch.fx cannot trace the network.
    """
    try:
        traced = trace(network)
    except Uncuttable as why:
        raise PlanError(f"the blocks of {type(network.model).__name__} cannot be found: {why}") from why
    unchanged = _same_shapes(network.model, image)
    found = [name for name in unchanged if _adds(traced, name) and not _tapped_inside(network, name)]
    return [name for name in found if not any(other.startswith(f"{name}.") for other in found)]


@torch.no_grad()
def _same_shapes(model: nn.Module, image: Tensor) -> list[str]:
    """The modules with weights inside that are called once, and give a tensor of the shape that they take."""
    calls: dict[str, list[bool]] = {}

    def note(name: str, _module: nn.Module, given: tuple[Any, ...], output: object) -> None:
        alone = len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor)
        calls.setdefault(name, []).append(alone and given[0].shape == output.shape)  # type: ignore[attr-defined]

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            weighs = any(isinstance(part, _ConvNd | nn.Linear) for part in module.modules() if part is not module)
            if name and weighs:
                hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        model(image)
    return [name for name, same in calls.items() if same == [True]]


def _adds(traced: Trace, name: str) -> bool:
    """Whether what a module takes reaches what it gives by additions, and activations after them, alone."""
    given, output = (_node(traced, name, before=before) for before in (True, False))
    open_, seen = [(output, False)], set[tuple[fx.Node | None, bool]]()
    while open_:
        node, added = open_.pop()
        if node is None or (node, added) in seen:
            continue
        seen.add((node, added))
        if node is given:
            if added:
                return True
        elif node.target in ADDS:
            open_.extend((source, True) for source in node.all_input_nodes)
        elif _is_relu(traced.model, node):
            open_.extend((source, added) for source in node.all_input_nodes)
    return False


def _node(traced: Trace, name: str, *, before: bool) -> fx.Node | None:
    places = {(place.module, place.before): node for node, all_ in traced.places.items() for place in all_}
    return places.get((name, before))


def _is_relu(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), nn.ReLU | nn.ReLU6)
    return node.target in RELUS


def _tapped_inside(network: Staged, name: str) -> bool:
    return any(stage.tap.startswith(f"{name}.") for stage in network.stages)


def _left(network: Staged, block: str, leave: Sequence[str]) -> bool:
    layers = [name for name, _ in network.model.named_modules() if name.startswith(f"{block}.")]
    return any(matching(network, pattern, layers) for pattern in leave)


def _spares_stages(network: Staged, gone: Sequence[str]) -> bool:
    """Whether every stage that has parameters keeps some."""
    names = [name for name, _ in network.model.named_parameters()]
    kept = [name for name in names if not any(name.startswith(f"{block}.") for block in gone)]
    return all(
        any(network.owns([stage.name], name) for name in kept)
        for stage in network.stages
        if any(network.owns([stage.name], name) for name in names)
    )


def _check_priced(blocks: Sequence[str], prices: Mapping[str, float]) -> None:
    unknown = [name for name in blocks if prices and not saving(name, prices)]
    if unknown:
        raise PlanError(
            f"block {unknown[0]}: what its layers take is not known, while it is of others; measure nothing, so that "
            "MACs are counted (--no-timing), or leave the block alone (--leave)"
        )


def _cheapest(model: nn.Module, saved: Mapping[str, float], calibration: Calibration) -> str:
    """The block without which the loss rises the least for what is saved."""
    loss, costs = _loss(model, calibration), {}
    for name, gain in saved.items():
        with _without(model, name):
            costs[name] = (max(_loss(model, calibration) - loss, 0.0) / gain, -gain)
    return min(costs, key=costs.__getitem__)


def _macs_saved(model: nn.Module, names: Sequence[str], image: Tensor) -> dict[str, float]:
    macs, saved = _macs(model, image), {}
    for name in names:
        with _without(model, name):
            saved[name] = float(max(macs - _macs(model, image), 1))
    return saved


@contextmanager
def _without(model: nn.Module, name: str) -> Iterator[None]:
    """The model without that block inside the `with`."""
    block = model.get_submodule(name)
    model.set_submodule(name, nn.Identity())
    try:
        yield
    finally:
        model.set_submodule(name, block)


@torch.no_grad()
def _macs(model: nn.Module, image: Tensor) -> int:
    with MacCounter() as counter:
        model(image)
    return int(counter.macs)


@torch.no_grad()
def _loss(model: nn.Module, calibration: Calibration) -> float:
    """The mean over the images."""
    assert calibration.loss is not None
    losses = [float(calibration.loss(model(images), targets)) * len(images) for images, targets in calibration.batches]
    return sum(losses) / sum(len(images) for images, _ in calibration.batches)
