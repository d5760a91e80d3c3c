"""A whole distillation: the auxiliary that InDistill asks for, what it shows, and the student."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compress.distillation import Auxiliary, Distillation, auxiliary_architecture, distil, narrowed
from torch import Tensor, nn
from torch.nn import functional as F

from compress.checkpoint import Checkpoint, load, save
from compress.data import Dataset
from compress.errors import CompressError, DataError, PlanError
from compress.jobs import Job, cut
from compress.models import Architecture, build
from compress.opening import Named, new_network
from compress.phase import Fit
from compress.recipes import Method
from compress.stages import Staged, tapped
from compress.tasks import CLASSIFICATION, RETRIEVAL
from compress.training.engine import EpochReport
from compress.training.journal import Journal

MakeFit = Callable[..., Fit]
METHOD = Method("indistill", {"a": "0"})
NAMES = ["task", "embedding", "map1", "map2", "map2", "map3", "map3", "map3", "embedding", "embedding"]
AUXILIARY_EPOCHS = 2


@pytest.fixture
def what(student: Checkpoint, teacher: Checkpoint, digits: Dataset, make_fit: MakeFit) -> Distillation:
    return Distillation(student, teacher, digits, Auxiliary(None, make_fit(AUXILIARY_EPOCHS // 2), 0.5))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("edgepress distill", CLASSIFICATION, 1, Journal(tmp_path / "student.safetensors"))


@pytest.fixture(scope="module")
def finished(teacher: Checkpoint, digits: Dataset, make_fit: MakeFit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student of a distillation that nothing interrupted."""
    student = new_network(Named("cnn-s", options={"width": 4}), digits, seed=3)
    journal = Journal(tmp_path_factory.mktemp("finished") / "student.safetensors")
    whole = Distillation(student, teacher, digits, Auxiliary(None, make_fit(1), 0.5))
    _follow(distil(METHOD, make_fit(8), whole, Job("edgepress distill", CLASSIFICATION, 1, journal)))
    return journal.output


def _follow(training: object) -> tuple[list[EpochReport], Checkpoint]:
    reports: list[EpochReport] = []
    while True:
        try:
            reports.append(next(training))  # type: ignore[call-overload]
        except StopIteration as end:
            return reports, end.value


def _auxiliary_path(job: Job) -> Path:
    return job.journal.output.with_name("student.auxiliary.safetensors")


def _maps(network: Staged, image: Tensor) -> dict[str, Tensor]:
    network.model.eval()
    with torch.no_grad(), tapped(network, network.body) as taps:
        network.model(image)
        return {name: taps[name] for name in network.body}


def _by_norm(weight: Tensor, count: int) -> list[int]:
    """The filters with the largest sum of magnitudes, in their order, found one by one."""
    sums = [sum(abs(float(value)) for value in kernel.flatten()) for kernel in weight.detach().double()]
    return sorted(sorted(range(len(sums)), key=lambda n: -sums[n])[:count])


@pytest.fixture(scope="module")
def image(digits: Dataset) -> Tensor:
    return next(digits.test.batches(16)).image


# the auxiliary


def test_the_auxiliary_is_made_beside_the_student_and_then_the_student(
    what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path
) -> None:
    reports, student = _follow(distil(METHOD, make_fit(8), what, job))
    assert [report.phase for report in reports] == NAMES
    assert [report.epoch for report in reports] == [1, 2, *range(1, 9)]
    assert [report.metric for report in reports] == ["train_precision_1"] * 2 + ["train_top1"] * 8
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
    assert student.card == load(job.journal.output).card


def test_the_student_comes_out_trained_and_the_teacher_as_it_was(
    finished: Path, what: Distillation, teacher_path: Path
) -> None:
    top1 = CLASSIFICATION.evaluate(load(finished).network, what.data)["top1"]
    assert top1 == pytest.approx(load(finished).card.lineage[-1]["metrics"]["top1"], abs=1e-6)
    assert top1 > CLASSIFICATION.evaluate(what.student.network, what.data)["top1"]
    kept, now = load(teacher_path).network.model.state_dict(), what.teacher.network.model.state_dict()
    assert all(torch.equal(value, now[key]) for key, value in kept.items())


def test_a_finished_auxiliary_is_reused(
    finished: Path, what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path
) -> None:
    path = finished.with_name("student.auxiliary.safetensors")
    given = replace(what, auxiliary=replace(what.auxiliary, path=path, ratio=0.123))
    before = path.read_bytes()
    reports, _ = _follow(distil(METHOD, make_fit(8), given, job))
    assert [report.phase for report in reports] == NAMES[AUXILIARY_EPOCHS:]
    assert {path.name for path in tmp_path.iterdir()} == {"student.safetensors", "student.metrics.jsonl"}
    assert path.read_bytes() == before
    assert job.journal.output.read_bytes() == finished.read_bytes()


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 6, 10])
def test_a_distillation_resumed_anywhere_ends_with_the_same_bytes(
    finished: Path, what: Distillation, job: Job, make_fit: MakeFit, epochs: int
) -> None:
    abandoned = distil(METHOD, make_fit(8), what, job)
    for _ in range(epochs):
        next(abandoned)
    abandoned.close()

    student = new_network(Named("cnn-s", options={"width": 4}), what.data, seed=3)
    again = replace(job, journal=replace(job.journal, resume=True))
    reports, _ = _follow(distil(METHOD, make_fit(8), replace(what, student=student), again))
    assert [report.phase for report in reports] == NAMES[epochs:]
    assert job.journal.output.read_bytes() == finished.read_bytes()
    made = _auxiliary_path(job).read_bytes()
    assert made == finished.with_name("student.auxiliary.safetensors").read_bytes()
    assert list(job.journal.output.parent.glob("*.resume.pt")) == []


def test_the_auxiliary_of_another_command_is_not_taken_for_ones_own(
    finished: Path, what: Distillation, job: Job, make_fit: MakeFit
) -> None:
    _auxiliary_path(job).write_bytes(finished.with_name("student.auxiliary.safetensors").read_bytes())
    other = replace(job, command="edgepress distill --seed 7", journal=replace(job.journal, resume=True))
    with pytest.raises(
        CompressError, match=r"student.auxiliary.safetensors already exists, finished: .*; pass --force"
    ):
        next(distil(METHOD, make_fit(8), what, other))
    reports, _ = _follow(
        distil(METHOD, make_fit(8), what, replace(other, journal=Journal(job.journal.output, force=True)))
    )
    assert [report.phase for report in reports] == NAMES
    assert load(_auxiliary_path(job)).card.lineage[-1]["command"] == "edgepress distill --seed 7"


def test_the_auxiliary_of_another_teacher_is_not_taken_for_ones_own(
    finished: Path, what: Distillation, job: Job, make_fit: MakeFit
) -> None:
    _auxiliary_path(job).write_bytes(finished.with_name("student.auxiliary.safetensors").read_bytes())
    retrained = replace(what, teacher=new_network(Named("cnn-a", options={"width": 8}), what.data, seed=5))
    again = replace(job, journal=replace(job.journal, resume=True))
    with pytest.raises(
        CompressError, match=r"student.auxiliary.safetensors already exists, finished: .*; pass --force"
    ):
        next(distil(METHOD, make_fit(8), retrained, again))


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
    _, student = _follow(distil(METHOD, make_fit(7), wide, job))
    assert load(_auxiliary_path(job)).network.width("map1") == 16
    assert student.network.width("map1") == 4


def test_a_pruned_student_gets_an_auxiliary_that_can_be_read_again(
    what: Distillation, job: Job, make_fit: MakeFit
) -> None:
    pruned = cut(new_network(Named("cnn-s", options={"width": 8}), what.data, seed=3), 0.5, "edgepress prune")
    _, student = _follow(distil(METHOD, make_fit(7), replace(what, student=pruned), job))
    auxiliary = load(_auxiliary_path(job))
    assert auxiliary.card.edits == ()
    assert auxiliary.network.width("map1") == 8
    assert load(job.journal.output).card.edits == student.card.edits != ()


# what may go wrong, before anything is trained


@pytest.mark.parametrize(
    ("method", "fit", "message"),
    [
        (METHOD, {"epochs": 6}, "6 epochs leave none"),
        (METHOD, {"epochs": 8, "keep": "best"}, "needs a validation split"),
        (Method("indistill", {"a": "0", "last": "okt"}), {"epochs": 8}, "unknown last recipe"),
    ],
)
def test_a_plan_that_cannot_run_is_found_before_the_auxiliary_is_trained(
    what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path, method: Method, fit: dict[str, int], message: str
) -> None:
    with pytest.raises((PlanError, ValueError), match=message):
        next(distil(method, make_fit(**fit), what, job))
    assert list(tmp_path.iterdir()) == []


def test_an_auxiliary_that_does_not_fit_is_named(
    what: Distillation, job: Job, make_fit: MakeFit, digits: Dataset, tmp_path: Path
) -> None:
    others = {
        "small": new_network(Named("cnn-a", options={"width": 2}), digits, seed=0),
        "shallow": new_network(Named("cnn-a", options={"width": 8, "depth": 2}), digits, seed=0),
        "large": Checkpoint(
            build(Architecture("cnn-a", 10, 1, (32, 32))),
            replace(what.student.card, architecture=Architecture("cnn-a", 10, 1, (32, 32))),
        ),
    }
    for name, other in others.items():
        path = save(other, tmp_path / f"{name}.safetensors")
        given = replace(what, auxiliary=replace(what.auxiliary, path=path))
        with pytest.raises(PlanError, match=rf"{name}.safetensors cannot be the auxiliary: "):
            next(distil(METHOD, make_fit(8), given, job))
    assert not job.journal.output.exists()


def test_data_of_another_shape_are_refused(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    with pytest.raises(DataError, match="1x32x32"):
        next(distil(Method("pkt"), make_fit(1), replace(what, data=replace(what.data, size=(32, 32))), job))


# other methods


@pytest.mark.parametrize(("name", "phase"), [("no_teacher", "task"), ("okd", "okd"), ("pkt", "embedding")])
def test_single_layer_methods_learn_from_the_teacher_itself(
    what: Distillation, job: Job, make_fit: MakeFit, tmp_path: Path, name: str, phase: str
) -> None:
    reports, student = _follow(distil(Method(name), make_fit(1), what, job))
    assert [report.phase for report in reports] == [phase]
    assert {path.name for path in tmp_path.iterdir()} == {"student.safetensors", "student.metrics.jsonl"}
    assert student.card.task == "classification"


def test_retrieval_needs_no_labels(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    reports, student = _follow(distil(METHOD, make_fit(7), what, replace(job, task=RETRIEVAL)))
    assert set(reports[-1].losses) == {"pkt"}
    assert student.card.task == "retrieval"
    assert student.card.lineage[-1]["metrics"] == {
        name: round(value, 6) for name, value in RETRIEVAL.evaluate(student.network, what.data).items()
    }


# what a narrowed auxiliary shows


def test_a_narrowed_auxiliary_shows_its_own_strongest_channels(
    teacher: Checkpoint, student: Checkpoint, image: Tensor
) -> None:
    whole, shown = (
        _maps(network, image)
        for network in (teacher.network, narrowed(teacher.network, student.network, follow="paper"))
    )
    for number, name in enumerate(("map1", "map2", "map3")):
        weight = teacher.network.model.get_submodule(f"blocks.{number}.conv").weight
        kept = _by_norm(weight, student.network.width(name))  # type: ignore[arg-type]
        assert kept != list(range(len(kept)))
        assert torch.equal(shown[name], whole[name][:, kept])


def _released(network: Staged, number: int, width: int, feature: Tensor) -> Tensor:
    """A block's map as the released code makes it: kept filters and scales, statistics of the batch, ReLU, pooling."""
    conv = network.model.get_submodule(f"blocks.{number}.conv")
    gamma = network.model.get_submodule(f"blocks.{number}.norm").weight
    kept = _by_norm(conv.weight, width)  # type: ignore[arg-type]
    rows = []
    for channel in kept:
        response = F.conv2d(feature, conv.weight[channel : channel + 1]) + conv.bias[channel]  # type: ignore[index]
        mean = response.mean()
        variance = ((response - mean) ** 2).mean()
        scaled = gamma[channel] * (response - mean) / (variance + 1e-5) ** 0.5  # type: ignore[index]
        rows.append(F.max_pool2d(scaled.clamp(min=0), 2))
    return torch.cat(rows, dim=1)


def test_following_the_release_a_narrowed_auxiliary_normalises_afresh(
    teacher: Checkpoint, student: Checkpoint, image: Tensor
) -> None:
    network = teacher.network
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    released = narrowed(network, student.network, follow="release")
    shown, whole = _maps(released, image), _maps(network, image)
    feature = image
    for number, name in enumerate(("map1", "map2", "map3")):
        width = student.network.width(name)
        with torch.no_grad():
            expected = _released(network, number, width, feature)
        assert released.width(name) == width
        assert shown[name].shape == expected.shape
        assert torch.allclose(shown[name], expected, atol=1e-4)
        feature = whole[name]
    with torch.no_grad():
        assert torch.allclose(released.model(image), network.model(image), atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.model.state_dict().items())


@pytest.mark.parametrize("follow", ["paper", "release"])
def test_narrowing_changes_neither_the_auxiliary_nor_its_other_stages(
    teacher: Checkpoint, student: Checkpoint, image: Tensor, follow: str
) -> None:
    network = narrowed(teacher.network, student.network, follow=follow)
    assert [network.width(name) for name in network.body] == [4, 8, 16]
    with torch.no_grad(), tapped(network, ["embedding", "logits"]) as taps:
        network.model.eval()(image)
    with torch.no_grad(), tapped(teacher.network, ["embedding", "logits"]) as expected:
        teacher.network.model.eval()(image)
    for name in ("embedding", "logits"):
        assert torch.allclose(taps[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("follow", ["paper", "release"])
def test_an_auxiliary_narrower_than_the_student_is_refused(teacher: Checkpoint, digits: Dataset, follow: str) -> None:
    wide = new_network(Named("cnn-s", options={"width": 9}), digits, seed=0)
    with pytest.raises(PlanError, match=r"stage 'map1': cannot (show|keep) 9 of 8"):
        narrowed(teacher.network, wide.network, follow=follow)


def test_following_the_release_needs_plain_blocks(student: Checkpoint) -> None:
    plain = build(Architecture("cnn-a", 10, 1, (24, 24)))
    plain.model.set_submodule("blocks.1", nn.Sequential(nn.Conv2d(16, 32, 3), nn.MaxPool2d(2)))
    with pytest.raises(PlanError, match="stage 'map2': follow=release needs a block of one convolution"):
        narrowed(plain, student.network, follow="release")


def test_a_released_distillation_has_a_phase_an_epoch(what: Distillation, job: Job, make_fit: MakeFit) -> None:
    method = Method("indistill", {"a": "0", "follow": "release"})
    reports, _ = _follow(distil(method, make_fit(7), what, job))
    names = ["map1.1", "map2.1", "map2.2", "map3.1", "map3.2", "map3.3", "embedding"]
    assert [report.phase for report in reports][AUXILIARY_EPOCHS:] == names
