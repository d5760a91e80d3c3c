"""`edgepress export --input uint8`, and every command that takes an exported file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from PIL import Image
from typer.testing import Result

from benchmarks.document import number
from compress import load_data

Run = Callable[[str, Path], Result]


@pytest.fixture(scope="module")
def folder(trio: object, succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trio with pixels.onnx, of the student as student.onnx is, foreign.onnx, the same without label, digit.png."""
    folder = tmp_path_factory.mktemp("pixels")
    for path in trio.folder.iterdir():  # type: ignore[attr-defined]
        shutil.copy(path, folder)
    said = succeeds("export student.safetensors -o pixels.onnx --input uint8", folder).stdout
    assert "pixels.onnx" in said
    assert "nodes, takes uint8 pixels" in said
    assert "test images of digits" in said
    model = onnx.load(folder / "pixels.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "foreign.onnx")
    digit = next(load_data("digits").test.batches(1)).image[0, 0]
    Image.fromarray(digit.numpy()).save(folder / "digit.png")
    return folder


def test_it_answers_as_the_file_for_scaled_images_does(folder: Path, succeeds: Run) -> None:
    scores = [
        json.loads(succeeds(f"evaluate {name} --data digits --json", folder).stdout)["records"][0]["value"]
        for name in ("student.onnx", "pixels.onnx", "foreign.onnx")
    ]
    assert scores[0] == scores[1] == scores[2]
    assert scores[0] > 0.15, "chance is 0.1, give or take 0.014 on 450 images"
    shares = [
        json.loads(succeeds(f"predict digit.png -m {name} --top 3 --json", folder).stdout)["predictions"][0]["classes"]
        for name in ("student.onnx", "pixels.onnx")
    ]
    assert [one["class"] for one in shares[0]] == [one["class"] for one in shares[1]]
    assert [one["share"] for one in shares[0]] == pytest.approx([one["share"] for one in shares[1]], abs=1e-5)


def test_it_is_verified_as_it_was_exported(folder: Path, succeeds: Run, edgepress: Run) -> None:
    line = "--against student.safetensors --json"
    claims = json.loads(succeeds(f"verify pixels.onnx {line}", folder).stdout)["claims"]
    assert [claim["verdict"] for claim in claims] == ["ok"] * 5
    wrong = edgepress(f"verify pixels.onnx {line.replace('student', 'teacher')}", folder)
    assert wrong.exit_code == 3
    failed = {claim["quantity"] for claim in json.loads(wrong.stdout)["claims"] if claim["verdict"] == "FAILED"}
    assert {"weights", "export again", "parity"} <= failed


def test_it_is_benchmarked_with_pixels(folder: Path, succeeds: Run) -> None:
    quick = "--sessions 2 --rounds 10 --json"
    found = json.loads(succeeds(f"benchmark pixels.onnx --against student.onnx --data digits {quick}", folder).stdout)
    own, other = found["files"]
    for quantity in ("top1", "macs"):
        assert number(own, quantity) == number(other, quantity) is not None
    assert number(own, "top1_agreement") == 1
    alone = json.loads(succeeds(f"benchmark pixels.onnx {quick}", folder).stdout)
    assert number(alone["files"][0], "latency")
    foreign = json.loads(succeeds(f"benchmark foreign.onnx --data digits {quick}", folder).stdout)
    assert any("pixels of 0 to 255 were given as they are" in doubt for doubt in foreign["warnings"])


def test_inspect_says_what_goes_in(folder: Path, succeeds: Run) -> None:
    facts = [json.loads(succeeds(f"inspect {name}.onnx --json", folder).stdout) for name in ("pixels", "student")]
    assert [one["input_type"] for one in facts] == ["uint8", "float32"]
    assert facts[0]["mean"] == facts[1]["mean"]
    assert "Feed uint8" in facts[0]["steps"][-1]
    assert "in the file, which takes uint8" in succeeds("inspect pixels.onnx", folder).stdout
    nodes = json.loads(succeeds("inspect pixels.onnx --bytes --json", folder).stdout)["nodes"]
    assert (nodes[0]["operator"], nodes[0]["computes"]) == ("Cast", "float32")


def test_a_file_of_noise_is_checked_on_pixels_too(folder: Path, succeeds: Run, tmp_path: Path) -> None:
    line = f"export {folder / 'student.safetensors'} --input uint8 --samples 5 --opset 18 --no-lineage -o p.onnx --json"
    records = json.loads(succeeds(line, tmp_path).stdout)["records"]
    assert {record["quantity"]: record["n"] for record in records}["parity"] == 5
    against = f"--against {folder / 'student.safetensors'}"
    claims = json.loads(succeeds(f"verify p.onnx {against} --json", tmp_path).stdout)["claims"]
    assert [claim["verdict"] for claim in claims] == ["ok"] * 5


def test_what_makes_no_sense_is_refused(folder: Path, refused: Callable[..., str]) -> None:
    refused("export student.safetensors -o new.onnx --input unit8", folder, "'unit8'", "float32, uint8")
    refused(
        "evaluate foreign.onnx --data digits --mean 0.5", folder, "takes uint8 pixels", "leave --mean and --std out"
    )
