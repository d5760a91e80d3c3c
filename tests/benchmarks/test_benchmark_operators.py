"""Where the time of an .onnx file goes, put to the layers of the network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from benchmarks.measure.operators import Subject, spent, subject_in, subject_of
from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.quantization import SCHEMES
from compress.smaller import quantized_by
from exports import Settings, format_of, noise
from exports.profile_onnx import profiling

SIZE = (32, 32)


def _checkpoint(name: str, scheme: str = "") -> Checkpoint:
    architecture = Architecture(name, 4, 3, SIZE)
    network = build(architecture, seed=0)
    network.model.eval()
    task = "segmentation" if name.startswith("unet") else "classification"
    card = Card(architecture, Preprocessing(SIZE, 3, (0.5,) * 3, (0.5,) * 3), tuple("abcd"), task)
    made = Checkpoint(network, card)
    if not scheme:
        return made
    return quantized_by(made, SCHEMES[scheme], "edgepress quantize", rounding="nearest", images=[noise(card, 4)])


def _written(checkpoint: Checkpoint, folder: Path) -> Path:
    path = folder / "own.onnx"
    format_of(path).write(checkpoint, path, Settings(lineage=False))
    return path


def _layers(checkpoint: Checkpoint) -> set[str]:
    modules = checkpoint.network.model.named_modules()
    return {name for name, module in modules if isinstance(module, nn.Conv2d | nn.Linear)}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return _checkpoint("resnet10")


@pytest.fixture(scope="module")
def path(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `checkpoint`."""
    return _written(checkpoint, tmp_path_factory.mktemp("resnet10"))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        pytest.param("resnet18", "", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", "", marks=pytest.mark.slow),
        ("resnet10", ""),
        pytest.param("unet-resnet10", "", marks=pytest.mark.slow),
        ("cnn-s", "static"),
        ("cnn-s", "w8"),
        pytest.param("resnet10", "static", marks=pytest.mark.slow),
        pytest.param("resnet10", "w8", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", "static", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", "w8", marks=pytest.mark.slow),
    ],
)
def test_every_layer_is_found_by_its_name(name: str, scheme: str, tmp_path: Path) -> None:
    checkpoint = _checkpoint(name, scheme)
    path = _written(checkpoint, tmp_path)
    by_file, by_network = subject_in(format_of(path).read(path)), subject_of(path, checkpoint)
    assert by_file.products == by_network.products
    taken = spent({"own": by_file})["own"]
    assert _layers(checkpoint) <= taken.by_name.keys()
    assert not {one.operator for one in taken.operations if not one.layer} & {"Conv", "QLinearConv", "Gemm", "MatMul"}
    assert all(one.time_ms > 0 and one.provider == "CPUExecutionProvider" for one in taken.operations)
    assert sum(taken.by_name.values()) == pytest.approx(taken.sum_ms)
    assert taken.by_stretch.keys() == _layers(checkpoint)


def test_what_runs_between_two_layers_is_of_the_stretch_of_the_first(checkpoint: Checkpoint, path: Path) -> None:
    taken = spent({"own": subject_of(path, checkpoint)})["own"]
    first = taken.by_stretch["encoder.conv1"]
    assert first == pytest.approx(taken.by_name["encoder.conv1"] + taken.by_name["MaxPool"])


def test_the_sum_over_the_nodes_is_most_of_the_run(
    checkpoint: Checkpoint, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the run that was disturbed the least, for what interrupts it between two nodes is no node's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with profiling(path, noise(checkpoint.card, 1).numpy()) as session:
        session.turn(3, 20)
        session.turn(1, 10)
        profile = session.profile()
        assert any(tmp_path.rglob("profile*.json"))
    assert not any(tmp_path.iterdir())
    assert profile.runs_us.shape == (30,)
    shares = np.sum([kernel.times_us for kernel in profile.kernels], axis=0) / profile.runs_us
    assert shares.shape == (30,)
    assert 0.7 < shares.max() <= 1


def test_a_file_from_elsewhere_tells_its_operators(path: Path, tmp_path: Path) -> None:
    foreign, model = tmp_path / "foreign.onnx", onnx.load(path)
    model.ClearField("metadata_props")
    onnx.save(model, foreign)
    with pytest.raises(ValueError, match="edgepress did not write it"):
        subject_in(format_of(foreign).read(foreign))
    taken = spent({"foreign": Subject(foreign, np.zeros((1, 3, *SIZE), np.float32))})["foreign"]
    assert {"Conv", "Gemm", "MaxPool"} <= taken.by_name.keys()


def test_weights_in_another_file_are_refused(path: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts.onnx"
    onnx.save(onnx.load(path), parts, save_as_external_data=True, location="parts.data", size_threshold=0)
    with (
        pytest.raises(ExportError, match="weights lie in other files; save it as one file"),
        profiling(parts, np.zeros((1, 3, *SIZE), np.float32)),
    ):
        pass
