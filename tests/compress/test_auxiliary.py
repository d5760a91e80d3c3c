"""Students that learn from an auxiliary: every depth and rate, other last methods, the control, no narrowing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from watch import finished

from compress.checkpoint import Checkpoint, load
from compress.data import Dataset
from compress.errors import PlanError
from compress.evidence import weights_digest
from compress.jobs import Auxiliary, Distillation, Job, distil
from compress.named import Named
from compress.opening import new_network
from compress.phase import Fit
from compress.recipes import read_method
from compress.tasks import CLASSIFICATION, RETRIEVAL
from compress.training.engine import Run
from compress.training.journal import Journal

MakeFit = Callable[..., Fit]
Learn = Callable[..., Checkpoint]


@pytest.fixture
def learn(teacher: Checkpoint, digits: Dataset, make_fit: MakeFit, tmp_path: Path) -> Learn:
    """A method and its knobs to the student that it makes, of some depth, by an auxiliary of some rate."""

    def learn(name: str, *, depth: int = 3, ratio: float = 0.5, seed: int = 1, **knobs: str) -> Checkpoint:
        student = new_network(Named("cnn-s", options={"width": 4, "depth": depth}), digits, seed=3)
        method = read_method(name, {knob.replace("_", "."): value for knob, value in knobs.items()})
        what = Distillation(student, teacher, digits, Auxiliary(None, make_fit(1), ratio))
        job = Job("edgepress distill", Run(CLASSIFICATION, seed), Journal(tmp_path / f"{seed}.safetensors", force=True))
        _, made = finished(distil(method, make_fit(method.fewest_epochs(student.network)), what, job))
        return made

    return learn


@pytest.mark.parametrize(("depth", "ratio", "width"), [(2, 1 / 3, 6), (3, 0.75, 16), (5, 0.5, 8), (7, 0.333, 6)])
def test_every_depth_and_rate_works_from_end_to_end(
    learn: Learn, tmp_path: Path, depth: int, ratio: float, width: int
) -> None:
    made = learn("indistill", depth=depth, ratio=ratio, a="1", b="0")
    assert [name for name, _ in made.card.lineage[-1]["phases"]] == [*made.network.body, "embedding"]
    auxiliary = load(tmp_path / "1.auxiliary.safetensors")
    assert len(auxiliary.network.body) == depth
    assert auxiliary.network.width("map1") == width
    assert made.network.width("map1") == 4


@pytest.mark.parametrize("last", ["no_teacher", "crd", "hints", "dist"])
def test_the_last_method_learns_from_an_auxiliary_of_other_widths_than_the_teacher(learn: Learn, last: str) -> None:
    knobs = {"last_negatives": "64"} if last == "crd" else {}
    made = learn("indistill", ratio=0.75, a="0", last=last, **knobs)
    assert made.card.lineage[-1]["phases"][-1][1] == 1


@pytest.mark.parametrize("scheme", ["decay", "all"])
def test_all_layers_at_once_are_one_phase(learn: Learn, scheme: str) -> None:
    assert learn("indistill", scheme=scheme).card.lineage[-1]["phases"] == [["embedding", 1]]


def test_pkt_h_cr_sees_the_auxiliary_as_it_is(learn: Learn, tmp_path: Path) -> None:
    facts = learn("pkt_h_cr").card.lineage[-1]
    assert facts["auxiliary"] == weights_digest(load(tmp_path / "1.auxiliary.safetensors").network.model)
    assert facts["phases"] == [["embedding", 1]]


def test_a_seed_decides_which_channels_are_random(learn: Learn, teacher: Checkpoint, student: Checkpoint) -> None:
    method = read_method("indistill", {"a": "0", "channels": "random", "follow": "paper"})
    shown = [method.shown(teacher.network, student.network, seed=seed) for seed in (1, 1, 2)]
    kept = [[channels.tolist() for channels in network.keep.values()] for network in shown]
    assert kept[0] == kept[1] != kept[2]
    assert [len(channels) for channels in kept[0]] == [4, 8, 16]
    assert all(channels == sorted(set(channels)) for channels in kept[0])
    strongest = read_method("indistill", {"follow": "paper"}).shown(teacher.network, student.network).keep
    assert kept[0] != [channels.tolist() for channels in strongest.values()]
    assert learn("indistill", a="0", channels="random").card.lineage[-1]["phases"][-1] == ["embedding", 1]


def test_random_channels_as_released_are_as_many(teacher: Checkpoint, student: Checkpoint) -> None:
    method = read_method("indistill", {"channels": "random", "follow": "release"})
    shown = method.shown(teacher.network, student.network, seed=5)
    assert [shown.width(name) for name in shown.body] == [4, 8, 16]


def test_a_teacher_of_another_depth_teaches_through_the_auxiliary(
    teacher: Checkpoint, digits: Dataset, make_fit: MakeFit, tmp_path: Path
) -> None:
    flat = replace(teacher, network=replace(teacher.network, stages=teacher.network.stages[-2:]))
    student = new_network(Named("cnn-s", options={"width": 4}), digits, seed=3)
    what = Distillation(student, flat, digits, Auxiliary(None, make_fit(1), 0.5))
    method = read_method("pkt_h_cr")
    job = Job("edgepress distill", Run(RETRIEVAL, 1), Journal(tmp_path / "student.safetensors"))
    reports, _ = finished(distil(method, make_fit(2), what, job))
    assert set(reports[-1].losses) == {"pkt", "pkt map1", "pkt map2", "pkt map3"}
    with pytest.raises(PlanError, match="the teacher has no stage 'map1', only embedding, logits"):
        next(distil(read_method("attention"), make_fit(2), what, replace(job, journal=Journal(tmp_path / "new"))))
