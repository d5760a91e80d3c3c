"""What structured pruning promises of every network, tried on one: it is cut, kept, cut again, shipped and taught."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.checkpoint import Checkpoint, load, save
from compress.cost import NetworkCensus, network_census
from compress.data import Dataset
from compress.data.found import Pixels
from compress.data.split import MemorySplit
from compress.errors import CompressError, GateError
from compress.jobs import guide_of
from compress.phase import OPTIMIZERS, Fit, Lesson
from compress.pruning import Calibration, shares_left
from compress.recipes import usual_recovery
from compress.smaller import cut, mended
from compress.stages import feature_shapes
from compress.tasks import SEGMENTATION, TASKS
from compress.training.engine import Run, run
from exports import Settings, noise, ship

RATIO = 0.5
COMMAND = f"edgepress prune --ratio {RATIO}"
IMAGES = 8

Facts = dict[str, Any]


@dataclass(frozen=True)
class Pruned:
    """A network before and after the cut, and a folder to write into."""

    whole: Checkpoint
    small: Checkpoint
    folder: Path


Promise = Callable[[Pruned], Facts]


def _smaller(made: Pruned) -> Facts:
    """It costs less."""
    before, after = _census(made.whole), _census(made.small)
    layers = shares_left(made.whole.network, made.small.network).layers.values()
    if not (after.macs < before.macs and after.parameters < before.parameters):
        raise GateError(f"it has {after.macs:,} MACs of {before.macs:,}, {after.parameters:,} parameters")
    return {
        "macs": [before.macs, after.macs],
        "parameters": [before.parameters, after.parameters],
        "layers": [sum(share.channels_left < 1 for share in layers), len(layers)],
    }


def _stages(made: Pruned) -> Facts:
    """Its stages are those of the whole network, as wide as it is by now, and fall in resolution to the logits."""
    image = noise(made.whole.card, 2)
    shapes = feature_shapes(made.small.network, image)
    before = feature_shapes(made.whole.network, image)
    network = made.small.network
    told = {stage.name: stage.width for stage in network.stages}
    if told != {name: shape[0] for name, shape in shapes.items()}:
        raise GateError(f"its stages say they are {told} wide, and show {shapes}")
    if {name: shape[1:] for name, shape in shapes.items()} != {name: shape[1:] for name, shape in before.items()}:
        raise GateError(f"its stages show maps of {shapes}, those of the whole network {before}")
    if network.stages[-1].name != "logits" or shapes["logits"] != before["logits"]:
        raise GateError(f"its last stage is {network.stages[-1].name}, its logits are {shapes['logits']}")
    sides = [shapes[name][-1] for name in network.body]
    if not sides or (TASKS[made.whole.card.task] is not SEGMENTATION and sides != sorted(sides, reverse=True)):
        raise GateError(f"its maps are {sides} pixels wide, which do not fall")
    return {"stages": {name: list(shapes[name]) for name in network.body}}


def _kept(made: Pruned) -> Facts:
    """A file of it answers bit by bit as it does."""
    _reload(made.small, made.folder / "once.safetensors")
    return {}


def _cut_again(made: Pruned) -> Facts:
    """It is cut again, and kept again."""
    again = cut(made.small, RATIO, COMMAND)
    before, after = _census(made.small), _census(again)
    if not (after.macs < before.macs and after.parameters < before.parameters):
        raise GateError(f"cut again it has {after.macs:,} MACs of {before.macs:,}, {after.parameters:,} parameters")
    _reload(again, made.folder / "twice.safetensors")
    return {"again": [after.macs, after.parameters]}


def _shipped(made: Pruned) -> Facts:
    """Its .onnx file gives its outputs."""
    path = made.folder / "pruned.onnx"
    parity = ship(made.small, path, [noise(made.small.card, IMAGES)], settings=Settings(lineage=False)).parity
    assert parity is not None
    return {"onnx": str(parity)}


def _fitted(made: Pruned) -> Facts:
    """What is left is fitted to what the whole network said, and comes nearer to it."""
    images = noise(made.whole.card, IMAGES)
    fitted, why = mended(made.small, made.whole, Calibration([(images, torch.zeros(IMAGES).long())]), COMMAND)
    wanted, was, now = (_answers(one, images) for one in (made.whole, made.small, fitted))
    before, after = (float((answer - wanted).square().mean().sqrt()) for answer in (was, now))
    if not after < before and not why:
        raise GateError(f"fitted, its answers are {after:.3g} off those of the whole network, before {before:.3g}")
    if not now.isfinite().all():
        raise GateError("fitted, its answers are not finite")
    return {"fit": {"off": [before, after], "why_not": why}}


def _taught(made: Pruned) -> Facts:
    """The whole network teaches it, for a step: its weights move and stay finite."""
    student, task = copy.deepcopy(made.small.network), TASKS[made.small.card.task]
    data = _noise_to_learn(made.small)
    method = usual_recovery()
    guide = guide_of(made.whole, made.small, method)
    lesson = Lesson(student, guide, task, IMAGES, len(data.classes), 0)
    phases = method.phases(lesson, Fit(1, OPTIMIZERS["adam"](1e-3), (1.0,), batch_size=IMAGES))
    before = copy.deepcopy(student.model.state_dict())
    for _ in run(phases, student, data, Run(task), teacher=guide):
        pass
    after = student.model.state_dict()
    still = [name for name, _ in student.model.named_parameters() if torch.equal(before[name], after[name])]
    return {"still": still}


PROMISES: Mapping[str, Promise] = {
    "smaller": _smaller,
    "stages": _stages,
    "kept": _kept,
    "again": _cut_again,
    "onnx": _shipped,
    "fit": _fitted,
    "taught": _taught,
}


def tried(whole: Checkpoint, folder: Path, promises: Mapping[str, Promise] = PROMISES) -> Facts:
    """What came of a network, as JSON-able data: what each of the promises tells, and `broken`: promise to reason.

    Args:
        whole: In eval mode; left as it is.
        folder: Empty; files are written into it.
        promises: Those to try, once it could be cut.
    """
    try:
        made = Pruned(whole, cut(whole, RATIO, COMMAND), folder)
    except Exception as error:  # a study goes on, whatever a network raised
        return {"broken": {"cut": _said(error)}}
    facts: Facts = {"broken": {}}
    for name, keep in promises.items():
        try:
            facts |= keep(made)
        except Exception as error:  # as above
            facts["broken"][name] = _said(error)
    return facts


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, CompressError) else f"{type(error).__name__}: {text}"


def _census(checkpoint: Checkpoint) -> NetworkCensus:
    return network_census(checkpoint.network, checkpoint.card.preprocessing.shape)


def _reload(checkpoint: Checkpoint, path: Path) -> None:
    again, images = load(save(checkpoint, path)), noise(checkpoint.card, 2)
    if not torch.equal(_answers(again, images), _answers(checkpoint, images)):
        raise GateError("read back from its file it gives other answers")


@torch.no_grad()
def _answers(checkpoint: Checkpoint, images: Tensor) -> Tensor:
    answer: Tensor = checkpoint.network.model.eval()(images)
    return answer


def _noise_to_learn(checkpoint: Checkpoint) -> Dataset:
    """As many images of noise as one step takes, of classes, or masks, by chance."""
    card, chance = checkpoint.card, torch.Generator().manual_seed(0)
    shape = card.preprocessing.size if TASKS[card.task] is SEGMENTATION else ()
    targets = torch.randint(0, len(card.classes), (IMAGES, *shape), generator=chance)
    pixels = Pixels(noise(card, IMAGES, "uint8"), targets.byte() if shape else targets, ready=True)
    split = MemorySplit(pixels, card.preprocessing, classes=len(card.classes))
    return Dataset("noise", card.classes, card.preprocessing, split, None, split, "0" * 16)
