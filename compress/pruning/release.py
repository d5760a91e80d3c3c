"""The narrowed auxiliary as InDistill's released code evaluates it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from torch import Tensor, nn

from compress.errors import PlanError
from compress.pruning.importance import filter_norms, largest
from compress.stages import Stage, Staged

Layer = TypeVar("Layer", bound=nn.Module)


class SideBranch(nn.Module):
    """A block as it was, beside which a pruned copy of it reads the same input: (B, C, H, W) to the block's output."""

    def __init__(self, block: nn.Module, shown: nn.Module) -> None:
        super().__init__()
        self.block, self.shown = block, shown

    def forward(self, feature: Tensor) -> Tensor:
        """The block's own output; the pruned copy's can be tapped."""
        self.shown(feature)
        output: Tensor = self.block(feature)
        return output


def narrow_taps_release(
    network: Staged, widths: Mapping[str, int], *, score: Callable[[Tensor], Tensor] = filter_norms
) -> Staged:
    """A copy of a cnn auxiliary that shows, at each named stage, its pruned block under a fresh batch-norm.

    Args:
        network: An auxiliary whose stages are single blocks of convolution and batch-norm.
        widths: Stage to the number of filters it keeps, those with the best score, in their order.
        score: The weight (out, in, ...) of a convolution to the scores (out,) of its filters.

    Raises:
        PlanError: There is no such stage, it is not such a block, or it has fewer filters.

    Reference: Sarridis et al., InDistill, Algorithm 1, as released.
    Deviates: The paper's target is the auxiliary's own map; here the kept filters' outputs are normalised with the
        statistics of the batch, scaled by the auxiliary's own factors (gamma) and not shifted.
    """
    model = copy.deepcopy(network.model)
    shown = {}
    for name, width in widths.items():
        stage = network.stage(name)
        block = model.get_submodule(stage.tap)
        model.set_submodule(stage.tap, SideBranch(block, _pruned(stage, block, width, score)))
        shown[name] = replace(stage, tap=f"{stage.tap}.shown", width=width)
    return replace(network, model=model, stages=tuple(shown.get(stage.name, stage) for stage in network.stages))


def _pruned(stage: Stage, block: nn.Module, width: int, score: Callable[[Tensor], Tensor]) -> nn.Module:
    pruned = copy.deepcopy(block)
    conv, (place, norm) = _only(pruned, nn.Conv2d, stage)[1], _only(pruned, nn.BatchNorm2d, stage)
    if width > conv.out_channels:
        raise PlanError(f"stage {stage.name!r}: cannot keep {width} of {conv.out_channels} filters")
    kept = largest(score(conv.weight.detach()), width)
    conv.weight = nn.Parameter(conv.weight[kept])
    conv.bias = None if conv.bias is None else nn.Parameter(conv.bias[kept])
    conv.out_channels = width
    fresh = nn.BatchNorm2d(width, track_running_stats=False)
    fresh.weight = nn.Parameter(norm.weight[kept])
    pruned.set_submodule(place, fresh)
    return pruned


def _only(block: nn.Module, kind: type[Layer], stage: Stage) -> tuple[str, Layer]:
    """The path and the layer of the only one of its kind in a block."""
    layers = [(path, module) for path, module in block.named_modules() if isinstance(module, kind)]
    if len(layers) != 1:
        raise PlanError(
            f"stage {stage.name!r}: the released code's targets need a block of one convolution and one batch-norm, "
            "which this is not; take the paper's: --set follow=paper"
        )
    return layers[0]
