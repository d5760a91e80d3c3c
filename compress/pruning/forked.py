"""A network and its cuts in one place, run together: what comes before that place is computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compress.graph import Trace, Uncuttable, trace
from compress.pruning.reconstruct import Layer, forget, refit, start_walk, step
from compress.stages import Staged

Values = Mapping[int, Any]  # of the calls that are read further on, by their place in the order


@dataclass(frozen=True)
class Forked:
    """Copies of a network that make its calls, and give what it gives up to one of them.

    Attributes:
        whole: The network.
        copies: Of it.
        first: The place of the first call that may give something else in a copy.
        answer: The place of the call whose value is the answer.
    """

    whole: Trace
    copies: tuple[Trace, ...]
    first: int
    answer: int

    @torch.no_grad()
    def answers(self, image: Tensor) -> list[Tensor]:
        """What each copy answers for images (B, C, H, W)."""
        nodes, walk = _nodes(self.whole), start_walk(self.whole, image)
        _run(walk, nodes[: self.first])
        live, found = _values(walk, nodes), []
        for copy in self.copies:
            own = _fork(copy, live)
            calls = _nodes(copy)[self.first : self.answer + 1]
            _run(own, calls[:-1])
            found.append(own.run_node(calls[-1]))
        return found

    @torch.no_grad()
    def refit(self, kept: Sequence[Mapping[str, Tensor]], batches: Sequence[Tensor]) -> None:
        """Give some layers of the copies the weights by which they come nearest to what they said in the whole network.

        They are fitted as `reconstruct` does it; the copies change in place.

        Args:
            kept: For each copy layer to the positions of its outputs that survived; the same layers for all of them.
                One that is used more than once is left as it is.
            batches: (B, C, H, W) scaled images.
        """
        nodes = _nodes(self.whole)
        used = Counter(node.target for node in nodes if node.op == "call_module")
        wanted = [at for at, node in enumerate(nodes) if self._is_fitted(node, kept[0]) and used[node.target] == 1]
        if not wanted:
            return
        said = dict[int, list[Tensor]]((at, []) for at in wanted)
        starts = [self._watch(image, said) for image in batches]
        for copy, positions in zip(self.copies, kept, strict=True):
            self._refit_copy(copy, positions, [_fork(copy, live) for live in starts], said)

    def _is_fitted(self, node: fx.Node, names: Mapping[str, Tensor]) -> bool:
        called = node.op == "call_module" and node.target in names
        return called and isinstance(self.whole.model.get_submodule(str(node.target)), Layer)

    def _watch(self, image: Tensor, said: Mapping[int, list[Tensor]]) -> Values:
        """The values before the first call that differs; what the calls at some places give is added to `said`."""
        nodes, walk = _nodes(self.whole), start_walk(self.whole, image)
        _run(walk, nodes[: self.first])
        live = {at: _copied(value) for at, value in _values(walk, nodes).items()}
        for at in range(self.first, max(said) + 1):
            step(walk, nodes[at])
            if at in said:
                said[at].append(walk.env[nodes[at]].clone())  # the next call may change it in place
            forget(walk, nodes[at])
        return live

    def _refit_copy(
        self,
        copy: Trace,
        kept: Mapping[str, Tensor],
        walks: Sequence[fx.Interpreter],
        said: Mapping[int, list[Tensor]],
    ) -> None:
        chance = torch.Generator().manual_seed(0)
        for at, node in enumerate(_nodes(copy)[: max(said) + 1]):
            if at < self.first:
                continue
            if at in said:
                layer = copy.model.get_submodule(str(node.target))
                assert isinstance(layer, Layer)
                seen = [walk.env[node.all_input_nodes[0]] for walk in walks]
                refit(layer, list(zip(seen, said[at], strict=True)), kept[str(node.target)], chance)
            for walk in walks:
                _run(walk, [node])


def forked(whole: Staged, copies: Sequence[Staged], makers: Sequence[str], stage: str) -> Forked:
    """A network and copies of it whose layers differ from some of them on.

    Args:
        whole: In eval mode, as the copies.
        copies: Of the network, with fewer channels.
        makers: The layers that make fewer of them.
        stage: Whose feature is the answer.

    Raises:
        Uncuttable: torch.fx cannot follow them, or not all of them make the same calls; or the stage's feature is no
            value of theirs.
    """
    traced = trace(whole)
    others = tuple(trace(copy) for copy in copies)
    calls = _calls(traced)
    if any(_calls(other) != calls for other in others):
        raise Uncuttable("what is left of it makes other calls than it did")
    first = next((at for at, (op, target) in enumerate(calls) if op == "call_module" and target in makers), None)
    (answer,) = (_nodes(traced).index(node) for node in traced.ends([stage]))
    if first is None or first > answer:
        raise Uncuttable("the calls of its layers are hidden in others")
    return Forked(traced, others, first, answer)


def _nodes(traced: Trace) -> list[fx.Node]:
    return list(traced.graph.nodes)


def _calls(traced: Trace) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in traced.graph.nodes]


def _run(walk: fx.Interpreter, nodes: Sequence[fx.Node]) -> None:
    for node in nodes:
        step(walk, node)
        forget(walk, node)


def _values(walk: fx.Interpreter, nodes: Sequence[fx.Node]) -> Values:
    return {at: walk.env[node] for at, node in enumerate(nodes) if node in walk.env}


def _fork(copy: Trace, live: Values) -> fx.Interpreter:
    """A copy that goes on from the whole network's values, all but its own parameters, and may change them in place."""
    walk = fx.Interpreter(copy.model, graph=copy.graph)
    for at, node in enumerate(_nodes(copy)):
        if at in live:
            walk.env[node] = walk.run_node(node) if node.op == "get_attr" else _copied(live[at])
    return walk


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
