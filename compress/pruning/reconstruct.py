"""What the layers of a pruned network said when it was whole, said with what is left: without labels or gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile

import torch
from torch import Tensor, fx, nn

from compress.graph import Trace, Uncuttable, trace
from compress.patches import patches
from compress.stages import Staged, evaluating

Layer = nn.Conv2d | nn.Linear

LEAST_ROWS = 4_096
ROWS_A_WEIGHT = 4  # positions looked at for each weight of a filter; more change little
MOST_PIXELS = 2**22  # of all images: their features are kept in memory, where two networks read them on
DAMPING = 0.1  # of the mean square of what meets a weight: how firmly the weights stay where they are


def enough(batches: Sequence[Tensor]) -> list[Tensor]:
    """The first batches (B, C, H, W), one at least, that have no more than `MOST_PIXELS` in all."""
    pixels = accumulate(len(batch) * batch.shape[2] * batch.shape[3] for batch in batches)
    count = sum(so_far <= MOST_PIXELS for so_far in pixels)
    return list(batches[: max(count, 1)])


@torch.no_grad()
def reconstruct(small: Staged, whole: Staged, kept: Mapping[str, Tensor], batches: Sequence[Tensor]) -> int:
    """Give each layer of a pruned network the weights by which it comes nearest to what it said when it was whole.

    Layer after layer, in the order of the forward pass: what it sees is what the pruned network shows it by then, so
    that it also makes up for what those before it lost; what it is to say are those outputs of the whole network's
    layer that survived. A layer that is used more than once is left as it is.

    Args:
        small: Changed in place.
        whole: The network before the cuts; only read.
        kept: Layer to the positions of the outputs that survived, see `kept_channels`.
        batches: (B, C, H, W) scaled images, each of them for both networks.

    Returns:
        How many layers have new weights.

    Raises:
        Uncuttable: torch.fx cannot follow the network, or what is left does not make the calls of the whole one.

    Reference: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, Sec. 3.1 (ii).
    Deviates: The weights are held to those that were left, by `DAMPING`, not to 0.
    """
    with evaluating(small.model), evaluating(whole.model):
        ours, theirs = trace(small), trace(whole)
        used = Counter(node.target for node in ours.graph.nodes if node.op == "call_module")
        walks = [(start_walk(ours, image), start_walk(theirs, image)) for image in batches]
        chance, done = torch.Generator().manual_seed(0), 0
        for node, twins in _pairs(ours, theirs):
            for twin in twins:
                for _, other in walks:
                    step(other, twin)
            layer = small.model.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, Layer) and node.target in kept and used[node.target] == 1:
                said = [(walk.env[node.all_input_nodes[0]], other.env[twins[-1]]) for walk, other in walks]
                refit(layer, said, kept[str(node.target)], chance)
                done += 1
            for walk, other in walks:
                step(walk, node)
                forget(walk, node)
                for twin in twins:
                    forget(other, twin)
    return done


def _pairs(ours: Trace, theirs: Trace) -> list[tuple[fx.Node, tuple[fx.Node, ...]]]:
    """Each call of the pruned network, with that of the whole one; in the place of a block that is gone, all of its."""
    calls = {node.target for node in theirs.graph.nodes if node.op == "call_module"}
    gone = {str(node.target) for node in ours.graph.nodes if node.op == "call_module" and node.target not in calls}
    rest, pairs = list(theirs.graph.nodes), []
    for node in ours.graph.nodes:
        count = 1
        if str(node.target) in gone:
            inside = (str(node.target) in one.meta.get("nn_module_stack", {}) for one in rest)
            count = sum(takewhile(bool, inside))
        elif not rest or (rest[0].op, str(rest[0].target)) != (node.op, str(node.target)):
            raise Uncuttable("the pruned network does not make the calls of the whole one")
        pairs.append((node, tuple(rest[:count])))
        rest = rest[count:]
    return pairs


def start_walk(traced: Trace, image: Tensor) -> fx.Interpreter:
    """A network about to be run on images (B, C, H, W), call by call."""
    walk = fx.Interpreter(traced.model, graph=traced.graph)
    walk.args_iter = iter((image,))
    return walk


def step(walk: fx.Interpreter, node: fx.Node) -> None:
    """Make the next call."""
    walk.env[node] = walk.run_node(node)


def forget(walk: fx.Interpreter, node: fx.Node) -> None:
    """Drop the values that nothing after this node reads."""
    for read in walk.user_to_last_uses.get(node, ()):
        del walk.env[read]


def refit(layer: Layer, said: Sequence[tuple[Tensor, Tensor]], kept: Tensor, chance: torch.Generator) -> None:
    """New weights for a layer, from what it sees and what is to come of it, batch by batch.

    Args:
        layer: Changed in place.
        said: Of each batch what goes into the layer, and what all outputs of the whole network's layer are for it.
        kept: (O,) the positions of those outputs that the layer still has.
        chance: Draws the positions that are looked at.
    """
    images, wanted = sum(len(seen) for seen, _ in said), max(LEAST_ROWS, ROWS_A_WEIGHT * layer.weight[0].numel())
    rows, targets = [], []
    for seen, output in said:
        row, target = patches(layer, seen), _outputs(layer, output, kept)
        count = min(len(target), -(-wanted * len(seen) // images))
        chosen = torch.randperm(len(target), generator=chance)[:count]
        rows.append(row[:, chosen])
        targets.append(target[chosen])
    _solve(layer, torch.cat(rows, dim=1), torch.cat(targets))


def _outputs(layer: Layer, output: Tensor, kept: Tensor) -> Tensor:
    """(N, O): at each position of all images the outputs that survived."""
    if isinstance(layer, nn.Linear):
        return output.reshape(-1, output.shape[-1])[:, kept]
    return output.index_select(1, kept).permute(0, 2, 3, 1).flatten(0, 2)


def _solve(layer: Layer, rows: Tensor, targets: Tensor) -> None:
    """The least squares of rows (G, N, D) to targets (N, O), near the weights that the layer has."""
    groups = len(rows)
    wanted = targets.reshape(len(targets), groups, -1).transpose(0, 1)
    if layer.bias is not None:
        mean_row, mean_wanted = rows.mean(dim=1, keepdim=True), wanted.mean(dim=1, keepdim=True)
        rows, wanted = rows - mean_row, wanted - mean_wanted
    weight = layer.weight.reshape(groups, -1, rows.shape[2]).mT
    weight = weight + _change(rows, wanted - rows @ weight)
    layer.weight.copy_(weight.mT.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_((mean_wanted - mean_row @ weight).flatten())


def _change(rows: Tensor, missing: Tensor) -> Tensor:
    """(G, D, O) by which weights come nearest to what is missing (G, N, O), damped.

    With X the rows and d the damping, (X'X + d)^-1 X' is X' (XX' + d)^-1: the smaller of the two is solved.
    """
    wide = rows.shape[1] < rows.shape[2]
    product = (rows @ rows.mT if wide else rows.mT @ rows).double()
    damping = DAMPING * rows.double().square().sum(dim=(1, 2)) / rows.shape[2] + 1e-12
    factor = torch.linalg.cholesky(product + damping[:, None, None] * torch.eye(product.shape[1], dtype=torch.float64))
    if wide:
        return rows.mT @ torch.cholesky_solve(missing.double(), factor).to(rows.dtype)
    return torch.cholesky_solve((rows.mT @ missing).double(), factor).to(rows.dtype)
