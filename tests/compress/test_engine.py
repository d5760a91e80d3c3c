"""The engine: one plan in, one trained student out, and nothing else touched."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
import torch
from plans import CE, HINT, Adapter, Trip, kd, make_guide, make_lesson, make_student, noisy_loss
from torch import Tensor
from watch import State, close, moved, same, state_of, watched

from compress.data import DataOptions, Dataset, load
from compress.losses import cross_entropy_loss, feature_loss, kd_loss, pkt_loss
from compress.models import Architecture, build
from compress.phase import INDEX, OPTIMIZERS, Fit, Optimizer, Phase, S, T, Term
from compress.recipes import read_method
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL
from compress.training.engine import EpochReport, Progress, Run, run

MakeFit = Callable[..., Fit]
CountPasses = Callable[[Staged], AbstractContextManager[list[int]]]


@pytest.fixture(scope="module")
def guide() -> Staged:
    return make_guide()


# what a run reports


def test_the_loss_falls_and_the_score_rises(digits: Dataset, make_fit: MakeFit) -> None:
    student = make_student()
    reports = list(run([Phase("task", (CE,), make_fit(8))], student, digits, Run(CLASSIFICATION)))
    assert [(report.phase, report.epoch, report.epochs) for report in reports] == [("task", n, 8) for n in range(1, 9)]
    assert reports[-1].losses["ce"] < 0.7 * reports[0].losses["ce"]
    assert reports[-1].score > 0.6 > reports[0].score
    assert CLASSIFICATION.evaluate(student, digits)["top1"] > 0.5


def test_a_report_says_what_happened(digits: Dataset, varied_digits: Dataset, make_fit: MakeFit) -> None:
    phases = [Phase("task", (CE,), make_fit(2)), Phase("more", (CE,), make_fit(1))]
    reports = list(run(phases, make_student(), digits, Run(CLASSIFICATION)))
    assert [(report.phase, report.epoch) for report in reports] == [("task", 1), ("task", 2), ("more", 3)]
    assert {report.metric for report in reports} == {"train_top1"}
    assert all(report.images_per_s > 0 for report in reports)
    assert reports[0].seconds_left > 0
    assert reports[-1].seconds_left == 0
    scored = list(run(phases, make_student(), varied_digits, Run(RETRIEVAL)))
    assert {report.metric for report in scored} == {"val_precision_1"}
    assert all(0 < report.score < 1 for report in scored)


def test_the_cpu_seconds_of_all_epochs_are_those_of_the_run(digits: Dataset, make_fit: MakeFit, guide: Staged) -> None:
    plan = [Phase("p", (CE, kd(4.0, 1.0)), make_fit(3))]
    list(run(plan, make_student(), digits, Run(CLASSIFICATION), teacher=guide))  # what is imported once is paid here
    start = time.process_time()
    reports = list(run(plan, make_student(), digits, Run(CLASSIFICATION), teacher=guide))
    spent = time.process_time() - start
    assert all(report.cpu_s > 0 for report in reports)
    assert 0.5 * spent < sum(report.cpu_s for report in reports) < spent + 0.1


def test_a_long_epoch_gives_signs_of_progress_before_its_report(digits: Dataset, make_fit: MakeFit) -> None:
    phase = Phase("task", (CE,), make_fit(2, batch_size=50))
    signs = list(run([phase], make_student(), digits, Run(CLASSIFICATION, every_s=0.0)))
    assert [type(sign) for sign in signs] == [*[Progress] * 3, EpochReport] * 2
    assert [sign.images for sign in signs if isinstance(sign, Progress)] == [50, 100, 130] * 2
    assert {(sign.epochs, sign.of) for sign in signs if isinstance(sign, Progress)} == {(2, 130)}
    assert [sign.epoch for sign in signs] == [1] * 4 + [2] * 4


def test_the_score_is_that_of_the_validation_split(varied_digits: Dataset, make_fit: MakeFit) -> None:
    student = make_student()
    assert varied_digits.val is not None
    for report in run([Phase("task", (CE,), make_fit(2))], student, varied_digits, Run(CLASSIFICATION)):
        val = replace(varied_digits, test=varied_digits.val)
        assert report.score == pytest.approx(CLASSIFICATION.evaluate(student, val)["top1"], abs=1e-6)


def _mean_index(logits: Tensor, index: Tensor) -> Tensor:
    return index.float().mean() + 0 * logits.sum()


def test_a_reported_loss_is_the_unweighted_mean_over_all_images(digits: Dataset, make_fit: MakeFit) -> None:
    count = len(digits.train)
    terms = (CE, Term(_mean_index, (S("logits"), INDEX), 0.0, "index"))
    report = next(run([Phase("task", terms, make_fit(1, batch_size=48))], make_student(), digits, Run(CLASSIFICATION)))
    assert count % 48
    assert report.losses["index"] == pytest.approx((count - 1) / 2)


# how far the networks run


def test_a_phase_that_reads_a_map_runs_neither_network_past_it(
    digits: Dataset, varied_digits: Dataset, make_fit: MakeFit
) -> None:
    deeper: list[object] = []
    student, guide = make_student(), make_guide(1)
    for network in (student, guide):
        behind = network.model.get_submodule("blocks.2")
        behind.register_forward_pre_hook(lambda _module, args: deeper.append(args[0]))
    before = state_of(student)
    narrow = replace(guide, keep={"map2": torch.arange(8)})
    phase = Phase("map2", (Term(feature_loss, (S("map2"), T("map2")), 1.0, "mse"),), make_fit(1))
    (report,) = run([phase], student, digits, Run(CLASSIFICATION), teacher=narrow)
    assert not any(isinstance(feature, Tensor) and len(feature) > 2 for feature in deeper)  # but the plan's check
    assert (report.score, report.metric) == (None, "train_top1")
    assert not any(student.owns(["map3", "embedding", "logits"], key) for key in moved(before, state_of(student)))
    (report,) = run([phase], make_student(), varied_digits, Run(CLASSIFICATION), teacher=narrow)
    assert report.metric == "val_top1"
    assert report.score is not None


def test_the_teacher_of_consecutive_phases_is_asked_once(
    digits: Dataset, make_fit: MakeFit, guide: Staged, count_passes: CountPasses
) -> None:
    pkt = Term(pkt_loss, (S("embedding"), T("embedding")), 1.0, "pkt")
    phases = [Phase(f"p{n}", (replace(pkt, weight=0.7**n), CE), make_fit(1)) for n in range(5)]
    with count_passes(guide) as passes:
        list(run(phases, make_student(), digits, Run(CLASSIFICATION), teacher=guide))
    assert sum(passes) == 2 + len(digits.train)


def test_a_teacher_that_no_term_names_is_not_run(
    digits: Dataset, make_fit: MakeFit, guide: Staged, count_passes: CountPasses
) -> None:
    with count_passes(guide) as passes:
        list(run([Phase("p", (CE,), make_fit(2))], make_student(), digits, Run(CLASSIFICATION), teacher=guide))
    assert passes == []


def test_table_and_teacher_train_alike(digits: Dataset, guide: Staged) -> None:
    def trained(*names: str) -> State:
        student = make_student()
        sgd = Fit(2, Optimizer("sgd", 0.05), (1.0, 1.0), batch_size=32)
        okd = read_method("okd").phases(make_lesson(student, guide), sgd)[0]
        other = Term(pkt_loss, (S("embedding"), T("map3")), 0.0, "idle")
        terms = (*okd.terms, other) if names else okd.terms
        list(run([replace(okd, terms=terms)], student, digits, Run(CLASSIFICATION), teacher=guide))
        return state_of(student)

    assert close(trained(), trained("with a map, of which there is no table"), within=1e-5)


# what is kept


def test_best_score_keeps_the_best_epoch_on_the_validation_split(varied_digits: Dataset) -> None:
    student = make_student()
    fit = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 300.0), "best score", 16)
    reports, states = watched(run([Phase("p", (CE,), fit)], student, varied_digits, Run(CLASSIFICATION)), student)
    scores = [report.score for report in reports]
    assert max(scores) == scores[1] != scores[2]
    assert same(states[2], states[1])
    assert same(state_of(student), states[1])


def test_best_loss_keeps_the_epoch_with_the_least_sum_of_terms_on_the_validation_split(varied_digits: Dataset) -> None:
    student, val = make_student(), varied_digits.val
    assert val is not None
    term = Term(cross_entropy_loss, CE.args, (1.0, 1.0, 0.01, 0.01), "ce")
    fit = Fit(4, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 1.0, 30.0), "best loss", 16)
    losses, states = [], []
    images = next(val.batches(len(val)))
    for epoch, _ in enumerate(run([Phase("p", (term,), fit)], student, varied_digits, Run(CLASSIFICATION))):
        states.append(state_of(student))
        with torch.no_grad():
            logits = student.model(student.scale(images.image))
        losses.append(term.weight_at(epoch) * float(cross_entropy_loss(logits, images.target)))
    assert min(losses[:3]) == losses[2]
    assert same(states[3], states[2])
    assert not same(states[2], states[1])


def test_the_best_epoch_of_a_phase_is_sought_in_that_phase(varied_digits: Dataset) -> None:
    student = make_student()
    learn = Fit(6, OPTIMIZERS["adam"](1e-2), (1.0,) * 6, "best score", 16)
    unlearn = Fit(2, OPTIMIZERS["adam"](1e-2), (300.0, 300.0), "best score", 16)
    plan = [Phase("good", (CE,), learn), Phase("bad", (CE,), unlearn)]
    reports, states = watched(run(plan, student, varied_digits, Run(CLASSIFICATION)), student)
    assert max(report.score for report in reports[:6]) > max(report.score for report in reports[6:])
    assert not any(same(state_of(student), state) for state in states[:6])


def test_last_keeps_the_last_epoch(varied_digits: Dataset) -> None:
    student = make_student()
    fit = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 30.0))
    _, states = watched(run([Phase("p", (CE,), fit)], student, varied_digits, Run(CLASSIFICATION)), student)
    assert not same(state_of(student), states[1])
    assert same(state_of(student), states[2])


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_fresh_optimizer_forgets_as_in_phases_of_one_epoch(digits: Dataset, kind: str) -> None:
    fit = Fit(3, OPTIMIZERS[kind](1e-2), (1.0, 0.5, 0.25), batch_size=16)
    plans = {
        "fresh": [Phase("p", (CE,), replace(fit, fresh=True))],
        "apart": [Phase(f"p{n}", (CE,), fit.window(n, n + 1)) for n in range(3)],
        "as ever": [Phase("p", (CE,), fit)],
    }
    found = {}
    for name, plan in plans.items():
        student = make_student()
        found[name] = watched(run(plan, student, digits, Run(CLASSIFICATION)), student)[1]
    assert all(same(ours, theirs) for ours, theirs in zip(found["fresh"], found["apart"], strict=True))
    assert same(found["fresh"][0], found["as ever"][0])
    assert not same(found["fresh"][1], found["as ever"][1])


# what learns, and what does not


def test_a_trained_stage_updates_its_own_statistics_only(digits: Dataset, make_fit: MakeFit) -> None:
    student = make_student()
    before = state_of(student)
    list(run([Phase("p", (CE,), make_fit(1), train=("map2",))], student, digits, Run(CLASSIFICATION)))
    changed = moved(before, state_of(student))
    statistics = {"running_mean", "running_var", "num_batches_tracked", "weight", "bias"}
    assert {key.removeprefix("blocks.1.norm.") for key in changed if "norm" in key} == statistics
    assert all(key.startswith("blocks.1.") for key in changed)


def test_fixed_statistics_stay_and_are_what_the_training_normalises_by(digits: Dataset, make_fit: MakeFit) -> None:
    fit, student = replace(make_fit(1), fixed_statistics=True), make_student()
    before = state_of(student)
    norms = [module for path, module in student.model.named_modules() if path.endswith("norm")]
    modes: set[bool] = set()
    for norm in norms:
        norm.register_forward_pre_hook(lambda module, _args: modes.add(module.training))
    list(run([Phase("p", (CE,), fit)], student, digits, Run(CLASSIFICATION)))
    assert modes == {False}
    changed = {key.rpartition(".")[2] for key in moved(before, state_of(student)) if "norm" in key}
    assert changed == {"weight", "bias"}


def test_dropout_and_depthwise_convolutions_of_a_frozen_body(make_fit: MakeFit) -> None:
    data = load("digits", DataOptions(size=(32, 32), fraction=0.05, augment=()))
    student = build(Architecture("mobilenet_v3_small", 10, 1, (32, 32)), seed=0)
    before = state_of(student)
    list(run([Phase("p", (CE,), make_fit(1), train=("logits",))], student, data, Run(CLASSIFICATION)))
    assert moved(before, state_of(student)) == {"classifier.3.weight", "classifier.3.bias"}


def test_parameters_of_a_loss_die_with_their_phase(digits: Dataset, guide: Staged, make_fit: MakeFit) -> None:
    phase = Phase("p", (HINT,), make_fit(2))
    first, second = make_student(), make_student()
    keys = list(first.model.state_dict())
    for student in (first, second):
        list(run([phase], student, digits, Run(CLASSIFICATION), teacher=guide))
    assert list(first.model.state_dict()) == keys
    assert same(state_of(first), state_of(second))


def test_parameters_of_a_loss_come_from_the_seed_of_the_run(
    digits: Dataset, guide: Staged, make_fit: MakeFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Tensor] = []

    def note(adapter: Adapter, student: Tensor, teacher: Tensor) -> Tensor:
        made.append(adapter.adapt[0].weight.detach().clone())  # type: ignore[arg-type]
        return (adapter.adapt(student) - teacher).square().mean()

    monkeypatch.setattr(Adapter, "forward", note)

    def first_weights(seed: int, global_seed: int, phase: str = "p") -> Tensor:
        torch.manual_seed(global_seed)
        plan, made[:] = [Phase(phase, (HINT,), make_fit(1, batch_size=128))], []
        list(run(plan, make_student(), digits, Run(CLASSIFICATION, seed), teacher=guide))
        return made[1]  # after the one that the check made

    assert torch.equal(first_weights(1, 0), first_weights(1, 99))
    assert not torch.equal(first_weights(1, 0), first_weights(2, 0))
    assert not torch.equal(first_weights(1, 0), first_weights(1, 0, "q"))


# what a run does not touch


def test_torchs_random_state_is_left_alone(digits: Dataset, make_fit: MakeFit) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    phase = Phase("p", (CE, Term(noisy_loss, (S("embedding"),), 0.1, "noise")), make_fit(1))
    list(run([phase], make_student(), digits, Run(CLASSIFICATION)))
    assert torch.equal(torch.get_rng_state(), before)


def _interrupt(_loss: Tensor) -> Tensor:
    raise KeyboardInterrupt


def test_nothing_is_left_behind_when_an_epoch_fails(
    digits: Dataset, guide: Staged, make_fit: MakeFit, count_hooks: Callable[[Staged], int]
) -> None:
    student = make_student()
    next(student.model.parameters()).requires_grad_(False)
    before = [parameter.requires_grad for parameter in student.model.parameters()]
    terms = (Term(Trip(4, _interrupt), CE.args, 1.0, "ce"), kd(4.0, 1.0))
    with pytest.raises(KeyboardInterrupt):
        list(run([Phase("p", terms, make_fit(2), ("logits",))], student, digits, Run(CLASSIFICATION), teacher=guide))
    assert [parameter.requires_grad for parameter in student.model.parameters()] == before
    assert all(parameter.grad is None for parameter in (*student.model.parameters(), *guide.model.parameters()))
    assert count_hooks(student) == count_hooks(guide) == 0


def _wary_loss(student: Tensor, teacher: Tensor) -> Tensor:
    assert student.requires_grad or not torch.is_grad_enabled()
    assert not teacher.requires_grad
    return kd_loss(student, teacher, 4.0)


def test_the_teacher_is_only_read_and_in_eval_mode(digits: Dataset, make_fit: MakeFit) -> None:
    guide = make_guide(1)
    guide.model.train()
    before = state_of(guide)
    terms = (Term(_wary_loss, (S("logits"), T("logits")), 1.0, "kd"),)
    list(run([Phase("p", terms, make_fit(2))], make_student(), digits, Run(CLASSIFICATION), teacher=guide))
    assert same(state_of(guide), before)
    assert all(parameter.requires_grad for parameter in guide.model.parameters())
