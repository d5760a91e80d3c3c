from __future__ import annotations

import inspect as introspection
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from cli.export import export as command
from cli.main import app
from compress.checkpoint import Card, Checkpoint, save
from compress.data import load
from compress.evidence import Record
from compress.models import Architecture, build
from exports import format_of
from exports.label import commands
from exports.run_onnx import read


def export(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, words)])


@pytest.fixture(scope="module")
def student() -> Checkpoint:
    """A network small enough to export in a blink, for the digits."""
    digits = load("digits")
    architecture = Architecture("cnn-s", 10, digits.see.channels, digits.see.size, {"width": 2, "depth": 1})
    network = build(architecture)
    network.model.eval()
    return Checkpoint(network, Card(architecture, digits.see, digits.classes))


def saved(checkpoint: Checkpoint, path: Path, *data: str, fingerprint: str = "") -> Path:
    steps = tuple({"command": "edgepress train", "data": {"name": name, "fingerprint": fingerprint}} for name in data)
    return save(replace(checkpoint, card=replace(checkpoint.card, lineage=steps)), path)


def test_export_compares_on_the_training_data_and_says_so(student: Checkpoint, tmp_path: Path) -> None:
    output = tmp_path / "student.onnx"
    result = export(saved(student, tmp_path / "s.safetensors", "nowhere", "digits"), "-o", output, "--samples", 40)
    assert result.exit_code == 0, result.output
    first, second, third = result.stdout.splitlines()
    assert first.startswith(f"{output}: {output.stat().st_size:,} bytes, ONNX opset 20, ")
    assert first.endswith(" nodes")
    assert second == "compared on 40 test images of digits"
    assert third.startswith("parity: max |difference| ")
    assert third.endswith("top-1 agreement 100.00%, 40 samples")
    images = student.card.scale(next(load("digits").test.batches(8)).image)
    with torch.no_grad():
        assert torch.allclose(read(output)(images), student.network.model(images), atol=1e-5)


def test_export_compares_on_the_whole_test_split_and_gives_records(student: Checkpoint, tmp_path: Path) -> None:
    output = tmp_path / "student.onnx"
    checkpoint = saved(student, tmp_path / "s.safetensors", "a step of its own")
    result = export(checkpoint, "-o", output, "--data", "digits", "--no-lineage", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    records = {record["quantity"]: Record.from_dict(record) for record in document["records"]}
    assert document["compared_on"] == "all 450 test images of digits"
    assert (records["parity"].n, records["top1_agreement"].value) == (450, 1.0)
    assert records["size"].value == output.stat().st_size
    assert {record.sha256 for record in records.values()} == {read(output).sha256}
    assert b"a step of its own" not in output.read_bytes()


def test_a_file_says_how_it_was_exported(student: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = saved(student, tmp_path / "s.safetensors", "digits")
    for name in ("s.onnx", "s.tflite"):
        words = ("export", str(checkpoint), "-o", str(tmp_path / name))
        monkeypatch.setattr("sys.argv", ["edgepress", *words])
        assert CliRunner().invoke(app, [*words]).exit_code == 0
        card = format_of(tmp_path / name).read(tmp_path / name).card
        assert card is not None
        assert [*commands(card.lineage)] == ["edgepress train", f"edgepress export s.safetensors -o {name}"]
        done = CliRunner().invoke(app, ["verify", str(tmp_path / name), "--against", str(checkpoint)])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("data", [(), ("cifar10",), ("gone",)])
def test_export_without_its_data_compares_on_noise_and_says_so(
    student: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    result = export(saved(student, tmp_path / "s.safetensors", *data), "-o", tmp_path / "s.onnx", "--samples", 5)
    assert result.exit_code == 0, result.output
    assert "compared on uniform noise (the checkpoint names no data that are on this machine" in result.stdout
    assert result.stdout.endswith("5 samples\n")


def test_export_finds_the_folder_that_the_network_was_trained_on(
    student: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path / "root"))
    for part, name in product(("train", "test"), student.card.classes):
        (tmp_path / "own" / part / name).mkdir(parents=True)
        Image.new("L", (8, 8), 20 * int(name)).save(tmp_path / "own" / part / name / "one.png")
    own = load(str(tmp_path / "own"))
    output = tmp_path / "s.onnx"
    result = export(saved(student, tmp_path / "s.safetensors", "own", fingerprint=own.fingerprint), "-o", output)
    assert result.exit_code == 0, result.output
    assert f"compared on all 10 test images of {tmp_path / 'own'}\n" in result.stdout
    assert str(tmp_path).encode() not in output.read_bytes()


def test_data_that_were_asked_for_must_be_there(student: Checkpoint, tmp_path: Path) -> None:
    result = export(saved(student, tmp_path / "s.safetensors"), "-o", tmp_path / "s.onnx", "--data", tmp_path / "gone")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "s.onnx").exists()


def test_a_target_that_exists_needs_force(student: Checkpoint, tmp_path: Path) -> None:
    output = tmp_path / "s.onnx"
    output.write_bytes(b"older")
    checkpoint = saved(student, tmp_path / "s.safetensors", "digits")
    result = export(checkpoint, "-o", output)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert output.read_bytes() == b"older"
    assert export(checkpoint, "-o", output, "--force", "--opset", 18).exit_code == 0
    assert read(output).provenance is not None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-o", "s.h5"], ".onnx"),
        (["-o", "s.onnx", "--opset", "17"], "18 to 25"),
        (["-o", "nowhere/s.onnx"], "does not exist"),
    ],
)
def test_bad_arguments_end_in_one_message(
    student: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], reason: str
) -> None:
    checkpoint = saved(student, tmp_path / "s.safetensors", "digits")
    monkeypatch.chdir(tmp_path)
    result = export(checkpoint, *words)
    assert result.exit_code == 2
    assert "error: " in result.stderr.lower()
    assert reason in result.stderr
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    result = export(tmp_path / "gone.safetensors", "-o", tmp_path / "s.onnx")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_the_default_opset_is_that_of_the_library() -> None:
    assert introspection.signature(command).parameters["opset"].default is None
