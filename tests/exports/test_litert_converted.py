"""A network with an operator that edgepress cannot write to a .tflite file: by litert-torch, or refused by name."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.checkpoint import Checkpoint
from compress.errors import CompressError, ExportError, MissingExtraError
from compress.quantization import plan, quantize
from compress.stages import Staged
from exports import Settings, Shipped, label, noise, ship
from exports.claims import verify
from exports.formats import FORMATS
from exports.labelling import describe
from exports.litert import seal
from exports.litert.builder import pack
from exports.litert.lowered import lowered
from exports.litert.operators import translate
from exports.run_litert import read
from exports.to_onnx import to_lowered

NO_WAY = r"student\.tflite: Gelu cannot be .*\(node \d+ of \d+, which takes \(1, 4, 30"

with_litert_torch = pytest.mark.extra("litert", "litert_torch")


@pytest.fixture(scope="module")
def beyond(checkpoint: Checkpoint) -> Checkpoint:
    """A classifier with an operator that edgepress does not write."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(3600, 10)).eval()
    return replace(checkpoint, network=Staged(model, ()))


@pytest.fixture(scope="module")
def converted(beyond: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return ship(beyond, tmp_path_factory.mktemp("exported") / "student.tflite", [noise(beyond.card)])


def refused(checkpoint: Checkpoint, folder: Path) -> CompressError:
    with pytest.raises(CompressError, match=NO_WAY) as caught:
        ship(checkpoint, folder / "student.tflite", [noise(checkpoint.card)])
    assert list(folder.iterdir()) == []
    return caught.value


def test_without_the_extra_the_message_says_how_to_get_it(
    beyond: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)  # what an import of it finds where it is not installed
    error = refused(beyond, tmp_path)
    assert isinstance(error, MissingExtraError)
    assert error.exit_code == 4
    assert str(error).endswith("pip install 'edgepress[litert]'")


def test_weights_in_few_bits_stay_refused(beyond: Checkpoint, tmp_path: Path) -> None:
    grids = plan(beyond.network, 8)
    rounded = Checkpoint(quantize(beyond.network, grids), replace(beyond.card, edits=grids))
    error = refused(rounded, tmp_path)
    assert isinstance(error, ExportError)
    assert "edgepress[litert]" not in str(error)


@with_litert_torch
def test_it_gives_the_answers_of_the_network_image_by_image(
    beyond: Checkpoint, converted: Shipped, images: Tensor
) -> None:
    artefact = converted.artefact
    assert converted.parity.max_abs_difference < converted.parity.allowed_difference / 4
    assert (artefact.layout, artefact.batch, artefact.image_shape) == ("NHWC", 1, (3, 32, 32))
    with torch.no_grad():
        torch.testing.assert_close(artefact(images[:1]), beyond.network.model(images[:1]), rtol=1e-4, atol=1e-5)


@with_litert_torch
def test_it_says_who_wrote_it_and_how_to_feed_it_and_nothing_of_its_making(converted: Shipped) -> None:
    path = converted.artefact.path
    content, provenance, census = path.read_bytes(), converted.artefact.provenance, FORMATS[".tflite"].census(path)
    assert provenance is not None
    assert provenance.writer.startswith(f"litert-torch {version('litert-torch')}, ")
    assert b"Feed float32 of shape (1, 32, 32, 3): rows first" in content
    assert census.macs == 30 * 30 * 4 * 27 + 3600 * 10
    assert not any(name in content for name in (b"serving_default", b"min_runtime_version", b"aten", b"conv2d"))
    label = content[content.index(b'{"format"') :].split(b"\0", 1)[0]
    assert len(content) - len(label) < 4 * (4 * 28 + 36_010) + 2000


@with_litert_torch
def test_it_is_sealed_and_the_same_bytes_again(
    beyond: Checkpoint, converted: Shipped, images: Tensor, tmp_path: Path
) -> None:
    path = converted.artefact.path
    claims = verify(path, beyond, [images[:4]])
    assert [claim.verdict for claim in claims] == ["ok"] * 5
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 0x40
    other = tmp_path / "flipped.tflite"
    other.write_bytes(flipped)
    with pytest.raises(ExportError, match=r"flipped\.tflite: was altered since"):
        read(other)


def test_a_converter_that_is_not_here_makes_no_promise_of_the_same_bytes(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    builder, given, found = translate(lowered(tmp_path, to_lowered(checkpoint, Settings())))
    text = describe(checkpoint, Settings(), "NHWC", writer="litert-torch 0.0.1")
    notes = {label.KEY: text.encode(), seal.KEY: seal.BLANK}
    path = tmp_path / "other.tflite"
    path.write_bytes(seal.seal(path, pack(builder.model({"x": given}, {"y": found}), notes=notes)))
    claim = verify(path, checkpoint, [images[:1]])[3]
    assert claim.verdict == "not checked"
    assert "litert-torch 0.0.1 wrote its graph, here there is" in claim.sentence


@with_litert_torch
def test_maps_have_their_channels_last(
    checkpoint: Checkpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    card = replace(checkpoint.card, task="segmentation")
    masks = Checkpoint(Staged(nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), nn.GELU()).eval(), ()), card)
    bare = ship(masks, tmp_path / "masks.tflite", [noise(card, 2)], settings=Settings(label=False)).artefact
    assert bare(noise(card, 1)).shape == (1, 10, 32, 32)
    assert FORMATS[".tflite"].census(bare.path).output_shape == (1, 32, 32, 10)
    assert bare.size_bytes < 4 * 280 + 1200
    assert capfd.readouterr() == ("", "")
