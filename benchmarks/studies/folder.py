"""The folder of a study: what it compares, kept from its first moment on, and never mixed with another one."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.studies import table
from benchmarks.studies.gather import SCORES, cpu_seconds
from benchmarks.studies.grid import TRIALS, Grid, Trial, log_of, output_of, trials
from compress import evidence
from compress.checkpoint import Checkpoint
from compress.errors import OutputError
from compress.evidence import weights_digest
from compress.files import write_text
from compress.training.journal import Journal

DOCUMENT, SHEET, TABLE, FIGURES = "study.json", "study.csv", "table.md", "figures"
SHOWN = 3
IDLE = ("cache",)  # options that change no result


@dataclass(frozen=True)
class Plan:
    """What a study is about to do, as its document keeps it.

    Attributes:
        trials: All of them.
        facts: What else its document says: `command`, `data`, `teacher` (with `weights`, a digest), `baseline`,
            `settings` (words that every command gets), `training`, `note`, `machine`, `paper`.
    """

    trials: Sequence[Trial]
    facts: Mapping[str, Any]

    @property
    def commands(self) -> dict[str, str]:
        """Trial to its command: what must not change while a study grows."""
        return {trial.name: trial.command for trial in self.trials}


@dataclass(frozen=True)
class Told:
    """What a study's document is told, beside what is measured.

    Attributes:
        command: What was typed.
        note: What a reader should know of its settings.
        training: Setting to value, of those that every run has.
        paper: Published values for its rows, see `benchmarks.studies.published`.
    """

    command: str
    note: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    paper: Sequence[Mapping[str, Any]] = ()


def plan(grid: Grid, teacher: Checkpoint, told: Told) -> Plan:
    """What a study is about to do.

    Args:
        grid: What it compares.
        teacher: The network in the grid's file.
        told: What else its document says.

    Raises:
        PlanError: See `benchmarks.studies.grid.trials`.
    """
    see = teacher.card.preprocessing
    step = teacher.card.lineage[-1] if teacher.card.lineage else {}
    facts = {
        "command": told.command,
        "data": Path(grid.data).name or grid.data,
        "teacher": {
            "file": Path(grid.teacher).name,
            "name": teacher.card.architecture.name,
            "weights": weights_digest(teacher.network.model),
            "input": [see.channels, *see.size],
            "command": step.get("command"),
            "metrics": step.get("metrics", {}),
        },
        "baseline": grid.baseline,
        "task": grid.task,
        "settings": shlex.join(grid.options),
        "training": dict(told.training),
        "note": told.note,
        "machine": evidence.describe(),
        **({"paper": list(told.paper)} if told.paper else {}),
    }
    return Plan(trials(grid), facts)


def open_folder(folder: Path, plan: Plan, *, force: bool = False) -> None:
    """Nothing, once the folder is there and holds this study or a part of it.

    Args:
        folder: Made where there is none.
        plan: What is to be done; it may add to what the folder's study did, and leave out what has no result.
        force: Forget what another study left: its trials and pictures are removed.

    Raises:
        OutputError: Another study lies there, or something else.
    """
    before = _before(folder)
    if before is not None and force:
        for name in before["grid"]:
            _remove(folder, name)
        for path in (folder / FIGURES).glob("*.*"):
            path.unlink()
        (folder / DOCUMENT).unlink()
    elif before is not None:
        _check_grown(folder, before, plan)
        for name in before["grid"].keys() - plan.commands.keys():
            _remove(folder, name)
    elif folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give the name of a folder")
    elif not force and folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} holds something that is no study; give another name, or --force")
    (folder / TRIALS).mkdir(parents=True, exist_ok=True)


def write_study(folder: Path, plan: Plan, rows: Sequence[Mapping[str, Any]], cells: Sequence[Any]) -> dict[str, Any]:
    """The document of the study as far as it is, which is written as JSON, its rows as CSV, its table as Markdown."""
    document = {
        "schema": table.SCHEMA,
        **plan.facts,
        "grid": plan.commands,
        "steps": {trial.name: cpu_seconds(folder, trial.name) for trial in plan.trials if trial.step},
        "splits": _splits(rows),
        "summary": list(cells),
        "rows": list(rows),
    }
    write_text(folder / DOCUMENT, to_json(document), force=True)
    write_text(folder / SHEET, sheet(rows), force=True)
    write_text(folder / TABLE, table.markdown(document) + "\n", force=True)
    return document


def sheet(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV, a column for each of their entries and of the quantities recorded; empty where one has none."""
    flat = []
    for row in rows:
        known = {one["quantity"]: one["value"] for one in row["records"] if not one["reason"]}
        flat.append({key: value for key, value in row.items() if key != "records"} | known)
    head = list(dict.fromkeys(key for line in flat for key in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def to_json(document: Mapping[str, Any]) -> str:
    """The document as JSON text: a line for each entry, and for each item of those that are lists."""
    parts = []
    for key, value in document.items():
        text = json.dumps(value)
        if isinstance(value, list) and value:
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _splits(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each fraction and seed the fingerprints of the training data: one, where every method saw the same images."""
    found: dict[tuple[float, int], dict[str, None]] = {}
    for row in rows:
        if not row["reason"]:
            found.setdefault((row["fraction"], row["seed"]), {})[row["fingerprint"]] = None
    return [
        {"fraction": fraction, "seed": seed, "fingerprints": list(prints), "equal": len(prints) == 1}
        for (fraction, seed), prints in found.items()
    ]


def _before(folder: Path) -> dict[str, Any] | None:
    path = folder / DOCUMENT
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != table.SCHEMA:
            raise OutputError(f"{path}: has schema {document['schema']!r:.80}; a study has {table.SCHEMA!r}")
        return {"grid": dict(document["grid"]), "weights": document["teacher"]["weights"]}
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path}: is no study ({error!r:.80}); give another folder") from error


def _check_grown(folder: Path, before: Mapping[str, Any], plan: Plan) -> None:
    anew = "give another folder, or --force to begin anew"
    if before["weights"] != plan.facts["teacher"]["weights"]:
        raise OutputError(f"{folder}: holds a study of another teacher, with other weights; {anew}")
    commands = plan.commands
    for name, command in before["grid"].items():
        ours, theirs = (set(_options(text)) for text in (commands.get(name, command), command))
        if ours != theirs:
            raise OutputError(
                f"{folder}: holds a study whose run {name} had {_told(theirs - ours)}, where this one has "
                f"{_told(ours - theirs)}; repeat its options, {anew}"
            )
    dropped = [name for name in before["grid"] if name not in commands and output_of(folder, name).exists()]
    if dropped:
        more = f" and {len(dropped) - SHOWN} more" if len(dropped) > SHOWN else ""
        raise OutputError(
            f"{folder}: holds a study with runs that this one lacks: {', '.join(dropped[:SHOWN])}{more}; a study may "
            f"only grow: name them again, {anew}"
        )


def _options(command: str) -> list[str]:
    """The options of a command that decide what comes out, each with its value."""
    parts = (part.strip() for part in f" {command}".split(" --")[1:])
    return [f"--{part}" for part in parts if part.split(" ")[0] not in IDLE]


def _told(options: set[str]) -> str:
    return " ".join(sorted(options)) or "nothing"


def _remove(folder: Path, name: str) -> None:
    journal = Journal(output_of(folder, name))
    beside = (journal.output.with_suffix(SCORES), log_of(folder, name))
    for path in (journal.output, journal.state_path, journal.metrics_path, *beside):
        path.unlink(missing_ok=True)
