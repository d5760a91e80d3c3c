"""The engine against the same training written as a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plans import CE, HINT, Adapter, kd, make_guide, make_student
from torch import Tensor
from watch import close, finished, moved, state_of

from compress.checkpoint import Checkpoint, load, save
from compress.data import Batch, DataOptions, Dataset
from compress.data import load as load_data
from compress.jobs import Auxiliary, Distillation, Job, distil
from compress.losses import cross_entropy_loss, kd_loss
from compress.named import Named
from compress.opening import new_network
from compress.phase import Fit, Optimizer, Phase
from compress.preprocessing import Scale
from compress.recipes import read_method
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, features
from compress.training.engine import Run, run
from compress.training.journal import Journal

MakeFit = Callable[..., Fit]
SGD = Optimizer("sgd", 0.02, momentum=0.9)


def _by_hand(
    student: Staged, teacher: Staged, data: Dataset, fit: Fit, weigh: Callable[[int], tuple[float, float]]
) -> None:
    """Trains by cross-entropy and divergence, weighed by the epoch, with one optimizer."""
    student.model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(student.model.parameters(), fit.optimizer.lr, momentum=0.9, nesterov=True)
    for epoch, factor in enumerate(fit.schedule):
        optimizer.param_groups[0]["lr"] = fit.optimizer.lr * factor
        alpha, beta = weigh(epoch)
        for batch in _epoch(data, fit, epoch):
            teacher.model.eval()
            with torch.no_grad():
                believed = teacher.model(_scaled(teacher.scale, batch.image))
            logits = student.model.train()(_scaled(student.scale, batch.image))
            loss = alpha * cross_entropy_loss(logits, batch.target) + beta * kd_loss(logits, believed, 4.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _epoch(data: Dataset, fit: Fit, epoch: int) -> Iterator[Batch]:
    return data.train.batches(fit.batch_size, order=epoch, view=epoch, seed=5)


def _scaled(scale: Scale, pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (scale.mean, scale.std))
    return (pixels / 255 - mean) / std


def test_rate_weights_and_momentum_go_through_the_epochs_of_a_phase(varied_digits: Dataset) -> None:
    fit = Fit(4, SGD, (1.0, 0.5, 0.1, 2.0), batch_size=48)
    weights = (1.0, 0.5, 0.25, 0.0)
    found, expected, teacher = make_student(), make_student(), make_guide()
    terms = (replace(CE, weight=weights), kd(4.0, 0.5))
    list(run([Phase("p", terms, fit)], found, varied_digits, Run(CLASSIFICATION, 5), teacher=teacher))
    _by_hand(expected, teacher, varied_digits, fit, lambda epoch: (weights[epoch], 0.5))
    assert close(state_of(found), state_of(expected), within=1e-5)
    other = make_student()
    _by_hand(other, teacher, varied_digits, fit, lambda _epoch: (1.0, 0.5))
    assert not close(state_of(found), state_of(other), within=1e-3)


def test_a_phase_has_an_optimizer_of_its_own(digits: Dataset) -> None:
    """Two phases of an epoch begin without momentum twice; one phase of two epochs does so once."""

    def trained(*names: str) -> dict[str, Tensor]:
        student = make_student()
        fit = Fit(2 // len(names), SGD, (1.0,) * (2 // len(names)), batch_size=48)
        list(run([Phase(name, (CE,), fit) for name in names], student, digits, Run(CLASSIFICATION, 5)))
        return state_of(student)

    assert not close(trained("a", "b"), trained("one"), within=1e-3)


@pytest.mark.parametrize("data", ["digits", "varied_digits"])
def test_student_and_teacher_see_each_image_as_their_own_cards_say(
    data: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The teacher was made for another mean and std, and that is how it is asked: looked up or live."""
    images: Dataset = request.getfixturevalue(data)
    dark = load_data("digits", DataOptions(size=(24, 24), fraction=0.1, mean=(0.9,), std=(0.1,)))
    made = new_network(Named("cnn-a", options={"width": 8}), dark, seed=9)
    teacher = load(save(made, tmp_path / "teacher.safetensors"))
    student = new_network(Named("cnn-s", options={"width": 4}), images, seed=3)
    assert (student.network.scale, teacher.network.scale) == (Scale((0.3057,), (0.3762,)), Scale((0.9,), (0.1,)))
    fit = Fit(2, SGD, (1.0, 1.0), batch_size=48)
    expected = new_network(Named("cnn-s", options={"width": 4}), images, seed=3).network
    _by_hand(expected, teacher.network, images, fit, lambda _epoch: (0.1, 0.9))
    job = Job("edgepress distill", Run(CLASSIFICATION, 5), Journal(tmp_path / "student.safetensors"))
    what = Distillation(student, teacher, images, Auxiliary(None, fit, 0.5))
    _, found = finished(distil(read_method("okd"), fit, what, job))
    assert close(state_of(found.network), state_of(expected), within=1e-5)
    mixed = new_network(Named("cnn-s", options={"width": 4}), images, seed=3).network
    _by_hand(mixed, replace(teacher.network, scale=mixed.scale), images, fit, lambda _epoch: (0.1, 0.9))
    assert not close(state_of(found.network), state_of(mixed), within=1e-3)


def test_a_network_is_evaluated_as_its_own_card_says(teacher: Checkpoint, digits: Dataset) -> None:
    for scale in (teacher.network.scale, Scale((0.9,), (0.1,))):
        network = replace(teacher.network, scale=scale)
        images = next(digits.test.batches(450))
        with torch.no_grad():
            expected = network.model(_scaled(scale, images.image))
        found, _ = features(network, digits.test, "logits")
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        right = float((expected.argmax(dim=1) == images.target).double().mean())
        assert CLASSIFICATION.evaluate(network, digits)["top1"] == pytest.approx(right, abs=1e-3)


def test_the_parameters_of_a_loss_learn_with_the_student(
    digits: Dataset, make_fit: MakeFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Adapter] = []
    calls: list[dict[str, Tensor]] = []

    def note(adapter: Adapter, student: Tensor, teacher: Tensor) -> Tensor:
        made.append(adapter)
        calls.append({key: value.clone() for key, value in adapter.state_dict().items()})
        return (adapter.adapt(student) - teacher).square().mean()

    monkeypatch.setattr(Adapter, "forward", note)
    list(run([Phase("p", (HINT,), make_fit(2))], make_student(), digits, Run(CLASSIFICATION), teacher=make_guide()))
    assert len({id(adapter) for adapter in made[1:]}) == 1  # after the one of the plan's check
    assert moved(calls[1], calls[-1]) == set(calls[1])
