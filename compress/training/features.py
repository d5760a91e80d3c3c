"""What the terms of a phase read of a batch: the features of student and teacher, computed or looked up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from compress.data import Batch
from compress.graph import Cut, Trace, Uncuttable, between, cut, trace
from compress.phase import INDEX, LABELS, Phase, Ref, S, T
from compress.stages import Staged, evaluating, tapped
from compress.training.cache import Before, Rows, Source, Tables, Values, View

Features = Callable[[Batch], Mapping[Ref, Tensor]]

TRIED = 3  # images on which a network is cut


@dataclass(frozen=True)
class Side:
    """One of the two networks, as it is asked in an epoch.

    Attributes:
        features: From a batch to what the terms read of it.
        looks: Whether it looks at the images of the batch, or at their positions alone.
        targets: Those of all images in this epoch, where it has them.
    """

    features: Features
    looks: bool
    targets: Rows | None = None


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


@dataclass(frozen=True)
class Teacher:
    """A teacher who is listened to.

    Attributes:
        stages: Names of the stages that are read.
        reader: The network that is run.
        ask: From a batch to its features at the stages, in eval mode and without gradient.
    """

    stages: tuple[str, ...]
    reader: Staged | None
    ask: Features

    def onwards(self, earlier: Sequence[str]) -> Callable[[Values], Values] | None:
        """From whole features at earlier stages to those at its own; None where they do not suffice."""
        if self.reader is None or not earlier or self.reader.keep.keys() & {*earlier}:
            return None
        try:
            traced = trace(self.reader)
            module = between(traced, traced.ends(earlier), traced.ends(self.stages))
        except Uncuttable:
            return None
        if module is None:
            return None
        reader, found = self.reader, module

        def step(values: Values) -> Values:
            features = dict(zip(self.stages, found(*(values[T(stage)] for stage in earlier)), strict=True))
            kept = {name: channels for name, channels in reader.keep.items() if name in features}
            shown = {name: features[name].index_select(1, one.to(features[name].device)) for name, one in kept.items()}
            return {T(stage): feature for stage, feature in (features | shown).items()}

        return step


@contextmanager
def teacher_features(teacher: Staged | None, stages: Sequence[str]) -> Iterator[Teacher]:
    """A teacher who is listened to inside the `with`.

    Args:
        teacher: Only read, on the device where the batches will be; None where nothing is read.
        stages: Names of the teacher's stages; none means a function that gives nothing.
    """
    if teacher is None or not stages:
        yield Teacher((), None, lambda _batch: {})
        return
    reader = folded(teacher)

    @torch.no_grad()
    def ask(batch: Batch) -> dict[Ref, Tensor]:
        with tapped(reader, stages, whole=False) as taps:
            taps.read(reader.model, reader.scale(batch.image))
            return {T(stage): taps[stage] for stage in stages}

    with evaluating(reader.model):
        yield Teacher(tuple(stages), reader, ask)


class Guide:
    """What a teacher says of a split: looked up where a view returns, computed where it does not.

    Args:
        teacher: Who is asked.
        source: The split.
        earlier: The guide of the phases before, on the same split, if there was one.
    """

    def __init__(self, teacher: Teacher, source: Source, earlier: Guide | None = None) -> None:
        self._teacher = teacher
        step = teacher.onwards(earlier._teacher.stages) if earlier and source.returning else None
        before = Before(earlier._tables, step) if earlier and step else None
        if earlier and not before:
            earlier._tables.keep(())
        self._tables: Tables = Tables(source, lambda batch: dict(teacher.ask(batch).items()), before)

    def at(self, view: View) -> Side:
        """The teacher, as it is asked in an epoch that sees a view."""
        table = self._tables.of(view) if self._teacher.stages else {}
        if table is None:
            return Side(self._teacher.ask, looks=True)
        return Side(lambda batch: {T(stage): table[T(stage)][batch.index] for stage in self._teacher.stages}, False)


class Pupil:
    """What a student says in a phase: from what is looked up at the frontier of what learns, or from the image on.

    Args:
        student: Its parameters and modules are set up for the phase, in training mode.
        model: Its network, or a wrapper around it.
        phase: What it learns.
        reads: Its stages that are read.
        source: The images; None where the whole of the network must be run, as one of several processes must.
        earlier: The same student in the phase before, if there was one.
    """

    def __init__(
        self,
        student: Staged,
        model: nn.Module,
        phase: Phase,
        reads: tuple[str, ...],
        *,
        source: Source | None,
        earlier: Pupil | None = None,
    ) -> None:
        self._student, self._model, self._reads, self._whole = student, model, reads, source is None
        self._cut = _cut(student, phase, reads, source) if source else None
        self._tables: Tables | None = _tables(student, self._cut, source, earlier) if source and self._cut else None
        if earlier and earlier._tables and not self._tables:
            earlier._tables.keep(())

    @contextmanager
    def at(self, view: View) -> Iterator[Side]:
        """The student, as it is asked inside the `with`, in an epoch that sees a view."""
        table = self._tables.of(view) if self._tables else None
        if table is None or self._cut is None:
            with student_features(self._model, self._student, self._reads, whole=self._whole) as features:
                yield Side(features, looks=True)
            return
        names, segment = [node.name for node in self._cut.frontier], self._cut.segment

        def ask(batch: Batch) -> dict[Ref, Tensor]:
            found = segment(*(table[name][batch.index] for name in names))
            read = {S(stage): feature for stage, feature in zip(self._reads, found, strict=True)}
            return {LABELS: batch.target, INDEX: batch.index, **read}

        yield Side(ask, looks=False, targets=table[LABELS])


def _cut(student: Staged, phase: Phase, reads: tuple[str, ...], source: Source) -> Cut | None:
    """The student cut before what learns; None where nothing before it is worth keeping, or it cannot be cut."""
    if phase.train is None or not source.returning or len(source.split) < TRIED:
        return None
    image = next(source.split.batches(TRIED)).image.to(source.device, memory_format=torch.channels_last)
    try:
        made = cut(student, phase.train, reads, student.scale(image))
    except Uncuttable:
        return None
    return None if made.whole else made


def _tables(student: Staged, made: Cut, source: Source, earlier: Pupil | None) -> Tables:
    prefix, names = between(made.trace, [made.trace.image], made.frontier), [node.name for node in made.frontier]
    assert prefix is not None

    def ask(batch: Batch) -> Values:
        values = prefix(student.scale(batch.image))
        target = batch.target.byte() if batch.target.ndim == 3 else batch.target  # a mask takes an eighth of the room
        return {LABELS: target, **dict(zip(names, values, strict=True))}

    if earlier is None or earlier._cut is None or earlier._tables is None:
        return Tables(source, ask)
    step = _onwards(earlier._cut, made)
    if step is None:
        earlier._tables.keep(())
    return Tables(source, ask, Before(earlier._tables, step) if step else None)


def _onwards(earlier: Cut, later: Cut) -> Callable[[Values], Values] | None:
    """From the values at one frontier to those at a later one of the same network; None where they do not suffice."""
    if _calls(earlier.trace) != _calls(later.trace):
        return None
    begin = [node.name for node in earlier.frontier]
    nodes = {node.name: node for node in later.trace.graph.nodes}
    module, names = between(later.trace, [nodes[name] for name in begin], later.frontier), [*map(str, later.frontier)]
    if module is None:
        return None

    def step(values: Values) -> Values:
        found = module(*(values[name] for name in begin))
        return {LABELS: values[LABELS], **dict(zip(names, found, strict=True))}

    return step


def _calls(traced: Trace) -> list[tuple[str, str, object]]:
    return [(node.name, node.op, node.target) for node in traced.graph.nodes]


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
