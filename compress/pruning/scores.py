"""The scores of coupled channels by a criterion; those with the least go first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.errors import PlanError, unknown_name
from compress.pruning.calibration import Calibration, contributions, loss_products
from compress.pruning.choice import Choice
from compress.pruning.coupling import Coupling, Role
from compress.pruning.importance import (
    by_chance,
    distances_to_others,
    filter_lengths,
    filter_norms,
    loss_changes,
    removal_errors,
    scale_sizes,
    shares_of_the_rest,
)
from compress.stages import Staged

Score = Callable[[Coupling], Tensor | None]

SILENT = 1e-6  # of what the loudest channel adds


@dataclass(frozen=True)
class Criterion:
    """How channels are scored.

    Attributes:
        made: A network, its coupled channels, images and a seed to what scores (width,) one coupling, or says None
            where it has none to say: the channels then stay.
        looks: At images.
        labels: At their labels, too.
        control: It is what others are held against, and left as it is.
    """

    made: Callable[[Staged, Sequence[Coupling], Calibration, int], Score]
    looks: bool = False
    labels: bool = False
    control: bool = False


def scores(
    network: Staged, layers: Sequence[Coupling], choice: Choice, calibration: Calibration
) -> list[Tensor | None]:
    """For each of the couplings the scores (width,) of its channels, or None where the criterion has none.

    Where there are images, channels of which nothing that reads them ever sees a change score 0: units that never fire
    keep the norms that they began with, and would outlive those that learnt.

    Raises:
        PlanError: The criterion is unknown, or there is not what it looks at.
    """
    criterion = read_criterion(choice.criterion)
    score = criterion.made(network, layers, calibration, choice.seed)
    found = [score(layer) for layer in layers]
    if criterion.looks or criterion.control or not calibration.batches:
        return found
    heard = _heard(network, layers, calibration, choice.seed)
    return [
        rating if rating is None or not bool(some.any()) else rating.masked_fill(~some, 0.0)
        for rating, some in zip(found, heard, strict=True)
    ]


def _heard(network: Staged, layers: Sequence[Coupling], calibration: Calibration, seed: int) -> Iterator[Tensor]:
    """(width,) bool for each coupling: whether what reads a channel sees it change; all where a reader is unseen."""
    seen = contributions(network, _readers(layers), calibration, seed)
    for layer in layers:
        spread, reads = torch.zeros(layer.width), layer.side("reads")
        if not all(role.name in seen for role in reads):
            yield torch.ones(layer.width, dtype=torch.bool)
            continue
        for role in reads:
            spread.index_add_(0, role.channels, seen[role.name][:, role.places].abs().amax(dim=0).float())
        yield spread > SILENT * spread.max()


def _readers(layers: Sequence[Coupling]) -> set[str]:
    return {role.name for layer in layers for role in layer.side("reads")}


def read_criterion(name: str) -> Criterion:
    """The criterion of that name; PlanError for an unknown one."""
    if name not in CRITERIA:
        raise PlanError(unknown_name("criterion", name, CRITERIA))
    return CRITERIA[name]


def _measured(layer: Coupling, roles: Sequence[Role], measure: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """(width,) for each of some layers: what a measure, from (n, K) rows to (n,) values, says of each channel."""
    found = []
    for role in roles:
        values = measure(role.rows())
        found.append(values.new_zeros(layer.width).index_add(0, role.channels, values))
    return found


def _mean(found: Sequence[Tensor]) -> Tensor | None:
    return torch.stack(list(found)).mean(dim=0) if found else None


def _alike(found: Sequence[Tensor]) -> Tensor | None:
    """Their mean, in which each layer counts as much."""
    return _mean([values / values.mean().clamp_min(1e-30) for values in found])


def _of_weights(score: Score) -> Callable[[Staged, Sequence[Coupling], Calibration, int], Score]:
    """What needs no more than the weights."""

    def made(_network: Staged, _layers: Sequence[Coupling], _calibration: Calibration, _seed: int) -> Score:
        return score

    return made


def _l1(layer: Coupling) -> Tensor | None:
    """By what makes, scales and reads a channel, in which each layer counts as much.

    Deviates: Li et al. ask the filter alone; on a residual network that left less of the accuracy.
    """
    return _alike(_measured(layer, layer.roles, filter_norms))


def _l2(layer: Coupling) -> Tensor | None:
    return _alike(_measured(layer, layer.roles, filter_lengths))


def _bn_scale(layer: Coupling) -> Tensor | None:
    """By the batch-norms alone, in whose own scale layers are ranked together, as the paper does."""
    return _mean(_measured(layer, layer.side("scales"), scale_sizes))


def _fpgm(layer: Coupling) -> Tensor | None:
    return _alike(_measured(layer, layer.side("makes"), distances_to_others))


def _lamp(layer: Coupling) -> Tensor | None:
    sizes = _alike(_measured(layer, layer.side("makes"), lambda rows: filter_lengths(rows).square()))
    return None if sizes is None else shares_of_the_rest(sizes)


def _random(_network: Staged, _layers: Sequence[Coupling], _calibration: Calibration, seed: int) -> Score:
    chance = by_chance(seed)
    return lambda layer: chance(torch.empty(layer.width))


def _taylor(network: Staged, _layers: Sequence[Coupling], calibration: Calibration, _seed: int) -> Score:
    """By the batch-norms of a coupling, as gates of its channels, or by what makes them where there are none."""
    products = loss_products(network, calibration)

    def score(layer: Coupling) -> Tensor | None:
        gates = layer.side("scales") or layer.side("makes")
        found = [
            values.new_zeros(len(values), layer.width).index_add(1, gate.channels, values[:, gate.places])
            for gate in gates
            if (values := products.get(gate.name)) is not None
        ]
        return loss_changes(torch.stack(found).sum(dim=0)) if found else None

    return score


def _reconstruction(network: Staged, layers: Sequence[Coupling], calibration: Calibration, seed: int) -> Score:
    """By the outputs of all layers that read a coupling, each of which counts as much."""
    seen = contributions(network, _readers(layers), calibration, seed)

    def score(layer: Coupling) -> Tensor | None:
        found = []
        for role in layer.side("reads"):
            if role.name in seen:
                added = seen[role.name][:, role.places]
                added = added.new_zeros(len(added), layer.width).index_add(1, role.channels, added)
                found.append(added / added.sum(dim=1).norm().clamp_min(1e-30))
        return removal_errors(torch.cat(found)) if found else None

    return score


CRITERIA: Mapping[str, Criterion] = {
    "l1": Criterion(_of_weights(_l1)),
    "l2": Criterion(_of_weights(_l2)),
    "bn-scale": Criterion(_of_weights(_bn_scale)),
    "fpgm": Criterion(_of_weights(_fpgm)),
    "lamp": Criterion(_of_weights(_lamp)),
    "taylor": Criterion(_taylor, looks=True, labels=True),
    "reconstruction": Criterion(_reconstruction, looks=True),
    "random": Criterion(_random, control=True),
}
