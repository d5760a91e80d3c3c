"""The commands on a network for masks: predict writes them, evaluate tells the IoU of each class."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import CLASSES, SEE, boxes, boxes_checkpoint
from PIL import Image
from typer.testing import CliRunner, Result

from cli.main import app
from compress.data import Dataset
from compress.data.split import VOID
from compress.tasks import SEGMENTATION
from exports import format_of, ship
from exports.answers import as_network
from exports.source import samples

Command = Callable[[str, Path], Result]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return boxes()


@pytest.fixture(scope="module")
def onnx_file(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = boxes_checkpoint(4)
    return ship(made, tmp_path_factory.mktemp("masks") / "masks.onnx", samples(made.card, data.test)).artefact.path


@pytest.fixture
def folder(onnx_file: Path, data: Dataset, tmp_path: Path) -> Path:
    """masks.onnx; own.png, of the size that it sees; wide.png, twice as large with 10 columns more at either side."""
    (tmp_path / "masks.onnx").symlink_to(onnx_file)
    own = Image.fromarray(next(data.test.batches(1)).image[0, 0].numpy())
    own.save(tmp_path / "own.png")
    wide = Image.new("L", (60, 24), 128)
    wide.paste(own.resize((40, 24), Image.Resampling.NEAREST), (10, 0))
    wide.save(tmp_path / "wide.png")
    return tmp_path


def _taken(onnx_file: Path, data: Dataset) -> np.ndarray:
    """The classes that the file takes the pixels of the first test image for."""
    batch = next(data.test.batches(1))
    return np.asarray(format_of(onnx_file).read(onnx_file)(data.scale(batch.image))[0].argmax(dim=0))


def test_predict_writes_a_mask_of_the_size_of_each_photo(
    folder: Path, onnx_file: Path, data: Dataset, succeeds: Command
) -> None:
    result = succeeds("predict own.png wide.png -m masks.onnx -o out", folder)
    taken = _taken(onnx_file, data)
    with Image.open(folder / "out" / "own.png") as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), taken)
    with Image.open(folder / "out" / "wide.png") as mask:
        found = np.asarray(mask)
    assert found.shape == (24, 60)
    assert (found[:, :10] == VOID).all()
    assert (found[:, 50:] == VOID).all()
    assert (found[:, 10:50] == np.kron(taken, np.ones((2, 2), dtype=int))).mean() > 0.85
    first, second = result.stdout.splitlines()[:2]
    share = 100 * float((taken == 0).mean())
    assert first.startswith(f"own.png: ground {share:.1f} %, ")
    assert "void" not in first
    assert second.endswith("; the network sees 24x40 in the middle of 24x60 (66.7 % of it), the rest is void")
    assert re.search(r"1 +. +#[0-9a-f]{6} +. +bright", result.stdout)
    assert re.search(r"255 +. +#000000 +. +void", result.stdout)
    assert result.stdout.splitlines()[-1] == "written: 2 masks into out"


def test_predict_as_json(folder: Path, succeeds: Command) -> None:
    (own, wide) = json.loads(succeeds("predict own.png wide.png -m masks.onnx -o out --json", folder).stdout)[
        "predictions"
    ]
    assert (own["image"], own["mask"], own["size"], own["covered"]) == ("own.png", "out/own.png", [12, 20], 1)
    assert (wide["seen"], wide["covered"]) == ([0, 10, 24, 50], pytest.approx(2 / 3))
    assert sum(one["share"] for one in own["classes"]) == pytest.approx(1)
    assert {one["class"]: one["value"] for one in own["classes"]}.items() <= dict(
        zip(CLASSES, range(3), strict=True)
    ).items()


def test_predict_writes_nothing_unasked(folder: Path, succeeds: Command) -> None:
    result = succeeds("predict own.png -m masks.onnx --top 1", folder)
    assert re.fullmatch(r"own\.png: ground [\d.]+ %\n", result.stdout)
    assert "no mask was written; pass -o FOLDER" in result.stderr
    assert {path.name for path in folder.iterdir()} == {"masks.onnx", "own.png", "wide.png"}


def test_predict_replaces_nothing_without_force_and_no_photo_ever(
    folder: Path, succeeds: Command, refused: Callable[..., str]
) -> None:
    succeeds("predict own.png -m masks.onnx -o out", folder)
    refused("predict wide.png own.png -m masks.onnx -o out", folder, "out/own.png", "--force")
    succeeds("predict wide.png own.png -m masks.onnx -o out --force", folder)
    refused("predict own.png -m masks.onnx -o . --force", folder, "own.png")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "own.jpg").write_bytes((folder / "own.png").read_bytes())
    message = "own.png and deeper/own.jpg would both give new/own.png"
    refused("predict own.png deeper/own.jpg -m masks.onnx -o new", folder, message)
    refused("predict own.png -m masks.onnx -o masks.onnx", folder, "masks.onnx: cannot be made a folder")
    refused("predict own.png -m masks.onnx -o no/such", folder, "no/such")


def test_a_classifier_writes_no_masks(workshop: Path, refused: Callable[..., str]) -> None:
    Image.new("L", (24, 24)).save(workshop / "a.png")
    refused("predict a.png -m student.onnx -o out", workshop, "names classes and gives no masks to write")


def test_evaluate_tells_the_iou_of_each_class(
    folder: Path, onnx_file: Path, data: Dataset, succeeds: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.opening.load_data", lambda _name, _options, **_see: data)
    found = SEGMENTATION.evaluate(as_network(format_of(onnx_file).read(onnx_file), data.scale), data)
    result = succeeds("evaluate masks.onnx --data boxes", folder)
    heading, mean, each, accuracy, *table = result.stdout.splitlines()
    assert heading == "masks.onnx: segmentation on the 31 test images of boxes"
    low, high = (100 * found[key] for key in ("miou_low", "miou_high"))
    assert mean == f"miou {100 * found['miou']:.2f} %  [95 %: {low:.2f} to {high:.2f}]"
    assert each == f"miou_per_image {100 * found['miou_per_image']:.2f} %"
    assert accuracy == f"pixel_accuracy {100 * found['pixel_accuracy']:.2f} %"
    for name in CLASSES:
        assert any(name in row and f"{100 * found[f'iou_{name}']:.2f}" in row for row in table)
    document = json.loads(succeeds("evaluate masks.onnx --data boxes --json", folder).stdout)
    assert document["task"] == "segmentation"
    records = {one["quantity"]: one for one in document["records"]}
    assert {name: one["value"] for name, one in records.items()} == {
        name: value for name, value in found.items() if name not in ("miou_low", "miou_high")
    }
    assert (records["miou"]["low"], records["miou"]["high"], records["miou"]["n"]) == (
        found["miou_low"],
        found["miou_high"],
        31,
    )
    narrow = CliRunner().invoke(app, ["evaluate", str(folder / "masks.onnx"), "--data", "boxes"], env={"COLUMNS": "60"})
    assert max(map(len, narrow.stdout.splitlines()[1:])) <= 60


def test_a_task_that_does_not_suit_the_data_is_refused(
    folder: Path, data: Dataset, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.opening.load_data", lambda _name, _options, **_see: data)
    refused("evaluate masks.onnx --data boxes --task classification", folder, "which has masks", "segmentation")
    refused("evaluate masks.onnx --data boxes --task retrieval", folder, "'embedding'", "(its stages: logits)")


def test_a_mask_of_the_network_can_be_used_as_a_mask(folder: Path, succeeds: Command) -> None:
    succeeds("predict own.png -m masks.onnx -o out", folder)
    with Image.open(folder / "out" / "own.png") as mask:
        again = torch.from_numpy(np.asarray(mask).copy())
    assert again.shape == SEE.size
    assert set(again.unique().tolist()) <= {0, 1, 2}
