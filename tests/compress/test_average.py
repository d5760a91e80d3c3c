"""The average of the weights: worked by hand, against a plain loop, and as what a phase keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plans import CE, HINT, make_guide, make_student
from torch import nn
from watch import State, close, moved, same, state_of, watched

from compress.data import Dataset
from compress.losses import cross_entropy_loss
from compress.phase import Fit, Optimizer, Phase
from compress.schedule import Schedule
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.average import Average
from compress.training.engine import Reports, Run, run
from compress.training.journal import Journal, read_state

MakeFit = Callable[..., Fit]
SGD = Optimizer("sgd", 0.05, momentum=0.9)


def test_the_mean_of_three_steps_worked_by_hand() -> None:
    """With decay 1/2 the steps count 1, 2 and 4: (1*2 + 2*6 + 4*10) / 7."""
    layer = nn.Linear(1, 1, bias=False)
    average = Average(0.5, layer, {})
    for value, mean in ((2.0, 2.0), (6.0, 14 / 3), (10.0, 54 / 7)):
        layer.weight.data.fill_(value)
        average.follow()
        assert average.means["student/weight"].item() == pytest.approx(mean)
    with average.shown():
        assert layer.weight.item() == pytest.approx(54 / 7)
    assert layer.weight.item() == 10.0
    average.put()
    assert layer.weight.item() == pytest.approx(54 / 7)
    assert average.steps == 3


def test_what_does_not_learn_is_no_part_of_it_and_a_counter_stays_the_latest() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    model[0].weight.requires_grad_(False)
    average = Average(0.9, model, {"hint": nn.BatchNorm1d(2)})
    statistics = {"student/1.running_mean", "student/1.running_var"}
    learning = {"student/0.bias", "student/1.weight", "student/1.bias", "loss hint/weight", "loss hint/bias"}
    assert average.means.keys() == learning | statistics
    for _ in range(3):
        model(torch.randn(8, 2))
        average.follow()
    with average.shown():
        assert int(model[1].num_batches_tracked) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_what_stays_the_same_is_its_own_mean_to_the_bit(decay: float) -> None:
    layer = nn.Linear(64, 64)
    average = Average(decay, layer, {})
    before = layer.weight.detach().clone()
    for _ in range(50):
        average.follow()
    assert torch.equal(average.means["student/weight"], before)


def _by_hand(data: Dataset, decay: float, epochs: int) -> tuple[State, State]:
    """The last weights and, from the definition, their mean in float64, by a plain loop of SGD."""
    student = make_student()
    student.model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(student.model.parameters(), SGD.lr, momentum=0.9, nesterov=True)
    seen: list[State] = []
    for epoch in range(epochs):
        for batch in data.train.batches(48, order=epoch, view=epoch, seed=5):
            loss = cross_entropy_loss(student.model.train()(student.scale(batch.image)), batch.target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append({key: value.double() for key, value in state_of(student).items()})
    weights = [decay ** (len(seen) - step) for step in range(1, len(seen) + 1)]
    mean = {
        key: sum((w * state[key] for w, state in zip(weights, seen, strict=True)), torch.zeros(())) / sum(weights)
        for key in seen[0]
    }
    return state_of(student), {key: value if "num_batches" not in key else seen[-1][key] for key, value in mean.items()}


def test_the_averaged_weights_leave_the_phase(varied_digits: Dataset) -> None:
    student = make_student()
    fit = Fit(3, SGD, Schedule("constant", 3), batch_size=48, ema=0.8)
    _, states = watched(run([Phase("p", (CE,), fit)], student, varied_digits, Run(CLASSIFICATION, 5)), student)
    last, mean = _by_hand(varied_digits, 0.8, 3)
    found = {key: value.double() for key, value in states[-1].items()}
    assert close(found, mean, within=1e-4)
    assert not close(found, {key: value.double() for key, value in last.items()}, within=1e-2)
    between, _ = _by_hand(varied_digits, 0.8, 2)
    assert close(states[1], between, within=1e-4)  # it learns on from its own weights, not from the averaged ones


@pytest.mark.parametrize("keep", ["best score", "best loss"])
def test_the_averaged_weights_are_what_is_validated_and_kept(
    varied_digits: Dataset, make_fit: MakeFit, keep: str
) -> None:
    assert varied_digits.val is not None
    student = make_student()
    fit = replace(make_fit(4, rate=2e-2, keep=keep, batch_size=16), ema=0.95)
    reports, states = watched(run([Phase("p", (CE,), fit)], student, varied_digits, Run(CLASSIFICATION)), student)
    val = replace(varied_digits, test=varied_digits.val)
    scores = [report.score for report in reports]
    kept = CLASSIFICATION.evaluate(student, val)["top1"]
    assert any(kept == pytest.approx(score, abs=1e-6) for score in scores)
    if keep == "best score":
        assert kept == pytest.approx(max(score for score in scores if score is not None), abs=1e-6)
    student.model.load_state_dict(states[0])
    assert CLASSIFICATION.evaluate(student, val)["top1"] != pytest.approx(scores[0], abs=1e-6)


def test_frozen_stages_keep_parameters_and_statistics_to_the_bit(digits: Dataset, make_fit: MakeFit) -> None:
    student = make_student()
    before = state_of(student)
    fit = replace(make_fit(2), ema=0.9)
    list(run([Phase("p", (CE,), fit, train=("map2", "logits"))], student, digits, Run(CLASSIFICATION)))
    assert {key.split(".")[0] + key.split(".")[1] for key in moved(before, state_of(student))} == {
        "blocks1",
        "classifierweight",
        "classifierbias",
    }


def test_an_average_begins_anew_with_its_phase(digits: Dataset, make_fit: MakeFit) -> None:
    """With a decay of nearly 1 it would hardly ever leave what it began with."""
    fit = replace(make_fit(1, rate=1e-2), ema=0.999)
    student = make_student()
    _, (first, second) = watched(
        run([Phase("a", (CE,), fit), Phase("b", (CE,), fit)], student, digits, Run(CLASSIFICATION)), student
    )
    far = {key: (second[key] - first[key]).abs().max() for key in first if "weight" in key}
    assert all(distance > 1e-3 for distance in far.values())


@pytest.mark.parametrize("epochs", range(6))
def test_a_run_with_an_average_resumed_at_any_epoch_ends_with_the_same_bits(
    varied_digits: Dataset, tmp_path: Path, epochs: int
) -> None:
    cycle = Fit(3, SGD, Schedule("one-cycle", 3), "best loss", 32, ema=0.9)
    warm = Fit(3, SGD, Schedule("cosine", 3, warm_up=1), "last", 32, ema=0.99)
    plan = [Phase("cycle", (HINT, CE), cycle), Phase("warm", (CE,), warm, train=("embedding", "logits"))]

    guide = make_guide()

    def begin(student: Staged, journal: Journal | None = None) -> Reports:
        return run(plan, student, varied_digits, Run(CLASSIFICATION, 7), teacher=guide, journal=journal)

    whole, again = make_student(), make_student()
    list(begin(whole))
    journal = Journal(tmp_path / "student.safetensors")
    abandoned = begin(make_student(), journal)
    for _ in range(epochs):
        next(abandoned)
    abandoned.close()
    assert not epochs or (read_state(journal.state_path).average is None) == (epochs == 3)
    list(begin(again, replace(journal, resume=True)))
    assert same(state_of(again), state_of(whole))


@pytest.mark.parametrize("ema", [-0.1, 1.0, 1.5, float("nan")])
def test_a_decay_out_of_range_is_refused(ema: float) -> None:
    with pytest.raises(ValueError, match=r"ema: got .*; allowed is 0 for none, or a decay below 1"):
        Fit(1, SGD, (1.0,), ema=ema)
