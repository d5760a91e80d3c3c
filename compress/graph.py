"""Where a network can be cut: what moves while some of its stages learn, what that reads, and the module between."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from compress.edits import Place
from compress.stages import Staged

IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)
LEAST_ROWS = 3


class Uncuttable(Exception):  # noqa: N818  (no error: there is another way)
    """A network cannot be cut; the message says why, as the end of a sentence about it."""


@dataclass(frozen=True)
class Trace:
    """A network as a graph of its calls, in the modes in which its modules stood.

    Attributes:
        model: The network; the modules and parameters of whatever is cut out of it are its own.
        graph: From the scaled image to the answer.
        taps: Stage name to the node whose value is the stage's feature; without the stages that have no such node.
        places: Node to where its value goes into a module or comes out of one.
    """

    model: nn.Module
    graph: fx.Graph
    taps: Mapping[str, fx.Node]
    places: Mapping[fx.Node, tuple[Place, ...]]

    @property
    def image(self) -> fx.Node:
        """What goes in."""
        return _first(self.graph, "placeholder")

    def ends(self, stages: Iterable[str]) -> list[fx.Node]:
        """The nodes of stages; Uncuttable where one has none."""
        stages = list(stages)
        missing = [stage for stage in stages if stage not in self.taps]
        if missing:
            raise Uncuttable(f"stage {missing[0]!r} is no single tensor of its graph")
        return [self.taps[stage] for stage in stages]


@dataclass(frozen=True)
class Cut:
    """A network of which only some stages learn, cut before the first thing that does.

    Attributes:
        trace: The whole.
        frontier: The frozen nodes that the rest reads, in the order in which they fire.
        segment: Their values, each (B, ...), to a tuple of the features of the stages read.
        reads: The names of these stages.
    """

    trace: Trace
    frontier: tuple[fx.Node, ...]
    segment: nn.Module
    reads: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether what learns reads the image itself."""
        return self.trace.image in self.frontier


class _Tracer(fx.Tracer):
    """Remembers what went into each module and what came out, also of those that the graph looks into."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[nn.Module, list[tuple[object, object]]] = {}

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """What torch.fx asks of a tracer at the start: what goes in; beside the image the network's own defaults."""
        function, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        for number, arg in enumerate(args[2:], 2):
            if isinstance(arg, fx.Proxy) and arg.node.args and not str(arg.node.target).startswith("*"):
                args[number] = arg.node.args[0]
                self.graph.erase_node(arg.node)
        return function, args

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What torch.fx asks of a tracer where a module is called: its result."""
        result = super().call_module(m, forward, args, kwargs)
        self.calls.setdefault(m, []).append((args[0] if args else None, result))
        return result


def trace(network: Staged) -> Trace:
    """The graph of a network, as its modules stand: in training or in eval mode.

    Args:
        network: Left as it is.

    Raises:
        Uncuttable: torch.fx cannot trace it, its activations are on grids, which a graph does not show, it takes more
            than an image, or it changes a value in place that something else reads too.
    """
    if any(_rounds(hook) for module in network.model.modules() for hook in module._forward_hooks.values()):
        raise Uncuttable("its activations are on grids, by hooks that a graph does not show")
    tracer = _Tracer()
    try:
        graph = tracer.trace(network.model)
    except Exception as error:  # fx raises whatever the network's own control flow met in a proxy
        reason = (str(error).splitlines() or [""])[0]
        raise Uncuttable(f"torch.fx cannot trace it ({type(error).__name__}: {reason:.80})") from error
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise Uncuttable("it takes more than an image")
    traced = Trace(network.model, graph, _taps(network, graph, tracer), _places(network.model, tracer))
    for node in graph.nodes:
        if _in_place(traced, node) and len(node.all_input_nodes[0].users) > 1:
            raise Uncuttable(f"{node.name} changes in place what others read")
    return traced


def _rounds(hook: object) -> bool:
    """Whether a hook is one that puts values on grids, see `compress.quantization.activations`."""
    return bool(getattr(getattr(hook, "__self__", None), "ROUNDS", False))


def _taps(network: Staged, graph: fx.Graph, tracer: _Tracer) -> dict[str, fx.Node]:
    root = (_first(graph, "placeholder"), _first(graph, "output").args[0])
    taps = {}
    for stage in network.stages:
        calls = tracer.calls.get(network.model.get_submodule(stage.tap), []) if stage.tap else [root]
        values = [went_in if stage.before else came_out for went_in, came_out in calls]
        nodes = [value.node if isinstance(value, fx.Proxy) else value for value in values]
        if len(nodes) == 1 and isinstance(nodes[0], fx.Node) and not stage.channels_last:  # whose feature is turned
            taps[stage.name] = nodes[0]
    return taps


def _places(model: nn.Module, tracer: _Tracer) -> dict[fx.Node, tuple[Place, ...]]:
    names = {module: name for name, module in model.named_modules()}
    places: dict[fx.Node, tuple[Place, ...]] = {}
    for module, calls in tracer.calls.items():
        for call, (went_in, came_out) in enumerate(calls):
            for value, before in ((went_in, True), (came_out, False)):
                if isinstance(value, fx.Proxy):
                    place = Place(names[module], call, before)
                    places[value.node] = (*places.get(value.node, ()), place)
    return places


def _first(graph: fx.Graph, op: str) -> fx.Node:
    found: fx.Node = next(node for node in graph.nodes if node.op == op)
    return found


def _in_place(traced: Trace, node: fx.Node) -> bool:
    """Whether a node may change its first input."""
    if node.op == "call_module":
        return bool(getattr(traced.model.get_submodule(str(node.target)), "inplace", False))
    name = str(node.target if node.op == "call_method" else getattr(node.target, "__name__", ""))
    called = node.op in ("call_method", "call_function") and bool(node.all_input_nodes)
    marked = name.endswith("_") and not name.endswith("__")
    return called and (marked or node.target in IN_PLACE or node.kwargs.get("inplace") is True)


def cut(network: Staged, learns: Sequence[str] | None, reads: Sequence[str], image: Tensor) -> Cut:
    """The network cut before the first thing that learns.

    What learns is what depends on a parameter that wants a gradient, or on a norm whose statistics follow the images:
    one of a stage that learns, or in training mode. So the network is given as a phase has set it up (see
    `compress.training.modes`), or in eval mode.

    Args:
        network: Left as it is.
        learns: The stages that learn; None means all.
        reads: The stages whose features the segment gives.
        image: (B, C, H, W) scaled images, B at least 3; the frozen part is tried on them.

    Raises:
        Uncuttable: See `trace`; or a stage is no tensor of the graph; or the frozen part draws random numbers or looks
            at several images at a time.
    """
    traced = trace(network)
    ends = traced.ends(reads)
    moving = _moving(traced, lambda path: learns is None or network.owns(learns, path))
    values = _try(traced, moving, image)
    frontier = _frontier(traced, ends, values)
    segment = between(traced, frontier, ends)
    assert segment is not None  # nothing lies before the frontier but the image
    made = Cut(traced, frontier, segment, tuple(reads))
    _check_rows(made, image)
    return made


def _moving(traced: Trace, learns: Callable[[str], bool]) -> set[fx.Node]:
    """The nodes whose values change while the modules learn of whose path it is said."""
    moving: set[fx.Node] = set()
    for node in traced.graph.nodes:
        if any(source in moving for source in node.all_input_nodes) or _moves(traced.model, node, learns):
            moving.add(node)
    return moving


def _moves(model: nn.Module, node: fx.Node, learns: Callable[[str], bool]) -> bool:
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        value = getattr(model.get_submodule(owner), name)
        return isinstance(value, Tensor) and value.requires_grad
    if node.op != "call_module":
        return False
    module = model.get_submodule(str(node.target))
    follows = any(
        getattr(part, "running_mean", None) is not None and (part.training or learns(str(node.target)))
        for part in module.modules()
    )
    return follows or any(parameter.requires_grad for parameter in module.parameters())


def _frontier(traced: Trace, ends: Iterable[fx.Node], values: Mapping[fx.Node, object]) -> tuple[fx.Node, ...]:
    """The frozen tensors made from the image that are read on the way to the ends, nearest to them or smaller."""
    seen: set[fx.Node] = {traced.image}
    for node in traced.graph.nodes:
        if any(source in seen for source in node.all_input_nodes):
            seen.add(node)
    sizes = {node: value.nbytes for node, value in values.items() if node in seen and isinstance(value, Tensor)}
    needed = _back(ends, sizes)
    frontier = {node for node in needed if node in sizes}
    for node in reversed(traced.graph.nodes):
        sources = {source for source in node.all_input_nodes if source in sizes}
        new = sum(sizes[source] for source in sources - frontier)
        light = node.op in ("call_function", "call_method") and not _in_place(traced, node) and node not in ends
        joins = len(sources) > 1 and new == sizes.get(node)
        if node in frontier and light and sources and (joins or new < sizes[node]):  # as of what doubles a map
            frontier = frontier - {node} | sources
    return tuple(node for node in traced.graph.nodes if node in frontier)


def _back(ends: Iterable[fx.Node], starts: Iterable[fx.Node]) -> set[fx.Node]:
    """The ends and all that they depend on, up to the starts, which are among it."""
    stop, found, open_ = set(starts), set[fx.Node](), list(ends)
    while open_:
        node = open_.pop()
        if node not in found:
            found.add(node)
            if node not in stop:
                open_.extend(node.all_input_nodes)
    return found


def between(traced: Trace, starts: Sequence[fx.Node], ends: Sequence[fx.Node]) -> nn.Module | None:
    """The part of a network from some of its values to others, or None where the starts do not suffice.

    Args:
        traced: Whose modules and parameters the part shares, under their own names.
        starts: Their values go in, in this order.
        ends: A tuple of their values comes out; one that the network goes on to change in place comes out unchanged.
    """
    needed = _back(ends, starts)
    if traced.image in needed and traced.image not in starts:
        return None
    graph = fx.Graph()
    made = {start: graph.placeholder(start.name) for start in starts}
    out: dict[fx.Node, fx.Node] = {}
    for node in traced.graph.nodes:
        if node not in needed:
            continue
        if node not in made:
            made[node] = graph.node_copy(node, made.__getitem__)
        changed = any(user in needed and _in_place(traced, user) for user in node.users)
        if node in ends:
            out[node] = graph.call_method("clone", (made[node],)) if changed else made[node]
    graph.output(tuple(out[end] for end in ends))
    return fx.GraphModule(traced.model, graph)


class _Chance(TorchDispatchMode):
    """A `with` that finds out whether random numbers are drawn inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawn = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, so the compiler need not be imported to be kept away

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.drawn = self.drawn or torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


class _Still(fx.Interpreter):
    """Runs what does not move."""

    def __init__(self, traced: Trace, moving: set[fx.Node]) -> None:
        super().__init__(traced.model, garbage_collect_values=False, graph=traced.graph)
        self.moving = moving

    def run_node(self, n: fx.Node) -> Any:
        """What torch.fx asks of an interpreter for each node: its value."""
        return None if n in self.moving or n.op == "output" else super().run_node(n)


@torch.no_grad()
def _try(traced: Trace, moving: set[fx.Node], image: Tensor) -> dict[fx.Node, object]:
    """The value of every frozen node for some images."""
    still = _Still(traced, moving)
    with torch.random.fork_rng(), _Chance() as chance:
        still.run(image)
    if chance.drawn:
        raise Uncuttable("its frozen part draws random numbers")
    return {node: value for node, value in still.env.items() if node not in moving and node.op != "output"}


@torch.no_grad()
def _check_rows(made: Cut, image: Tensor) -> None:
    before = between(made.trace, [made.trace.image], made.frontier)
    assert before is not None
    for node, value, alone in zip(made.frontier, before(image), before(image[:1]), strict=True):
        of_image = value.ndim > 1 and value.shape[0] == len(image) and alone.shape == value[:1].shape
        if not of_image or not torch.allclose(alone.float(), value[:1].float(), rtol=1e-3, atol=1e-4):
            raise Uncuttable(f"{node.name} of its frozen part does not belong to one image")
