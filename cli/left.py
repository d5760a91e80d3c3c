"""What `edgepress prune` says of the channels that a cut leaves, and why they are more or less than was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from compress.checkpoint import Checkpoint
    from compress.pruning import Scored, Share, Shares

SAID_BEYOND = 0.02  # between the share of the channels that was asked for and the one that is left
NAMED = 3  # layers, of those for which one reason holds


def say_cut(before: Checkpoint, found: Scored, ratio: float) -> Shares:
    """What a cut leaves of each layer, having printed what is worth a word.

    That is what is left of each where much is wanted, and in all where it is far from what was asked.
    """
    from cli import say
    from compress.checkpoint import blank_image
    from compress.pruning import apply, shares_left

    left = shares_left(before.network, apply(before.network, found.at(ratio), blank_image(before.card)))
    if say.at_length():
        say.aside(_table(left))
    layers = _called(before, found, left)
    asked = {name: found.asked(ratio).get(name, 1 - ratio) for name in layers}
    whole = sum(share.channels[0] for share in layers.values())
    stay = sum(share.channels[1] for share in layers.values()) / whole
    wanted = sum(share.channels[0] * asked[name] for name, share in layers.items()) / whole
    if abs(stay - wanted) > SAID_BEYOND:
        own = ", with what single layers are to keep," if found.choice.leave or found.choice.layer_ratios else ""
        say.line(
            f"{100 * stay:.1f} % of the channels are left, where a ratio of {ratio:g}{own} asks for "
            f"{100 * wanted:.1f} %: {'; '.join(_reasons(before, found, ratio, layers))}"
            f"{_farthest(layers, asked) if found.choice.scope == 'local' else ''}"
        )
    return left


def _farthest(layers: Mapping[str, Share], asked: Mapping[str, float]) -> str:
    """The layer that is farthest from what was asked of it; of layers that are ranked together nothing is."""
    name, share = max(layers.items(), key=lambda layer: abs(layer[1].channels_left - asked[layer[0]]))
    return f" (farthest off: {name}, {share.channels[1]} of {share.channels[0]} left)"


def _called(before: Checkpoint, found: Scored, left: Shares) -> Mapping[str, Share]:
    """The layers that are part of the answer, each with what is left of it."""
    from compress.checkpoint import blank_image
    from compress.quantization import idle_layers

    if left.layers.keys() <= found.asked(0).keys():
        return left.layers
    idle = idle_layers(before.network, blank_image(before.card))
    return {name: share for name, share in left.layers.items() if name not in idle}


def _reasons(before: Checkpoint, found: Scored, ratio: float, layers: Mapping[str, Share]) -> list[str]:
    """Why more or less is left than was asked for: what did take part in it."""
    from compress.pruning import followed

    reasons = []
    gone = [name for name, share in layers.items() if not share.channels[1]]
    fixed = [name for name in layers if name not in found.asked(ratio) and name not in gone]
    if gone:
        reasons.append("whole blocks are gone")
    if fixed and not followed(before.network.model):
        reasons.append("only the inner widths of some parts of this network can be cut")
    elif fixed:
        reasons.append(f"no channel of {_some(fixed)} can go")
    if found.unranked:
        reasons.append(f"criterion {found.choice.criterion} does not rank {_some(found.unranked)}")
    return reasons + _of_widths(found, ratio, alone=not reasons)


def _of_widths(found: Scored, ratio: float, *, alone: bool) -> list[str]:
    """Whether widths that are rounded are a reason, and channels that are whole; these, where nothing else is one."""
    from compress.pruning.plan import MOST

    exact = replace(found, choice=replace(found.choice, multiple=1))
    wished = found.asked(ratio)
    asked = {layer.root: layer.width * wished[layer.makers[0]] for layer, _ in found.layers}
    reasons, whole = [], sum(layer.width for layer, _ in found.layers)
    unrounded, rounded = sum(exact.widths(ratio).values()), sum(found.widths(ratio).values())
    if abs(rounded - unrounded) > SAID_BEYOND / 2 * whole:
        multiple = found.choice.multiple
        reasons.append(f"widths are rounded to multiples of {multiple}, or less where layers are narrow")
    if found.choice.scope == "global" and ratio > MOST:
        reasons.append(f"of one layer at most {100 * MOST:g} % go")
    elif abs(unrounded - sum(asked.values())) > SAID_BEYOND / 2 * whole or (alone and not reasons):
        reasons.append("layers lose whole channels, as many in each of their groups")
    return reasons


def _some(names: list[str] | tuple[str, ...]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _table(left: Shares) -> Table:
    from cli import say

    rows = [
        (name, f"{share.channels[0]:,}", f"{share.channels[1]:,}", f"{100 * share.channels_left:.1f} %")
        for name, share in left.layers.items()
    ]
    return say.table(("layer", "channels", "left", "share"), rows)
