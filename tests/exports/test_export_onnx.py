from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from compress.checkpoint import Card, Checkpoint
from compress.errors import ExportError, GateError, OutputError
from compress.evidence import weights_digest
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.stages import Staged
from exports import DEFAULT_OPSET, FORMATS, OPSETS, Artefact, Settings, Shipped, format_of, noise, ship


def export(checkpoint: Checkpoint, path: Path, settings: Settings | None = None, *, force: bool = False) -> Artefact:
    return ship(checkpoint, path, [noise(checkpoint.card)], settings=settings, force=force).artefact


def with_model(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    return replace(checkpoint, network=Staged(model, ()))


@pytest.mark.parametrize("batch", [1, 3, 128])
def test_logits_are_those_of_the_network_at_any_batch_size(
    checkpoint: Checkpoint, exported: Artefact, images: Tensor, batch: int
) -> None:
    with torch.no_grad():
        expected = checkpoint.network.model(images[:batch])
    found = exported(images[:batch])
    assert found.shape == (batch, 10)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)


def test_parity_of_the_export_itself_is_reported(shipped: Shipped) -> None:
    assert shipped.parity.samples == 64
    assert shipped.parity.max_abs_difference < 1e-6
    assert shipped.parity.agreement == 1.0


def test_resnet18_for_one_channel_exports(tmp_path: Path) -> None:
    architecture = Architecture("torchvision:resnet18", 4, 1, (32, 32))
    network = build(architecture)
    card = Card(architecture, Preprocessing((32, 32), 1, (0.5,), (0.5,)), ("a", "b", "c", "d"))
    exported = export(Checkpoint(network, card), tmp_path / "teacher.onnx")
    image = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(exported(image), network.model.eval()(image), atol=1e-4)


def test_one_file_within_its_size(exported: Artefact) -> None:
    content = exported.path.read_bytes()
    assert [file.name for file in exported.path.parent.iterdir()] == ["student.onnx"]
    assert exported.size_bytes == len(content)
    metadata = sum(len(entry.key) + len(entry.value) for entry in onnx.load(exported.path).metadata_props)
    assert len(content) - metadata < 61_000


def test_nothing_of_the_machine_is_in_the_bytes(exported: Artefact) -> None:
    content = exported.path.read_bytes()
    repository = str(Path(__file__).parents[2]).encode()
    local = [
        repository,
        b"site-packages",
        b'File "',
        b".py",
        b"stack_trace",
        b"pkg.torch",
        b"/home",
        b"/srv",
        b"private",
    ]
    assert [trace for trace in local if trace in content] == []


def test_the_checker_of_onnx_passes_and_names_are_short(graph: onnx.ModelProto) -> None:
    onnx.checker.check_model(graph, full_check=True)
    assert [value.name for value in graph.graph.input] == ["input"]
    assert [value.name for value in graph.graph.output] == ["logits"]
    assert max(len(tensor.name) for tensor in graph.graph.initializer) <= 2
    assert graph.producer_name == "edgepress"
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


def test_metadata_tell_what_the_file_is(checkpoint: Checkpoint, exported: Artefact) -> None:
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    data = json.loads(session.get_modelmeta().custom_metadata_map["edgepress"])
    card, provenance = data["card"], data["provenance"]
    assert card["classes"] == list(checkpoint.card.classes)
    assert card["source"]["name"] == "cnn-s"
    see = data["preprocessing"]
    assert (see["size"], see["channels"], see["mean"], see["std"]) == ([32, 32], 3, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    assert (see["resize"], see["crop"], see["border"]) == ("crop", 1.0, 0)
    assert [step.split()[0] for step in see["steps"]] == ["Turn", "Convert", "If", "Cut", "Resize", "Divide", "Feed"]
    assert "mean [0.5, 0.4, 0.3]" in see["steps"][5]
    assert provenance["parameters"] == 15_050
    assert provenance["opset"] == DEFAULT_OPSET
    assert provenance["torch_version"] == torch.__version__
    assert provenance["tool_version"]
    assert provenance["weights_sha256"] == weights_digest(checkpoint.network.model)


def test_without_lineage_the_history_stays_at_home(checkpoint: Checkpoint, tmp_path: Path) -> None:
    exported = export(checkpoint, tmp_path / "student.onnx", Settings(lineage=False))
    assert exported.card is not None
    assert exported.card.lineage == ()
    assert exported.card.classes == checkpoint.card.classes
    assert b"distill" not in exported.path.read_bytes()


def test_lineage_keeps_its_steps_without_local_folders(exported: Artefact) -> None:
    assert exported.card is not None
    first, second = exported.card.lineage
    assert first == {"command": "edgepress train cnn-s --data 'photos' -o first.safetensors", "seed": 3}
    assert second == {
        "command": "edgepress distill teacher.safetensors",
        "data": {"name": "photos", "fingerprint": "f0"},
    }


def test_weights_digest_changes_with_one_bit() -> None:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.zero_()
    bias = b"bias torch.float32 (1,)\n" + bytes(4)
    weight = b"weight torch.float32 (1, 2)\n" + bytes.fromhex("0000803f00000040")
    assert weights_digest(layer) == hashlib.sha256(bias + weight).hexdigest()
    before = weights_digest(layer)
    with torch.no_grad():
        layer.weight[0, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert weights_digest(layer) != before


def test_a_network_in_training_gives_the_same_bytes_silently_and_is_left_as_it_was(
    checkpoint: Checkpoint, exported: Artefact, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = checkpoint.network.model
    before = weights_digest(model)
    model.train()
    try:
        again = export(checkpoint, tmp_path / "again.onnx")
        assert all(module.training for module in model.modules())
    finally:
        model.eval()
    assert weights_digest(model) == before
    assert again.path.read_bytes() == exported.path.read_bytes()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
def test_opset_is_honoured(checkpoint: Checkpoint, images: Tensor, tmp_path: Path, opset: int) -> None:
    shipped = ship(checkpoint, tmp_path / "student.onnx", [images], settings=Settings(opset=opset))
    assert [entry.version for entry in onnx.load(shipped.artefact.path).opset_import] == [opset]
    assert shipped.parity.samples == 130


@pytest.mark.parametrize("opset", [-1, 0, 17, 26, 1000])
def test_opset_out_of_range_is_refused(checkpoint: Checkpoint, tmp_path: Path, opset: int) -> None:
    with pytest.raises(ExportError, match=f"opset {opset} .*18 to 25"):
        export(checkpoint, tmp_path / "student.onnx", Settings(opset=opset))
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_without_force_and_goes_with_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"older")
    with pytest.raises(OutputError, match="--force"):
        export(checkpoint, path)
    assert path.read_bytes() == b"older"
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    exported = export(with_model(checkpoint, network), path, force=True)
    assert path.stat().st_size == exported.size_bytes > 10_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        export(checkpoint, tmp_path / "nowhere" / "student.onnx")


class Restless(nn.Module):
    """Gives other logits each time it runs, so no file can agree with it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 10)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.layer(nn.functional.dropout(image.flatten(1), 0.5, training=True))
        return logits


def test_without_parity_nothing_is_written_and_the_older_file_stays(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"older")
    with pytest.raises(GateError, match=r"student\.onnx: does not give the outputs.*do not ship it"):
        export(with_model(checkpoint, Restless()), path, force=True)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_that_gives_nan_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with torch.no_grad():
        model[1].bias[3] = float("nan")
    with pytest.raises(GateError, match="NaN"):
        export(with_model(checkpoint, model), tmp_path / "student.onnx")
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    """Its path depends on the values of the image, which no exporter can follow."""

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1)[:, :10] if image.sum() > 0 else image.flatten(1)[:, 10:20]


def test_a_network_that_torch_cannot_export_is_an_export_error(
    checkpoint: Checkpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match="data-dependent"):
        export(with_model(checkpoint, Branching()), tmp_path / "student.onnx")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_formats_are_found_by_suffix() -> None:
    assert format_of(Path("a/student.onnx")) is FORMATS[".onnx"]


@pytest.mark.parametrize("name", ["student.h5", "student", "student.onnx.bak"])
def test_an_unknown_suffix_is_refused_with_the_known(name: str) -> None:
    with pytest.raises(ExportError, match=r"no edge format; known are \.onnx, \.tflite"):
        format_of(Path(name))
