"""Formats that need an extra, through every command that takes an exported file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from benchmarks.document import number
from cli.main import app
from exports import FORMATS

EXTRAS = {suffix: form for suffix, form in FORMATS.items() if form.extra}
RUN_HERE = [
    pytest.param(suffix, marks=pytest.mark.extra(form.extra, *form.modules), id=suffix)
    for suffix, form in EXTRAS.items()
    if not form.unverified
]


def edgepress(*words: str | Path | int) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module", params=RUN_HERE)
def file(request: pytest.FixtureRequest, teacher_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / f"teacher{request.param}"
    result = edgepress("export", teacher_path, "-o", output, "--data", "digits", "--samples", 20)
    assert result.exit_code == 0, result.output
    assert f"bytes, {FORMATS[request.param].name}, " in result.stdout
    assert "parity: max |difference| " in result.stdout
    result = edgepress("export", teacher_path, "-o", output)
    assert result.exit_code == 2
    assert "already exists; pass --force to replace it" in result.stderr
    return output


def test_it_is_inspected(file: Path) -> None:
    facts = json.loads(edgepress("inspect", file, "--json").stdout)
    assert facts["format"] == FORMATS[file.suffix].name
    assert facts["input_shape"] == [1, 24, 24]
    assert "unbroken, sha256" in edgepress("inspect", file).stdout


def test_it_is_verified_against_its_checkpoint(file: Path, teacher_path: Path) -> None:
    result = edgepress("verify", file, "--against", teacher_path)
    assert result.exit_code == 0, result.output
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


def test_it_is_benchmarked_against_its_checkpoint(file: Path, teacher_path: Path) -> None:
    words = ("--against", teacher_path, "--data", "digits", "--sessions", 2, "--rounds", 10, "--json")
    result = edgepress("benchmark", file, *words)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["protocol"]["runtime"] == f"{FORMATS[file.suffix].runtime} and ONNX Runtime, CPU"
    own, other = document["files"]
    for quantity in ("macs", "parameters"):
        assert number(own, quantity) == number(other, quantity)
    assert number(own, "drop") == 0


@pytest.fixture
def no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in EXTRAS.values():
        for module in form.modules:
            monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]  # `import` fails


@pytest.mark.usefixtures("no_extras")
@pytest.mark.parametrize("suffix", EXTRAS)
def test_a_missing_extra_ends_with_4_and_how_to_install_it(teacher_path: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"teacher{suffix}"
    said = f"pip install 'edgepress[{FORMATS[suffix].extra}]'"
    for words in (("export", teacher_path, "-o", path), ("inspect", path), ("verify", path, "--against", teacher_path)):
        result = edgepress(*words)
        assert result.exit_code == 4
        assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_extras")
def test_in_a_folder_a_missing_extra_is_a_row_and_the_others_are_written(teacher_path: Path, tmp_path: Path) -> None:
    names = ",".join(form.extra for form in EXTRAS.values())
    words = ("--to", f"{names},onnx", "--data", "digits", "-o", tmp_path / "dist", "--json")
    result = edgepress("export", teacher_path, *words)
    assert result.exit_code == 4
    *lost, kept = json.loads(result.stdout)["files"]
    assert [row["records"][0]["reason"].rpartition(": ")[2] for row in lost] == [
        f"pip install 'edgepress[{form.extra}]'" for form in EXTRAS.values()
    ]
    assert kept["records"][0]["value"] > 0
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["teacher.onnx"]
    result = edgepress("export", teacher_path, "--to", names, "--data", "digits", "-o", tmp_path / "none")
    assert result.exit_code == 4
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("no_extras")
def test_a_folder_of_files_is_verified_but_for_what_an_extra_must_read(teacher_path: Path, tmp_path: Path) -> None:
    assert edgepress("export", teacher_path, "-o", tmp_path / "teacher.onnx").exit_code == 0
    (tmp_path / "teacher.openvino").mkdir()
    result = edgepress("verify", tmp_path, "--against", teacher_path)
    assert result.exit_code == 4
    assert "teacher.openvino: openvino is not installed" in result.stderr
    assert result.stdout.count("\nok ") == 5


@pytest.mark.extra("coreml", "coremltools")
def test_coreml_is_converted_and_never_called_verified(teacher_path: Path, tmp_path: Path) -> None:
    words = ("--to", "coreml,onnx", "--data", "digits", "-o", tmp_path / "dist")
    result = edgepress("export", teacher_path, *words)
    assert result.exit_code == 0, result.output
    path = tmp_path / "dist" / "teacher.mlpackage"
    assert f"{path}: converted, not verified: Core ML runs on macOS only" in result.output
    assert "not verified" in next(line for line in result.stdout.splitlines() if path.name in line)
    alone = edgepress("export", teacher_path, "-o", tmp_path / "alone.mlpackage", "--json")
    parity = next(one for one in json.loads(alone.stdout)["records"] if one["quantity"] == "parity")
    assert (parity["value"], parity["reason"]) == (None, "Core ML runs on macOS only")
    assert "parity: max" not in alone.stdout
    checked = edgepress("verify", path, "--against", teacher_path)
    assert checked.exit_code == 0
    assert checked.stdout.count("\nok ") == 4
    assert "not checked  converted, not verified: Core ML runs on macOS only" in checked.stdout
    assert edgepress("inspect", path).exit_code == 0
    for command in (("evaluate", path, "--data", "digits"), ("benchmark", path)):
        refused = edgepress(*command)
        assert refused.exit_code == 2
        assert "converted, not verified: Core ML runs on macOS only" in refused.stderr
