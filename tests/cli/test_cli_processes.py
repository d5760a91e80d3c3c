"""The same command on two processes: one file, one set of lines, weights that every process agreed on.

The folder has a package `cli` of its own, which `-m cli.main` would run; the README's way does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from compress.checkpoint import load

LAUNCH = "accelerate.commands.launch --cpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
TRAIN = "train cnn-s --data digits --size 24 --fraction 0.2 --epochs 2 --batch-size 32 -o student.safetensors"


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").write_text("raise SystemExit('another cli')")
    edgepress = Path(sys.executable).with_name("edgepress")
    command = [sys.executable, "-m", *LAUNCH.split(), str(edgepress), *TRAIN.split()]
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written: student.safetensors") == 1
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("task")] == ["1/2", "2/2"]
    records = [json.loads(line) for line in (tmp_path / "student.metrics.jsonl").read_text().splitlines()]
    assert records[1]["losses"]["ce"] < records[0]["losses"]["ce"]
    assert load(tmp_path / "student.safetensors").card.lineage[-1]["seed"] == 0
    assert not (tmp_path / "student.resume.pt").exists()
