"""Several formats and precisions at once: a folder of files, each with its row, each verified."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from exports import format_of


def edgepress(*words: str | Path | int) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def folder(teacher_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher.onnx, teacher.w8.onnx, teacher.tflite and teacher.w8.tflite."""
    folder = tmp_path_factory.mktemp("many") / "dist"
    words = ("--to", "onnx,litert", "--precision", "fp32,w8", "--data", "digits", "-o", folder)
    result = edgepress("export", teacher_path, *words)
    assert result.exit_code == 0, result.output
    return folder


def test_a_folder_holds_a_file_for_each_format_and_precision(folder: Path) -> None:
    names = ["teacher.onnx", "teacher.tflite", "teacher.w8.onnx", "teacher.w8.tflite"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for path in folder.iterdir():
        card = format_of(path).read(path).card
        assert card is not None
        assert [grid.bits for grid in card.grids] == ([8] * 5 if ".w8" in path.name else [])
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes["teacher.w8.tflite"] < 0.5 * sizes["teacher.tflite"]


def test_verify_takes_the_whole_folder_and_names_the_file_that_was_altered(
    folder: Path, teacher_path: Path, tmp_path: Path
) -> None:
    result = edgepress("verify", folder, "--against", teacher_path, "--data", "digits", "--json")
    assert result.exit_code == 0, result.output
    files = json.loads(result.stdout)["files"]
    assert [Path(one["file"]).name for one in files] == sorted(path.name for path in folder.iterdir())
    shutil.copy(folder / "teacher.onnx", tmp_path)
    content = bytearray((folder / "teacher.w8.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "teacher.w8.tflite").write_bytes(content)
    result = edgepress("verify", tmp_path, "--against", teacher_path, "--data", "digits")
    assert result.exit_code == 3
    assert f"{tmp_path / 'teacher.w8.tflite'}: " in result.stderr
    assert "teacher.onnx: " not in result.stderr


def test_a_foreign_file_in_a_folder_is_a_row_and_the_others_are_verified(
    folder: Path, teacher_path: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "teacher.onnx", tmp_path)
    (tmp_path / "foreign.onnx").write_bytes(b"nothing")
    result = edgepress("verify", tmp_path, "--against", teacher_path, "--data", "digits")
    assert result.exit_code == 3
    assert f"{tmp_path / 'foreign.onnx'}: is not an ONNX model" in result.stderr
    assert "ok           parity: " in result.stdout


def test_a_baseline_that_lies_in_the_folder_is_measured_once(folder: Path) -> None:
    words = ("--sessions", 2, "--rounds", 10, "--json")
    result = edgepress("benchmark", folder / "teacher.onnx", folder, *words)
    assert result.exit_code == 0, result.output
    names = [file["name"] for file in json.loads(result.stdout)["files"]]
    assert names[0] == str(folder / "teacher.onnx")
    assert sorted(names) == sorted(str(one) for one in folder.iterdir())


def test_what_a_format_cannot_hold_is_a_row_with_its_reason(teacher_path: Path, tmp_path: Path) -> None:
    words = ("--to", "litert,onnx,onnx", "--precision", "w4,w4", "--input", "uint8", "--data", "digits", "--json")
    result = edgepress("export", teacher_path, *words, "-o", tmp_path / "dist")
    assert result.exit_code == 3
    assert "1 of 2 files could not be written" in result.stderr
    lost, kept = json.loads(result.stdout)["files"]
    assert "a .tflite file takes float32 images" in lost["records"][0]["reason"]
    assert lost["records"][0]["value"] is None
    assert {record["quantity"] for record in kept["records"]} >= {"size", "parity", "top1", "mcnemar_p"}
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["teacher.w4.onnx"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "h5"), "unknown format 'h5'"),
        (("--precision", "w3"), "unknown scheme 'w3'"),
        (("--to", "onnx", "--samples", 3), "--samples: a folder of files is compared on whole test splits"),
    ],
)
def test_unknown_wishes_leave_nothing(
    teacher_path: Path, tmp_path: Path, words: tuple[str | int, ...], said: str
) -> None:
    result = edgepress("export", teacher_path, *words, "--data", "digits", "-o", tmp_path / "dist")
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_none_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    for folder in ("dist", "nowhere/dist"):
        result = edgepress("export", tmp_path / "none.safetensors", "--to", "onnx", "-o", tmp_path / folder)
        assert result.exit_code == 2
        assert "error: " in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["none.safetensors"]


def test_a_folder_without_files_cannot_be_verified(teacher_path: Path, tmp_path: Path) -> None:
    for more in (("--against", teacher_path), ()):
        result = edgepress("verify", tmp_path, *more)
        assert result.exit_code == 2
        assert "is a folder; give a file, or a folder of exported files (.onnx, .tflite, " in result.stderr
        assert "of which it has none" in result.stderr
