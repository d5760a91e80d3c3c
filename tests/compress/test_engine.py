"""The engine: one plan in, one trained student out, whatever happens on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.data import DataOptions, Dataset, load
from compress.errors import DivergedError
from compress.losses import cross_entropy_loss, kd_loss
from compress.models import Architecture, build
from compress.phase import INDEX, LABELS, OPTIMIZERS, Fit, Phase, S, T, Term
from compress.recipes import Method
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL
from compress.training.engine import EpochReport, Run, run
from compress.training.journal import Journal, read_state

MakeFit = Callable[..., Fit]
State = dict[str, Tensor]

CE = Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce")


class Adapter(nn.Module):
    """A loss with parameters and running statistics: the student's map, widened, is to be the teacher's."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.adapt = nn.Sequential(nn.Conv2d(width, wide, 1), nn.BatchNorm2d(wide))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (self.adapt(student) - teacher).square().mean()


@dataclass
class Trip:
    """A loss that fails once, at its `at`-th call."""

    at: int
    fail: Callable[[Tensor], Tensor]
    calls: int = field(default=0)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        loss = cross_entropy_loss(logits, labels)
        return self.fail(loss) if self.calls == self.at else loss


def _noisy_loss(embedding: Tensor) -> Tensor:
    """Draws from torch's random state, as dropout would."""
    return (embedding + torch.randn(embedding.shape)).square().mean()


def _student(seed: int = 3) -> Staged:
    return build(Architecture("cnn-s", 10, 1, (24, 24), {"width": 4}), seed=seed)


def _state(network: Staged) -> State:
    return {key: value.clone() for key, value in network.model.state_dict().items()}


def _same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def _follow(reports: Iterator[EpochReport], student: Staged) -> tuple[list[EpochReport], list[State]]:
    """Every report, and the student's state at the time of each."""
    seen = [(report, _state(student)) for report in reports]
    return [report for report, _ in seen], [state for _, state in seen]


def _facts(reports: Sequence[EpochReport]) -> list[EpochReport]:
    """The reports without what the clock says and where the result goes."""
    return [replace(report, output="", images_per_s=0.0, seconds_left=0.0) for report in reports]


def _long_plan() -> list[Phase]:
    """Phases with a loss with parameters and the best epoch kept; one stage and momentum; noise and a frozen body."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        adapter = Adapter(8, 16)
    adam = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 30.0), "best", 16)
    sgd = Fit(2, OPTIMIZERS["sgd"](1e-2), (1.0, 0.1), "last", 50)
    return [
        Phase("map2", (Term(adapter, (S("map2"), T("map2")), 1.0, "hint"), CE), adam),
        Phase("classifier", (CE,), sgd, train=("logits",)),
        Phase("rest", (CE, Term(_noisy_loss, (S("embedding"),), 0.01, "noise")), sgd, train=("embedding", "logits")),
    ]


@pytest.fixture(scope="module")
def guide() -> Staged:
    return build(Architecture("cnn-a", 10, 1, (24, 24), {"width": 8}), seed=9)


@pytest.fixture(scope="module")
def uninterrupted(varied_digits: Dataset, guide: Staged) -> tuple[list[EpochReport], list[State]]:
    student = _student()
    return _follow(run(_long_plan(), student, varied_digits, Run(CLASSIFICATION, 7), teacher=guide), student)


# what a run does


def test_the_loss_falls_and_the_score_rises(digits: Dataset, make_fit: MakeFit) -> None:
    student = _student()
    reports = list(run([Phase("task", (CE,), make_fit(8))], student, digits, Run(CLASSIFICATION)))
    assert [(report.phase, report.epoch, report.epochs) for report in reports] == [("task", n, 8) for n in range(1, 9)]
    assert reports[-1].losses["ce"] < 0.7 * reports[0].losses["ce"]
    assert reports[-1].score > 0.6 > reports[0].score
    assert CLASSIFICATION.evaluate(student, digits)["top1"] > 0.5


def test_a_report_says_what_happened(digits: Dataset, varied_digits: Dataset, make_fit: MakeFit) -> None:
    phases = [Phase("task", (CE,), make_fit(2)), Phase("more", (CE,), make_fit(1))]
    reports = list(run(phases, _student(), digits, Run(CLASSIFICATION)))
    assert [(report.phase, report.epoch) for report in reports] == [("task", 1), ("task", 2), ("more", 3)]
    assert {report.metric for report in reports} == {"train_top1"}
    assert all(report.images_per_s > 0 for report in reports)
    assert reports[0].seconds_left > 0
    assert reports[-1].seconds_left == 0
    scored = list(run(phases, _student(), varied_digits, Run(RETRIEVAL)))
    assert {report.metric for report in scored} == {"val_precision_1"}
    assert all(0 < report.score < 1 for report in scored)


def test_the_score_is_that_of_the_validation_split(varied_digits: Dataset, make_fit: MakeFit) -> None:
    student = _student()
    assert varied_digits.val is not None
    for report in run([Phase("task", (CE,), make_fit(2))], student, varied_digits, Run(CLASSIFICATION)):
        val = replace(varied_digits, test=varied_digits.val)
        assert report.score == pytest.approx(CLASSIFICATION.evaluate(student, val)["top1"], abs=1e-6)


def test_a_reported_loss_is_the_unweighted_mean_over_all_images(digits: Dataset, make_fit: MakeFit) -> None:
    def mean_index(logits: Tensor, index: Tensor) -> Tensor:
        return index.float().mean() + 0 * logits.sum()

    count = len(digits.train)
    terms = (CE, Term(mean_index, (S("logits"), INDEX), 0.0, "index"))
    report = next(run([Phase("task", terms, make_fit(1, batch_size=48))], _student(), digits, Run(CLASSIFICATION)))
    assert count % 48
    assert report.losses["index"] == pytest.approx((count - 1) / 2)


def test_terms_are_weighed(digits: Dataset) -> None:
    def trained(weights: tuple[float, ...], rate: float) -> State:
        student = _student()
        terms = tuple(Term(cross_entropy_loss, CE.args, weight, f"ce{n}") for n, weight in enumerate(weights))
        fit = Fit(1, lambda parameters: torch.optim.SGD(parameters, lr=rate), (1.0,), batch_size=64)
        list(run([Phase("task", terms, fit)], student, digits, Run(CLASSIFICATION)))
        return _state(student)

    single, double = trained((1.0,), 0.2), trained((0.5, 1.5), 0.1)
    assert all(torch.allclose(single[key], double[key], atol=1e-5) for key in single)
    assert not _same(single, trained((0.5, 1.0), 0.1))


def test_the_rate_follows_the_schedule_and_an_optimizer_lasts_a_phase(digits: Dataset) -> None:
    made: list[torch.optim.Optimizer] = []

    def factory(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        made.append(torch.optim.SGD(parameters, lr=0.5))
        return made[-1]

    fits = (Fit(3, factory, (1.0, 0.5, 0.02)), Fit(1, factory, (0.25,)))
    phases = [Phase(f"p{n}", (CE,), fit) for n, fit in enumerate(fits)]
    rates = [made[-1].param_groups[0]["lr"] for _ in run(phases, _student(), digits, Run(CLASSIFICATION))]
    assert rates == [0.5, 0.25, 0.01, 0.125]
    assert len(made) == 2


def test_the_optimizer_gets_what_is_trained_and_the_loss_parameters(digits: Dataset, guide: Staged) -> None:
    given: list[int] = []

    def factory(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        given.append(sum(parameter.numel() for parameter in parameters))
        return torch.optim.SGD(parameters, lr=0.1)

    student, adapter = _student(), Adapter(8, 16)
    phase = Phase("p", (Term(adapter, (S("map2"), T("map2")), 1.0, "hint"), CE), Fit(1, factory, (1.0,)), ("map2",))
    list(run([phase], student, digits, Run(CLASSIFICATION), teacher=guide))
    own = [value for path, value in student.model.named_parameters() if student.owns(["map2"], path)]
    assert given == [sum(value.numel() for value in (*own, *adapter.parameters()))]


def test_parameters_of_a_loss_die_with_their_phase(digits: Dataset, guide: Staged, make_fit: MakeFit) -> None:
    adapter = Adapter(8, 16)
    before = {key: value.clone() for key, value in adapter.state_dict().items()}
    phase = Phase("p", (Term(adapter, (S("map2"), T("map2")), 1.0, "hint"),), make_fit(2))
    first, second = _student(), _student()
    keys = list(first.model.state_dict())
    for student in (first, second):
        list(run([phase], student, digits, Run(CLASSIFICATION), teacher=guide))
    assert list(first.model.state_dict()) == keys
    assert _same(adapter.state_dict(), before)
    assert _same(_state(first), _state(second))


def test_best_keeps_the_best_epoch_on_the_validation_split(
    uninterrupted: tuple[list[EpochReport], list[State]],
) -> None:
    scores = [report.score for report in uninterrupted[0][:3]]
    assert max(scores) == scores[1] != scores[2]
    assert _same(uninterrupted[1][2], uninterrupted[1][1])


def test_the_best_epoch_of_a_phase_is_sought_in_that_phase(varied_digits: Dataset) -> None:
    student = _student()
    learn, unlearn = (Fit(epochs, OPTIMIZERS["adam"](1e-2), (1.0,) * epochs, "best", 16) for epochs in (6, 2))
    plan = [Phase("good", (CE,), learn), Phase("bad", (replace(CE, weight=-1.0),), unlearn)]
    reports, states = _follow(run(plan, student, varied_digits, Run(CLASSIFICATION)), student)
    assert max(report.score for report in reports[:6]) > max(report.score for report in reports[6:])
    assert not any(_same(_state(student), state) for state in states[:6])


def test_last_keeps_the_last_epoch(varied_digits: Dataset) -> None:
    student = _student()
    fit = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 30.0))
    _, states = _follow(run([Phase("p", (CE,), fit)], student, varied_digits, Run(CLASSIFICATION)), student)
    assert not _same(_state(student), states[1])
    assert _same(_state(student), states[2])


def test_frozen_stages_keep_parameters_and_statistics(
    uninterrupted: tuple[list[EpochReport], list[State]],
) -> None:
    after_map2, after_classifier, after_rest = (uninterrupted[1][n] for n in (2, 4, 6))

    def moved(first: State, second: State) -> set[str]:
        return {key for key in first if not torch.equal(first[key], second[key])}

    assert moved(after_map2, after_classifier) == {"classifier.weight", "classifier.bias"}
    assert {key.split(".")[0] for key in moved(after_classifier, after_rest)} == {"embedding", "classifier"}


def test_a_trained_stage_updates_its_own_statistics_only(digits: Dataset, make_fit: MakeFit) -> None:
    student = _student()
    before = _state(student)
    list(run([Phase("p", (CE,), make_fit(1), train=("map2",))], student, digits, Run(CLASSIFICATION)))
    moved = {key for key, value in student.model.state_dict().items() if not torch.equal(value, before[key])}
    statistics = {"running_mean", "running_var", "num_batches_tracked", "weight", "bias"}
    assert {key.removeprefix("blocks.1.norm.") for key in moved if "norm" in key} == statistics
    assert all(key.startswith("blocks.1.") for key in moved)


# what a run does not touch


def test_torchs_random_state_is_left_alone(digits: Dataset, make_fit: MakeFit) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    phase = Phase("p", (CE, Term(_noisy_loss, (S("embedding"),), 0.1, "noise")), make_fit(1))
    list(run([phase], _student(), digits, Run(CLASSIFICATION)))
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_left_behind_when_an_epoch_fails(
    digits: Dataset, guide: Staged, make_fit: MakeFit, count_hooks: Callable[[Staged], int]
) -> None:
    def fail(_loss: Tensor) -> Tensor:
        raise KeyboardInterrupt

    student = _student()
    next(student.model.parameters()).requires_grad_(False)
    before = [parameter.requires_grad for parameter in student.model.parameters()]
    terms = (Term(Trip(4, fail), CE.args, 1.0, "ce"), Term(_kd, (S("logits"), T("logits")), 1.0, "kd"))
    with pytest.raises(KeyboardInterrupt):
        list(run([Phase("p", terms, make_fit(2), ("logits",))], student, digits, Run(CLASSIFICATION), teacher=guide))
    assert [parameter.requires_grad for parameter in student.model.parameters()] == before
    assert all(parameter.grad is None for parameter in (*student.model.parameters(), *guide.model.parameters()))
    assert count_hooks(student) == count_hooks(guide) == 0


def _kd(student: Tensor, teacher: Tensor) -> Tensor:
    assert student.requires_grad or not torch.is_grad_enabled()
    assert not teacher.requires_grad
    return kd_loss(student, teacher, 4.0)


def test_the_teacher_is_only_read_and_in_eval_mode(digits: Dataset, make_fit: MakeFit) -> None:
    guide = build(Architecture("cnn-a", 10, 1, (24, 24), {"width": 4}), seed=1)
    guide.model.train()
    before = _state(guide)
    terms = (Term(_kd, (S("logits"), T("logits")), 1.0, "kd"),)
    list(run([Phase("p", terms, make_fit(2))], _student(), digits, Run(CLASSIFICATION), teacher=guide))
    assert _same(_state(guide), before)
    assert all(parameter.requires_grad for parameter in guide.model.parameters())


def test_a_teacher_that_no_term_names_is_not_run(digits: Dataset, make_fit: MakeFit) -> None:
    guide = build(Architecture("cnn-a", 10, 1, (24, 24), {"width": 4}), seed=1)
    passes: list[None] = []
    handle = guide.model.register_forward_hook(lambda *_: passes.append(None))
    list(run([Phase("p", (CE,), make_fit(2))], _student(), digits, Run(CLASSIFICATION), teacher=guide))
    handle.remove()
    assert passes == []


# the same bytes


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(varied_digits: Dataset, make_fit: MakeFit) -> None:
    def trained(seed: int, global_seed: int) -> State:
        torch.manual_seed(global_seed)
        student = _student()
        phase = Phase("p", (CE, Term(_noisy_loss, (S("embedding"),), 0.1, "noise")), make_fit(2))
        list(run([phase], student, varied_digits, Run(CLASSIFICATION, seed)))
        return _state(student)

    assert _same(trained(1, 0), trained(1, 99))
    assert not _same(trained(1, 0), trained(2, 0))


@pytest.mark.parametrize("epochs", range(8))
def test_a_run_resumed_at_any_epoch_ends_with_the_same_bits(
    varied_digits: Dataset,
    guide: Staged,
    tmp_path: Path,
    uninterrupted: tuple[list[EpochReport], list[State]],
    epochs: int,
) -> None:
    journal = Journal(tmp_path / "student.safetensors")
    abandoned = run(_long_plan(), _student(), varied_digits, Run(CLASSIFICATION, 7, journal), teacher=guide)
    begun = [next(abandoned) for _ in range(epochs)]
    abandoned.close()

    torch.manual_seed(epochs)
    student = _student()
    again = Run(CLASSIFICATION, 7, replace(journal, resume=True))
    reports, states = _follow(run(_long_plan(), student, varied_digits, again, teacher=guide), student)
    assert _facts([*begun, *reports]) == _facts(uninterrupted[0])
    assert all(_same(state, other) for state, other in zip(states, uninterrupted[1][epochs:], strict=True))
    assert _same(_state(student), uninterrupted[1][-1])
    history = [json.loads(line) for line in journal.metrics_path.read_text().splitlines()]
    assert [(record["epoch"], record["losses"]) for record in history] == [
        (report.epoch, report.losses) for report in uninterrupted[0]
    ]


def test_a_run_stopped_within_an_epoch_ends_with_the_same_bits(digits: Dataset, tmp_path: Path) -> None:
    def fail(_loss: Tensor) -> Tensor:
        raise KeyboardInterrupt

    def plan(at: int) -> list[Phase]:
        fit = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 0.1), batch_size=32)
        return [Phase("p", (Term(Trip(at, fail), CE.args, 1.0, "ce"),), fit)]

    whole = _student()
    list(run(plan(-1), whole, digits, Run(CLASSIFICATION)))
    journal = Journal(tmp_path / "student.safetensors", resume=True)
    for at in (9, 3):
        with pytest.raises(KeyboardInterrupt):
            list(run(plan(at), _student(), digits, Run(CLASSIFICATION, journal=journal)))
    student = _student()
    reports = list(run(plan(-1), student, digits, Run(CLASSIFICATION, journal=journal)))
    assert [report.epoch for report in reports] == [2, 3]
    assert _same(_state(student), _state(whole))


# divergence


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_epoch(
    digits: Dataset, tmp_path: Path, value: float
) -> None:
    def plan(at: int) -> list[Phase]:
        fit = Fit(2, OPTIMIZERS["adam"](1e-2), (1.0, 1.0), batch_size=32)
        trip = Term(Trip(at, lambda loss: loss * value), CE.args, 1.0, "tripping")
        return [Phase("first", (CE,), fit), Phase("second", (CE, trip), fit)]

    whole = _student()
    _, states = _follow(run(plan(-1), whole, digits, Run(CLASSIFICATION)), whole)
    journal = Journal(tmp_path / "student.safetensors", resume=True)
    with pytest.raises(
        DivergedError, match=rf"phase 'second', epoch 4: .*tripping = {value}.*epoch 3 is kept"
    ) as caught:
        list(run(plan(2 + 5 + 2), _student(), digits, Run(CLASSIFICATION, journal=journal)))
    assert caught.value.exit_code == 3
    kept = read_state(journal.state_path)
    assert kept.done == 3
    assert _same(kept.model, states[2])
    student = _student()
    list(run(plan(-1), student, digits, Run(CLASSIFICATION, journal=journal)))
    assert _same(_state(student), states[-1])


def test_without_a_good_epoch_nothing_is_promised(digits: Dataset, tmp_path: Path, make_fit: MakeFit) -> None:
    trip = Term(Trip(2, lambda loss: loss * math.nan), CE.args, 1.0, "ce")
    journal = Journal(tmp_path / "student.safetensors")
    with pytest.raises(DivergedError) as caught:
        list(run([Phase("p", (trip,), make_fit(1))], _student(), digits, Run(CLASSIFICATION, journal=journal)))
    assert "resume" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_never_kept(digits: Dataset, tmp_path: Path, make_fit: MakeFit) -> None:
    def root_loss(logits: Tensor) -> Tensor:
        return (logits - logits.detach()).sum().square().sqrt()

    journal = Journal(tmp_path / "student.safetensors")
    plan = [
        Phase("good", (CE,), make_fit(1)),
        Phase("bad", (Term(root_loss, (S("logits"),), 1.0, "root"),), make_fit(1, batch_size=512)),
    ]
    with pytest.raises(DivergedError, match=r"phase 'bad', epoch 2: .* is no longer finite; epoch 1 is kept"):
        list(run(plan, _student(), digits, Run(CLASSIFICATION, journal=journal)))
    kept = read_state(journal.state_path)
    assert kept.done == 1
    assert all(value.isfinite().all() for value in kept.model.values())


def test_table_and_teacher_train_alike(digits: Dataset, guide: Staged) -> None:
    def trained(phases: list[Phase]) -> State:
        student = _student()
        list(run(phases, student, digits, Run(CLASSIFICATION), teacher=guide))
        return _state(student)

    def plan(*epochs: int) -> list[Phase]:
        sgd = Fit(sum(epochs), lambda parameters: torch.optim.SGD(parameters, lr=0.05), (1.0,) * sum(epochs))
        okd = Method("okd").phases(_student(), guide, CLASSIFICATION, sgd)[0]
        return [replace(okd, name=f"p{n}", fit=sgd.window(n, n + count)) for n, count in enumerate(epochs)]

    with_table, without = trained(plan(2)), trained(plan(1, 1))
    assert all(torch.allclose(with_table[key], without[key], atol=1e-5) for key in with_table)


# other networks


def test_dropout_and_depthwise_convolutions_of_a_frozen_body(make_fit: MakeFit) -> None:
    data = load("digits", DataOptions(size=(32, 32), fraction=0.05, augment=()))
    student = build(Architecture("mobilenet_v3_small", 10, 1, (32, 32)), seed=0)
    before = _state(student)
    list(run([Phase("p", (CE,), make_fit(1), train=("logits",))], student, data, Run(CLASSIFICATION)))
    moved = {key for key, value in student.model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"classifier.3.weight", "classifier.3.bias"}


def test_a_network_whose_state_has_a_version_is_resumed(
    varied_digits: Dataset, make_fit: MakeFit, tmp_path: Path
) -> None:
    def begin(*, resume: bool = False) -> tuple[Staged, Iterator[EpochReport]]:
        student = build(Architecture("mnasnet0_5", 10, 1, (24, 24)), seed=0)
        journal = Journal(tmp_path / "student.safetensors", resume=resume, force=not resume)
        phase = Phase("p", (CE,), make_fit(2, keep="best"))
        return student, run([phase], student, varied_digits, Run(CLASSIFICATION, journal=journal))

    uninterrupted, reports = begin()
    assert next(reports).epoch == 1
    whole = list(reports)
    _, reports = begin()
    next(reports)
    resumed, reports = begin(resume=True)
    assert _facts(list(reports)) == _facts(whole)
    assert _same(_state(resumed), _state(uninterrupted))
