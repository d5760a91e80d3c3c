"""A .tflite file through every command that takes an exported file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from benchmarks.document import number
from cli.main import app


def edgepress(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def file(teacher_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "teacher.tflite"
    result = edgepress("export", teacher_path, "-o", output, "--data", "digits", "--samples", 20)
    assert result.exit_code == 0, result.output
    assert f"{output.stat().st_size:,} bytes, LiteRT, 8 nodes" in result.stdout
    return output


def test_it_is_inspected(file: Path) -> None:
    facts = json.loads(edgepress("inspect", file, "--json").stdout)
    assert (facts["format"], facts["layout"], facts["schema"]) == ("LiteRT", "NHWC", 3)
    assert facts["input_shape"] == [24, 24, 1]
    assert facts["steps"][-1].startswith("Feed float32 of shape (batch, 24, 24, 1): rows first")
    text = edgepress("inspect", file).stdout
    for words in ("24 x 24 x 1 (HWC)", "schema 3", "CONV_2D 3, MAX_POOL_2D 3, FULLY_CONNECTED 2", "unbroken, sha256"):
        assert words in text


def test_it_is_verified_against_its_checkpoint(file: Path, teacher_path: Path) -> None:
    result = edgepress("verify", file, "--against", teacher_path)
    assert result.exit_code == 0
    assert result.stdout.count("\nok ") == 5


def test_it_scores_what_its_checkpoint_scores(file: Path, teacher_path: Path) -> None:
    found, expected = (
        json.loads(edgepress("evaluate", path, "--data", "digits", "--json").stdout)["records"][0]
        for path in (file, teacher_path)
    )
    assert found["value"] == expected["value"] > 0.3


def test_it_names_what_is_on_an_image_as_its_checkpoint_does(file: Path, teacher_path: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    found, expected = (
        json.loads(edgepress("predict", tmp_path / "noise.png", "-m", path, "--json").stdout)["predictions"][0]
        for path in (file, teacher_path)
    )
    assert found["classes"][0]["class"] == expected["classes"][0]["class"]


def test_it_is_benchmarked_against_another_format(file: Path, teacher_path: Path) -> None:
    result = edgepress(
        "benchmark", file, "--against", teacher_path, "--data", "digits", "--sessions", 2, "--rounds", 10, "--json"
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["protocol"]["runtime"] == "LiteRT and ONNX Runtime, CPU"
    own, other = document["files"]
    for quantity in ("macs", "values", "parameters"):
        assert number(own, quantity) == number(other, quantity) is not None
    assert number(own, "drop") == 0
