"""Which values of a forward pass are held to grids, so that every operator that can computes on whole numbers.

A runtime fuses a convolution, its batch-norm and the ReLU behind it into one operator: what comes out at its end is on
a grid, what is between is not. Operators that only move values, such as a max-pooling, pass the grid on. Where a value
shows at no module, it stays float, and so does what the network answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, fx, nn

from compress.edits import ActivationGrid, Place
from compress.errors import PlanError
from compress.graph import Trace, Uncuttable, trace
from compress.stages import Staged, evaluating

BITS = 8


class Kind(Enum):
    """What an operator does to its values, as far as grids are concerned."""

    WHOLE = "computes on whole numbers, and gives others"
    NORM = "a batch-norm, part of a convolution before it"
    CLIP = "a ReLU or the like, part of the operator before it"
    MOVE = "gives values that it was given"
    NOTHING = "does nothing when the network answers"
    OTHER = "computes on floats"


MODULES: Mapping[type[nn.Module], Kind] = {
    nn.AdaptiveAvgPool2d: Kind.WHOLE,
    nn.AvgPool2d: Kind.WHOLE,
    nn.BatchNorm2d: Kind.NORM,
    nn.Dropout: Kind.NOTHING,
    nn.Dropout2d: Kind.NOTHING,
    nn.Flatten: Kind.MOVE,
    nn.Hardtanh: Kind.CLIP,
    nn.Identity: Kind.NOTHING,
    nn.MaxPool2d: Kind.MOVE,
    nn.ReLU: Kind.CLIP,
    nn.ReLU6: Kind.CLIP,
    nn.Upsample: Kind.MOVE,
    nn.UpsamplingNearest2d: Kind.MOVE,
}
FUNCTIONS: Mapping[str, Kind] = {
    "adaptive_avg_pool2d": Kind.WHOLE,
    "add": Kind.WHOLE,
    "avg_pool2d": Kind.WHOLE,
    "cat": Kind.WHOLE,
    "concat": Kind.WHOLE,
    "contiguous": Kind.NOTHING,
    "dropout": Kind.NOTHING,
    "flatten": Kind.MOVE,
    "hardtanh": Kind.CLIP,
    "iadd": Kind.WHOLE,
    "imul": Kind.WHOLE,
    "interpolate": Kind.MOVE,
    "max_pool2d": Kind.MOVE,
    "mean": Kind.WHOLE,
    "mul": Kind.WHOLE,
    "permute": Kind.MOVE,
    "relu": Kind.CLIP,
    "relu6": Kind.CLIP,
    "relu_": Kind.CLIP,
    "reshape": Kind.MOVE,
    "squeeze": Kind.MOVE,
    "stochastic_depth": Kind.NOTHING,
    "transpose": Kind.MOVE,
    "unsqueeze": Kind.MOVE,
    "view": Kind.MOVE,
}  # by the name of a function or a method


def plan_activations(
    network: Staged, layers: Collection[str], image: Tensor, *, answer: str = "logits"
) -> tuple[ActivationGrid, ...]:
    """A grid for every value that an operator on whole numbers takes or gives, in the order in which they are made.

    Args:
        network: Only read.
        layers: The convolutions and linear layers whose weights are whole numbers.
        image: (B, C, H, W) scaled images to follow through the network.
        answer: The stage that the network answers with, which stays float.

    Raises:
        PlanError: The network cannot be followed, or no value of it can be held to a grid.
    """
    with evaluating(network.model):
        try:
            traced = trace(network)
        except Uncuttable as error:
            raise PlanError(
                f"static quantization has to follow the values through the network: {error}; take weights only, w8"
            ) from error
        graph = Flow(traced, layers, _floats(traced, image), traced.taps.get(answer))
    grids = tuple(ActivationGrid(places, BITS) for node in graph.points() if (places := graph.places(node)))
    if not grids:
        raise PlanError("no value between its layers can be held to a grid; take weights only, w8")
    return grids


@dataclass(frozen=True)
class Unit:
    """A layer that computes on whole numbers.

    Attributes:
        layer: Its name.
        norm: That of the batch-norm which is part of it; "" for none.
        grid: Position of the grid of what it takes.
    """

    layer: str
    norm: str
    grid: int


def units(network: Staged, layers: Collection[str], grids: Sequence[ActivationGrid]) -> list[Unit]:
    """The layers that take a value on a grid, in the order in which they run.

    Args:
        network: Without hooks; only read.
        layers: Those with whole weights.
        grids: Of its values, as `plan_activations` gives them.
    """
    with evaluating(network.model):
        traced = trace(network)
    flow = Flow(traced, layers, (), None)
    numbers = {grid.places[0]: number for number, grid in enumerate(grids)}
    found = []
    for node in traced.graph.nodes:
        if node.op == "call_module" and str(node.target) in layers:
            places = flow.places(flow.made(node))
            if places and places[0] in numbers:
                found.append(Unit(str(node.target), flow.norm(node), numbers[places[0]]))
    return found


class _Values(fx.Interpreter):
    """Remembers which values are float tensors."""

    def __init__(self, traced: Trace) -> None:
        super().__init__(traced.model, graph=traced.graph)
        self.floats: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """What torch.fx asks of an interpreter for each node: its value."""
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1 and n.op != "get_attr":
            self.floats.add(n)
        return value


@torch.no_grad()
def _floats(traced: Trace, image: Tensor) -> set[fx.Node]:
    values = _Values(traced)
    values.run(image)
    return values.floats


class Flow:
    """The values of a network, and what its operators do to them.

    Args:
        traced: The network.
        layers: The names of those with whole weights.
        floats: The values that may be on a grid.
        answer: What is read of it; None for what comes out at its end.
    """

    def __init__(
        self, traced: Trace, layers: Collection[str], floats: Collection[fx.Node], answer: fx.Node | None
    ) -> None:
        self._traced, self._layers, self._floats, self._answer = traced, layers, floats, answer

    def points(self) -> Iterator[fx.Node]:
        """The values that are on a grid of their own."""
        for node in self._traced.graph.nodes:
            if node not in self._floats or self._kind(node) in (Kind.MOVE, Kind.NOTHING) or self._absorbed(node):
                continue
            ends = [*self._ends(node)]
            if self._answer in (node, *self._passed(node)) or any(end.op == "output" for end in ends):
                continue
            if Kind.WHOLE in (self._kind(self._head(node)), *map(self._kind, ends)):
                yield node

    def places(self, node: fx.Node) -> tuple[Place, ...]:
        """Where the value shows, first where it is made; then where it shows moved."""
        own = self._shown(node)
        if not own:
            return ()
        moved = [
            place for other in self._passed(node) if self._kind(other) is Kind.MOVE for place in self._shown(other)
        ]
        return tuple(dict.fromkeys((*own, *moved)))

    def made(self, layer: fx.Node) -> fx.Node:
        """What a layer takes, as it was before it was moved."""
        node = layer.all_input_nodes[0]
        while self._kind(node) in (Kind.MOVE, Kind.NOTHING):
            node = node.all_input_nodes[0]
        return node

    def norm(self, layer: fx.Node) -> str:
        """The name of the batch-norm that is part of a layer; "" for none."""
        users = [user for user in layer.users if self._kind(user) is Kind.NORM]
        return str(users[0].target) if users and self._absorbed(layer) else ""

    def _shown(self, node: fx.Node) -> tuple[Place, ...]:
        """The one place where the value is made; or where each operator on whole numbers takes it; or none."""
        known = self._traced.places.get(node, ())
        if made := [place for place in known if not place.before]:
            return (made[0],)
        takers = [user for user in node.users if self._kind(user) in (Kind.WHOLE, Kind.MOVE)]
        taken = [place for user in takers for place in known if place.before and place.module == user.target]
        return tuple(dict.fromkeys(taken)) if len(taken) == len(takers) else ()

    def _kind(self, node: fx.Node) -> Kind:
        if node.op == "call_module":
            module = self._traced.model.get_submodule(str(node.target))
            if str(node.target) in self._layers:
                return Kind.WHOLE
            return next((kind for known, kind in MODULES.items() if isinstance(module, known)), Kind.OTHER)
        if node.op in ("call_function", "call_method"):
            name = str(node.target if node.op == "call_method" else getattr(node.target, "__name__", ""))
            return FUNCTIONS.get(name, Kind.OTHER) if node.all_input_nodes else Kind.OTHER
        return Kind.OTHER

    def _absorbed(self, node: fx.Node) -> bool:
        """Whether the one operator that takes the value is part of the one that gives it."""
        if len(node.users) != 1:
            return False
        (user,) = node.users
        kind = self._kind(user)
        return kind is Kind.CLIP or (kind is Kind.NORM and self._kind(node) is Kind.WHOLE and node.op == "call_module")

    def _head(self, node: fx.Node) -> fx.Node:
        """The operator that the one giving this value is part of."""
        while self._kind(node) in (Kind.CLIP, Kind.NORM) and self._absorbed(node.all_input_nodes[0]):
            node = node.all_input_nodes[0]
        return node

    def _passed(self, node: fx.Node) -> Iterator[fx.Node]:
        """The values that operators make of this one which only move it."""
        for user in node.users:
            if self._kind(user) in (Kind.MOVE, Kind.NOTHING):
                yield user
                yield from self._passed(user)

    def _ends(self, node: fx.Node) -> Iterator[fx.Node]:
        """The operators that take the value, moved or not, and do something to it."""
        for user in (taker for value in (node, *self._passed(node)) for taker in value.users):
            if self._kind(user) not in (Kind.MOVE, Kind.NOTHING):
                yield user
