"""What every network of the table holds to, and those of torchvision that stand for their families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from watch import same, state_of

from compress.checkpoint import Card, Checkpoint, load, save
from compress.data import Dataset
from compress.evidence import weights_digest
from compress.losses import kd_loss
from compress.models import Architecture, build, model_names
from compress.named import Named
from compress.opening import new_network
from compress.phase import Fit, Phase, S, T, Term
from compress.preprocessing import Preprocessing
from compress.stages import Staged, feature_shapes, tapped
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

MakeFit = Callable[..., Fit]

SMALL_NETWORKS = (
    "cnn-s",
    "cnn-a",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet10",
    "torchvision:resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
)
FOR_PIXELS = ("unet-resnet10",)  # a class for each pixel, and no embedding


def _owners(network: Staged, path: str) -> list[str]:
    return [stage.name for stage in network.stages if network.owns([stage.name], path)]


SLOW_NETWORKS = ("googlenet",)  # seconds to draw its weights


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_NETWORKS))
        for name in (*SMALL_NETWORKS, *FOR_PIXELS)
    ]
)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return Architecture(request.param, 7, 1, (32, 64) if request.param in FOR_PIXELS else (24, 24))


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_NETWORKS)) for name in SMALL_NETWORKS]
)
def guide(request: pytest.FixtureRequest) -> Staged:
    """A network that can teach to tell the digits apart."""
    return build(Architecture(request.param, 10, 1, (24, 24)), seed=1)


def test_every_parameter_and_statistic_belongs_to_one_stage(architecture: Architecture) -> None:
    network = build(architecture)
    normalised = (nn.modules.batchnorm._BatchNorm,)
    paths = [path for path, _ in network.model.named_parameters()]
    paths += [path for path, module in network.model.named_modules() if isinstance(module, normalised)]
    assert {path: len(_owners(network, path)) for path in paths} == dict.fromkeys(paths, 1)
    assert any(network.owns(["logits"], path) for path in paths)


def test_stages_are_as_wide_as_they_say_and_fire_in_their_order(architecture: Architecture) -> None:
    network = build(architecture)
    image = torch.zeros(2, architecture.channels, *architecture.size)
    shapes = feature_shapes(network, image)
    assert {name: shape[0] for name, shape in shapes.items()} == {stage.name: stage.width for stage in network.stages}
    for_pixels = architecture.name in FOR_PIXELS
    assert network.stages[-1].name == "logits"
    assert (network.stages[-2].name == "embedding") is not for_pixels
    assert {*network.body} == {*shapes} - {"embedding", "logits"}
    assert shapes["logits"] == (architecture.classes, *(architecture.size if for_pixels else ()))
    fired: list[str] = []
    with tapped(network, shapes) as taps:
        keep = taps.put
        taps.put = lambda name, feature: (fired.append(name), keep(name, feature))  # type: ignore[method-assign,assignment]
        network.model.eval()(image)
    assert fired == [stage.name for stage in network.stages]


def test_weights_depend_on_the_seed_alone(architecture: Architecture) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = state_of(build(architecture, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert same(first, state_of(build(architecture, seed=1)))
    assert not same(first, state_of(build(architecture, seed=2)))


def test_a_network_comes_back_from_its_file_bit_by_bit(architecture: Architecture, tmp_path: Path) -> None:
    network = build(architecture, seed=3)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)  # type: ignore[arg-type]
    card = Card(architecture, Preprocessing(architecture.size, 1, (0.5,), (0.25,)), tuple("abcdefg"))
    again = load(save(Checkpoint(network, card), tmp_path / "network.safetensors"))
    assert same(state_of(again.network), state_of(network))
    assert again.card == replace(card, stages=network.stages, weights=weights_digest(network.model))
    assert again.network.stages == network.stages
    image = torch.randn(2, 1, *architecture.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(again.network.model(image), network.model.eval()(image))


def test_every_network_can_be_a_teacher(guide: Staged, student: Checkpoint, digits: Dataset, make_fit: MakeFit) -> None:
    phases = [Phase("p", (Term(partial(kd_loss, tau=4.0), (S("logits"), T("logits")), 1.0, "kd"),), make_fit(1))]
    before = state_of(guide)
    reports = list(run(phases, student.network, digits, Run(CLASSIFICATION), teacher=guide))
    assert reports[0].losses["kd"] > 0
    assert same(state_of(guide), before)


def test_the_small_networks_are_known() -> None:
    assert {*SMALL_NETWORKS, *FOR_PIXELS} <= set(model_names())


def test_a_network_starts_from_a_data_set(digits: Dataset) -> None:
    made = new_network(Named("cnn-s", options={"depth": 2}), digits, seed=4)
    assert made.card.architecture == Architecture("cnn-s", 10, 1, (24, 24), {"depth": 2})
    assert (made.card.preprocessing, made.card.classes) == (digits.see, digits.classes)
    assert made.card.lineage == made.card.edits == ()
    assert same(state_of(made.network), state_of(build(made.card.architecture, seed=4)))
