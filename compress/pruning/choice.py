"""How channels are chosen for a cut, as data: by which score, among which layers, to which widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd

from compress.errors import PlanError, unknown_name
from compress.stages import Staged

Scope = Literal["local", "global"]

SCOPES: tuple[Scope, ...] = ("local", "global")
MULTIPLE = 16


@dataclass(frozen=True)
class Choice:
    """What decides which channels go; how many go is said when it is asked, so that a budget can search for it.

    Layers are named by a stage, a module, or a pattern of either, such as "*layer4*".

    Attributes:
        criterion: How channels are scored, a name in `compress.pruning.CRITERIA`.
        scope: "local" takes the same share of every layer; "global" ranks the channels of all layers together.
        multiple: What the widths that are left are multiples of, see `compress.pruning.widths`; 1 rounds none.
        layer_ratios: Layers to the share of their channels to cut, in [0, 1), whatever is cut of the others; of two
            entries that name a layer, or layers that lose their channels together, the later one counts.
        leave: Layers that keep all of their output channels.
        blocks: How many residual blocks go, before channels are looked at. A number of its own, for what a block is
            worth is known by the loss without it, in which the scores of channels are not measured.
        seed: Of whatever is drawn at random.
    """

    criterion: str = "l1"
    scope: Scope = "local"
    multiple: int = MULTIPLE
    layer_ratios: Mapping[str, float] = field(default_factory=dict)
    leave: tuple[str, ...] = ()
    blocks: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError(unknown_name("scope", self.scope, SCOPES))
        if type(self.multiple) is not int or self.multiple < 1:
            raise ValueError(f"widths as multiples of {self.multiple!r}; give a whole number from 1, which rounds none")
        if type(self.blocks) is not int or self.blocks < 0:
            raise ValueError(f"{self.blocks!r} blocks to remove; give a whole number from 0")
        for pattern, ratio in self.layer_ratios.items():
            if not 0 <= ratio < 1:
                raise ValueError(
                    f"ratio {ratio} of {pattern!r}: the share of channels to cut must be from 0 to below 1"
                )

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON-able data, for the lineage of a network."""
        return {
            "criterion": self.criterion,
            "scope": self.scope,
            "multiple": self.multiple,
            "layer_ratios": dict(self.layer_ratios),
            "leave": list(self.leave),
            "blocks": self.blocks,
        }


USUAL = Choice()


def matching(network: Staged, pattern: str, layers: Iterable[str]) -> set[str]:
    """The layers that a pattern names: as a stage, as a module, or by the signs * ? [] of a pattern of these."""
    stages = [stage.name for stage in network.stages if fnmatchcase(stage.name, pattern)]
    return {
        layer
        for layer in layers
        if fnmatchcase(layer, pattern) or layer.startswith(f"{pattern}.") or network.owns(stages, layer)
    }


def check_named(network: Staged, choice: Choice, free: Sequence[str]) -> None:
    """Nothing, once every pattern of a choice names a layer with weights, and those with a ratio one that may be cut.

    Args:
        network: Whose layers are meant.
        choice: With the patterns.
        free: The layers that may be cut.

    Raises:
        PlanError: One does not; with the nearest name that there is.
    """
    layers = [name for name, module in network.model.named_modules() if isinstance(module, _ConvNd | nn.Linear)]
    for pattern in (*choice.leave, *choice.layer_ratios):
        if not matching(network, pattern, layers):
            known = {*(stage.name for stage in network.stages), *layers}
            raise PlanError(
                f"{unknown_name('stage or layer', pattern, known)}; a pattern such as *layer4* names several"
            )
    for pattern in choice.layer_ratios:
        if not matching(network, pattern, free):
            raise PlanError(
                f"{pattern!r} has a ratio, but no layer of that name may be cut: its channels are the network's outputs"
            )
