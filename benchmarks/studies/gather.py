"""The JSON of a study, from the checkpoints that its commands left: `python -m benchmarks.studies.gather --help`.

A score stands in a checkpoint's lineage already where the task it was trained for asks for it; the other scores are
measured here. The document's schema is described in `benchmarks.studies.table`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.pages import terminal
from benchmarks.studies import table
from compress import evidence
from compress.checkpoint import Checkpoint, load
from compress.data import DataOptions, Dataset
from compress.errors import DataError
from compress.files import check_target
from compress.opening import data_for
from compress.tasks import CLASSIFICATION, RETRIEVAL

PAPER: dict[str, dict[str, dict[str, dict[str, float]]]] = {
    "fashion-mnist": {
        "classification": {
            "okd": {"top1": 0.9001},
            "pkt": {"top1": 0.9019},
            "indistill": {"top1": 0.9057},
        },
        "retrieval": {
            "teacher": {"map_e_paper": 0.7330, "map_c_paper": 0.7949},
            "auxiliary": {"map_e_paper": 0.7008, "map_c_paper": 0.7439},
            "no_teacher": {"map_e_paper": 0.6593, "map_c_paper": 0.6828},
            "okd": {"map_e_paper": 0.6670, "map_c_paper": 0.6890},
            "pkt": {"map_e_paper": 0.6730, "map_c_paper": 0.7150},
            "indistill": {"map_e_paper": 0.6938, "map_c_paper": 0.7268},
        },
    },
}


def main(
    data: Annotated[str, typer.Option(help="Data set that every checkpoint was trained on.")],
    teacher: Annotated[Path, typer.Option(help="Checkpoint of the teacher.")],
    run: Annotated[list[str], typer.Option(metavar="METHOD=PATH", help="A checkpoint and its method; repeated.")],
    shipped: Annotated[Path, typer.Option(help="JSON that `edgepress benchmark` wrote of the shipped file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Gather the runs of a study into one JSON document."""
    named = [_named(word) for word in run]
    check_target(output, force=force, inputs=(teacher, shipped, *(path for _, path in named)))
    first = load(teacher)
    images = _images(first, data)
    runs = [(method, load(path)) for method, path in named]
    rows = []
    for method, checkpoint in (("teacher", first), *runs):
        typer.echo(f"{method}, {checkpoint.card.task}, seed {checkpoint.card.lineage[-1]['seed']}", err=True)
        rows += _rows(method, checkpoint, images)
    document = {
        "schema": table.SCHEMA,
        "data": data,
        "machine": evidence.describe(),
        "teacher": _teacher(first),
        "rows": rows,
        "paper": PAPER.get(data, {}),
        "shipped": json.loads(shipped.read_text(encoding="utf-8")),
    }
    terminal.write_text(output, json.dumps(document, indent=1) + "\n", force=force)
    typer.echo(f"{output}: {len(rows)} rows")


def _named(word: str) -> tuple[str, Path]:
    method, sign, path = word.partition("=")
    if not sign or not method or not path:
        raise DataError(f"--run {word}: give it as METHOD=PATH")
    return method, Path(path)


def _images(checkpoint: Checkpoint, name: str) -> Dataset:
    return data_for(checkpoint.card, name, DataOptions())


def _rows(method: str, checkpoint: Checkpoint, images: Dataset) -> list[dict[str, Any]]:
    """A row for each task that the network's scores belong to: one trained on labels is held to both."""
    step = checkpoint.card.lineage[-1]
    scores = dict(step["metrics"])
    both = checkpoint.card.task == CLASSIFICATION.name
    if both:
        scores |= RETRIEVAL.evaluate(checkpoint.network, images)
    row = {
        "method": method,
        "task": checkpoint.card.task,
        "seed": step["seed"],
        "epochs": sum(epochs for _, epochs in step["phases"]),
        "parameters": sum(p.numel() for p in checkpoint.network.model.parameters()),
        "command": step["command"],
        "trained_with": step["versions"],
        **{name: round(value, 6) for name, value in scores.items()},
    }
    untaught = method in ("no_teacher", "teacher")
    return [row, row | {"task": RETRIEVAL.name, "top1": None}] if both and untaught else [row]


def _teacher(checkpoint: Checkpoint) -> dict[str, Any]:
    step = checkpoint.card.lineage[-1]
    metrics = step["metrics"]
    return {
        "name": checkpoint.card.architecture.name,
        "top1": metrics["top1"],
        "top1_interval": [metrics["top1_low"], metrics["top1_high"]],
        "command": step["command"],
    }


if __name__ == "__main__":
    script.run(main)
