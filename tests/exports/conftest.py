from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from compress.checkpoint import Card, Checkpoint
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import Artefact, Shipped, noise, ship

CLASSES = ("T-shirt/top", "/odd", *(f"class {number}" for number in range(2, 10)))
SEE = Preprocessing((32, 32), 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
LINEAGE = (
    {"command": "edgepress train cnn-s --data '/home/some one/photos' -o /srv/runs/first.safetensors", "seed": 3},
    {
        "command": "edgepress distill ../private/teacher.safetensors",
        "data": {"name": "/data/photos", "fingerprint": "f0"},
    },
)


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """A cnn-s for 3x32x32 images whose batch-norm has seen data, so that folding it away has something to get wrong."""
    architecture = Architecture("cnn-s", 10, 3, (32, 32))
    network = build(architecture, seed=1)
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        for _ in range(3):
            network.model.train()(images * 2 + 1)
    network.model.eval()
    return Checkpoint(network, Card(architecture, SEE, CLASSES, lineage=LINEAGE))


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(130, 3, 32, 32, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="session")
def shipped(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return ship(checkpoint, tmp_path_factory.mktemp("exported") / "student.onnx", [noise(checkpoint.card)])


@pytest.fixture(scope="session")
def exported(shipped: Shipped) -> Artefact:
    return shipped.artefact


@pytest.fixture
def graph(exported: Artefact) -> onnx.ModelProto:
    """The exported model, to be changed at will."""
    return onnx.load(exported.path)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    return tmp_path / "changed.onnx"
