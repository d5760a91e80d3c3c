"""Files that give masks, side by side: mean IoU, and the pixels that both decide alike."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from boxes import boxes, boxes_checkpoint
from rich.console import Console

from benchmarks.bench import compare
from benchmarks.claims import check
from benchmarks.contender import named, open_contender
from benchmarks.document import digest, number, record
from benchmarks.measure.said import pixels_alike
from benchmarks.pages import terminal
from benchmarks.pages.report import page
from benchmarks.protocol import Protocol
from benchmarks.samples import pack
from benchmarks.verify import verify
from compress.data import Dataset
from compress.errors import PlanError
from compress.tasks import SEGMENTATION
from exports import Artefact, format_of, ship
from exports.answers import as_network
from exports.source import samples

QUICK = Protocol(sessions=2, rounds=10, turn_ms=1, warmup_ms=5)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return boxes()


@pytest.fixture(scope="module")
def folder(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """student.onnx, which has learnt the boxes a little, and teacher.onnx, which has learnt them."""
    folder = tmp_path_factory.mktemp("masks")
    for name, epochs in (("student", 1), ("teacher", 4)):
        made = boxes_checkpoint(epochs)
        ship(made, folder / f"{name}.onnx", samples(made.card, data.test))
    return folder


@pytest.fixture
def known(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set can be asked for by its name."""
    monkeypatch.setattr("compress.opening.load_data", lambda _name, _options, **_see: data)


def _read(path: Path) -> Artefact:
    return format_of(path).read(path)


def test_agreement_is_the_share_of_pixels(folder: Path, data: Dataset) -> None:
    files = [_read(folder / f"{name}.onnx") for name in ("student", "teacher")]
    images = torch.cat(list(samples(files[0].card, data.test)))  # type: ignore[arg-type]
    first, second = (file(images).argmax(dim=1) for file in files)
    found = pixels_alike((files[0], data), (files[1], data))
    assert found is not None
    assert found.tolist() == [[int(same.sum()), 240] for same in first == second]
    assert 0.3 < found[:, 0].sum() / found[:, 1].sum() < 1


@pytest.mark.usefixtures("known")
def test_a_benchmark_shows_mean_iou_and_pixel_agreement(folder: Path, data: Dataset) -> None:
    files = [str(folder / f"{name}.onnx") for name in ("student", "teacher")]
    document = compare(files, baseline=1, data="boxes", protocol=QUICK).document
    student, teacher = document["files"]
    assert (student["task"], student["metric"], student["classes"]) == ("segmentation", "miou", 3)
    found = SEGMENTATION.evaluate(as_network(_read(folder / "student.onnx"), data.scale), data)
    for name in ("miou", "miou_per_image", "pixel_accuracy"):
        assert number(student, name) == found[name]
    assert number(student, "iou ground") == found["iou_ground"]
    miou, its, drop = record(student, "miou"), number(teacher, "miou"), record(student, "drop")
    assert (miou["low"], miou["high"]) == (found["miou_low"], found["miou_high"])
    assert drop["value"] == pytest.approx(100 * (its - miou["value"]))
    assert drop["low"] < drop["value"] < drop["high"]
    assert [one.held for one in check(document, {"max-drop": 100.0})] == ["met"]
    assert [one.held for one in check(document, {"max-drop": drop["low"] - 0.01})] == ["broken"]
    for name in data.classes:
        each = record(student, f"drop {name}")
        assert each["value"] == pytest.approx(100 * (number(teacher, f"iou {name}") - number(student, f"iou {name}")))
        assert (each["low"] > 0) == (name in student["hurt"]["classes"])
    text = _shown(document, 200)
    assert "mIoU %" in text
    assert "top-1" not in text
    assert f"drop {drop['value']:+.2f}" in text
    alike = number(student, "pixel_agreement")
    assert f"pixel agreement with teacher.onnx: {alike:.2%} (31 images)" in text
    assert max(map(len, _shown(document, 60).splitlines())) <= 60


@pytest.mark.usefixtures("known")
def test_a_page_of_masks_is_derived_anew(folder: Path) -> None:
    files = [str(folder / f"{name}.onnx") for name in ("student", "teacher")]
    found = compare(files, baseline=1, data="boxes", protocol=QUICK)
    samples = pack({at: one.raw for at, one in found.measured.items()})
    document = {**found.document, "samples": {"file": "b.npz", "sha256": sha256(samples).hexdigest()}}
    document["digest"] = digest(document)
    text = page.draw(document, samples).decode()
    assert "mean IoU against latency" in text
    assert "Confusion matrix" not in text
    student = document["files"][0]
    each = text[text.index('id="each"') : text.index('id="how"')]
    assert "<dt>Whom it hurts</dt>" in each
    for name in ("ground", "bright", "dark"):
        assert f"{100 * number(student, f'iou {name}'):.2f}" in each
    findings = verify(document, samples)
    assert not any(one.found == "FAILED" for one in findings)
    derived = " ".join(one.sentence for one in findings if one.found == "re-derived")
    assert "student.onnx: accuracy: miou, miou_per_image, pixel_accuracy" in derived
    assert "student.onnx: drop and agreement: drop, pixel_agreement" in derived
    assert "student.onnx: drop by class: drop ground" in derived
    record(document["files"][0], "drop")["high"] += 1e-6
    document["digest"] = digest(document)
    failed = [one.sentence for one in verify(document, samples) if one.found == "FAILED"]
    assert any("drop: high is" in one for one in failed)


def test_a_classifier_is_not_asked_for_masks(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made = boxes_checkpoint(1)
    classifier = replace(made, card=replace(made.card, task="classification"))
    ship(classifier, tmp_path / "classifier.onnx", samples(made.card, data.test))
    monkeypatch.setattr("compress.opening.load_data", lambda _name, _options, **_see: data)
    with pytest.raises(PlanError, match=r"classifier\.onnx: task 'classification' does not suit data set 'boxes'"):
        open_contender(named(tmp_path / "classifier.onnx"), tmp_path, data="boxes")


def _shown(document: dict[str, Any], width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(document, console))
    return capture.get()
