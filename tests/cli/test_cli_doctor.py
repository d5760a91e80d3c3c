"""`edgepress doctor` as a person types it, on machines that are whole and that are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from compress.data import DATASETS
from exports import CORE, FORMATS

ROOT = Path(__file__).parents[2]

Run = Callable[[str, Path], Result]


def doctor(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where the packages in a folder are found first."""
    paths = os.pathsep.join((str(folder), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_says_what_the_machine_can_do(tmp_path: Path, succeeds: Run) -> None:
    facts = json.loads(succeeds("doctor --json --no-timing", tmp_path).stdout)
    assert [one["name"] for one in facts["formats"]] == list(FORMATS)
    assert all(one["works"] and one["verified"] for one in facts["formats"] if one["name"] in CORE)
    assert list(facts["data"]) == list(DATASETS)
    assert facts["data"]["digits"].endswith("digits.npz")
    assert facts["machine"]["cpu"]
    assert (facts["noise"], facts["records"], facts["broken"]) == (None, [], [])
    assert facts["verdict"]["words"].startswith("fit to measure" if facts["verdict"]["fit"] else "too noisy to judge")
    text = succeeds("doctor --no-timing", tmp_path).stdout
    assert f"verdict      {facts['verdict']['words'][:12]}" in text
    assert "noise floor" not in text


def test_it_times_a_file_against_itself(tmp_path: Path, succeeds: Run) -> None:
    result = succeeds("doctor --json", tmp_path)
    facts = json.loads(result.stdout)
    own, least = facts["records"]
    assert own["low"] < own["value"] < own["high"]
    assert own["command"] == "edgepress doctor"
    assert least["value"] > 1
    assert "slower than itself" in facts["noise"]


def test_a_broken_package_is_a_row_and_ends_with_4(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text("raise ImportError('no libonnxruntime.so')\n")
    done = doctor(tmp_path, "--json")
    assert done.returncode == 4
    assert "error: onnxruntime " in done.stderr
    assert "is broken: ImportError: no libonnxruntime.so: pip install edgepress" in done.stderr
    assert "Traceback" not in done.stderr
    facts = json.loads(done.stdout)
    assert {one["module"]: one["state"] for one in facts["packages"]}["onnxruntime"] == "broken"
    assert (facts["formats"], facts["noise"]) == ([], None)
    assert len(facts["broken"]) == 1
