"""The names that student, auxiliary and teacher share, and the hooks that read features at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from compress.errors import PlanError, unknown_name
from compress.preprocessing import Scale
from compress.stage import Stage

__all__ = ["Answer", "Stage", "Staged", "Taps", "evaluating", "feature_shapes", "owned", "passed", "tapped"]

_OF_255 = Scale()


@dataclass(frozen=True)
class Staged:
    """A plain network and its named stages, in the order in which they fire.

    Attributes:
        model: (B, C, H, W) scaled images to (B, classes) logits.
        stages: Every stage, from the input to the logits.
        keep: Stage name to the channels of its feature that are shown, in order; a narrowed teacher.
        scale: From (B, C, H, W) uint8 pixels to what the network takes: a `Scale`, or `unscaled`.
    """

    model: nn.Module
    stages: tuple[Stage, ...]
    keep: Mapping[str, Tensor] = field(default_factory=dict)
    scale: Callable[[Tensor], Tensor] = _OF_255

    def stage(self, name: str) -> Stage:
        """The stage called `name`; PlanError if there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise PlanError(unknown_name("stage", name, (stage.name for stage in self.stages)))

    def width(self, name: str) -> int:
        """The number of channels that the stage shows."""
        return len(self.keep[name]) if name in self.keep else self.stage(name).width

    @property
    def body(self) -> tuple[str, ...]:
        """The names of the intermediate stages: all but the embedding and the logits."""
        return tuple(stage.name for stage in self.stages if stage.name not in ("embedding", "logits"))

    def owns(self, names: Iterable[str], path: str) -> bool:
        """Whether the parameter or module at the dotted `path` belongs to one of the named stages."""
        owned = (prefix for name in names for prefix in self.stage(name).owns)
        return any(path == prefix or path.startswith(f"{prefix}.") for prefix in owned)


class _FarEnough(Exception):  # noqa: N818  (no error)
    """The forward pass has come as far as anybody reads."""


class Taps:
    """The features of the latest forward pass, by stage name."""

    def __init__(self) -> None:
        self._features: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self._features[name]

    def read(self, model: nn.Module, image: Tensor) -> None:
        """Forget the latest pass and do another one.

        Args:
            model: The tapped network, or a wrapper around it.
            image: (B, C, H, W) scaled images.
        """
        self._features.clear()
        with suppress(_FarEnough):
            model(image)

    def put(self, name: str, feature: Tensor) -> None:
        """Keep one feature of this pass; PlanError if it is there already."""
        if name in self._features:
            raise PlanError(f"stage {name!r}: its tap fired twice in one forward pass; tap a module that is used once")
        self._features[name] = feature


@contextmanager
def tapped(network: Staged, names: Iterable[str], *, whole: bool = True) -> Iterator[Taps]:
    """The features of the named stages for each `Taps.read` inside the `with`; no hook outlives it.

    What flows on through the network is a copy, so that an in-place module behind a tap cannot change what was read.

    Args:
        network: Where to read.
        names: The stages to read, each once.
        whole: Run the network to its end; False stops it at the deepest of the names, and what lies behind is left as
            it is, the statistics of its batch-norm too.

    Raises:
        PlanError: A stage is unknown; or, in a pass, a tap fires twice or its feature is not a tensor.
    """
    names = list(names)
    order = [stage.name for stage in network.stages]
    for name in names:
        network.stage(name)
    last = "" if whole else max(names, key=order.index, default="")
    taps = Taps()
    with ExitStack() as hooks:
        for name in names:
            hooks.callback(_tap(network, name, taps, ends=name == last).remove)
        yield taps


def _tap(network: Staged, name: str, taps: Taps, *, ends: bool) -> RemovableHandle:
    stage, keep = network.stage(name), network.keep.get(name)

    def show(_module: nn.Module, feature: object) -> Tensor:
        if not isinstance(feature, Tensor):
            raise PlanError(f"stage {name!r}: its tap gives {type(feature).__name__}, not a tensor")
        shown = feature.permute(0, 3, 1, 2) if stage.channels_last else feature
        taps.put(name, shown if keep is None else shown.index_select(1, keep.to(shown.device)))
        if ends:
            raise _FarEnough
        return feature.clone()

    return passed(network.model, stage, show)


def passed(model: nn.Module, stage: Stage, change: Callable[[nn.Module, Any], Tensor]) -> RemovableHandle:
    """A hook by which what a stage's tap reads goes on as something else.

    Args:
        model: The network.
        stage: Where.
        change: The tapped module and its value to what takes the place of the value.

    Raises:
        PlanError: In a pass, nothing goes into a tap that reads what does.
    """
    module = model.get_submodule(stage.tap)

    def before(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (change(module, args[0]), *args[1:]), kwargs
        given = next((key for key, value in kwargs.items() if isinstance(value, Tensor)), None)
        if given is None:
            raise PlanError(f"stage {stage.name!r}: nothing goes into its tap; tap the output of the module before it")
        return args, {**kwargs, given: change(module, kwargs[given])}

    def after(module: nn.Module, _args: tuple[Any, ...], output: object) -> Tensor:
        return change(module, output)

    if stage.before:
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


class Answer(nn.Module):
    """A network that answers with one of its stages: (B, C, H, W) scaled images to (B, F) flattened features.

    Args:
        network: What is read.
        stage: Where.
    """

    def __init__(self, network: Staged, stage: str) -> None:
        super().__init__()
        self.model, self._network, self._stage = network.model, network, stage

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) scaled images to (B, F) features."""
        with tapped(self._network, [self._stage]) as taps:
            taps.read(self.model, image)
            return taps[self._stage].flatten(1)


def owned(network: Staged, stage: Stage) -> int:
    """How many parameters a stage owns."""
    return sum(value.numel() for path, value in network.model.named_parameters() if network.owns([stage.name], path))


@torch.no_grad()
def feature_shapes(network: Staged, image: Tensor) -> dict[str, tuple[int, ...]]:
    """Stage name to the shape of its feature, without the batch, for one image (1, C, H, W)."""
    names = [stage.name for stage in network.stages]
    with evaluating(network.model), tapped(network, names) as taps:
        taps.read(network.model, image)
        return {name: tuple(taps[name].shape[1:]) for name in names}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode inside the `with`; each of its parts goes back to the mode it came in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
