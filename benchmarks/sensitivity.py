"""Which channels a network minds losing: each group of layers that lose theirs together is cut alone, and scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.exam import Answers, Exam, Mark, answer
from compress.checkpoint import Checkpoint, blank_image
from compress.cost import NetworkCensus, network_census
from compress.edits import Cut
from compress.errors import PlanError
from compress.graph import Uncuttable
from compress.pruning import Calibration, Scored, apply, enough
from compress.pruning.coupling import Coupling
from compress.pruning.forked import forked
from compress.pruning.reconstruct import Layer
from compress.stages import Staged, evaluating

RATIOS = (0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Cell:
    """A network of which one group alone was cut.

    Attributes:
        ratio: Share of the group's channels that was to go.
        left: How many are left; all where the ratio is too small for the widths.
        parameters: How many fewer the network has.
        macs: Likewise, for one image.
        mark: What became of its answers.
    """

    ratio: float
    left: int
    parameters: int
    macs: int
    mark: Mark


@dataclass(frozen=True)
class Row:
    """A group of layers that lose their channels together.

    Attributes:
        group: What it is called: the first of its layers, which stands for all of them where layers are named.
        layers: All of them, in the order of the network.
        channels: How many each of them has.
        cells: What becomes of the network, one for each ratio.
        unfitted: Why the layers that read the channels were not fitted; "" if they were, or were not to be.
    """

    group: str
    layers: tuple[str, ...]
    channels: int
    cells: tuple[Cell, ...]
    unfitted: str = ""


@dataclass(frozen=True)
class Examination:
    """A network about to be cut in one group at a time.

    Attributes:
        checkpoint: The network; left as it is.
        found: Its channels, scored.
        exam: What the cuts are scored on.
        calibration: With images to fit on, or none: the layers that read what is left of a group are fitted to what
            they said before, see `compress.pruning.reconstruct`.
        census: Of the whole network.
    """

    checkpoint: Checkpoint
    found: Scored
    exam: Exam
    calibration: Calibration
    census: NetworkCensus

    @property
    def groups(self) -> list[tuple[Coupling, tuple[str, ...]]]:
        """What may be cut, and the layers that it runs through, both in the order of the network."""
        order = {name: at for at, (name, _) in enumerate(self.checkpoint.network.model.named_modules())}
        named = [(layer, tuple(sorted(layer.makers, key=order.__getitem__))) for layer, _ in self.found.layers]
        return sorted(named, key=lambda pair: order[pair[1][0]])

    def cost(self, network: Staged) -> NetworkCensus:
        """What is left of the network costs."""
        return network_census(network, self.checkpoint.card.preprocessing.shape)


def examine(checkpoint: Checkpoint, found: Scored, exam: Exam, calibration: Calibration) -> Examination:
    """The network, ready to be cut.

    Args:
        checkpoint: The network.
        found: Its channels, scored.
        exam: What the cuts are scored on.
        calibration: With images to fit on, or none.

    Raises:
        PlanError: It has no layer that could lose a channel.
    """
    if not found.layers:
        raise PlanError(f"{found.kind} has no layer that could lose a channel; leave fewer alone")
    census = network_census(checkpoint.network, checkpoint.card.preprocessing.shape)
    return Examination(checkpoint, found, exam, calibration, census)


def rows(whole: Examination, ratios: Sequence[float]) -> Iterator[Row]:
    """What becomes of a network of which one group alone is cut, group after group in the order of the network.

    Args:
        whole: The network.
        ratios: Shares of a group's channels, each in (0, 1).
    """
    with evaluating(whole.checkpoint.network.model):
        for layer, makers in whole.groups:
            yield _row(whole, layer, makers, ratios)


@torch.no_grad()
def _row(whole: Examination, layer: Coupling, makers: tuple[str, ...], ratios: Sequence[float]) -> Row:
    network, image = whole.checkpoint.network, blank_image(whole.checkpoint.card)
    cuts = {ratio: whole.found.alone(layer, ratio) for ratio in ratios}
    distinct = [cut for cut in dict.fromkeys(cuts.values()) if cut]
    copies = [apply(network, cut, image) for cut in distinct]
    answers, unfitted = _answers(whole, layer, [cut[0].channels for cut in distinct], copies)
    unchanged = Cell(0.0, layer.width, 0, 0, Mark(whole.exam.score, 0.0))
    cells: dict[tuple[Cut, ...], Cell] = {(): unchanged}
    for cut, copy, mark in zip(distinct, copies, whole.exam.marks(answers, len(copies)), strict=True):
        cost, left = whole.cost(copy), layer.width - len(cut[0].channels)
        saved = whole.census.parameters - cost.parameters, whole.census.macs - cost.macs
        cells[cut] = Cell(0.0, left, *saved, mark)
    return Row(makers[0], makers, layer.width, tuple(replace(cells[cuts[one]], ratio=one) for one in ratios), unfitted)


def _answers(
    whole: Examination, layer: Coupling, gone: Sequence[Sequence[int]], copies: Sequence[Staged]
) -> tuple[Answers, str]:
    """From pixels to what each copy answers, once their layers are fitted; and why these were not."""
    stage, network, images = whole.exam.task.output, whole.checkpoint.network, enough(whole.calibration.images)
    try:
        fork = forked(network, copies, layer.makers, stage)
    except Uncuttable as why:
        return lambda pixels: [answer(copy, stage, pixels) for copy in copies], str(why) if images else ""
    if images:
        fork.refit([_kept(layer, channels) for channels in gone], images)
    return lambda pixels: fork.answers(network.scale(pixels)), ""


def _kept(layer: Coupling, gone: Sequence[int]) -> dict[str, Tensor]:
    """Each layer that reads the channels, with the positions of its outputs that are left where some of them go."""
    readers = [(role.name, role.layer) for role in layer.side("reads") if isinstance(role.layer, Layer)]
    return {name: layer.outputs_left(name, len(reader.weight), gone) for name, reader in readers}
