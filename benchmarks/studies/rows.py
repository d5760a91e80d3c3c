"""What the runs of a study left, one row each: read off their checkpoints and the records of their epochs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.studies.grid import Trial, output_of
from compress.checkpoint import load
from compress.errors import CompressError
from compress.training.journal import Journal

Row = dict[str, Any]


def row(trial: Trial, folder: Path, reason: str = "") -> Row:
    """What is known of a trial, as JSON-able data; with a reason, why there is no result.

    Keys: `name`, `student`, `method`, `fraction`, `seed`, `epochs`, `depth`, `ratio`, `control`, `command`, `reason`,
    and of a result also `task`, `parameters`, `size_bytes`, `sha256` (of the file), `teacher` (digest of its weights),
    `train_images`, `fingerprint` (of the data), `cpu_s`, `trained_with` and `scores` (fractions, by name).
    """
    place = {name: getattr(trial, name) for name in ("name", "student", "method", "fraction", "seed", "epochs")}
    place |= {"depth": trial.depth, "ratio": trial.ratio, "control": trial.control, "command": trial.command}
    if reason:
        return place | {"reason": reason}
    path = output_of(folder, trial.name)
    try:
        made = load(path)
    except CompressError as error:
        return place | {"reason": str(error)}
    step = made.card.lineage[-1]
    return place | {
        "reason": "",
        "task": made.card.task,
        "parameters": sum(p.numel() for p in made.network.model.parameters()),
        "size_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "teacher": step.get("teacher"),
        "train_images": step["data"]["train_images"],
        "fingerprint": step["data"]["fingerprint"],
        "cpu_s": cpu_seconds(folder, trial.name),
        "trained_with": step["versions"],
        "scores": dict(step["metrics"]),
    }


def epochs(folder: Path, name: str) -> list[dict[str, Any]]:
    """The records of a trial's epochs, as its journal keeps them; none where it has none."""
    path = Journal(output_of(folder, name)).metrics_path
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cpu_seconds(folder: Path, name: str) -> float | None:
    """The CPU time of a trial's epochs, validation included; None where not every epoch says it."""
    records = epochs(folder, name)
    known = [record["cpu_s"] for record in records if record.get("cpu_s") is not None]
    return round(sum(known), 1) if known and len(known) == len(records) else None
