"""A plan that cannot run is refused before its first batch, and before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from boxes import boxes, boxes_network
from torch import Tensor, nn
from watch import same, state_of

from compress.data import DataOptions, Dataset, load
from compress.errors import PlanError
from compress.losses import cross_entropy_loss, feature_loss, kd_loss, pkt_loss
from compress.models import Architecture, build
from compress.phase import INDEX, LABELS, OPTIMIZERS, Fit, Phase, S, T, Term
from compress.stages import Stage, Staged
from compress.tasks import CLASSIFICATION
from compress.training.check import check_plan
from compress.training.engine import Run, run
from compress.training.journal import Journal

CountHooks = Callable[[Staged], int]
CountPasses = Callable[[Staged], AbstractContextManager[list[int]]]

FIT = Fit(1, OPTIMIZERS["adam"](1e-3), (1.0,), batch_size=32)
CE = Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce")
GOOD = Phase("good", (CE,), FIT)


def _term(loss: Callable[..., Tensor], *args: object, name: str = "x") -> Term:
    return Term(loss, args, 1.0, name)  # type: ignore[arg-type]


def _no_scalar(logits: Tensor) -> Tensor:
    return logits.mean(dim=1)


@pytest.fixture(scope="module")
def guide() -> Staged:
    """Wider than the student, and with other classes."""
    return build(Architecture("cnn-a", 7, 1, (24, 24), {"width": 8}), seed=1)


@pytest.fixture
def pupil() -> Staged:
    network = build(Architecture("cnn-s", 10, 1, (24, 24), {"width": 4}), seed=1)
    unowned = Stage("nothing", "blocks.0.relu", (), 4)
    return replace(network, stages=(unowned, *network.stages))


BROKEN = [
    ([], r"^the plan has no phases"),
    ([GOOD, GOOD], r"^phase 'good' is in the plan 2 times; give each its own name"),
    ([Phase("empty", (), FIT)], r"phase 'empty': it has no loss terms"),
    ([Phase("twins", (CE, CE), FIT)], r"phase 'twins': 2 of its terms are called 'ce'"),
    ([Phase("p", (_term(pkt_loss, S("embeding"), T("logits")),), FIT)], r"unknown stage 'embeding'. Did you mean"),
    ([Phase("p", (_term(pkt_loss, S("logits"), T("map4")),), FIT)], r"unknown stage 'map4'. Did you mean 'map"),
    ([Phase("p", (CE,), FIT, train=("map1", "layer1"))], r"unknown stage 'layer1'"),
    ([Phase("p", (CE,), FIT, train=())], r"the stages it trains own no parameters"),
    ([Phase("p", (CE,), FIT, train=("nothing",))], r"the stages it trains own no parameters"),
    ([Phase("p", (CE,), replace(FIT, keep="best score"))], r"keep=\"best score\" needs a validation split"),
    (
        [Phase("p", (_term(partial(kd_loss, tau=4.0), S("logits"), T("logits"), name="kd"),), FIT)],
        r"term 'kd' cannot be computed from stage logits: student \(10,\), teacher \(7,\): kd_loss",
    ),
    (
        [Phase("p", (_term(feature_loss, S("map1"), T("map1")),), FIT)],
        r"stage map1: student \(4, 11, 11\), teacher \(8, 11, 11\).*narrow the teacher",
    ),
    ([Phase("p", (_term(cross_entropy_loss, S("map1"), LABELS),), FIT)], r"student map1 .*, labels \(2,\)"),
    ([Phase("p", (_term(partial(nn.Linear, 3, 1), S("embedding")),), FIT)], r"student embedding \(2, 32\)"),
    ([Phase("p", (_term(lambda logits: logits.sum(), S("logits")),), FIT)], r"phase 'p': term 'x': .*<lambda> cannot"),
    (
        [Phase("p", (replace(CE, weight=(1.0, 0.5)),), FIT)],
        r"phase 'p': term 'ce' has weights for 2 epochs; the phase has 1",
    ),
    ([Phase("p", (_term(_no_scalar, S("logits")),), FIT)], r"term 'x' gives shape \(2,\); a loss must be a scalar"),
]


@pytest.mark.parametrize(("phases", "message"), BROKEN)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_broken_plan_is_refused_before_anything_happens(
    phases: list[Phase],
    message: str,
    place: str,
    pupil: Staged,
    guide: Staged,
    digits: Dataset,
    tmp_path: Path,
    count_hooks: CountHooks,
) -> None:
    before = state_of(pupil)
    start = [replace(GOOD, name="start")] if place == "last" and phases else []
    journal = Journal(tmp_path / "student.safetensors")
    with pytest.raises(PlanError, match=message):
        run([*start, *phases], pupil, digits, Run(CLASSIFICATION), teacher=guide, journal=journal)
    assert list(tmp_path.iterdir()) == []
    assert same(state_of(pupil), before)
    assert count_hooks(pupil) == count_hooks(guide) == 0


def test_a_plan_without_the_teacher_it_names_is_refused(pupil: Staged, digits: Dataset) -> None:
    phase = Phase("p", (_term(pkt_loss, S("embedding"), T("embedding")),), FIT)
    with pytest.raises(PlanError, match=r"phase 'p': it refers to the teacher's embedding, but there is no teacher"):
        check_plan([phase], pupil, None, digits)


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_network_that_cannot_take_the_images_is_refused(
    side: str, pupil: Staged, guide: Staged, digits: Dataset
) -> None:
    other = build(Architecture("cnn-a", 10, 3, (24, 24)))
    networks = {"student": pupil, "teacher": guide} | {side: other}
    phase = Phase("p", (_term(pkt_loss, S("embedding"), T("embedding")),), FIT)
    with pytest.raises(PlanError, match=rf"the {side} cannot take images of shape \(1, 24, 24\)"):
        check_plan([phase], networks["student"], networks["teacher"], digits)


class Scalar(nn.Module):
    """A loss with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(32)

    def forward(self, feature: Tensor) -> Tensor:
        assert self.norm.num_batches_tracked == 0
        return self.norm(feature).sum()


def _with_index(logits: Tensor, index: Tensor) -> Tensor:
    return logits.sum() + index.sum()


def _random(embedding: Tensor) -> Tensor:
    return embedding.sum() * torch.rand(())


def test_a_plan_that_can_run_passes_and_leaves_no_trace(pupil: Staged, guide: Staged, digits: Dataset) -> None:
    terms = (
        CE,
        _term(Scalar, S("embedding")),
        _term(pkt_loss, S("embedding"), T("embedding"), name="pkt"),
        _term(_with_index, S("logits"), INDEX, name="index"),
        _term(_random, S("embedding"), name="random"),
    )
    pupil.model.train()
    pupil.model.get_submodule("blocks.1").eval()
    guide.model.eval()
    before, modes = state_of(pupil), [module.training for module in pupil.model.modules()]
    state = torch.get_rng_state()
    check_plan([Phase("p", terms, FIT), Phase("q", terms, FIT)], pupil, guide, digits)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(state_of(pupil), before)
    assert [module.training for module in pupil.model.modules()] == modes
    assert not any(module.training for module in guide.model.modules())


def test_a_teacher_that_gives_nan_is_refused(pupil: Staged, digits: Dataset) -> None:
    bad = build(Architecture("cnn-a", 10, 1, (24, 24), {"width": 8}), seed=1)
    norm = bad.model.get_submodule("blocks.2.norm")
    norm.running_var.fill_(-5.0)  # type: ignore[operator, union-attr]
    listening = [Phase(stage, (_term(pkt_loss, S(stage), T(stage)),), FIT) for stage in ("map1", "embedding")]
    with pytest.raises(PlanError, match=r"the teacher gives NaN or infinite values at stage 'embedding'"):
        check_plan(listening, pupil, bad, digits)
    check_plan(listening[:1], pupil, bad, digits)


def test_a_plan_of_many_phases_is_checked_with_one_pass_through_each_network(
    pupil: Staged, guide: Staged, digits: Dataset, count_passes: CountPasses
) -> None:
    terms = (_term(pkt_loss, S("embedding"), T("embedding"), name="pkt"), CE)
    phases = [Phase(f"p{n}", (replace(terms[0], weight=0.7**n), *terms[1:]), FIT) for n in range(70)]
    with count_passes(pupil) as learnt, count_passes(guide) as asked:
        check_plan(phases, pupil, guide, digits)
    assert (learnt, asked) == ([2], [2])


def test_best_is_accepted_with_a_validation_split(pupil: Staged) -> None:
    data = load("digits", DataOptions(size=(24, 24), fraction=0.1, val_fraction=0.2))
    best = [Phase("p", (CE,), replace(FIT, keep="best score"))]
    check_plan(best, pupil, None, data)
    with pytest.raises(PlanError, match="hold one out"):
        check_plan(best, pupil, None, replace(data, val=None))


def test_a_network_that_names_images_cannot_learn_masks_nor_the_reverse(digits: Dataset) -> None:
    masked = boxes()
    classifier = build(Architecture("cnn-s", 3, 1, masked.see.size, {"width": 4, "depth": 1}), seed=1)
    with pytest.raises(
        PlanError, match=r"student gives one class an image, and data set 'boxes' has a class for every"
    ):
        check_plan([GOOD], classifier, None, masked)
    with pytest.raises(PlanError, match=r"student gives a class for every pixel, and data set 'digits' has one class"):
        check_plan([GOOD], boxes_network(4, seed=1), None, digits)
