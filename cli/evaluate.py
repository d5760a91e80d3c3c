"""edgepress evaluate"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli import options


def evaluate(
    checkpoint: options.CheckpointFile,
    data: options.Data,
    task: Annotated[str | None, typer.Option("--task", help="classification or retrieval. [default: its own]")] = None,
    arch: options.Arch = None,
    size: options.Size = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a network on a test split."""
    from cli import parse, progress
    from compress.data import DataOptions
    from compress.opening import Named, open_pair

    found, images = open_pair(Named(str(checkpoint), arch or ""), data, DataOptions(size=parse.read_size(size)))
    goal = parse.read_task(task or found.card.task)
    metrics = goal.evaluate(found.network, images)
    if as_json:
        typer.echo(json.dumps({"data": images.name, "task": goal.name, "images": len(images.test), "metrics": metrics}))
        return
    typer.echo(f"{checkpoint}: {goal.name} on the {len(images.test):,} test images of {images.name}")
    progress.say_metrics(metrics)
