"""What the runs of a study left, one row each: read off their checkpoints and the records of their epochs.

A score stands in a checkpoint's lineage already where the task it was trained for asks for it; those of other tasks are
measured here, once: they are kept beside the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.studies.grid import Trial, output_of
from compress.checkpoint import Checkpoint, load
from compress.data import DataOptions
from compress.errors import CompressError
from compress.evidence import Record, metric_records
from compress.files import write_text
from compress.opening import data_for
from compress.tasks import TASKS
from compress.training.journal import Journal

SCORES = ".scores.json"
COSTS = ("parameters", "size_bytes", "cpu_s")
PLACE = ("name", "student", "method", "task", "fraction", "seed", "epochs", "depth", "ratio", "control", "command")

Row = dict[str, Any]


@dataclass(frozen=True)
class Scoring:
    """What every run is scored for, besides what it was trained for.

    Attributes:
        tasks: By name.
        data: Name or path of the data set.
        options: How it is read; fraction and seed are those of each run.
    """

    tasks: tuple[str, ...]
    data: str
    options: DataOptions


def gather(trial: Trial, folder: Path, scoring: Scoring, reason: str = "") -> Row:
    """What is known of a trial, as JSON-able data.

    Keys: those of PLACE, `reason` (why there is no result, or ""), `train_images`, `fingerprint` (of its data) and
    `teacher` (digest of its weights), None without a result; and `records`, each a `compress.evidence.Record`: the
    scores, as fractions, and those of COSTS as far as they are known.

    Args:
        trial: A run of the study.
        folder: Of the study.
        scoring: What else to score it for.
        reason: Why it has no result; "" reads it.
    """
    place = {name: getattr(trial, name) for name in PLACE} | {"reason": reason}
    if not reason:
        try:
            return place | _result(trial, folder, scoring)
        except CompressError as error:
            reason = str(error)
    record = Record("score", None, command=trial.command, seed=trial.seed, reason=reason)
    nothing = {"train_images": None, "fingerprint": None, "teacher": None}
    return place | {"reason": reason, **nothing, "records": [record.to_dict()]}


def scores(row: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a row by name."""
    records = row["records"]
    return {one["quantity"]: one["value"] for one in records if not one["reason"] and one["quantity"] not in COSTS}


def cost(row: Mapping[str, Any], quantity: str) -> float | None:
    """One of COSTS of a row; None where it is not known."""
    return next((one["value"] for one in row["records"] if one["quantity"] == quantity), None)


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


def _result(trial: Trial, folder: Path, scoring: Scoring) -> Row:
    path = output_of(folder, trial.name)
    made, digest = load(path), hashlib.sha256(path.read_bytes()).hexdigest()
    step = made.card.lineage[-1]
    spent = cpu_seconds(folder, trial.name)
    counted = [
        Record("parameters", sum(p.numel() for p in made.network.model.parameters())),
        Record("size_bytes", path.stat().st_size, unit="B"),
        *([] if spent is None else [Record("cpu_s", spent, unit="s")]),
    ]
    metrics = {**step["metrics"], **_further(trial, made, path, digest, scoring)}
    scored = metric_records(metrics, step["data"].get("test_images"))
    told = {"sha256": digest, "command": trial.command, "seed": trial.seed, "environment": step["versions"]}
    return {
        "task": trial.task or made.card.task,
        "train_images": step["data"]["train_images"],
        "fingerprint": step["data"]["fingerprint"],
        "teacher": step.get("teacher"),
        "records": [replace(one, **told).to_dict() for one in (*scored, *counted)],
    }


def _further(trial: Trial, made: Checkpoint, path: Path, digest: str, scoring: Scoring) -> dict[str, float]:
    """The scores of tasks that the network was not trained for."""
    tasks = [name for name in scoring.tasks if name != made.card.task]
    if not tasks:
        return {}
    kept = path.with_suffix(SCORES)
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if known.get("sha256") != digest:
        known = {"sha256": digest}
    missing = [name for name in tasks if name not in known]
    if missing:
        options = replace(scoring.options, fraction=trial.fraction, seed=trial.seed)
        images = data_for(made.card, scoring.data, options)
        known |= {name: TASKS[name].evaluate(made.network, images) for name in missing}
        write_text(kept, json.dumps(known, indent=1) + "\n", force=True)
    return {name: value for task in tasks for name, value in known[task].items()}
