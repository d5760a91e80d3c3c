"""What `edgepress prune --blocks` weighs: the time that each layer takes as .onnx, or its multiply-accumulates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.measured import Measured
    from compress.checkpoint import Checkpoint
    from compress.pruning import Scored

MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """What layers take.

    Attributes:
        of_layers: Layer to its price; none where no block is to go.
        unit: Of the prices.
        measured: Whether they are times, which decide; multiply-accumulates are counted anew, block by block.
    """

    of_layers: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""
    measured: bool = False

    @property
    def deciding(self) -> Mapping[str, float]:
        """What blocks are chosen by."""
        return self.of_layers if self.measured else {}


def prices_of(before: Checkpoint, blocks: int, measured: Measured, *, timed: bool) -> Prices:
    """What the layers of a network take, where blocks are to go.

    Args:
        before: The network.
        blocks: How many are to go.
        measured: Keeps the times.
        timed: Whether by time, in ONNX Runtime at one thread.

    Raises:
        ExportError: It is to be timed, but cannot be written as .onnx.
    """
    if not blocks:
        return Prices()
    if timed:
        from benchmarks.measure.operators import layer_times_ms

        return Prices(measured.once("layers_ms", partial(layer_times_ms, before)), "ms", measured=True)
    from compress.cost import network_products

    macs: dict[str, float] = {}
    for one in network_products(before.network.model, before.card.preprocessing.shape):
        macs[one.layer] = macs.get(one.layer, 0.0) + one.macs / MILLION
    return Prices(macs, "million MACs")


def say_blocks(found: Scored, prices: Prices) -> None:
    """Print which blocks go, if any do, and what each of them takes of the whole."""
    from cli import say
    from compress.pruning import saving

    gone, whole = [drop.module for drop in found.drops], sum(prices.of_layers.values())
    told = [f"{name} ({saving(name, prices.of_layers):.3g} of {whole:.3g} {prices.unit})" for name in gone]
    if told:
        say.line(f"{'block' if len(told) == 1 else 'blocks'} removed: {', '.join(told)}")
