"""Ctrl-C while edgepress starts: one line, exit code 130, whatever was being imported, and nothing is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = str(ROOT / "cli" / "main.py")
TRAIN = ["train", "resnet18", "--data", "digits", "--epochs", "100000", "-o", "net.safetensors"]
SCRIPT = "import sys; sys.argv[0] = 'edgepress'; from cli.main import app; app()"
STARTS = {"module": ["-m", "cli.main"], "console script": ["-c", SCRIPT]}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "EDGEPRESS_DEBUG": ""}


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """A process that hears Ctrl-C, even where a shell started pytest deaf to it."""

    def hear() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True, preexec_fn=hear
    )


@pytest.fixture(scope="module")
def empty_start_s(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long Python takes before it comes to the first line of anybody's code; there Ctrl-C is its own affair."""
    folder = tmp_path_factory.mktemp("empty")
    took = []
    for _ in range(3):
        before = time.monotonic()
        start(["-c", "pass"], folder).communicate()
        took.append(time.monotonic() - before)
    return max(took)


@pytest.mark.parametrize("way", STARTS)
@pytest.mark.parametrize("after_s", [0.05, 0.1, 0.3, 0.6, 1.0])
def test_one_line_from_the_first_moment_on(tmp_path: Path, empty_start_s: float, way: str, after_s: float) -> None:
    for patience in (1, 2, 4):
        run = start([*STARTS[way], *TRAIN], tmp_path)
        time.sleep(patience * empty_start_s + after_s)
        run.send_signal(signal.SIGINT)
        stdout, stderr = run.communicate(timeout=60)
        if run.returncode == 130 or MAIN in stderr:
            break  # and otherwise a busy machine had Python itself not yet started
    assert (run.returncode, stderr.splitlines()) == (130, ["interrupted"])
    assert stdout == ""
    assert list(tmp_path.iterdir()) == []
