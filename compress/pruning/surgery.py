"""Narrowing a network for good, by cuts that can be written down and replayed, or only what its taps show."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from compress.edits import Cut, Drop, Surgery
from compress.errors import CompressError, PlanError
from compress.pruning.importance import filter_norms, largest
from compress.pruning.tracing import Region, check_output, from_torchvision, kind, named_failures, regions
from compress.stages import Staged, feature_shapes


def apply(network: Staged, cuts: Iterable[Surgery], image: Tensor) -> Staged:
    """A copy of the network without the channels and blocks that were cut, its stages as wide as they then are.

    The weights that stay keep their values; batch-norm statistics, modes and `requires_grad` flags are kept too.

    Args:
        network: As it was before the first cut; left as it is.
        cuts: What to remove, in order.
        image: One image (1, C, H, W) that the network takes.

    Raises:
        PlanError: The network shows only some channels at a tap; cut it before it is narrowed.
        CompressError: A cut does not fit the network, or torch-pruning cannot follow the network's layers.
    """
    if network.keep:
        raise PlanError(
            f"stages {', '.join(network.keep)} are narrowed; cut the network first and narrow its taps then"
        )
    model = copy.deepcopy(network.model)
    modes = {module: module.training for module in model.modules()}
    learns = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    check_output(model.eval(), image)
    traced: list[Region] = []
    for cut in cuts:
        if isinstance(cut, Drop):
            _drop(model, cut, image)
            traced = []
        else:
            traced = traced or regions(model, image)
            _remove(model, traced, cut)
    with named_failures(model):
        _refresh(model)
        shapes = feature_shapes(replace(network, model=model), image)
    logits = network.stages[-1]
    if shapes[logits.name][0] != logits.width:
        raise CompressError(
            f"the cuts leave {shapes[logits.name][0]} of the {logits.width} outputs of {kind(model)}; none may be lost"
        )
    for module, training in modes.items():
        module.training = training
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learns[name])
    stages = tuple(replace(stage, width=shapes[stage.name][0]) for stage in network.stages)
    return replace(network, model=model, stages=stages)


def narrow_taps(
    network: Staged, widths: Mapping[str, int], *, score: Callable[[Tensor], Tensor] = filter_norms
) -> Staged:
    """The same network, showing at each named tap only its best channels, in their order; no parameter changes.

    Args:
        network: An auxiliary; each named stage ends in a convolution, whose filters make the channels of its tap.
        widths: Stage to the number of channels that it shows.
        score: The weight (out, in, ...) of that convolution to the scores (out,) of its filters.

    Raises:
        PlanError: A stage is unknown, has no convolution, or does not have so many channels.

    Reference: Sarridis et al., InDistill, Algorithm 1.
    """
    kept = {name: _best_channels(network, name, width, score) for name, width in widths.items()}
    return replace(network, keep={**network.keep, **kept})


def _drop(model: nn.Module, drop: Drop, image: Tensor) -> None:
    """Let what goes into a block go on as it is, once that has the shape of what the block gives."""
    try:
        block = model.get_submodule(drop.module)
    except AttributeError as error:
        raise CompressError(f"a drop names {drop.module!r}, which {kind(model)} does not have") from error
    same: list[bool] = []

    def compare(_module: nn.Module, given: tuple[object, ...], output: object) -> None:
        shapes = [value.shape for value in (*given, output) if isinstance(value, Tensor)]
        same.append(len(given) == 1 and len(shapes) == 2 and shapes[0] == shapes[1])

    with block.register_forward_hook(compare):
        check_output(model, image)
    if not same or not all(same):
        raise CompressError(f"a drop names {drop.module!r}, a {kind(block)}, which changes the shape of what it takes")
    model.set_submodule(drop.module, nn.Identity())


def _remove(model: nn.Module, traced: Sequence[Region], cut: Cut) -> None:
    try:
        module = model.get_submodule(cut.module)
    except AttributeError as error:
        raise CompressError(f"a cut names {cut.module!r}, which {kind(model)} does not have") from error
    graph = next((region.graph for region in traced if module in region.graph.module2node), None)
    with named_failures(model):
        pruner = graph.get_pruner_of_module(module) if graph else None
        if graph is None or pruner is None:
            raise CompressError(f"a cut names {cut.module!r}, a {kind(module)}, which has no channels to cut")
        width = graph.get_out_channels(module) if cut.out else graph.get_in_channels(module)
        if cut.channels[-1] >= width:
            raise CompressError(f"a cut removes channel {cut.channels[-1]} of {cut.module!r}, which has {width}")
        prune = pruner.prune_out_channels if cut.out else pruner.prune_in_channels
        group = graph.get_pruning_group(module, prune, list(cut.channels))
        if not graph.check_pruning_group(group):
            raise CompressError(f"a cut would leave {cut.module!r}, or a layer coupled to it, without channels")
        group.prune(record_history=False)


def _refresh(model: nn.Module) -> None:
    """Bring the width that a vision transformer keeps beside its layers in step with them."""
    if not from_torchvision(model):
        return
    from torchvision.models import VisionTransformer

    if isinstance(model, VisionTransformer):
        model.hidden_dim = model.conv_proj.out_channels  # type: ignore[assignment]


def _best_channels(network: Staged, name: str, width: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    stage = network.stage(name)
    owned = [module for path, module in network.model.named_modules() if network.owns([name], path)]
    convolutions = [module for module in owned if isinstance(module, nn.Conv2d)]
    if not convolutions:
        raise PlanError(f"stage {name!r}: owns no convolution whose filters could be ranked; narrow another stage")
    weight = convolutions[-1].weight
    if len(weight) != stage.width:
        raise PlanError(
            f"stage {name!r}: its last convolution has {len(weight)} filters, its tap {stage.width} channels; "
            "narrow a stage whose feature is that convolution's"
        )
    if not 1 <= width <= stage.width:
        raise PlanError(
            f"stage {name!r}: cannot show {width} of {stage.width} channels; allowed are 1 to {stage.width}"
        )
    return largest(score(weight.detach()), width)
