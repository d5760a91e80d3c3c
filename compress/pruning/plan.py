"""Structured pruning: a network scored and traced once, cut as often as is asked."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.edits import Cut, Drop, Surgery
from compress.errors import PlanError
from compress.pruning.blocks import MACS, least_blocks
from compress.pruning.calibration import NOTHING, Calibration
from compress.pruning.choice import USUAL, Choice, check_named, matching
from compress.pruning.coupling import Coupling, couplings
from compress.pruning.importance import largest
from compress.pruning.scores import scores
from compress.pruning.surgery import apply
from compress.pruning.tracing import check_output, followed, named_failures, regions
from compress.pruning.trial import needs_trial, spared
from compress.pruning.widths import kept_places, kept_unrounded, step_of
from compress.stages import Staged

MOST = 0.9  # of a layer's channels that a ranking of all layers takes


@dataclass(frozen=True)
class Scored:
    """A network whose channels are scored: `at` gives the cuts of any ratio without another look at the network.

    How wide each layer is to be left, and which of its channels these are, may also be asked for one by one: `widths`
    of the network as it was once, `to` of the same network as it is by then.

    Attributes:
        kind: What the network is called.
        choice: What the scores are, and to what the widths are rounded.
        layers: What may be cut: coupled channels, and the score of each of them.
        ratios: For each of these the share that is its own, or None where it is the one that is asked for.
        drops: The blocks that go whatever the ratio.
        unranked: Layers of which the criterion says nothing, so that they keep their channels.
        spared: Layers that are left alone, by the choice.
    """

    kind: str
    choice: Choice
    layers: tuple[tuple[Coupling, Tensor], ...]
    ratios: tuple[float | None, ...]
    drops: tuple[Drop, ...] = ()
    unranked: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()

    def at(self, ratio: float) -> tuple[Surgery, ...]:
        """The cuts that take this share of the channels, as near as the widths allow; `apply` replays them.

        Args:
            ratio: Share of the channels to cut, in (0, 1); also 0 where layers have ratios of their own, or blocks go.

        Raises:
            ValueError: The ratio is out of range.
            PlanError: Nothing would be cut.
        """
        cuts = self.to(self.widths(ratio))
        if not cuts:
            raise PlanError(f"ratio {ratio}: {self.kind} {self._why_none()}")
        return cuts

    def widths(self, ratio: float, part: float = 1.0) -> dict[str, int]:
        """The root of each coupling to how many of its channels a cut leaves, as near as the widths allow.

        Args:
            ratio: As for `at`.
            part: Of the way there, in (0, 1]: of this ratio, and of those that layers have of their own.

        Raises:
            ValueError: The ratio is out of range.
        """
        if not 0 < ratio < 1 and not (ratio == 0 and (any(self.ratios) or self.drops)):
            raise ValueError(f"ratio {ratio}: the share of channels to cut must be between 0 and 1")
        stays = zip(self.layers, self._stay(ratio, part), strict=True)
        return {layer.root: layer.groups * _places(layer, stay, self.choice.multiple) for (layer, _), stay in stays}

    def asked(self, ratio: float) -> dict[str, float]:
        """Layer to the share of its channels that is to stay, of the layers that may be cut or are left alone.

        Args:
            ratio: As for `at`.
        """
        wished = dict.fromkeys(self.spared, 1.0) | dict.fromkeys(self.unranked, 1 - ratio)
        for (layer, _), own in zip(self.layers, self.ratios, strict=True):
            wished |= dict.fromkeys(layer.makers, 1 - (ratio if own is None else own))
        return wished

    def to(self, widths: Mapping[str, int]) -> tuple[Surgery, ...]:
        """The cuts that leave so many channels of each coupling, and take the blocks; none where nothing is to go.

        Args:
            widths: See `widths`; a coupling that is not named there, or is no wider, stays as it is.
        """
        cuts: list[Surgery] = [*self.drops]
        for layer, score in self.layers:
            removed = _least(layer, score, widths.get(layer.root, layer.width) // layer.groups)
            if removed:
                cuts.append(Cut(layer.root, True, tuple(removed)))
        return tuple(cuts)

    def alone(self, layer: Coupling, ratio: float) -> tuple[Cut, ...]:
        """The cut that takes this share of the channels of one coupling and none of the others; none if none would go.

        Args:
            layer: One of `layers`.
            ratio: Share of its channels, in (0, 1).
        """
        rating = next(rating for other, rating in self.layers if other is layer)
        removed = _least(layer, rating, _places(layer, layer.places * (1 - ratio), self.choice.multiple))
        return (Cut(layer.root, True, tuple(removed)),) if removed else ()

    def _stay(self, ratio: float, part: float) -> Iterator[float]:
        """How many places in each group of channels would stay, were channels divisible."""
        free = [layer for layer, own in zip(self.layers, self.ratios, strict=True) if own is None]
        ranked = iter(_ranked(free, ratio * part) if self.choice.scope == "global" else ())
        for (layer, _), own in zip(self.layers, self.ratios, strict=True):
            if own is None and self.choice.scope == "global":
                yield next(ranked)
            else:
                yield layer.places * (1 - part * (ratio if own is None else own))

    def _why_none(self) -> str:
        if not self.layers:
            spared = " beside those that are to be left alone" if self.choice.leave else ""
            return f"has no layer that could lose a channel{spared}"
        if self.choice.multiple == 1:
            return "loses no channel; cut more"
        return f"loses no channel where widths are multiples of {self.choice.multiple}; cut more, or round to less"


def score(
    network: Staged,
    image: Tensor,
    choice: Choice = USUAL,
    calibration: Calibration = NOTHING,
    *,
    prices: Mapping[str, float] = MACS,
) -> Scored:
    """A network traced and scored, to be cut at any ratio.

    Layers that have to be equally wide are cut together, and share one score for each channel. The stage "logits" and
    whatever else makes the network's output keep their outputs. Of a ShuffleNet, Swin or MaxViT only inner widths are
    cut, of chains of layers between what torch-pruning does not follow. A network of timm or of the user's own is
    tried: what it fails without, because it keeps a number of channels beside its layers, keeps its width.

    Args:
        network: Left as it is.
        image: One image (1, C, H, W) that the network takes.
        choice: How channels are chosen.
        calibration: Images for the criteria that look at some, and for the choice of blocks.
        prices: Of layers, for the choice of blocks, see `compress.pruning.blocks.least_blocks`.

    Raises:
        PlanError: The criterion is unknown or lacks what it looks at, a pattern of the choice names no layer, or layers
            that are cut together get two ratios.
        CompressError: torch-pruning cannot follow the network's layers.

    Reference: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023.
    """
    drops: tuple[Drop, ...] = ()
    if choice.blocks:
        check_output(copy.deepcopy(network.model).eval(), image)
        drops = least_blocks(network, image, choice.blocks, calibration, leave=choice.leave, prices=prices)
        network = apply(network, drops, image)
    model = copy.deepcopy(network.model)
    head = [module for path, module in model.named_modules() if network.owns(["logits"], path)]
    traced = regions(model, image)
    with named_failures(model):
        found = [layer for region in traced for layer in couplings(region, head)]
    if needs_trial(model) and followed(model):
        found = spared(model, image, found)
    layers = _free(network, found, choice)
    ratings = scores(network, layers, choice, calibration)
    scored = [(layer, rating) for layer, rating in zip(layers, ratings, strict=True) if rating is not None]
    ratios = tuple(_own_ratio(network, layer, choice) for layer, _ in scored)
    mute = _makers(layer for layer, rating in zip(layers, ratings, strict=True) if rating is None)
    alone = tuple(name for name in _makers(found) if name not in {*_makers(layers)})
    return Scored(type(network.model).__name__, choice, tuple(scored), ratios, drops, mute, alone)


def prune(
    network: Staged, image: Tensor, ratio: float, *, choice: Choice = USUAL, calibration: Calibration = NOTHING
) -> tuple[Staged, tuple[Surgery, ...]]:
    """A smaller copy of the network, and the cuts that `apply` replays on a freshly built one.

    Of each layer, or of all of them together, the share `ratio` of the channels goes, as near as the widths allow (see
    `compress.pruning.widths`); some always stay. Where a layer works in groups of channels, each group loses as many.
    What is left says `shares_left`.

    Args:
        network: Left as it is.
        image: One image (1, C, H, W) that the network takes.
        ratio: Share of the channels to cut, in (0, 1).
        choice: How they are chosen.
        calibration: Images for the criteria that look at some.

    Raises:
        ValueError: The ratio is out of range.
        PlanError: See `score` and `Scored.at`; or the network's taps are narrowed.
        CompressError: torch-pruning cannot follow the network's layers.
    """
    cuts = score(network, image, choice, calibration).at(ratio)
    return apply(network, cuts, image), cuts


def _free(network: Staged, found: Sequence[Coupling], choice: Choice) -> list[Coupling]:
    """What may be cut: all but what is to be left alone, once every pattern names something.

    Raises:
        PlanError: A pattern names no layer; or one with a ratio only layers that are left alone.
    """
    makers = _makers(found)
    check_named(network, choice, makers)
    left = {name for pattern in choice.leave for name in matching(network, pattern, makers)}
    free = [layer for layer in found if not left.intersection(layer.makers)]
    for pattern in choice.layer_ratios:
        if not matching(network, pattern, _makers(free)):
            raise PlanError(
                f"{pattern!r} has a ratio, but --leave {','.join(choice.leave)} keeps every channel that it names; "
                "leave one of the two out"
            )
    return free


def _makers(layers: Iterable[Coupling]) -> tuple[str, ...]:
    return tuple(name for layer in layers for name in layer.makers)


def _own_ratio(network: Staged, layer: Coupling, choice: Choice) -> float | None:
    """The ratio of the last pattern that names one of the layers; None where none does."""
    own = (ratio for name, ratio in choice.layer_ratios.items() if matching(network, name, layer.makers))
    return next(reversed([*own]), None)


def _ranked(layers: Sequence[tuple[Coupling, Tensor]], ratio: float) -> list[int]:
    """How many places in each group of channels of each layer stay, where the least of all go up to the share.

    A place counts as many channels as lie in it, in all groups and all layers that make them.
    """
    going, weights, owners = [], [], []
    for number, (layer, rating) in enumerate(layers):
        least = _by_place(layer, rating).sort().values[: math.floor(layer.places * MOST)]
        going.append(least)
        weights.append(torch.full_like(least, layer.groups * len(layer.makers)))
        owners.append(torch.full_like(least, number, dtype=torch.long))
    if not layers:
        return []
    whole = sum(layer.width * len(layer.makers) for layer, _ in layers)
    order = torch.cat(going).argsort(stable=True)
    weight = torch.cat(weights).double()[order]
    taken = order[weight.cumsum(0) - weight / 2 <= ratio * whole]
    counts = torch.bincount(torch.cat(owners)[taken], minlength=len(layers)).tolist()
    return [layer.places - count for (layer, _), count in zip(layers, counts, strict=True)]


def _places(layer: Coupling, stay: float, multiple: int) -> int:
    """How many places of each group of channels stay, where channels are not divisible."""
    if multiple == 1:
        return kept_unrounded(stay, layer.groups)
    return kept_places(stay, layer.places, step_of(layer.width, multiple, layer.groups))


def _least(layer: Coupling, rating: Tensor, kept: int) -> list[int]:
    """The channels that go, ascending: in each group of channels those at the places with the least mean score."""
    stays = torch.zeros(layer.places, dtype=torch.bool)
    stays[largest(_by_place(layer, rating), min(kept, layer.places))] = True
    return (~stays).repeat(layer.groups).nonzero().flatten().tolist()


def _by_place(layer: Coupling, rating: Tensor) -> Tensor:
    return rating.view(layer.groups, -1).mean(dim=0)
