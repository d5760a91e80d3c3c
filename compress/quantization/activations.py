"""Values of the forward pass held to grids: hooks that round them, train through the rounding, and count calls."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from compress.edits import ActivationGrid, Place
from compress.errors import CompressError
from compress.stages import Staged

Round = Callable[[Tensor, "Spot"], Tensor]


@dataclass(frozen=True)
class Spot:
    """One place of one grid.

    Attributes:
        owner: The module that has the step and the zero of the grid.
        suffix: What their names end with.
        top: The largest code; the least is 0.
        grid: Position of the grid among those of the network.
        first: The place is the first of the grid.
    """

    owner: nn.Module
    suffix: str
    top: int
    grid: int
    first: bool

    @property
    def step(self) -> Tensor:
        """What a code counts, above 0: a parameter without dimensions."""
        found: Tensor = getattr(self.owner, f"step_{self.suffix}")
        return found

    @property
    def zero(self) -> Tensor:
        """The code of 0, int32 without dimensions."""
        found: Tensor = getattr(self.owner, f"zero_{self.suffix}")
        return found


def rounded(value: Tensor, spot: Spot) -> Tensor:
    """(B, ...) to the nearest of (code - zero) * step, with the gradient of the value where it is in range.

    The step learns as slowly as one value of an image.

    Reference: Esser et al., "Learned Step Size Quantization", 2020; the zero stays as it was calibrated.
    """
    share = (value[0].numel() * spot.top) ** -0.5
    slow = spot.step * share
    step = spot.step.detach() + (slow - slow.detach())
    low, high = -spot.zero, spot.top - spot.zero
    scaled = torch.clamp(value / step, low, high)
    found: Tensor = (scaled + (scaled.round() - scaled).detach()) * step
    return found


class Watch:
    """The hooks of one module: they count its calls in a pass, and round what goes in or comes out where it has a grid.

    A copy of the module has a copy of its watch.
    """

    ROUNDS = True  # by which it is known to what follows values through a network

    def __init__(self) -> None:
        self.round: Round = rounded
        self._call = 0
        self._spots: dict[tuple[int, bool], Spot] = {}

    def add(self, place: Place, spot: Spot) -> None:
        """Round at that place."""
        self._spots[place.call, place.before] = spot

    def install(self, module: nn.Module, root: nn.Module) -> None:
        """Set the hooks; the calls are counted anew in each pass of the root."""
        root.register_forward_pre_hook(self.begin)
        module.register_forward_pre_hook(self.before)
        module.register_forward_hook(self.after)

    def begin(self, _root: nn.Module, _args: object) -> None:
        """What torch calls before a pass of the network."""
        self._call = 0

    def before(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What torch calls before the module."""
        spot = self._spots.get((self._call, True))
        return None if spot is None or not args else (self.round(args[0], spot), *args[1:])

    def after(self, _module: nn.Module, _args: object, output: Any) -> Tensor | None:
        """What torch calls after the module."""
        spot = self._spots.get((self._call, False))
        self._call += 1
        return None if spot is None else self.round(output, spot)


def watches(model: nn.Module) -> Iterator[Watch]:
    """Every watch of a network, once."""
    for module in model.modules():
        for hook in module._forward_hooks.values():
            if isinstance(watch := getattr(hook, "__self__", None), Watch):
                yield watch


def round_with(model: nn.Module, function: Round) -> None:
    """Let something else be done to every value that is on a grid, from now on."""
    for watch in watches(model):
        watch.round = function


def apply_activations(network: Staged, grids: Sequence[ActivationGrid]) -> Staged:
    """A copy of the network whose named values are on grids, with steps of 1 and zeros of 0.

    Modules and stages keep their names; the state dict has the step and the zero of each grid at the module of its
    first place, as `MODULE.step_out0` and `MODULE.zero_out0`.

    Args:
        network: Left as it is.
        grids: Whose places it has.

    Raises:
        CompressError: A module does not exist, or a value has two grids.
    """
    taken = Counter(place for grid in grids for place in grid.places)
    if twice := [place for place, count in taken.items() if count > 1]:
        raise CompressError(f"two grids of the values {twice[0]}; each may have one")
    model = copy.deepcopy(network.model)
    device = next(model.parameters()).device
    seen: dict[str, Watch] = {}
    for number, grid in enumerate(grids):
        first = grid.places[0]
        owner, suffix = _module(model, first), _suffix(grid)
        owner.register_parameter(f"step_{suffix}", nn.Parameter(torch.ones((), device=device)))
        owner.register_buffer(f"zero_{suffix}", torch.zeros((), dtype=torch.int32, device=device))
        for place in grid.places:
            spot = Spot(owner, suffix, 2**grid.bits - 1, number, place == first)
            if place.module not in seen:
                seen[place.module] = Watch()
                seen[place.module].install(_module(model, place), model)
            seen[place.module].add(place, spot)
    return replace(network, model=model)


def without_hooks(network: Staged) -> Staged:
    """A copy of the network whose values are on no grids; what the grids had stays in its state dict."""
    model = copy.deepcopy(network.model)
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), Watch)]:
                del hooks[key]
    return replace(network, model=model)


def set_scales(network: Staged, grids: Iterable[ActivationGrid], scales: Iterable[tuple[float, int]]) -> None:
    """Give each grid its step and the code of 0."""
    for grid, (step, zero) in zip(grids, scales, strict=True):
        owner, suffix = _module(network.model, grid.places[0]), _suffix(grid)
        getattr(owner, f"step_{suffix}").data.fill_(step)
        getattr(owner, f"zero_{suffix}").fill_(zero)


def step_of(model: nn.Module, grid: ActivationGrid) -> Tensor:
    """The step of a grid, without dimensions."""
    found: Tensor = getattr(_module(model, grid.places[0]), f"step_{_suffix(grid)}")
    return found.detach()


def steps_of(model: nn.Module) -> list[nn.Parameter]:
    """The steps of all grids of activations."""
    return [
        value
        for module in model.modules()
        for name, value in module.named_parameters(recurse=False)
        if name.startswith("step_") and f"zero_{name.removeprefix('step_')}" in module._buffers
    ]


def _suffix(grid: ActivationGrid) -> str:
    """What the names of its step and its zero end with."""
    first = grid.places[0]
    return f"{'into' if first.before else 'out'}{first.call}"


def _module(model: nn.Module, place: Place) -> nn.Module:
    try:
        return model.get_submodule(place.module)
    except AttributeError as error:
        raise CompressError(f"a grid of the values {place}: the network has no such module") from error
