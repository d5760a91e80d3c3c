"""Whoever looks through a network leaves each of its modules in the mode it came in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plans import CE, make_guide, make_student

from compress.data import Dataset
from compress.errors import GateError
from compress.models import Architecture, build
from compress.phase import Fit, Phase
from compress.stages import Staged, feature_shapes
from compress.tasks import CLASSIFICATION, RETRIEVAL, features
from compress.training.check import check_plan
from compress.training.features import folded, teacher_features

MakeFit = Callable[..., Fit]

LOOKS: dict[str, Callable[[Staged, Dataset, MakeFit], object]] = {
    "feature_shapes": lambda network, _data, _fit: feature_shapes(network, torch.zeros(1, 1, 24, 24)),
    "features": lambda network, data, _fit: features(network, data.test, "map1"),
    "check_plan": lambda network, data, fit: check_plan([Phase("p", (CE,), fit(1))], network, network, data),
    "classification": lambda network, data, _fit: CLASSIFICATION.evaluate(network, data),
    "retrieval": lambda network, data, _fit: RETRIEVAL.evaluate(network, data),
    "folded": lambda network, _data, _fit: folded(network),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("training", [True, False])
def test_a_look_leaves_every_mode_as_it_was(look: str, training: bool, digits: Dataset, make_fit: MakeFit) -> None:
    network = make_student()
    network.model.train(training)
    network.model.get_submodule("blocks.1").train(not training)
    before = {name: module.training for name, module in network.model.named_modules()}
    assert len(set(before.values())) == 2
    LOOKS[look](network, digits, make_fit)
    assert {name: module.training for name, module in network.model.named_modules()} == before


def test_a_look_that_fails_leaves_every_mode_as_it_was(digits: Dataset) -> None:
    network = make_student()
    network.model.train()
    network.model.get_submodule("blocks.1").eval()
    before = [module.training for module in network.model.modules()]
    torch.nn.init.constant_(network.model.get_submodule("classifier").bias, torch.nan)  # type: ignore[arg-type]
    with pytest.raises(GateError):
        CLASSIFICATION.evaluate(network, digits)
    assert [module.training for module in network.model.modules()] == before


@pytest.mark.parametrize("make", [make_guide, lambda: build(Architecture("squeezenet1_1", 10, 1, (24, 24)))])
def test_a_teacher_is_read_in_eval_mode_whatever_mode_it_comes_in(make: Callable[[], Staged], digits: Dataset) -> None:
    guide = make()
    batch = next(digits.train.batches(16))

    def said() -> torch.Tensor:
        with teacher_features(guide, ("logits",)) as teacher:
            return next(iter(teacher.ask(batch).values()))

    guide.model.eval()
    first = said()
    guide.model.train()
    assert torch.equal(said(), first)
    assert all(module.training for module in guide.model.modules())
