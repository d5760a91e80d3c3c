"""Stages are trained from tables as from images: alike to the last digits, in memory or in files, resumed or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from boxes import boxes, boxes_network
from plans import CE, SEEN, make_lesson, make_student, maps, noisy_loss
from torch import nn
from watch import State, close, moved, same, state_of, timeless

from compress.data import DataOptions, Dataset, load
from compress.errors import CheckpointError, OutputError, PlanError
from compress.models import Architecture, build
from compress.phase import OPTIMIZERS, Fit, Phase, S, Term
from compress.recipes import read_method
from compress.schedule import Schedule
from compress.stages import Stage, Staged
from compress.tasks import CLASSIFICATION, SEGMENTATION
from compress.training.engine import EpochReport, Run, run
from compress.training.journal import Journal, read_state
from compress.training.precision import check_precision

MakeFit = Callable[..., Fit]

MEMORY, FILES, NONE = 10**9, 3 * 10**5, 0  # bytes; a table that the second has no room for goes to a file


@pytest.fixture(scope="module")
def flipped() -> Dataset:
    return load("digits", DataOptions(size=(24, 24), fraction=0.1, augment=("flip",)))


@pytest.fixture(scope="module")
def mixed() -> Dataset:
    """Images that are mixed and have soft targets, and a validation split."""
    return load("digits", DataOptions(size=(24, 24), fraction=0.12, val_fraction=0.2, augment=("crop", "mixup")))


def _plan(method: str, make_fit: MakeFit, student: Staged, guide: Staged, *, keep: str = "last") -> list[Phase]:
    fit = replace(make_fit(16, keep=keep), views=2)
    return read_method(method).phases(make_lesson(student, guide), fit)


def _trained(phases: list[Phase], data: Dataset, cache: int, **asked: object) -> tuple[list[EpochReport], State]:
    student = make_student()
    run_ = replace(Run(CLASSIFICATION, 5), cache_bytes=cache, **asked)  # type: ignore[arg-type]
    reports = [one for one in run(phases, student, data, run_, teacher=_guide()) if isinstance(one, EpochReport)]
    return reports, state_of(student)


@pytest.fixture
def plans(make_fit: MakeFit) -> Callable[..., list[Phase]]:
    """A method to its plan of 16 epochs that replay two views, for a student and a guide of equal shapes."""

    def make(method: str, keep: str = "last") -> list[Phase]:
        return _plan(method, make_fit, make_student(), _guide(), keep=keep)

    return make


def _guide() -> Staged:
    """A guide as wide as the student."""
    return replace(build(Architecture("cnn-s", 10, 1, (24, 24), {"width": 4}), seed=9), scale=SEEN)


@pytest.mark.parametrize(
    ("method", "keep"),
    [
        ("stagewise", "last"),
        ("stagewise", "best loss"),
        ("traditional", "last"),
        ("fsp", "best loss"),
        ("at", "last"),
        ("simultaneous", "best loss"),
        pytest.param("traditional", "best loss", marks=pytest.mark.slow),
        pytest.param("fsp", "last", marks=pytest.mark.slow),
        pytest.param("at", "best loss", marks=pytest.mark.slow),
        pytest.param("simultaneous", "last", marks=pytest.mark.slow),
    ],
)
def test_cached_and_plain_agree(plans: Callable[..., list[Phase]], flipped: Dataset, method: str, keep: str) -> None:
    data = flipped if keep == "last" else load("digits", _with_val("flip"))
    (cached, by_table), (plain, by_image) = (_trained(plans(method, keep), data, bytes_) for bytes_ in (MEMORY, NONE))
    assert close(by_table, by_image, within=1e-5)
    for ours, theirs in zip(cached, plain, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
        assert ours.score == pytest.approx(theirs.score)
    assert {report.features for report in plain} == {"live"}
    assert cached[0].features == "teacher cached"
    assert cached[-1].features == {"stagewise": "cached", "traditional": "cached", "fsp": "live"}.get(
        method, "teacher cached"
    )


def _with_val(augment: str) -> DataOptions:
    return DataOptions(size=(24, 24), fraction=0.12, val_fraction=0.2, augment=(augment,))


def test_cached_and_plain_agree_on_a_residual_network(make_fit: MakeFit, flipped: Dataset) -> None:
    ends = []
    for cache in (MEMORY, NONE):
        student, guide = (
            replace(build(Architecture("resnet10", 10, 1, (24, 24)), seed=seed), scale=SEEN) for seed in (1, 2)
        )
        phases = [phase for phase in _plan("stagewise", make_fit, student, guide) if phase.name in ("layer3", "layer4")]
        phases = [replace(phase, fit=replace(make_fit(3), views=1)) for phase in phases]
        list(run(phases, student, flipped, Run(CLASSIFICATION, cache_bytes=cache), teacher=guide))
        ends.append(state_of(student))
    assert close(*ends, within=1e-5)


def test_mixed_images_and_their_soft_targets_return_with_their_view(
    plans: Callable[..., list[Phase]], mixed: Dataset
) -> None:
    (cached, by_table), (_, by_image) = (_trained(plans("stagewise"), mixed, cache) for cache in (MEMORY, NONE))
    assert cached[-1].features == "cached"
    assert close(by_table, by_image, within=1e-5)


def test_an_average_is_kept_of_cached_stages(plans: Callable[..., list[Phase]], flipped: Dataset) -> None:
    phases = [replace(phase, fit=replace(phase.fit, ema=0.9)) for phase in plans("stagewise")]
    (_, by_table), (_, by_image) = (_trained(phases, flipped, cache) for cache in (MEMORY, NONE))
    assert close(by_table, by_image, within=1e-5)


def test_norms_that_follow_the_images_of_frozen_stages(make_fit: MakeFit, flipped: Dataset) -> None:
    fit = replace(make_fit(16), views=2)
    phases = read_method("stagewise", {"follow": "release"}).phases(make_lesson(make_student(), _guide()), fit)
    (_, by_table), (_, by_image) = (_trained(phases, flipped, cache) for cache in (MEMORY, NONE))
    assert close(by_table, by_image, within=1e-5)


def test_files_hold_the_same_bytes_as_memory(
    plans: Callable[..., list[Phase]], flipped: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[int] = []
    from_file = torch.from_file

    def counted(*args: object, **kwargs: object) -> torch.Tensor:
        made.append(int(kwargs["size"]))  # type: ignore[call-overload]
        return from_file(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "from_file", counted)
    _, in_memory = _trained(plans("stagewise"), flipped, MEMORY)
    assert not made
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, in_files = _trained(plans("stagewise"), flipped, FILES)
    assert made
    assert same(in_memory, in_files)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cache", [MEMORY, FILES])
@pytest.mark.parametrize("epochs", [1, 7, 14])
def test_a_cached_run_resumed_at_any_epoch_ends_with_the_same_bytes(
    plans: Callable[..., list[Phase]],
    flipped: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: int,
    epochs: int,
) -> None:
    monkeypatch.setattr("compress.training.keeping.PATIENCE", 0)
    whole, uninterrupted = _trained(plans("stagewise"), flipped, cache)
    journal, asked = Journal(tmp_path / "student.safetensors"), Run(CLASSIFICATION, 5, cache_bytes=cache)
    abandoned = run(plans("stagewise"), make_student(), flipped, asked, teacher=_guide(), journal=journal)
    begun = [next(abandoned) for _ in range(epochs)]
    assert not list(tmp_path.glob(".*"))
    abandoned.close()
    student, journal = make_student(), replace(journal, resume=True)
    again = list(run(plans("stagewise"), student, flipped, asked, teacher=_guide(), journal=journal))
    assert timeless([*begun, *again]) == timeless(whole)
    assert same(state_of(student), uninterrupted)
    assert {path.name for path in tmp_path.iterdir()} == {journal.state_path.name, journal.metrics_path.name}


def test_a_run_goes_on_with_another_cache_but_not_with_other_views(
    plans: Callable[..., list[Phase]], flipped: Dataset, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "student.safetensors")
    begun = run(plans("stagewise"), make_student(), flipped, Run(CLASSIFICATION), teacher=_guide(), journal=journal)
    next(begun)
    begun.close()
    journal = replace(journal, resume=True)
    others = [replace(phase, fit=replace(phase.fit, views=3)) for phase in plans("stagewise")]
    with pytest.raises(CheckpointError, match="views"):
        run(others, make_student(), flipped, Run(CLASSIFICATION), teacher=_guide(), journal=journal)
    plain = Run(CLASSIFICATION, cache_bytes=0)
    list(run(plans("stagewise"), make_student(), flipped, plain, teacher=_guide(), journal=journal))
    assert read_state(journal.state_path).done == 16


def test_a_disk_without_room_is_an_error_that_says_what_to_do(
    plans: Callable[..., list[Phase]], flipped: Dataset, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(10**5), pytest.raises(OutputError, match="give a larger --cache"):
        _trained(plans("stagewise"), flipped, FILES)


class _Random(nn.Module):
    """A network whose first stage draws random numbers, or that torch.fx cannot trace."""

    def __init__(self, *, traceable: bool) -> None:
        super().__init__()
        self.traceable = traceable
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.5 if traceable else 0.0))
        self.second = nn.Conv2d(4, 4, 3)
        self.logits = nn.Linear(4, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not self.traceable and image.mean() > 1e9:
            return self.logits(image)  # type: ignore[no-any-return]
        return self.logits(self.second(self.first(image)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("traceable", [True, False])
def test_what_cannot_be_cut_is_trained_from_its_images(make_fit: MakeFit, flipped: Dataset, *, traceable: bool) -> None:
    widths = {"first": 4, "second": 4, "logits": 10}
    ends = []
    for cache in (MEMORY, NONE):
        torch.manual_seed(0)
        stages = tuple(Stage(name, name, (name,), width) for name, width in widths.items())
        student = Staged(_Random(traceable=traceable), stages, scale=SEEN)
        phase = Phase("p", (CE,), replace(make_fit(4), views=2), train=("logits",))
        reports = list(run([phase], student, flipped, Run(CLASSIFICATION, cache_bytes=cache)))
        assert {report.features for report in reports} == {"live"}
        ends.append(state_of(student))
    assert same(*ends)


def test_chance_behind_the_frontier_falls_as_it_does_without_a_table(make_fit: MakeFit, flipped: Dataset) -> None:
    terms = (CE, Term(noisy_loss, (S("embedding"),), 0.1, "noise"))
    phase = Phase("p", terms, replace(make_fit(4), views=2), train=("embedding", "logits"))
    (_, by_table), (_, by_image) = (_trained([phase], flipped, cache) for cache in (MEMORY, NONE))
    assert close(by_table, by_image, within=1e-5)
    assert moved(by_table, state_of(make_student()))


def test_views_return_in_turn(flipped: Dataset, make_fit: MakeFit) -> None:
    fit = replace(make_fit(6), views=3)
    assert [fit.view(number) for number in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    assert [make_fit(6).view(number) for number in (0, 5)] == [0, 5]
    assert fit.over(4).views == fit.window(1, 3).views == 3
    with pytest.raises(ValueError, match="views: got -1"):
        Fit(1, fit.optimizer, Schedule("constant", 1), views=-1)
    again = [_trained([Phase("p", maps("map1"), one)], flipped, NONE)[0] for one in (fit, replace(fit, views=0))]
    assert again[0][2].losses == again[1][2].losses
    assert again[0][3].losses != again[1][3].losses


def test_what_a_killed_run_left_is_swept(plans: Callable[..., list[Phase]], flipped: Dataset, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "student.safetensors")
    left = tmp_path / ".student.safetensors-abcd1234.partial"
    left.mkdir()
    (left / "student.safetensors").write_bytes(b"rows")
    asked = Run(CLASSIFICATION, cache_bytes=FILES)
    list(run(plans("at"), make_student(), flipped, asked, teacher=_guide(), journal=journal))
    assert not list(tmp_path.glob(".*"))


def test_masks_return_with_their_view() -> None:
    data, guide = boxes(), boxes_network(8, seed=2)
    fit = Fit(4, OPTIMIZERS["adam"](1e-2), (1.0,) * 4, batch_size=16)
    ends = []
    for cache in (MEMORY, NONE):
        student = boxes_network(8, seed=3)
        plan = [Phase("edges", maps("edges"), fit, ("edges",)), Phase("task", SEGMENTATION.terms, fit, ("logits",))]
        reports = list(run(plan, student, data, Run(SEGMENTATION, cache_bytes=cache), teacher=guide))
        kinds = ["teacher cached"] * 4 + ["cached"] * 4 if cache else ["live"] * 8
        assert [report.features for report in reports] == kinds
        ends.append((state_of(student), [report.score for report in reports]))
    assert close(ends[0][0], ends[1][0], within=1e-5)
    assert ends[0][1] == pytest.approx(ends[1][1])


def test_features_in_bfloat16_are_kept_as_they_are(plans: Callable[..., list[Phase]], flipped: Dataset) -> None:
    try:
        check_precision("bf16", torch.device("cpu"))
    except PlanError as error:
        pytest.skip(str(error))
    (cached, by_table), (_, by_image) = (
        _trained(plans("stagewise"), flipped, cache, precision="bf16") for cache in (MEMORY, NONE)
    )
    assert cached[-1].features == "cached"
    assert close(by_table, by_image, within=1e-2)
