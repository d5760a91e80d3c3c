"""A network cut, and ways to teach what is left: what the studies of recovery have in common."""

from __future__ import annotations

import copy
import time
from bisect import bisect_left
from dataclasses import dataclass, replace

import torch_pruning

from compress.checkpoint import Checkpoint, blank_image
from compress.cost import network_census
from compress.data import DataOptions, Dataset
from compress.jobs import guide_of, usual_rate
from compress.opening import data_for
from compress.phase import OPTIMIZERS, Fit, Lesson
from compress.recipes import read_method, usual_recovery
from compress.schedule import Schedule
from compress.smaller import cut, looked_at, mended
from compress.stages import Staged, feature_shapes
from compress.tasks import TASKS
from compress.training.engine import Run, run

CALIBRATION, BATCH = 256, 64
CUT, FIT = "cut", "fit"
THEIRS = "torch-pruning + no_teacher"
PLAIN = ("no_teacher", "okd", "pkt", "simultaneous")
FITTED = f"{FIT} + "
USUAL = f"{FITTED}maps and logits"
WAYS = (*PLAIN, THEIRS, USUAL)


@dataclass(frozen=True)
class Scene:
    """What the ways of one cut start from.

    Attributes:
        whole: The network before; it teaches.
        images: What all of them see.
        cut: As `edgepress prune` cuts it.
        fitted: The same, fitted to what the whole network says on `CALIBRATION` images.
        theirs: As torch-pruning cuts it.
        fit_s: CPU seconds of the fit.
    """

    whole: Checkpoint
    images: Dataset
    cut: Checkpoint
    fitted: Checkpoint
    theirs: Checkpoint
    fit_s: float

    def start(self, way: str) -> Checkpoint:
        """The network that a way begins with."""
        return self.theirs if way == THEIRS else self.fitted if way.startswith(FIT) else self.cut


def new_scene(whole: Checkpoint, data: str, options: DataOptions, ratio: float) -> Scene:
    """The networks that the ways start from.

    Args:
        whole: To be cut.
        data: Name of the data set.
        options: Of the data.
        ratio: Share of the channels to cut.
    """
    images = data_for(whole.card, data, options)
    seen = looked_at(whole, images.train, CALIBRATION)
    small = cut(whole, ratio, "edgepress prune", calibration=seen)
    start = time.process_time()
    fitted, why = mended(small, whole, seen, "edgepress prune")
    spent = time.process_time() - start
    assert not why, why
    return Scene(whole, images, small, fitted, _by_torch_pruning(whole, small), spent)


def _by_torch_pruning(whole: Checkpoint, small: Checkpoint) -> Checkpoint:
    """The network as torch-pruning's own pruner cuts it, by its usual importance, to no more MACs than ours."""
    most = macs(small.network, whole)

    def fits(percent: int) -> bool:
        return macs(_pruned_by_them(whole, percent / 100), whole) <= most

    network = _pruned_by_them(whole, bisect_left(range(100), True, lo=1, key=fits) / 100)
    shapes = feature_shapes(network, blank_image(whole.card))
    stages = tuple(replace(stage, width=shapes[stage.name][0]) for stage in network.stages)
    return replace(small, network=replace(network, stages=stages))


def _pruned_by_them(whole: Checkpoint, ratio: float) -> Staged:
    model = copy.deepcopy(whole.network.model).eval()
    torch_pruning.pruner.MagnitudePruner(
        model,
        blank_image(whole.card),
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[module for path, module in model.named_modules() if whole.network.owns(["logits"], path)],
    ).step()
    return replace(whole.network, model=model)


def macs(network: Staged, like: Checkpoint) -> int:
    """The multiply-accumulates of a network for an image as a checkpoint takes it."""
    return network_census(network, like.card.preprocessing.shape).macs


def recover(scene: Scene, way: str, epochs: int, seed: int) -> dict[str, float]:
    """The score of a way after so many epochs, and their CPU seconds; 0 epochs is the network it starts with.

    Args:
        scene: What it starts from.
        way: One of `WAYS`, `CUT` or `FIT`.
        epochs: At least 0.
        seed: Of the training.
    """
    start, task = copy.deepcopy(scene.start(way).network), TASKS[scene.whole.card.task]
    spent = 0.0
    if epochs:
        fitted, batches = way.startswith(FITTED), -(-len(scene.images.train) // BATCH)
        adam = OPTIMIZERS["adam"](usual_rate(epochs * batches, fitted=fitted))
        fit = Fit(epochs, adam, Schedule("cosine", epochs), batch_size=BATCH, fixed_statistics=fitted)
        method = usual_recovery() if way == USUAL else read_method(way.rpartition(" + ")[2])
        guide = guide_of(scene.whole, scene.cut, method)
        lesson = Lesson(start, guide, task, len(scene.images.train), len(scene.images.classes), seed)
        phases = method.phases(lesson, fit)
        for report in run(phases, start, scene.images, Run(task, seed), teacher=guide):
            spent += getattr(report, "cpu_s", 0.0)
    return {"score": task.evaluate(start, scene.images)[task.headline], "cpu_s": spent}
