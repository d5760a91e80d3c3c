"""Whole jobs: the auxiliary that InDistill asks for, the student, what a pruned network gets back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from watch import finished, same, state_of

from compress.checkpoint import Checkpoint, load
from compress.data import DataOptions, Dataset
from compress.data import load as load_data
from compress.errors import DataError, PlanError
from compress.evidence import weights_digest
from compress.jobs import Auxiliary, Distillation, Job, Recovery, auxiliary_architecture, distil, guide_of, recovered
from compress.losses import feature_loss
from compress.models import Architecture
from compress.named import Named
from compress.opening import new_network
from compress.phase import Fit
from compress.recipes import Method, for_recovery, read_method
from compress.smaller import cut, looked_at, mended
from compress.stages import evaluating, tapped
from compress.tasks import CLASSIFICATION, RETRIEVAL
from compress.training.engine import Run
from compress.training.journal import Journal

MakeFit = Callable[..., Fit]
METHOD = read_method("indistill", {"a": "0"})
NAMES = ["task", "embedding", "map1", "map2", "map2", "map3", "map3", "map3", "embedding", "embedding"]
AUXILIARY_EPOCHS = 2


@pytest.fixture
def what(student: Checkpoint, teacher: Checkpoint, digits: Dataset, make_fit: MakeFit) -> Distillation:
    return Distillation(student, teacher, digits, Auxiliary(None, make_fit(AUXILIARY_EPOCHS // 2), 0.5))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("edgepress distill", Run(CLASSIFICATION, 1), Journal(tmp_path / "student.safetensors"))


@pytest.fixture(scope="module")
def whole(teacher: Checkpoint, digits: Dataset, make_fit: MakeFit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student of a distillation that nothing interrupted."""
    student = new_network(Named("cnn-s", options={"width": 4}), digits, seed=3)
    journal = Journal(tmp_path_factory.mktemp("whole") / "student.safetensors")
    what = Distillation(student, teacher, digits, Auxiliary(None, make_fit(1), 0.5))
    finished(distil(METHOD, make_fit(8), what, Job("edgepress distill", Run(CLASSIFICATION, 1), journal)))
    return journal.output


def _auxiliary_path(job: Job) -> Path:
    return job.journal.output.with_name("student.auxiliary.safetensors")


# the auxiliary


def test_the_auxiliary_is_made_beside_the_student_and_then_the_student(
    what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path
) -> None:
    reports, student = finished(distil(METHOD, make_fit(8), what, job))
    assert [report.phase for report in reports] == NAMES
    assert [report.epoch for report in reports] == [1, 2, *range(1, 9)]
    assert [report.metric for report in reports] == ["train_precision_1"] * 2 + ["train_top1"] * 8
    assert [report.score is None for report in reports] == [False] * 2 + [True] * 6 + [False] * 2
    assert {path.name for path in tmp_path.iterdir()} == {
        "student.safetensors",
        "student.metrics.jsonl",
        "student.auxiliary.safetensors",
        "student.auxiliary.metrics.jsonl",
    }
    auxiliary = load(_auxiliary_path(job))
    assert auxiliary.card.architecture == Architecture("cnn-a", 10, 1, (24, 24), {"width": 8})
    assert auxiliary.card.task == "retrieval"
    assert auxiliary.card.lineage[-1]["phases"] == [["task", 1], ["embedding", 1]]
    step = load(job.journal.output).card.lineage[-1]
    assert step["phases"] == [["map1", 1], ["map2", 2], ["map3", 3], ["embedding", 2]]
    assert (step["command"], step["seed"], step["data"]["train_images"]) == ("edgepress distill", 1, 130)
    assert student.card.lineage == load(job.journal.output).card.lineage


def test_the_student_comes_out_trained_and_the_teacher_as_it_was(
    whole: Path, what: Distillation, teacher_path: Path
) -> None:
    top1 = CLASSIFICATION.evaluate(load(whole).network, what.data)["top1"]
    assert top1 == pytest.approx(load(whole).card.lineage[-1]["metrics"]["top1"], abs=1e-6)
    assert top1 > CLASSIFICATION.evaluate(what.student.network, what.data)["top1"]
    assert same(state_of(load(teacher_path).network), state_of(what.teacher.network))


def test_a_finished_auxiliary_is_reused(
    whole: Path, what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path
) -> None:
    path = whole.with_name("student.auxiliary.safetensors")
    given = replace(what, auxiliary=replace(what.auxiliary, made=load(path), ratio=0.123))
    before = path.read_bytes()
    reports, _ = finished(distil(METHOD, make_fit(8), given, job))
    assert [report.phase for report in reports] == NAMES[AUXILIARY_EPOCHS:]
    assert {path.name for path in tmp_path.iterdir()} == {"student.safetensors", "student.metrics.jsonl"}
    assert path.read_bytes() == before
    assert job.journal.output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("epochs", [1, 2, 6])
def test_a_distillation_resumed_anywhere_ends_with_the_same_bytes(
    whole: Path, what: Distillation, job: Job, make_fit: MakeFit, epochs: int
) -> None:
    abandoned = distil(METHOD, make_fit(8), what, job)
    for _ in range(epochs):
        next(abandoned)
    abandoned.close()

    student = new_network(Named("cnn-s", options={"width": 4}), what.data, seed=3)
    again = replace(job, journal=replace(job.journal, resume=True))
    reports, _ = finished(distil(METHOD, make_fit(8), replace(what, student=student), again))
    assert [report.phase for report in reports] == NAMES[epochs:]
    assert job.journal.output.read_bytes() == whole.read_bytes()
    made = _auxiliary_path(job).read_bytes()
    assert made == whole.with_name("student.auxiliary.safetensors").read_bytes()
    assert list(job.journal.output.parent.glob("*.resume.pt")) == []


@pytest.mark.parametrize(
    ("student_width", "ratio", "width"), [(4, 0.5, 8), (4, 0.75, 16), (8, 0.75, 32), (4, 0.2, 5), (4, 1 / 3, 6)]
)
def test_the_auxiliary_is_wider_by_what_narrowing_drops(
    digits: Dataset, student_width: int, ratio: float, width: int
) -> None:
    student = new_network(Named("cnn-s", options={"width": student_width, "depth": 2}), digits, seed=0)
    assert auxiliary_architecture(student, ratio) == Architecture(
        "cnn-a", 10, 1, (24, 24), {"width": width, "depth": 2}
    )


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 1.5, 0.3, 0.01, float("nan")])
def test_a_ratio_that_makes_no_auxiliary_is_refused(student: Checkpoint, ratio: float) -> None:
    with pytest.raises(PlanError, match=rf"ratio {ratio}: .* for a student 4 wide; .*such as 0.5 or 0.75"):
        auxiliary_architecture(student, ratio)


def test_no_auxiliary_can_be_built_for_other_networks(digits: Dataset) -> None:
    student = new_network(Named("resnet18", options={}), digits, seed=0)
    with pytest.raises(PlanError, match=r"no auxiliary can be built for 'resnet18'.*pass --auxiliary"):
        auxiliary_architecture(student, 0.5)


def test_a_wide_auxiliary_is_made_and_narrowed(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    wide = replace(what, auxiliary=replace(what.auxiliary, ratio=0.75))
    _, student = finished(distil(METHOD, make_fit(7), wide, job))
    assert load(_auxiliary_path(job)).network.width("map1") == 16
    assert student.network.width("map1") == 4


def test_a_pruned_student_gets_an_auxiliary_that_can_be_read_again(
    what: Distillation, job: Job, make_fit: MakeFit
) -> None:
    pruned = cut(new_network(Named("cnn-s", options={"width": 8}), what.data, seed=3), 0.5, "edgepress prune")
    _, student = finished(distil(METHOD, make_fit(7), replace(what, student=pruned), job))
    auxiliary = load(_auxiliary_path(job))
    assert auxiliary.card.edits == ()
    assert auxiliary.network.width("map1") == 8
    assert load(job.journal.output).card.edits == student.card.edits != ()


# what may go wrong, before anything is trained


@pytest.mark.parametrize(
    ("method", "fit", "message"),
    [
        (METHOD, {"epochs": 6}, "6 epochs leave none"),
        (METHOD, {"epochs": 8, "keep": "best score"}, "needs a validation split"),
        (read_method("indistill", {"a": "0", "last.beta": "-1"}), {"epochs": 8}, "pkt: beta is -1.0"),
    ],
)
def test_a_plan_that_cannot_run_is_found_before_the_auxiliary_is_trained(
    what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path, method: Method, fit: dict[str, int], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        next(distil(method, make_fit(**fit), what, job))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 2}, "cannot keep 4 of 2 filters"), ({"width": 8, "depth": 2}, "unknown stage 'map3'")],
)
def test_an_auxiliary_that_does_not_fit_is_refused(
    what: Distillation,
    job: Job,
    make_fit: MakeFit,
    digits: Dataset,
    tmp_path: Path,
    options: dict[str, int],
    message: str,
) -> None:
    other = new_network(Named("cnn-a", options=options), digits, seed=0)
    given = replace(what, auxiliary=replace(what.auxiliary, made=other))
    with pytest.raises(PlanError, match=message):
        next(distil(METHOD, make_fit(8), given, job))
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_shape_are_refused(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    large = load_data("digits", DataOptions(size=(32, 32), fraction=0.1))
    with pytest.raises(DataError, match=r"\(24, 24\), \(32, 32\)"):
        next(distil(read_method("pkt"), make_fit(1), replace(what, data=large), job))


# other methods


@pytest.mark.parametrize(("name", "phase"), [("no_teacher", "task"), ("okd", "okd"), ("pkt", "embedding")])
def test_single_layer_methods_learn_from_the_teacher_itself(
    what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path, name: str, phase: str
) -> None:
    reports, student = finished(distil(read_method(name), make_fit(1), what, job))
    assert [report.phase for report in reports] == [phase]
    assert {path.name for path in tmp_path.iterdir()} == {"student.safetensors", "student.metrics.jsonl"}
    assert student.card.task == "classification"


def test_retrieval_needs_no_labels(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    reports, student = finished(distil(METHOD, make_fit(7), what, replace(job, run=Run(RETRIEVAL, 1))))
    assert set(reports[-1].losses) == {"pkt"}
    assert student.card.task == "retrieval"
    assert student.card.lineage[-1]["metrics"] == {
        name: round(value, 6) for name, value in RETRIEVAL.evaluate(student.network, what.data).items()
    }


def test_the_lineage_knows_what_the_student_saw(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    method = read_method("indistill", {"a": "0"})
    _, student = finished(distil(method, make_fit(8), what, job))
    auxiliary = load(_auxiliary_path(job)).network
    shown = weights_digest(method.shown(auxiliary, student.network).model)
    assert student.card.lineage[-1]["narrowed_auxiliary"] == shown != weights_digest(auxiliary.model)


# recovery


@pytest.mark.parametrize("name", ["okd", "indistill", "stagewise", "pkt_h_cr"])
def test_a_pruned_network_learns_from_the_whole_one(
    teacher: Checkpoint, digits: Dataset, job: Job, make_fit: MakeFit, name: str
) -> None:
    small, before = cut(teacher, 0.5, "edgepress prune"), state_of(teacher.network)
    found = state_of(small.network)
    method = METHOD if name == "indistill" else read_method(name)
    reports, result = finished(recovered(small, teacher, Recovery(method, make_fit(7)), digits, job))
    assert len(reports) == 7
    assert same(state_of(small.network), found)
    assert same(state_of(teacher.network), before)
    cut_top1, top1 = (CLASSIFICATION.evaluate(one.network, digits)["top1"] for one in (small, result))
    assert top1 > cut_top1
    again = load(job.journal.output)
    assert same(state_of(again.network), state_of(result.network))
    assert again.card.edits == small.card.edits != ()


@pytest.mark.parametrize("stage", ["map1", "map3"])
def test_hints_begin_a_recovery_where_the_fit_ended(
    teacher: Checkpoint, digits: Dataset, job: Job, make_fit: MakeFit, stage: str
) -> None:
    seen = looked_at(teacher, digits.train, 64)
    small, _ = mended(cut(teacher, 0.5, "edgepress prune"), teacher, seen, "edgepress prune")
    method, fit = for_recovery(read_method("hints", {"stage": stage})), make_fit(1, rate=1e-9)
    (report,), result = finished(
        recovered(small, teacher, Recovery(method, replace(fit, fixed_statistics=True)), digits, job)
    )
    guide = guide_of(teacher, small, method)
    features = []
    for network in (small.network, guide):
        with evaluating(network.model), tapped(network, [stage]) as taps, torch.no_grad():
            taps.read(network.model, teacher.card.scale(next(digits.train.batches(len(digits.train))).image))
            features.append(taps[stage])
    assert report.losses["hint"] == pytest.approx(feature_loss(*features).item(), rel=1e-3)
    tops = [CLASSIFICATION.evaluate(one.network, digits)["top1"] for one in (small, result)]
    assert tops[0] == tops[1]


@pytest.mark.parametrize(
    ("name", "settings", "added"),
    [
        ("hints", {"beta": "5"}, {"start": "identity"}),
        ("hints", {"start": "random"}, {}),
        ("hints", {"teacher_stage": "map1"}, {}),
        ("pkt_h_cr", {"decay": "0.5"}, {"weight": 1.0}),
        ("pkt_h_cr", {"weight": "100"}, {}),
        ("indistill", {"follow": "paper"}, {"share": 0.5}),
        ("indistill", {"a": "1"}, {}),
        ("attention", {}, {"beta": 10.0}),
        ("mkt", {}, {"beta": 0.1}),
        ("mkt", {"beta": "1"}, {}),
        ("okd", {"tau": "2"}, {}),
    ],
)
def test_what_a_recovery_changes_of_a_method_unless_its_knobs_say(
    name: str, settings: dict[str, str], added: dict[str, object]
) -> None:
    method = read_method(name, settings)
    assert for_recovery(method) == replace(method, knobs={**method.knobs, **added})


def test_without_a_recovery_the_cut_network_is_saved_as_it_is(teacher: Checkpoint, digits: Dataset, job: Job) -> None:
    small = cut(teacher, 0.5, "edgepress prune")
    reports, _ = finished(recovered(small, teacher, None, digits, job))
    assert reports == []
    assert same(state_of(load(job.journal.output).network), state_of(small.network))
