"""What the terms of a phase read of a batch: the student's features, and what the teacher says, live or looked up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from compress.data import Batch, Split
from compress.phase import INDEX, LABELS, Ref, S, T
from compress.stages import Staged, evaluating, tapped

Features = Callable[[Batch], Mapping[Ref, Tensor]]

TABLE_BYTES = 512 * 2**20
TABLE_STAGES = ("embedding", "logits")
TABLE_BATCH = 256


@contextmanager
def student_features(model: nn.Module, student: Staged, stages: Sequence[str], *, whole: bool) -> Iterator[Features]:
    """From a batch to its labels, its indices and the student's features at `stages`, with gradient.

    Args:
        model: The student's network, or a wrapper around it.
        student: Where to read.
        stages: Their names.
        whole: Run the student to its end, see `compress.stages.tapped`.
    """
    with tapped(student, stages, whole=whole) as taps:

        def features(batch: Batch) -> dict[Ref, Tensor]:
            taps.read(model, student.scale(batch.image))
            return {LABELS: batch.target, INDEX: batch.index, **{S(stage): taps[stage] for stage in stages}}

        yield features


@contextmanager
def teacher_features(teacher: Staged | None, stages: Sequence[str], split: Split, epochs: int) -> Iterator[Features]:
    """From a batch to the teacher's features at `stages`, in eval mode and without gradient.

    Where the training images never change (no augmentation) and the features are small, they are computed once for the
    whole split and then looked up; the two ways agree to rounding.

    Args:
        teacher: Only read, on the device where the batches will be; None where nothing is read.
        stages: Names of the teacher's stages; none means a function that gives nothing.
        split: What will be trained on.
        epochs: How often each image will be asked for.
    """
    if teacher is None or not stages:
        yield lambda _batch: {}
        return
    reader = folded(teacher)
    with evaluating(reader.model), tapped(reader, stages, whole=False) as taps:

        @torch.no_grad()
        def compute(batch: Batch) -> dict[Ref, Tensor]:
            taps.read(reader.model, reader.scale(batch.image))
            return {T(stage): taps[stage] for stage in stages}

        if _worth_a_table(teacher, stages, split, epochs):
            table = _table(compute, split, next(teacher.model.parameters()).device)
            yield lambda batch: {ref: rows[batch.index] for ref, rows in table.items()}
        else:
            yield compute


def folded(network: Staged) -> Staged:
    """A copy of a network for eval mode, each batch-norm that only normalises a convolution folded into it.

    The features are the same up to rounding. A network that torch.fx cannot trace comes back as it is.

    Args:
        network: Only read from while its weights stay as they are.
    """
    pairs = _pairs(network)
    if not pairs:
        return network
    model = copy.deepcopy(network.model).eval()
    for conv, norm in pairs:
        fused = fuse_conv_bn_eval(model.get_submodule(conv), model.get_submodule(norm))  # type: ignore[type-var, arg-type]
        model.set_submodule(conv, fused)
        model.set_submodule(norm, nn.Identity())
    return replace(network, model=model.requires_grad_(False))


def _pairs(network: Staged) -> list[tuple[str, str]]:
    """(convolution, batch-norm) by name, where nothing but the batch-norm reads the convolution."""
    try:
        graph = fx.Tracer().trace(network.model)
    except Exception:  # fx raises whatever the network's own control flow met in a proxy
        return []
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    taps = {stage.tap for stage in network.stages}
    pairs = []
    for node in graph.nodes:
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        conv, norm = network.model.get_submodule(str(source.target)), network.model.get_submodule(str(node.target))
        once = calls.count(source.target) == calls.count(node.target) == 1 and len(source.users) == 1
        foldable = isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
        if once and foldable and not {source.target, node.target} & taps:
            pairs.append((str(source.target), str(node.target)))
    return pairs


def _worth_a_table(teacher: Staged, stages: Sequence[str], split: Split, epochs: int) -> bool:
    if epochs < 2 or not split.fixed or not set(stages) <= set(TABLE_STAGES):
        return False
    return sum(teacher.width(stage) for stage in stages) * len(split) * 4 <= TABLE_BYTES


def _table(compute: Features, split: Split, device: torch.device) -> dict[Ref, Tensor]:
    parts: dict[Ref, list[Tensor]] = {}
    for batch in split.batches(TABLE_BATCH):
        for ref, feature in compute(Batch(batch.image.to(device), batch.target, batch.index)).items():
            parts.setdefault(ref, []).append(feature)
    return {ref: torch.cat(rows) for ref, rows in parts.items()}
