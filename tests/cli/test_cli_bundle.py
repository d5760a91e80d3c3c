"""`edgepress bundle` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Run = Callable[[str, Path], Result]


def test_a_bundle_of_test_images_is_written_and_tests_itself(workshop: Path, succeeds: Run) -> None:
    result = succeeds("bundle student.onnx -o drone.zip --data digits --samples 4", workshop)
    assert "golden/: 4 test images of digits" in result.stdout
    assert "written: drone.zip" in result.stdout
    with zipfile.ZipFile(workshop / "drone.zip") as made:
        made.extractall(workshop / "there")
    script = workshop / "there" / "drone" / "selftest.py"
    done = subprocess.run([sys.executable, "-I", script], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 golden images are answered as they were" in done.stdout


def test_without_data_the_images_are_noise_and_it_says_so(workshop: Path, succeeds: Run) -> None:
    result = succeeds("bundle student.onnx -o drone.zip --json", workshop)
    facts = json.loads(result.stdout)
    assert facts["origin"] == "8 images of noise"
    assert facts["path"] == "drone.zip"
    assert facts["files"]["student.onnx"] == (workshop / "student.onnx").stat().st_size
    assert "--data NAME takes them from a test split" in result.stderr


def test_what_cannot_be_bundled_says_what_to_do(workshop: Path, succeeds: Run, refused: Callable[..., str]) -> None:
    refused(
        "bundle student.safetensors -o drone.zip",
        workshop,
        "edgepress export student.safetensors -o student.onnx",
    )
    refused("bundle student.onnx -o drone.zip --data nowhere", workshop, "unknown data set 'nowhere'")
    refused("bundle student.onnx -o drone.tar", workshop, "ends in .zip")
    succeeds("bundle student.onnx -o drone.zip", workshop)
    refused("bundle student.onnx -o drone.zip", workshop, "--force")
