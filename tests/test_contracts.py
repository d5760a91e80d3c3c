"""What every method and every network holds to, checked over the tables that name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from compress.distillation import narrowed
from torch import Tensor, nn

from compress.checkpoint import Card, Checkpoint, load, save
from compress.data import Dataset
from compress.losses import cross_entropy_loss
from compress.models import Architecture, build, model_names
from compress.opening import Named, new_network
from compress.phase import LABELS, Fit, Phase, S, Term
from compress.preprocessing import Preprocessing
from compress.recipes import RECIPES, Method
from compress.stages import Staged, feature_shapes, tapped
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run
from exports import ship

MakeFit = Callable[..., Fit]
State = dict[str, Tensor]

EPOCHS = 13  # the least that leave InDistill, as the paper has it, an epoch for its last phase
SMALL_NETWORKS = (
    "cnn-s",
    "cnn-a",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
)


def _state(network: Staged) -> State:
    return {key: value.clone() for key, value in network.model.state_dict().items()}


def _same(first: State, second: State) -> bool:
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def _moved(before: State, after: State) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def _owners(network: Staged, path: str) -> list[str]:
    return [stage.name for stage in network.stages if network.owns([stage.name], path)]


# methods


@dataclass(frozen=True)
class Battery:
    """A method at work: who learns, from whom, by which plan, and what both were before."""

    method: Method
    student: Checkpoint
    guide: Staged
    phases: list[Phase]
    student_before: State
    guide_before: State
    requires_grad: list[bool]


@pytest.fixture(params=RECIPES)
def battery(request: pytest.FixtureRequest, student: Checkpoint, teacher: Checkpoint, make_fit: MakeFit) -> Battery:
    method, pupil = Method(request.param), student.network
    guide = narrowed(teacher.network, pupil, follow="paper") if method.narrows else teacher.network
    for number, parameter in enumerate(pupil.model.parameters()):
        parameter.requires_grad_(number != 1)
    return Battery(
        method,
        student,
        guide,
        method.phases(pupil, guide, CLASSIFICATION, make_fit(EPOCHS)),
        _state(pupil),
        _state(guide),
        [parameter.requires_grad for parameter in pupil.model.parameters()],
    )


def _run(battery: Battery, phases: list[Phase], data: Dataset) -> Iterator[str]:
    for report in run(phases, battery.student.network, data, Run(CLASSIFICATION), teacher=battery.guide):
        yield report.phase


def test_a_method_changes_the_student_and_nothing_else(
    battery: Battery, digits: Dataset, count_hooks: Callable[[Staged], int], tmp_path: Path
) -> None:
    pupil = battery.student.network
    assert len(list(_run(battery, battery.phases, digits))) == EPOCHS
    after = _state(pupil)
    assert list(after) == list(battery.student_before)
    assert {owner for key in _moved(battery.student_before, after) for owner in _owners(pupil, key)} == {
        stage.name for stage in pupil.stages
    }
    assert _same(_state(battery.guide), battery.guide_before)
    assert count_hooks(pupil) == count_hooks(battery.guide) == 0
    assert [parameter.requires_grad for parameter in pupil.model.parameters()] == battery.requires_grad
    assert all(parameter.requires_grad for parameter in battery.guide.model.parameters())
    assert all(p.grad is None for p in (*pupil.model.parameters(), *battery.guide.model.parameters()))
    assert not any(module.training for module in pupil.model.modules())
    images = next(digits.test.batches(200)).image
    exported = ship(battery.student, tmp_path / "student.onnx", [images]).artefact
    with torch.no_grad():
        assert torch.allclose(exported(images), pupil.model(images), atol=1e-4)


def test_each_phase_of_a_method_moves_the_declared_stages_only(battery: Battery, digits: Dataset) -> None:
    pupil = battery.student.network
    phases = [
        replace(phase, fit=phase.fit.window(0, 1), train=(phase.stages("student")[-1],)) for phase in battery.phases
    ]
    before = battery.student_before
    for phase, name in zip(phases, _run(battery, phases, digits), strict=True):
        after = _state(pupil)
        assert phase.name == name
        assert {tuple(_owners(pupil, key)) for key in _moved(before, after)} == {phase.train}
        before = after
    assert _same(_state(battery.guide), battery.guide_before)


@pytest.mark.parametrize("train", [("map1",), ("map2", "logits"), ("embedding",), ("logits",), None])
def test_frozen_stages_keep_parameters_and_statistics(
    student: Checkpoint, digits: Dataset, make_fit: MakeFit, train: tuple[str, ...] | None
) -> None:
    pupil = student.network
    before = _state(pupil)
    phase = Phase("p", (Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce"),), make_fit(1), train=train)
    list(run([phase], pupil, digits, Run(CLASSIFICATION)))
    declared = train or tuple(stage.name for stage in pupil.stages)
    assert _moved(before, _state(pupil)) == {key for key in before if pupil.owns(declared, key)}


# networks


@pytest.fixture(params=SMALL_NETWORKS)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return Architecture(request.param, 7, 1, (24, 24))


def test_every_parameter_and_statistic_belongs_to_one_stage(architecture: Architecture) -> None:
    network = build(architecture)
    normalised = (nn.modules.batchnorm._BatchNorm,)
    paths = [path for path, _ in network.model.named_parameters()]
    paths += [path for path, module in network.model.named_modules() if isinstance(module, normalised)]
    assert {path: len(_owners(network, path)) for path in paths} == dict.fromkeys(paths, 1)
    assert any(network.owns(["logits"], path) for path in paths)


def test_stages_are_as_wide_as_they_say_and_fire_in_their_order(architecture: Architecture) -> None:
    network = build(architecture)
    image = torch.zeros(2, architecture.channels, architecture.size, architecture.size)
    shapes = feature_shapes(network, image)
    assert {name: shape[0] for name, shape in shapes.items()} == {stage.name: stage.width for stage in network.stages}
    assert [stage.name for stage in network.stages][-2:] == ["embedding", "logits"]
    assert shapes["logits"] == (architecture.classes,)
    fired: list[str] = []
    with tapped(network, shapes) as taps:
        keep = taps.put
        taps.put = lambda name, feature: (fired.append(name), keep(name, feature))  # type: ignore[method-assign,assignment]
        network.model.eval()(image)
    assert fired == [stage.name for stage in network.stages]


def test_weights_depend_on_the_seed_alone(architecture: Architecture) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = _state(build(architecture, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert _same(first, _state(build(architecture, seed=1)))
    assert not _same(first, _state(build(architecture, seed=2)))


def test_a_network_comes_back_from_its_file_bit_by_bit(architecture: Architecture, tmp_path: Path) -> None:
    network = build(architecture, seed=3)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)  # type: ignore[arg-type]
    card = Card(architecture, Preprocessing((24, 24), 1, (0.5,), (0.25,)), tuple("abcdefg"))
    again = load(save(Checkpoint(network, card), tmp_path / "network.safetensors"))
    assert _same(_state(again.network), _state(network))
    assert again.card == card
    assert again.network.stages == network.stages
    image = torch.randn(2, 1, architecture.size, architecture.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(again.network.model(image), network.model.eval()(image))


def test_every_network_can_be_a_teacher(
    architecture: Architecture, student: Checkpoint, digits: Dataset, make_fit: MakeFit
) -> None:
    guide = build(replace(architecture, classes=10), seed=1)
    phases = Method("okd").phases(student.network, guide, CLASSIFICATION, make_fit(1))
    before = _state(guide)
    reports = list(run(phases, student.network, digits, Run(CLASSIFICATION), teacher=guide))
    assert reports[0].losses["kd"] > 0
    assert _same(_state(guide), before)


def test_the_small_networks_are_known() -> None:
    assert set(SMALL_NETWORKS) <= set(model_names())


def test_a_network_starts_from_a_data_set(digits: Dataset) -> None:
    made = new_network(Named("cnn-s", options={"depth": 2}), digits, seed=4)
    assert made.card.architecture == Architecture("cnn-s", 10, 1, (24, 24), {"depth": 2})
    assert (made.card.preprocessing, made.card.classes) == (digits.see, digits.classes)
    assert made.card.lineage == made.card.edits == ()
    assert _same(_state(made.network), _state(build(made.card.architecture, seed=4)))
